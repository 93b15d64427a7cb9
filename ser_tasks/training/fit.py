"""The training loop: a module's weights from features of training clips. An interrupted training resumes after its last epoch."""

import ast
import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ser_tasks.evaluation.plan import Plan
from ser_tasks.features import FeatureSet, feature_set
from ser_tasks.models.processor import has_amx
from ser_tasks.scratch import atomic_write
from ser_tasks.training.augment import BABBLE_VOICES, add_babble, add_offset, mask, mix_up
from ser_tasks.training.feature_cache import Pool
from ser_tasks.training.recipe import Recipe

WARM_UP = 0.15
"""Share of the steps in which the learning rate rises."""
MAX_GRADIENT_NORM = 5.0
LEAST_STD = 1e-3

OnStep = Callable[[int, int, float], None]
"""Called after each step with the steps done, the steps in all, and the step's loss."""


def ignore_step(step: int, steps: int, loss: float) -> None:
    """An ``OnStep`` that does nothing."""


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each feature, float32 ``(features,)``."""

    mean: np.ndarray
    std: np.ndarray

    def apply(self, features: np.ndarray) -> np.ndarray:
        """``features (..., features)`` at mean 0 and deviation 1."""
        normalised: np.ndarray = (features - self.mean) / self.std
        return normalised


@dataclass(frozen=True)
class LineNormalisation:
    """Normalisations of training clips by statistics of their corpora, as if these were lines of calls."""

    by_corpus: Mapping[str, Sequence[Normalisation]]
    """For each corpus, one for each of a recipe's shares of neutral speech."""
    corpus: np.ndarray
    """``(n,)``: corpus of each of the examples."""

    def apply(self, features: np.ndarray, members: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """``features (clips, frames, features)`` of some examples, each by its corpus with one of the shares, drawn at random."""
        drawn = [self.by_corpus[corpus][int(rng.integers(len(self.by_corpus[corpus])))] for corpus in self.corpus[members]]
        return np.stack([normalisation.apply(clip) for normalisation, clip in zip(drawn, features, strict=True)])


@dataclass(frozen=True)
class Examples:
    """The clips of a training side."""

    pool: Pool
    clips: np.ndarray
    """Int64 ``(n,)``: index of each clip in the pool."""
    truth: np.ndarray
    """Int64 ``(n,)``: class of each clip."""
    speakers: np.ndarray
    """``(n,)``: ``corpus/speaker`` of each clip."""
    n_classes: int
    shares: np.ndarray = field(init=False)
    """Float64 ``(n,)``: probability of each clip to be drawn. Within a corpus all emotions are equally likely; a corpus is drawn in
    proportion to the square root of its number of clips, so that a large one does not outweigh the others."""

    def __post_init__(self) -> None:
        corpora = self.corpora
        shares = even_weights(corpora, self.truth)
        for corpus in np.unique(corpora):
            members = corpora == corpus
            shares[members] *= np.sqrt(members.sum()) / shares[members].sum()
        object.__setattr__(self, "shares", shares / shares.sum())

    @property
    def corpora(self) -> np.ndarray:
        """``(n,)``: corpus of each clip."""
        return np.array([speaker.partition("/")[0] for speaker in self.speakers])

    def normalisation(self, words: bool = False) -> Normalisation:
        """Mean and standard deviation of each feature over the clips without augmentation; 0 and 1 of the last where it is ``words``."""
        frames = np.concatenate([self.pool.features(clip).astype(np.float64) for clip in self.clips])
        mean, std = frames.mean(axis=0).astype(np.float32), np.maximum(frames.std(axis=0), LEAST_STD).astype(np.float32)
        if words:
            mean[-1], std[-1] = 0.0, 1.0
        return Normalisation(mean, std)

    def line_normalisation(self, neutral: int | None, neutral_shares: Sequence[float]) -> tuple[Normalisation, LineNormalisation]:
        """The normalisation over all corpora and shares, and those of each corpus, of the clips without augmentation.

        Each clip has the same weight within its emotion, whatever its length, as a segment has in the statistics of a line.
        """
        moments = self._moments()
        corpora, by_corpus, weights = self.corpora, {}, []
        for corpus in np.unique(corpora):
            members = corpora == corpus
            own = [share_weights(self.truth[members], neutral, share) @ moments[members] for share in neutral_shares]
            by_corpus[str(corpus)] = [_normalisation(*np.split(each, 2)) for each in own]
            weights += [(self.shares[members].sum(), each) for each in own]
        overall = np.average([each for _, each in weights], axis=0, weights=[weight for weight, _ in weights])
        return _normalisation(*np.split(overall, 2)), LineNormalisation(by_corpus, corpora)

    def _moments(self) -> np.ndarray:
        """Mean and mean square of each feature over each clip's frames, float64 ``(n, 2 * features)``."""
        frames = (self.pool.features(clip).astype(np.float64) for clip in self.clips)
        return np.stack([np.concatenate([clip.mean(axis=0), np.square(clip).mean(axis=0)]) for clip in frames])

    def smoothed_targets(self, smoothing: float) -> np.ndarray:
        """Target probabilities float64 ``(n, n_classes)``, ``smoothing`` of them spread evenly over the classes that occur."""
        present = np.bincount(self.truth, minlength=self.n_classes) > 0
        targets: np.ndarray = (1 - smoothing) * np.eye(self.n_classes)[self.truth] + smoothing * present / present.sum()
        return targets


def _normalisation(mean: np.ndarray, mean_square: np.ndarray) -> Normalisation:
    variance = np.maximum(mean_square - np.square(mean), 0)
    return Normalisation(mean.astype(np.float32), np.maximum(np.sqrt(variance), LEAST_STD).astype(np.float32))


def share_weights(truth: np.ndarray, neutral: int | None, neutral_share: float) -> np.ndarray:
    """Weights of clips, which add up to 1, with which ``neutral_share`` of them are neutral.

    Other classes have equal weights; so have all where no clip is neutral, or all are.
    """
    present = np.unique(truth)
    shares = np.full(len(present), 1 / len(present))
    if neutral in present and len(present) > 1:
        shares = np.where(present == neutral, neutral_share, (1 - neutral_share) / (len(present) - 1))
    weights: np.ndarray = (shares / np.array([(truth == each).sum() for each in present]))[np.searchsorted(present, truth)]
    return weights


def even_weights(speakers: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """One weight a clip, of mean 1: the inverse of how many clips its speaker has of its class."""
    _, cell, counts = np.unique(
        np.stack([np.unique(speakers, return_inverse=True)[1], truth]), axis=1, return_inverse=True, return_counts=True
    )
    weights = 1 / counts[cell.ravel()]
    even: np.ndarray = weights / weights.mean()
    return even


class _Trainee:
    """A module in training, with the running mean of its weights, its optimiser and its learning rate schedule."""

    def __init__(self, module: nn.Module, recipe: Recipe, steps: int, device: str):
        self.module = module.to(device)
        self.averaged = copy.deepcopy(module).eval()
        self.learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self.optimiser = torch.optim.AdamW(self.learning, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimiser, recipe.learning_rate, total_steps=steps, pct_start=WARM_UP)
        self.device = device
        self.averaging = recipe.averaging
        self.kept: dict[str, Any] = {"module": module, "averaged": self.averaged, "optimiser": self.optimiser, "schedule": self.schedule}

    def step(self, x: np.ndarray, lengths: np.ndarray, target: np.ndarray, number: int) -> float:
        """Learns from one batch, the ``number``-th of the training, and returns its loss."""
        inputs = torch.from_numpy(x).to(self.device), torch.from_numpy(lengths)
        with torch.autocast(self.device, torch.bfloat16, enabled=half_precision(self.device)):
            logits = self.module(*inputs)
        loss = nn.functional.cross_entropy(logits.float(), torch.from_numpy(target).to(self.device))
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.learning, MAX_GRADIENT_NORM)
        self.optimiser.step()
        self.schedule.step()
        self._average(min(self.averaging, number / (number + 10)))
        return loss.item()

    @torch.no_grad()
    def _average(self, decay: float) -> None:
        for mean, current in zip(self.averaged.state_dict().values(), self.module.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(current, 1 - decay)
            else:
                mean.copy_(current)

    def save(self, checkpoint: Path, rng: np.random.Generator, losses: list[float]) -> None:
        """Writes the checkpoint atomically."""
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        states = {name: part.state_dict() for name, part in self.kept.items()}
        generator = {"numpy": repr(rng.bit_generator.state), "torch": torch.get_rng_state()}
        with atomic_write(checkpoint) as temporary:
            torch.save({**states, "generator": generator, "losses": losses}, temporary)

    def resume(self, checkpoint: Path, rng: np.random.Generator) -> list[float]:
        """Restores the checkpoint's state and returns the losses of its epochs; an empty list where there is no checkpoint."""
        if not checkpoint.exists():
            return []
        saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
        for name, part in self.kept.items():
            part.load_state_dict(saved[name])
        rng.bit_generator.state = ast.literal_eval(saved["generator"]["numpy"])
        torch.set_rng_state(saved["generator"]["torch"])
        losses: list[float] = saved["losses"]
        return losses


def fit(
    module: nn.Module,
    examples: Examples,
    normalisation: Normalisation | LineNormalisation,
    recipe: Recipe,
    plan: Plan,
    checkpoint: Path | None = None,
    on_step: OnStep = ignore_step,
) -> list[float]:
    """Trains the module in place and returns the mean loss of each epoch. Its final weights are a running mean over the training.

    The file ``checkpoint`` is written after each epoch and removed at the end. An interrupted training that finds it resumes, and ends
    with the same weights as one without interruption.
    """
    rng = np.random.default_rng(plan.seed)
    batches = -(-len(examples.clips) // recipe.batch)
    steps = recipe.epochs * batches
    trainee = _Trainee(module, recipe, steps, plan.device)
    losses = trainee.resume(checkpoint, rng) if checkpoint else []
    targets = examples.smoothed_targets(recipe.label_smoothing)
    for epoch in range(len(losses), recipe.epochs):
        module.train()
        order, total = rng.choice(len(examples.clips), len(examples.clips), p=examples.shares), 0.0
        for batch in range(batches):
            members = order[batch * recipe.batch : (batch + 1) * recipe.batch]
            x, lengths = _batch(examples, members, recipe, rng)
            x = normalisation.apply(x, members, rng) if isinstance(normalisation, LineNormalisation) else normalisation.apply(x)
            x = mask(add_offset(x, recipe.offset_std, rng), lengths, rng)
            x, lengths, target = mix_up(x, lengths, targets[members].astype(np.float32), recipe.mixup, rng)
            step = epoch * batches + batch + 1
            loss = trainee.step(x, lengths, target, step)
            total += loss
            on_step(step, steps, loss)
        losses.append(total / batches)
        if checkpoint:
            trainee.save(checkpoint, rng, losses)
    module.load_state_dict(trainee.averaged.state_dict())
    module.eval()
    if checkpoint:
        checkpoint.unlink(missing_ok=True)
    return losses


def half_precision(device: str) -> bool:
    """Whether bfloat16 is faster on the device: on CUDA, and on CPUs with AMX tiles."""
    return device == "cuda" or has_amx()


def _batch(examples: Examples, members: np.ndarray, recipe: Recipe, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Raw features float32 ``(clips, frames, features)`` of a crop of each clip, or of one of its copies, and the frames of each."""
    features = feature_set(recipe.feature_set)
    params = features.complete(recipe.feature_params)
    longest = int(rng.uniform(*recipe.crop_s) / features.hop_s)
    pool = examples.pool
    crops = []
    for member in members:
        whole = pool.features(examples.clips[member], int(rng.integers(len(pool.lengths))))
        start = int(rng.integers(0, max(0, len(whole) - longest) + 1))
        crop = whole[start : start + longest].astype(np.float32)
        if rng.random() < recipe.babble_share and features.bands_db:
            crop = _with_babble(crop, member, examples, recipe, features, params, rng)
        elif features.bands_db and features.of_bands_db:  # normalised as a segment of its own
            crop = features.of_bands_db(features.bands_db(crop, params), params)
        crops.append(crop)
    lengths = np.array([len(crop) for crop in crops])
    x = np.zeros((len(crops), lengths.max(), crops[0].shape[1]), np.float32)
    for row, crop in zip(x, crops, strict=True):
        row[: len(crop)] = crop
    return x, lengths


def _with_babble(
    crop: np.ndarray,
    member: int,
    examples: Examples,
    recipe: Recipe,
    features: FeatureSet,
    params: dict[str, Any],
    rng: np.random.Generator,
) -> np.ndarray:
    """The crop mixed with clips of other training speakers."""
    drawn = rng.integers(len(examples.clips), size=rng.integers(1, BABBLE_VOICES + 1))
    others = [
        examples.pool.features(examples.clips[index]).astype(np.float32)
        for index in drawn
        if examples.speakers[index] != examples.speakers[member]
    ]
    return add_babble(crop, others, rng.uniform(*recipe.babble_snr_db), features, params, rng)
