"""Trains one model: clips with a side each → a bundle, fitted to the training side and calibrated on the calibration side."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from rich.progress import Progress
from torch import nn

from ser_tasks.datasets import emotions_of, speaker_ids
from ser_tasks.datasets.credits import licence_of_weights
from ser_tasks.evaluation.plan import Plan
from ser_tasks.features import feature_set
from ser_tasks.inference.bundle import ALL_UNSURE, Bundle
from ser_tasks.models import MODELS, LayerSum, NoveltyAware, PooledLinear, encoder_of, make_model, needs_encoder, only_classes
from ser_tasks.schemas import EMOTIONS
from ser_tasks.training.calibrate import TARGET_ERROR, calibration
from ser_tasks.training.feature_cache import Pool, pool_of
from ser_tasks.training.fit import Examples, LineNormalisation, Normalisation, OnStep, even_weights, fit, ignore_step
from ser_tasks.training.fit_layer_sum import fit_layer_sum
from ser_tasks.training.fit_pooled import fit_pooled
from ser_tasks.training.pooled_states import copies_of
from ser_tasks.training.recipe import Recipe

BATCH = 32


@dataclass(frozen=True)
class ModelSpec:
    """The model to train."""

    model: str
    """Name in ``MODELS``."""
    labels: tuple[str, ...]
    """Labels of the bundle; an empty tuple means all emotions of the clips (``evaluate_across``). The model is trained on the clips'
    other emotions as well; their outputs are then dropped."""
    recipe: Recipe
    name: str
    version: str = "1"
    target_error: float = TARGET_ERROR
    priors: tuple[tuple[str, float], ...] = ()
    """Base rates of the bundle, by label; empty: all labels equally likely."""
    encoder_sha256: str | None = field(init=False, default=None)
    """Of the pretrained encoder that the model takes; None where it needs none. Raises what ``find_encoder`` raises."""

    def __post_init__(self) -> None:
        if needs_encoder(self.model):
            object.__setattr__(self, "encoder_sha256", encoder_of(self.model)["sha256"])
        if unknown := sorted(set(self.labels) - set(EMOTIONS)):
            raise ValueError(f"Labels {', '.join(unknown)} are not in the taxonomy: it has {', '.join(EMOTIONS)}.")


def prepare(clips: pd.DataFrame, spec: ModelSpec, plan: Plan, progress: Progress) -> Pool:
    """Features of all clips, or their pooled states, which trainings on any of them share: computed once and kept in ``plan.cache``."""
    if not is_pooled(spec.model):
        return pool_of(clips, spec.recipe, plan, progress)
    none = np.zeros((spec.recipe.all_copies + 1, len(clips)), np.int64)
    return Pool([], none, none, none[0], copies_of(clips, spec.model, spec.recipe, plan, progress))


def index_of(classes: Sequence[str], emotion: str) -> int | None:
    """The emotion's index; None where it is no class."""
    return list(classes).index(emotion) if emotion in classes else None


def is_pooled(model: str) -> bool:
    """Whether the model is a regression on pooled states."""
    return issubclass(MODELS[model], PooledLinear)


def learn(
    clips: pd.DataFrame, pool: Pool, spec: ModelSpec, plan: Plan, checkpoint: Path | None = None, on_step: OnStep = ignore_step
) -> tuple[Bundle, list[float]]:
    """A bundle from clips and their features, and the mean loss of each epoch. ``clips`` needs side, corpus, speaker and emotion.

    Weights and normalisation come from the training side, temperature and threshold from the calibration side's clips of ``spec.labels``;
    without such clips the temperature is 1 and every segment unsure. Clips of other sides are not used.
    """
    trained = emotions_of(clips[clips["side"] == "train"])
    if missing := sorted(set(spec.labels) - set(trained)):
        raise ValueError(f"No train speaker has {', '.join(missing)}: give corpora of 3 speakers or more, or fewer labels.")
    classes = [*spec.labels, *(emotion for emotion in trained if emotion not in spec.labels)]
    speakers = speaker_ids(clips).to_numpy()
    truth = clips["emotion"].map(lambda emotion: classes.index(emotion) if emotion in classes else -1).to_numpy()
    train = np.flatnonzero((clips["side"] == "train") & (truth >= 0))
    examples = Examples(pool, train, truth[train], speakers[train], len(classes))
    features = feature_set(spec.recipe.feature_set)
    lines: LineNormalisation | None = None
    if spec.recipe.by_line and not is_pooled(spec.model):
        normalisation, lines = examples.line_normalisation(index_of(classes, "neutral"), spec.recipe.neutral_shares)
    elif features.scaled or is_pooled(spec.model):  # pooled states are standardised themselves
        n_features = features.n_features(spec.recipe.feature_params)
        normalisation = Normalisation(np.zeros(n_features, np.float32), np.ones(n_features, np.float32))
    else:
        normalisation = examples.normalisation(features.words)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        if is_pooled(spec.model):
            module, losses = _fitted_to_states(examples, classes, spec)
        else:
            module, losses = _fitted(examples, normalisation, lines, spec, plan, checkpoint, on_step)
    bundle = Bundle(
        name=spec.name,
        version=spec.version,
        model=spec.model,
        labels=spec.labels,
        feature_set=spec.recipe.feature_set,
        feature_set_version=features.version,
        feature_params=features.complete(spec.recipe.feature_params),
        mean=tuple(normalisation.mean.tolist()),
        std=tuple(normalisation.std.tolist()),
        by_line=lines is not None,
        temperature=1.0,
        unsure_below=ALL_UNSURE,
        target_error=spec.target_error,
        licence=licence_of_weights(sorted(clips["corpus"].unique())),
        module=module,
    )
    held_out = np.flatnonzero((clips["side"] == "calibration") & clips["emotion"].isin(spec.labels))
    if len(held_out):
        logits = logits_of(bundle, pool, held_out)
        bundle = calibrated(bundle, logits, truth[held_out], speakers[held_out])
    return bundle, losses


