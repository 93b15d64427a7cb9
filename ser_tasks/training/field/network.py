"""Training of a network for the field's table: as plain as the papers train theirs, and the epoch kept that is best on watched clips."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ser_tasks.evaluation.metrics import ua
from ser_tasks.features import feature_set
from ser_tasks.models import make_model
from ser_tasks.training.feature_cache import Pool
from ser_tasks.training.fit import even_weights
from ser_tasks.training.recipe import Recipe

BATCH = 16
LONGEST_CROP_S = 2.0
"""Of a training clip: a random piece of it, in every epoch another."""
SMALLEST_STD = 1e-3
EVALUATED = 64
"""Clips that are scored at once."""


@dataclass(frozen=True)
class NetworkExamples:
    """Clips and augmented copies of them, with their features."""

    pool: Pool
    clip: np.ndarray
    """Int64 ``(n,)``: index of the clip in the pool."""
    copy: np.ndarray
    """Int64 ``(n,)``: number of its copy; 0 is the clip itself."""
    truth: np.ndarray
    """Int64 ``(n,)``: class."""

    def features(self, index: int) -> np.ndarray:
        """Float16 ``(frames, features)`` of one example."""
        return self.pool.features(self.clip[index], self.copy[index])


@dataclass(frozen=True)
class NetworkSides:
    """Examples by what they serve for, as indices."""

    train: np.ndarray
    scaled_by: np.ndarray
    """Those whose mean and deviation normalise all."""
    watched: np.ndarray
    """Those that choose the epoch."""
    test: np.ndarray


def network_predictions(
    model: str, recipe: Recipe, examples: NetworkExamples, sides: NetworkSides, n_classes: int, seed: int
) -> np.ndarray:
    """Classes int64 ``(test examples,)`` by the epoch of highest UA on the watched examples; of equal ones the earliest.

    AdamW, one cycle of the recipe's learning rate, batches of 16 crops of 2 s at most, classes weighted to be equally frequent.
    """
    n_features = feature_set(recipe.feature_set).n_features(recipe.feature_params)
    mean, std = _mean_and_std(examples, sides.scaled_by)
    if feature_set(recipe.feature_set).words:
        mean[-1], std[-1] = 0.0, 1.0
    rng = np.random.default_rng(seed)
    longest = max(1, round(LONGEST_CROP_S / feature_set(recipe.feature_set).hop_s))
    weight = torch.from_numpy(even_weights(np.zeros(len(sides.train), int), examples.truth[sides.train])).float()
    best, predicted = -1.0, np.zeros(len(sides.test), np.int64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = make_model(model, n_classes, n_features)
        batches = max(1, len(sides.train) // BATCH)
        optimiser = torch.optim.AdamW(module.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, total_steps=recipe.epochs * batches, pct_start=0.15)
        for _ in range(recipe.epochs):
            module.train()
            order = rng.permutation(len(sides.train))
            for members in np.array_split(order, batches):
                rows = [_crop(examples.features(index), longest, rng) for index in sides.train[members]]
                x, lengths = _padded(rows, mean, std)
                losses = nn.functional.cross_entropy(
                    module(x, lengths), torch.from_numpy(examples.truth[sides.train[members]]), reduction="none"
                )
                optimiser.zero_grad()
                torch.autograd.backward((losses * weight[members]).mean())
                nn.utils.clip_grad_norm_(module.parameters(), 5.0)
                optimiser.step()
                schedule.step()
            module.eval()
            watched = _predict(module, examples, sides.watched, mean, std)
            score = ua(examples.truth[sides.watched], watched)
            if score > best:
                best = score
                same = np.array_equal(sides.watched, sides.test)
                predicted = watched if same else _predict(module, examples, sides.test, mean, std)
    return predicted


def _mean_and_std(examples: NetworkExamples, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    frames = np.concatenate([examples.features(index) for index in chosen]).astype(np.float64)
    return frames.mean(axis=0).astype(np.float32), np.maximum(frames.std(axis=0), SMALLEST_STD).astype(np.float32)


def _crop(frames: np.ndarray, longest: int, rng: np.random.Generator) -> np.ndarray:
    start = int(rng.integers(0, max(0, len(frames) - longest) + 1))
    return frames[start : start + longest]


def _padded(rows: list[np.ndarray], mean: np.ndarray, std: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    scaled = [torch.from_numpy((row.astype(np.float32) - mean) / std) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(scaled, batch_first=True), torch.tensor([len(row) for row in rows])


def _batches(examples: NetworkExamples, chosen: np.ndarray) -> Iterator[np.ndarray]:
    """Positions in ``chosen`` of examples of similar length."""
    order = np.argsort(examples.pool.lengths[examples.copy[chosen], examples.clip[chosen]], kind="stable")
    for start in range(0, len(order), EVALUATED):
        yield order[start : start + EVALUATED]


@torch.inference_mode()
def _predict(module: nn.Module, examples: NetworkExamples, chosen: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    predicted = np.zeros(len(chosen), np.int64)
    for members in _batches(examples, chosen):
        x, lengths = _padded([examples.features(index) for index in chosen[members]], mean, std)
        predicted[members] = module(x, lengths).argmax(dim=1).numpy()
    return predicted
