"""The loop: features of training clips → a module's weights. It goes on after a kill where it was."""

import ast
import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ser_tasks.features import feature_set
from ser_tasks.scratch import atomic_write
from ser_tasks.training.augment import VOICES, babbled, masked, mixed, offset
from ser_tasks.training.feature_cache import Pool
from ser_tasks.training.recipe import Recipe

WARM_UP = 0.15
"""Share of the steps in which the learning rate rises."""
LARGEST_GRADIENT = 5.0


@dataclass(frozen=True)
class Examples:
    """The clips that a training may hear."""

    pool: Pool
    clips: np.ndarray
    """Int64 ``(n,)``: their numbers in the pool."""
    truth: np.ndarray
    """Int64 ``(n,)``: their classes."""
    speakers: np.ndarray
    """``(n,)``: ``corpus/speaker``."""
    n_classes: int
    shares: np.ndarray = field(init=False)
    """Float64 ``(n,)``: how likely each is to be heard next. A corpus's emotions are equally likely, whatever their clips' number; a corpus
    is as likely as the square root of its number of clips, so that a large one does not drown the others."""

    def __post_init__(self) -> None:
        corpora = np.array([speaker.partition("/")[0] for speaker in self.speakers])
        shares = even_weights(corpora, self.truth)
        for corpus in np.unique(corpora):
            own = corpora == corpus
            shares[own] *= np.sqrt(own.sum()) / shares[own].sum()
        object.__setattr__(self, "shares", shares / shares.sum())

    def normalisation(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each feature over the unaltered clips, float32."""
        frames = np.concatenate([self.pool.features(clip).astype(np.float64) for clip in self.clips])
        return frames.mean(axis=0).astype(np.float32), np.maximum(frames.std(axis=0), 1e-3).astype(np.float32)


def even_weights(speakers: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """One weight a clip, of mean 1: the inverse of how many clips its speaker has of its class."""
    _, cell, counts = np.unique(
        np.stack([np.unique(speakers, return_inverse=True)[1], truth]), axis=1, return_inverse=True, return_counts=True
    )
    weights = 1 / counts[cell.ravel()]
    return weights / weights.mean()


def fit(
    module: nn.Module,
    examples: Examples,
    mean: np.ndarray,
    std: np.ndarray,
    recipe: Recipe,
    seed: int = 0,
    device: str = "cpu",
    checkpoint: Path | None = None,
    progress: Callable[[int, int, float], None] = lambda step, steps, loss: None,
) -> list[float]:
    """Trains the module in place, and returns the mean loss of each epoch. The weights that remain are a running mean.

    With ``checkpoint``, a file written after each epoch and removed at the end, a training that was killed goes on, and ends with the same
    weights as one that was not. ``progress`` is called with steps done, steps in all, and the last loss.
    """
    rng = np.random.default_rng(seed)
    features = feature_set(recipe.feature_set)
    params = features.complete(recipe.feature_params)
    module.to(device)
    averaged = copy.deepcopy(module).eval()
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    per_epoch = -(-len(examples.clips) // recipe.batch)
    steps = recipe.epochs * per_epoch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, total_steps=steps, pct_start=WARM_UP)
    state = {"module": module, "averaged": averaged, "optimiser": optimiser, "schedule": schedule}
    losses = _resume(checkpoint, state, rng) if checkpoint else []

    smooth = recipe.label_smoothing
    present = np.bincount(examples.truth, minlength=examples.n_classes) > 0
    targets = (1 - smooth) * np.eye(examples.n_classes)[examples.truth] + smooth * present / present.sum()
    for epoch in range(len(losses), recipe.epochs):
        module.train()
        order, total = rng.choice(len(examples.clips), len(examples.clips), p=examples.shares), 0.0
        for number in range(per_epoch):
            members = order[number * recipe.batch : (number + 1) * recipe.batch]
            x, lengths = _batch(examples, members, recipe, features, params, rng)
            x = masked(offset((x - mean) / std, recipe.offset_std, rng), lengths, rng)
            x, lengths, target = mixed(x, lengths, targets[members].astype(np.float32), recipe.mixup, rng)
            given = torch.from_numpy(x).to(device), torch.from_numpy(lengths)
            with torch.autocast(device, torch.bfloat16, enabled=half_precision(device)):
                logits = module(*given)
            loss = nn.functional.cross_entropy(logits.float(), torch.from_numpy(target).to(device))
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(learning, LARGEST_GRADIENT)
            optimiser.step()
            schedule.step()
            done = epoch * per_epoch + number + 1
            _average(averaged, module, min(recipe.averaging, done / (done + 10)))
            total += loss.item()
            progress(done, steps, loss.item())
        losses.append(total / per_epoch)
        if checkpoint:
            _keep(checkpoint, state, rng, losses)
    module.load_state_dict(averaged.state_dict())
    module.eval()
    if checkpoint:
        checkpoint.unlink(missing_ok=True)
    return losses


def half_precision(device: str) -> bool:
    """Whether bfloat16 is the quicker way to multiply there: on CUDA, and on CPUs with tiles for it (AMX)."""
    return device == "cuda" or torch.cpu._is_amx_tile_supported()


def _batch(
    examples: Examples, members: np.ndarray, recipe: Recipe, features: Any, params: dict, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Raw features float32 ``(clips, frames, features)`` of a stretch of each clip, or of one of its copies, and the frames of each."""
    longest = int(rng.uniform(*recipe.crop_s) / features.hop_s)
    pool = examples.pool
    crops = []
    for member in members:
        whole = pool.features(examples.clips[member], int(rng.integers(len(pool.lengths))))
        start = int(rng.integers(0, max(0, len(whole) - longest) + 1))
        crop = whole[start : start + longest].astype(np.float32)
        if rng.random() < recipe.babble_share:
            drawn = rng.integers(len(examples.clips), size=rng.integers(1, VOICES + 1))
            others = [
                pool.features(examples.clips[one]).astype(np.float32)
                for one in drawn
                if examples.speakers[one] != examples.speakers[member]
            ]
            crop = babbled(crop, others, rng.uniform(*recipe.babble_snr_db), features, params, rng)
        else:  # normalised as a segment of its own
            crop = features.of_bands_db(features.bands_db(crop, params), params)
        crops.append(crop)
    lengths = np.array([len(crop) for crop in crops])
    x = np.zeros((len(crops), lengths.max(), crops[0].shape[1]), np.float32)
    for row, crop in zip(x, crops, strict=True):
        row[: len(crop)] = crop
    return x, lengths


@torch.no_grad()
def _average(averaged: nn.Module, module: nn.Module, share: float) -> None:
    for mean, own in zip(averaged.state_dict().values(), module.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(own, 1 - share)
        else:
            mean.copy_(own)


def _keep(checkpoint: Path, state: dict[str, Any], rng: np.random.Generator, losses: list[float]) -> None:
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    kept = {name: part.state_dict() for name, part in state.items()}
    generator = {"numpy": repr(rng.bit_generator.state), "torch": torch.get_rng_state()}
    with atomic_write(checkpoint) as temporary:
        torch.save({**kept, "generator": generator, "losses": losses}, temporary)


def _resume(checkpoint: Path, state: dict[str, Any], rng: np.random.Generator) -> list[float]:
    """Takes up what the checkpoint has, and returns its epochs' losses: none where there is no checkpoint."""
    if not checkpoint.exists():
        return []
    kept = torch.load(checkpoint, map_location="cpu", weights_only=True)
    for name, part in state.items():
        part.load_state_dict(kept[name])
    rng.bit_generator.state = ast.literal_eval(kept["generator"]["numpy"])
    torch.set_rng_state(kept["generator"]["torch"])
    return kept["losses"]
