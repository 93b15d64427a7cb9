"""Training of a bundle's heads on labels of one's own calls, such as a team's reviews: refused unless better on held-out callers."""

import copy
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import softmax

from ser_tasks.datasets import SIDES, SPLITS, Corpus, read_corpora
from ser_tasks.datasets.conditions import REFERENCE
from ser_tasks.datasets.credits import CREDITS, licence_of_weights
from ser_tasks.evaluation.compare_bundles import Comparison, NotBetterError, compare_scores, require_callers
from ser_tasks.evaluation.evaluate import measure, rows_of, used_in_training
from ser_tasks.evaluation.plan import Plan
from ser_tasks.inference.bundle import DIGEST_HEX_DIGITS, Bundle, load_bundle, save_bundle
from ser_tasks.inference.line_profile import LEAST_SEGMENTS
from ser_tasks.models import LayerSum, PooledLinear
from ser_tasks.progress import TerminalProgress
from ser_tasks.training.cross_validation import LINE_NEUTRAL
from ser_tasks.training.feature_cache import Pool
from ser_tasks.training.fit import Examples
from ser_tasks.training.fit_pooled import logistic_regression, reference_statistics, standardise
from ser_tasks.training.model_card import licence_notice, on_top_card
from ser_tasks.training.recipe import Recipe, recipe_of
from ser_tasks.training.trainer import ModelSpec, logits_of_states, prepare

RIDGE = 1.0
"""Weight of the squared distance from the bundle's own weights. Of 0.01 to 3, the best on held-out callers with 6 to 24 callers of two
corpora that `default` never heard, of 12 to 40 clips each."""
MOST_FOLDS = 5


@dataclass(frozen=True)
class OnTop:
    """What a training on top of a bundle made."""

    folder: Path
    bundle: Bundle
    comparison: Comparison
    corpora: list[str]
    """As of ``Training``."""
    rows: pd.DataFrame
    """Of the clips, each scored by heads that were trained without its caller, as ``Evaluation.rows``."""
    seconds: float


def train_on_top(on: str, data: list[Path], out: Path, plan: Plan, name: str | None = None) -> OnTop:
    """Fits the heads of the bundle ``on`` (a name, a folder or ``s3://...``) to labelled clips and writes the new bundle as ``out``.

    The weights are the maximum a posteriori around the bundle's own (``RIDGE``); encoder, calibration, base rates and statistics of the
    line stay. States are standardised by those of the clips themselves, as a line's are. Callers are compared by their names, in
    whatever folder they are: in each of up to 5 folds, heads are fitted without some callers and compared with the bundle's on these; the
    weights that are written come from all clips.

    Raises ``NotBetterError``, and writes nothing, unless the new heads are better than the bundle on held-out callers
    (``Comparison.better``); ``ValueError`` for a bundle without states of a line, for clips that it was trained on, and for too few
    callers or clips; ``FileExistsError`` where ``out`` exists.
    """
    started = time.perf_counter()
    if Path(out).exists():
        raise FileExistsError(f"{out} exists: name another folder, or remove it.")
    old = load_bundle(on)
    if old.fusion is not None:
        raise ValueError(f"{old.model_id} is a fusion, fitted to its voice: train on {old.fusion.voice}, and fuse what comes of it.")
    if not isinstance(old.module, PooledLinear) or isinstance(old.module, LayerSum):
        raise ValueError(
            f"{old.model_id} has no regression on pooled states as its heads: train on top of default, fast or research, or without --on."
        )
    corpora = read_corpora(data)
    clips = _clips_of(corpora, old)
    recipe = replace(recipe_of(old.model, old.feature_set, old.feature_params), other_emotions=False)
    with TerminalProgress() as progress:
        pool = prepare(clips, ModelSpec(old.model, old.labels, recipe, old.name), plan, progress)
    old_logits, new_logits = _held_out(clips, pool, old, recipe)
    bundle = _fitted(clips, pool, np.arange(len(clips)), old, recipe)
    bundle = replace(bundle, name=name or old.name, version=_next_version(old.version))
    probabilities = [softmax(logits / old.temperature, axis=1) for logits in (old_logits, new_logits)]
    names = (old.model_id, f"{bundle.name}-{bundle.version}")
    comparison = compare_scores(clips.assign(corpus="reviews"), old.labels, probabilities[0], probabilities[1], *names)
    if not comparison.better:
        raise NotBetterError(f"Refused, nothing is written: {comparison.summary()}. Review calls of more callers, and try again.")
    rows = rows_of(clips, probabilities[1], REFERENCE, old.labels, old.temperature, old.unsure_below)
    bundle = _described(bundle, old, clips, rows, comparison, plan.seed, recipe)
    summaries = [corpus.summary() for corpus in corpora]
    return OnTop(save_bundle(bundle, out), bundle, comparison, summaries, rows, time.perf_counter() - started)


