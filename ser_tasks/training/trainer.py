"""Learn: clips with a side each → a bundle, fitted to the training side and calibrated on the calibration side."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ser_tasks.datasets import emotions_of
from ser_tasks.datasets.credits import licence_of_weights
from ser_tasks.features import feature_set
from ser_tasks.inference.bundle import ALL_UNSURE, Bundle
from ser_tasks.models import MODELS, make_model, only_classes
from ser_tasks.schemas import EMOTIONS
from ser_tasks.training.calibrate import TARGET_ERROR, calibration
from ser_tasks.training.feature_cache import Pool, pool_of
from ser_tasks.training.fit import Examples, even_weights, fit
from ser_tasks.training.recipe import RECIPES, Recipe

BATCH = 32


@dataclass(frozen=True)
class Plan:
    """What is to be learned: all that a fold's training depends on but for its clips."""

    model: str
    """Name in ``MODELS``."""
    labels: tuple[str, ...]
    """Emotions that the bundle tells apart; none stands for all that the clips have (``evaluate_across``).

    Training hears those of the others too, where clips have them."""
    recipe: Recipe
    name: str
    version: str = "1"
    seed: int = 0
    target_error: float = TARGET_ERROR
    device: str = "cpu"

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.labels) - set(EMOTIONS)):
            raise ValueError(f"Labels {', '.join(unknown)} are not in the taxonomy: it has {', '.join(EMOTIONS)}.")


def recipe_of(model: str, feature_name: str | None = None, params: dict | None = None, epochs: int | None = None) -> Recipe:
    """The model's recipe, changed where something is given. A model without one must be given a feature set."""
    if model not in MODELS:
        raise ValueError(f"Model {model!r} is unknown: choose one of {', '.join(MODELS)}.")
    if model not in RECIPES and not feature_name:
        raise ValueError(f"Model {model!r} has no feature set of its own ({', '.join(RECIPES)} have): name one.")
    recipe = RECIPES.get(model) or replace(next(iter(RECIPES.values())), feature_set=feature_name, feature_params={})
    feature_name = feature_name or recipe.feature_set
    given = params if params is not None else (recipe.feature_params if feature_name == recipe.feature_set else {})
    complete = feature_set(feature_name).complete(given)
    return replace(recipe, feature_set=feature_name, feature_params=complete, epochs=epochs or recipe.epochs)


def pool_for(clips: pd.DataFrame, plan: Plan, cache: Path, workers: int, progress) -> Pool:
    """The features that training on these clips needs, from the cache or computed."""
    return pool_of(clips, plan.recipe.feature_set, plan.recipe.feature_params, plan.recipe.copies, cache, workers, progress)


def learn(
    clips: pd.DataFrame,
    pool: Pool,
    plan: Plan,
    checkpoint: Path | None = None,
    progress: Callable[[int, int, float], None] = lambda step, steps, loss: None,
) -> tuple[Bundle, list[float]]:
    """A bundle from clips and their features, and the mean loss of each epoch. ``clips`` needs side, corpus, speaker and emotion.

    Weights and normalisation come from the training side, temperature and threshold from the calibration side's clips of ``plan.labels``;
    without such clips the temperature is 1 and everything unsure. Other sides are not looked at.
    """
    taught = emotions_of(clips[clips["side"] == "train"])
    if missing := sorted(set(plan.labels) - set(taught)):
        raise ValueError(f"No train speaker has {', '.join(missing)}: give corpora of 3 speakers or more, or fewer labels.")
    taught = [*plan.labels, *(emotion for emotion in taught if emotion not in plan.labels)]
    speakers = (clips["corpus"] + "/" + clips["speaker"]).to_numpy()
    truth = clips["emotion"].map(lambda emotion: taught.index(emotion) if emotion in taught else -1).to_numpy()
    train = np.flatnonzero((clips["side"] == "train") & (truth >= 0))
    examples = Examples(pool, train, truth[train], speakers[train], len(taught))
    features = feature_set(plan.recipe.feature_set)
    mean, std = examples.normalisation()
    if features.scaled:
        mean, std = np.zeros_like(mean), np.ones_like(std)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        module = make_model(plan.model, len(taught), len(mean))
        losses = fit(module, examples, mean, std, plan.recipe, plan.seed, plan.device, checkpoint, progress)
        if hasattr(module, "learn_usual"):
            own_mean, own_std = torch.from_numpy(mean), torch.from_numpy(std)
            heard = [module.summary(((x - own_mean) / own_std).to(plan.device), lengths) for _, x, lengths in whole_clips(pool, train)]
            module.learn_usual(torch.cat(heard))
        module = only_classes(plan.model, module.cpu(), list(range(len(plan.labels))), len(mean))
    bundle = Bundle(
        name=plan.name,
        version=plan.version,
        model=plan.model,
        labels=plan.labels,
        feature_set=plan.recipe.feature_set,
        feature_set_version=features.version,
        feature_params=features.complete(plan.recipe.feature_params),
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        temperature=1.0,
        unsure_below=ALL_UNSURE,
        target_error=plan.target_error,
        licence=licence_of_weights(sorted(clips["corpus"].unique())),
        module=module,
    )
    held = np.flatnonzero((clips["side"] == "calibration") & clips["emotion"].isin(plan.labels))
    if len(held):
        logits = logits_of(bundle, pool, held)
        bundle = calibrated(bundle, logits, truth[held], speakers[held])
    return bundle, losses


def calibrated(bundle: Bundle, logits: np.ndarray, truth: np.ndarray, speakers: np.ndarray) -> Bundle:
    """The bundle with temperature and ``unsure_below`` from logits ``(n, labels)`` of speakers it did not hear.

    A speaker of many clips counts as one of few.
    """
    temperature, unsure_below = calibration(logits, truth, speakers, even_weights(speakers, truth), bundle.target_error)
    return replace(bundle, temperature=temperature, unsure_below=unsure_below)


@torch.inference_mode()
def logits_of(bundle: Bundle, pool: Pool, clips: np.ndarray) -> np.ndarray:
    """Logits float64 ``(clips, labels)`` of the unaltered clips of these numbers, up to a constant of each row: log-probabilities at 1."""
    logits = np.empty((len(clips), len(bundle.labels)))
    raw = replace(bundle, temperature=1.0)
    for members, x, lengths in whole_clips(pool, clips):
        logits[members] = raw.probabilities(x, lengths).double().clamp(min=1e-30).log().numpy()
    return logits


def whole_clips(pool: Pool, clips: np.ndarray) -> Iterator[tuple[np.ndarray, torch.Tensor, torch.Tensor]]:
    """The unaltered clips of these numbers in batches of like length: their places in ``clips``, features, frames of each."""
    order = np.argsort(pool.lengths[0, clips], kind="stable")
    for start in range(0, len(order), BATCH):
        members = order[start : start + BATCH]
        rows = [torch.from_numpy(pool.features(clip).astype(np.float32)) for clip in clips[members]]
        yield members, torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.from_numpy(pool.lengths[0, clips[members]])
