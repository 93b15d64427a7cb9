"""Training of models on a weighted sum of layers: the means of all clips' states once, then the layers' weights and the head."""

import torch
from torch import nn

from ser_tasks.models import LayerSum
from ser_tasks.training.fit import WARM_UP, Examples
from ser_tasks.training.fit_pooled import standardise
from ser_tasks.training.recipe import Recipe

LEAST_STEPS = 300
LAYERS_FASTER = 10
"""How many times the layers' weights, which are few, learn faster than the head."""


def fit_layer_sum(module: LayerSum, examples: Examples, neutral: int | None, recipe: Recipe) -> list[float]:
    """Fits the layers' weights, the head and the statistics of the line to the examples' clips; returns the mean loss of each epoch.

    AdamW on the cross-entropy with ``recipe.label_smoothing``, weighted by ``examples.shares``; states are standardised, copies taken and
    ``neutral`` read as in ``standardise``. There are at least 300 steps. The order of clips comes from torch's generator.
    """
    given = standardise(examples, neutral, recipe)
    states, truth = torch.from_numpy(given.x), torch.from_numpy(given.truth)
    weights = torch.from_numpy(given.weights / given.weights.mean()).float()
    head = [*module.hidden.parameters(), *module.logits.parameters()]
    rates = [LAYERS_FASTER * recipe.learning_rate, recipe.learning_rate]
    groups = [
        {"params": [module.layer_weights], "lr": rates[0], "weight_decay": 0.0},
        {"params": head, "lr": rates[1], "weight_decay": recipe.weight_decay},
    ]
    batches = -(-len(states) // recipe.batch)
    epochs = max(recipe.epochs, -(-LEAST_STEPS // batches))
    optimiser = torch.optim.AdamW(groups)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=epochs * batches, pct_start=WARM_UP)
    losses = []
    for _ in range(epochs):
        total = 0.0
        for members in torch.randperm(len(states)).tensor_split(batches):
            logits = module.classify(states[members])
            loss = nn.functional.cross_entropy(logits, truth[members], reduction="none", label_smoothing=recipe.label_smoothing)
            loss = (loss * weights[members]).mean()
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
            total += loss.item()
        losses.append(total / batches)
    with torch.no_grad():
        module.line_mean.copy_(torch.from_numpy(given.mean))
        module.line_scale.copy_(torch.from_numpy(given.scale))
    return losses