def _fitted(
    examples: Examples,
    normalisation: Normalisation,
    lines: LineNormalisation | None,
    spec: ModelSpec,
    plan: Plan,
    checkpoint: Path | None,
    on_step: OnStep,
) -> tuple[nn.Module, list[float]]:
    """The trained module with outputs for ``spec.labels`` alone, on the CPU, and the mean loss of each epoch."""
    n_features = len(normalisation.mean)
    module = make_model(spec.model, examples.n_classes, n_features)
    losses = fit(module, examples, lines or normalisation, spec.recipe, plan, checkpoint, on_step)
    if isinstance(module, NoveltyAware):
        mean, std = torch.from_numpy(normalisation.mean), torch.from_numpy(normalisation.std)
        summaries = [
            module.summary(((x - mean) / std).to(plan.device), lengths) for _, x, lengths in whole_clips(examples.pool, examples.clips)
        ]
        module.fit_novelty(torch.cat(summaries))
    return only_classes(spec.model, module.cpu(), list(range(len(spec.labels))), n_features), losses


def _fitted_to_states(examples: Examples, classes: list[str], spec: ModelSpec) -> tuple[nn.Module, list[float]]:
    """The same of a model on pooled states. The loss of a regression is one number, for one epoch."""
    n_features = feature_set(spec.recipe.feature_set).n_features(spec.recipe.feature_params)
    module = make_model(spec.model, examples.n_classes, n_features)
    assert isinstance(module, PooledLinear)
    neutral = index_of(classes, "neutral")
    if isinstance(module, LayerSum):
        losses = fit_layer_sum(module, examples, neutral, spec.recipe)
    else:
        losses = [fit_pooled(module, examples, neutral, spec.recipe)]
    return only_classes(spec.model, module, list(range(len(spec.labels))), n_features), losses


def calibrated(bundle: Bundle, logits: np.ndarray, truth: np.ndarray, speakers: np.ndarray) -> Bundle:
    """The bundle with temperature and ``unsure_below`` from logits ``(n, labels)`` of speakers outside its training side.

    Every speaker has the same weight, whatever the number of their clips.
    """
    temperature, unsure_below = calibration(logits, truth, speakers, even_weights(speakers, truth), bundle.target_error)
    return replace(bundle, temperature=temperature, unsure_below=unsure_below)


@torch.inference_mode()
def logits_of(bundle: Bundle, pool: Pool, clips: np.ndarray) -> np.ndarray:
    """Logits float64 ``(clips, labels)`` of the clips at these indices, without augmentation, up to a constant a row: log-probabilities
    at temperature 1."""
    if pool.states is not None:
        return logits_of_states(bundle, pool.states[0, clips])
    logits = np.empty((len(clips), len(bundle.labels)))
    raw = replace(bundle, temperature=1.0)
    for members, x, lengths in whole_clips(pool, clips):
        logits[members] = raw.probabilities(x, lengths).double().clamp(min=1e-30).log().numpy()
    return logits


@torch.inference_mode()
def logits_of_states(bundle: Bundle, states: np.ndarray, line: tuple[np.ndarray, np.ndarray] | None = None) -> np.ndarray:
    """Logits float64 ``(n, labels)`` of pooled states ``(n, n_pooled)``, standardised by mean and deviation of a line if given."""
    module = bundle.line_model
    assert module is not None
    mean, scale = line if line is not None else (module.line_mean.numpy(), module.line_scale.numpy())
    logits: np.ndarray = module.classify(torch.from_numpy((states - mean) / scale)).double().numpy()
    return logits


@torch.inference_mode()
def pooled_features(bundle: Bundle, pool: Pool) -> np.ndarray:
    """Pooled features float32 ``(clips, n_pooled)`` of all clips without augmentation, of a bundle that takes lines."""
    pooled = np.empty((len(pool.corpus), bundle.n_pooled), np.float32)
    for members, x, lengths in whole_clips(pool, np.arange(len(pooled))):
        pooled[members] = bundle.pooled(x, lengths).numpy()
    return pooled


def whole_clips(pool: Pool, clips: np.ndarray) -> Iterator[tuple[np.ndarray, torch.Tensor, torch.Tensor]]:
    """The clips at these indices, without augmentation, in batches of similar length.

    Yields positions in ``clips``, features float32 ``(batch, frames, features)``, and frames of each ``(batch,)``.
    """
    order = np.argsort(pool.lengths[0, clips], kind="stable")
    for start in range(0, len(order), BATCH):
        members = order[start : start + BATCH]
        rows = [torch.from_numpy(pool.features(clip).astype(np.float32)) for clip in clips[members]]
        yield members, torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.from_numpy(pool.lengths[0, clips[members]])
