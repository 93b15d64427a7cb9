"""Training of models on pooled states: the states of all clips once, then logistic regression, which has one best solution."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax

from ser_tasks.evaluation.plan import Plan
from ser_tasks.features import feature_set
from ser_tasks.models import PooledLinear, make_model
from ser_tasks.scratch import atomic_write
from ser_tasks.training.feature_cache import Pool, features_key
from ser_tasks.training.fit import Examples
from ser_tasks.training.recipe import Recipe

FRAMES_PER_BATCH = 4096
SMALLEST_SCALE = 1e-3
MOST_ITERATIONS = 200


def states_of(clips: pd.DataFrame, pool: Pool, model: str, recipe: Recipe, plan: Plan) -> np.ndarray:
    """Pooled states float32 ``(clips, n_pooled)`` of all clips, without augmentation, by the pretrained encoder of ``model``.

    They are kept in ``plan.cache``, corpus by corpus, as the features that they are computed from.
    """
    module = make_model(model, 1, feature_set(recipe.feature_set).n_features(recipe.feature_params))
    if not isinstance(module, PooledLinear):
        raise ValueError(f"Model {model!r} has no pooled states.")
    encoder = hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in module.encoder.state_dict().values())).hexdigest()
    states = np.empty((len(clips), module.N_POOLED), np.float32)
    for corpus in sorted(clips["corpus"].unique()):
        members = np.flatnonzero(clips["corpus"] == corpus)
        content = f"{features_key(clips.iloc[members], recipe)} {encoder}"
        stored = plan.cache / f"{corpus}-{model}-{hashlib.sha256(content.encode()).hexdigest()[:16]}.npy"
        if not stored.exists():
            _store(stored, _computed(module, pool, members, plan.device))
        states[members] = np.load(stored)
    return states


def fit_pooled(module: PooledLinear, states: np.ndarray, examples: Examples, neutral: int | None, recipe: Recipe) -> float:
    """Fits the logits' weights and the statistics of the line to the examples' clips; returns the loss.

    ``states``, float32 ``(clips of the pool, n_pooled)``, are standardised by the mean and deviation of each clip's corpus, as calls
    are by those of their line. As it is not known how neutral the calls of a line are, each clip is given once with each of
    ``recipe.neutral_shares``: the statistics are those of its corpus with that share of neutral clips. The weights of the regression then
    depend little on the share, which was measured to be better than to estimate it. ``neutral`` is that class, or None.

    The weights minimise the mean cross-entropy, with ``examples.shares`` as weights of clips, plus ``recipe.ridge / 2`` times their
    squares. The statistics of the line are those over all corpora and shares.
    """
    own, truth = states[examples.clips].astype(np.float64), examples.truth
    corpora = np.array([speaker.partition("/")[0] for speaker in examples.speakers])
    standardised, weights, means, scales = [], [], [], []
    for share in recipe.neutral_shares:
        standardised.append(np.empty_like(own))
        for corpus in np.unique(corpora):
            members = corpora == corpus
            mean, scale = reference_statistics(own[members], truth[members], neutral, share)
            standardised[-1][members] = (own[members] - mean) / scale
            weights.append(examples.shares[members].sum())
            means.append(mean)
            scales.append(scale)
    times = len(recipe.neutral_shares)
    coefficients, bias, loss = logistic_regression(
        np.concatenate(standardised), np.tile(truth, times), np.tile(examples.shares, times), examples.n_classes, recipe.ridge
    )
    line_mean = np.average(means, axis=0, weights=weights)
    line_scale = np.sqrt(np.average(np.square(scales) + np.square(means - line_mean), axis=0, weights=weights))
    with torch.no_grad():
        module.logits.weight.copy_(torch.from_numpy(coefficients))
        module.logits.bias.copy_(torch.from_numpy(bias))
        module.line_mean.copy_(torch.from_numpy(line_mean))
        module.line_scale.copy_(torch.from_numpy(line_scale))
    return loss


def reference_statistics(states: np.ndarray, truth: np.ndarray, neutral: int | None, neutral_share: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation float64 ``(n_pooled,)`` of clips weighted so that ``neutral_share`` of them are neutral.

    Other classes have equal weights; so have all where no clip is neutral, or all are.
    """
    present = np.unique(truth)
    shares = np.full(len(present), 1 / len(present))
    if neutral in present and len(present) > 1:
        shares = np.where(present == neutral, neutral_share, (1 - neutral_share) / (len(present) - 1))
    weights = (shares / np.array([(truth == each).sum() for each in present]))[np.searchsorted(present, truth)]
    mean = weights @ states
    return mean, np.maximum(np.sqrt(weights @ np.square(states - mean)), SMALLEST_SCALE)


def logistic_regression(
    x: np.ndarray, truth: np.ndarray, weights: np.ndarray, n_classes: int, ridge: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Coefficients ``(n_classes, n)`` and biases ``(n_classes,)`` of multinomial logistic regression on ``x (clips, n)``, and the loss."""
    target, weights = np.eye(n_classes)[truth], weights / weights.sum()
    n_coefficients = n_classes * x.shape[1]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        coefficients = flat[:n_coefficients].reshape(n_classes, -1)
        logs = log_softmax(x @ coefficients.T + flat[n_coefficients:], axis=1)
        errors = (np.exp(logs) - target) * weights[:, None]
        gradient = np.concatenate([(errors.T @ x + ridge * coefficients).ravel(), errors.sum(axis=0)])
        return -(weights @ (target * logs).sum(axis=1)) + ridge / 2 * np.square(coefficients).sum(), gradient

    found = minimize(loss, np.zeros(n_coefficients + n_classes), jac=True, method="L-BFGS-B", options={"maxiter": MOST_ITERATIONS})
    return found.x[:n_coefficients].reshape(n_classes, -1), found.x[n_coefficients:], float(found.fun)


@torch.inference_mode()
def _computed(module: PooledLinear, pool: Pool, clips: np.ndarray, device: str) -> np.ndarray:
    module = module.to(device).eval()
    states = np.empty((len(clips), module.N_POOLED), np.float32)
    order = np.argsort(pool.lengths[0, clips], kind="stable")
    first = 0
    while first < len(order):
        widths = pool.lengths[0, clips[order[first:]]] * np.arange(1, len(order) - first + 1)
        members = order[first : first + max(1, int(np.searchsorted(widths, FRAMES_PER_BATCH, side="right")))]
        rows = [torch.from_numpy(pool.features(clip).astype(np.float32)) for clip in clips[members]]
        x, lengths = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.from_numpy(pool.lengths[0, clips[members]])
        states[members] = module.pooled(x.to(device), lengths.to(device)).cpu().numpy()
        first += len(members)
    return states


def _store(path: Path, states: np.ndarray) -> None:
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.save(file, states)