def _clips_of(corpora: list[Corpus], old: Bundle) -> pd.DataFrame:
    """The clips whose emotion is a label of the bundle."""
    clips = pd.concat([corpus.clips for corpus in corpora], ignore_index=True)
    clips = clips[clips["emotion"].isin(old.labels)].reset_index(drop=True)
    if (known := used_in_training(clips, old)).any():
        raise ValueError(
            f"{old.model_id} was trained on {int(known.sum())} of these clips or on their speakers: it can't be compared on them. "
            "Leave them out, or choose the bundle that it was trained on top of."
        )
    if clips["emotion"].nunique() < 2 or len(clips) < LEAST_SEGMENTS:
        raise ValueError(
            f"{len(clips)} clips of {clips['emotion'].nunique()} emotions that {old.model_id} knows ({', '.join(old.labels)}) are too few: "
            f"{LEAST_SEGMENTS} of 2 are needed."
        )
    require_callers(clips.assign(corpus="reviews"), "the labels name")
    return clips


def _held_out(clips: pd.DataFrame, pool: Pool, old: Bundle, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """Logits ``(clips, labels)`` by the bundle, and by heads that were fitted without the clip's caller. Both are standardised by the clips
    that these heads were fitted to, as if they were the line's other calls."""
    assert pool.states is not None
    of_one = clips.assign(corpus="reviews")
    truth, neutral = _truth(clips, old)
    old_logits, new_logits = np.empty((len(clips), len(old.labels))), np.empty((len(clips), len(old.labels)))
    masks = SPLITS["k-fold"].folds(of_one, ["reviews"], min(MOST_FOLDS, clips["speaker"].nunique()))
    for test, train in masks.values():
        line = reference_statistics(pool.states[0, train].astype(np.float64), truth[train], neutral, LINE_NEUTRAL)
        new = _fitted(clips, pool, np.flatnonzero(train), old, recipe)
        old_logits[test] = logits_of_states(old, pool.states[0, test], line)
        new_logits[test] = logits_of_states(new, pool.states[0, test], line)
    return old_logits, new_logits


def _fitted(clips: pd.DataFrame, pool: Pool, chosen: np.ndarray, old: Bundle, recipe: Recipe) -> Bundle:
    """The bundle with heads fitted to the chosen clips."""
    truth, neutral = _truth(clips, old)
    callers = ("reviews/" + clips["speaker"]).to_numpy()[chosen]
    examples = Examples(pool, chosen, truth[chosen], callers, len(old.labels))
    given = standardise(examples, neutral, recipe)
    module = copy.deepcopy(old.module)
    assert isinstance(module, PooledLinear)
    around = (module.logits.weight.detach().numpy(), module.logits.bias.detach().numpy())
    coefficients, bias, _ = logistic_regression(given.x, given.truth, given.weights, len(old.labels), RIDGE, around)
    with torch.no_grad():
        module.logits.weight.copy_(torch.from_numpy(coefficients))
        module.logits.bias.copy_(torch.from_numpy(bias))
    return replace(old, module=module)


def _truth(clips: pd.DataFrame, old: Bundle) -> tuple[np.ndarray, int | None]:
    """The class of each clip, and that of neutral."""
    labels = list(old.labels)
    return clips["emotion"].map(labels.index).to_numpy(np.int64), labels.index("neutral") if "neutral" in labels else None


def _next_version(version: str) -> str:
    return str(int(version) + 1) if version.isdecimal() else f"{version}_2"


def _described(
    bundle: Bundle, old: Bundle, clips: pd.DataFrame, rows: pd.DataFrame, comparison: Comparison, seed: int, recipe: Recipe
) -> Bundle:
    """The bundle with what it was trained on, its scores, licence and card."""
    entries = [_entry(str(name), of_it) for name, of_it in clips.groupby("corpus", sort=True)]
    known = [entry["corpus"] for entry in (*old.training_data, *entries) if entry["corpus"].lower() in CREDITS]
    foreign = any(entry["corpus"].lower() in CREDITS for entry in entries)
    metrics = measure(rows, bundle.labels, bundle.target_error)
    test = {name: metrics[name] for name in ("ua", "wa", "ece", "coverage", "error_covered")} | {
        "segments": metrics["n"],
        "ua_interval_95": metrics["intervals_95"]["ua"],
        "recall": {label: row["recall"] for label, row in metrics["per_class"].items() if row["n"]},
    }
    folds = min(MOST_FOLDS, comparison.callers)
    below = asdict(comparison) | {"new_id": None}  # which depends on this description
    bundle = replace(
        bundle,
        licence=licence_of_weights(known) if foreign else old.licence,
        training_data=(*old.training_data, *entries),
        training_clips=old.training_clips | frozenset(clips["digest"].str[:DIGEST_HEX_DIGITS]),
        scores={"epochs": 1, "seed": seed, "folds": folds, "copies": recipe.copies, "test": {"all": test}, "on_top_of": below},
    )
    return replace(bundle, card=on_top_card(bundle, comparison, entries, old.card), licence_text=licence_notice(bundle))


def _entry(name: str, clips: pd.DataFrame) -> dict[str, Any]:
    """As the entries of ``Bundle.training_data`` are."""
    sides: dict[str, Any] = {side: sorted(clips["speaker"].unique()) if side == "train" else [] for side in SIDES}
    licence = str(clips["licence"].iloc[0])
    return {"corpus": name, "licence": licence, "clips": {side: len(clips) if side == "train" else 0 for side in SIDES}, "speakers": sides}
