"""Training of a bundle: labelled clips → weights, calibration, scores on speakers outside the training, and a model card."""

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from ser_tasks.datasets import SIDES, Corpus, Leak, read_corpora, refuse_leaks, speaker_ids, split_by_speaker
from ser_tasks.datasets.conditions import CONDITIONS, REFERENCE
from ser_tasks.datasets.credits import CREDITS
from ser_tasks.evaluation.evaluate import measure, rows_of
from ser_tasks.evaluation.plan import Plan
from ser_tasks.inference.bundle import DIGEST_HEX_DIGITS, Bundle, save_bundle
from ser_tasks.inference.scores import AROUSED, Platt, logit_of
from ser_tasks.licences import UNKNOWN
from ser_tasks.progress import TerminalProgress
from ser_tasks.settings import code_version
from ser_tasks.training.calibrate import (
    ANGRY_CALLS,
    CAUTION,
    FOREIGN_SET_THRESHOLD,
    FOREIGN_TEMPERATURE,
    SET_COVERAGE,
    best_temperature,
    cautious,
    made_up_calls,
    platt,
    set_scores,
    set_threshold,
    threshold,
)
from ser_tasks.training.cross_validation import ON_LINE, Folding, cross_validate
from ser_tasks.training.feature_cache import Pool
from ser_tasks.training.fit import even_weights
from ser_tasks.training.model_card import licence_notice, model_card
from ser_tasks.training.recipe import Recipe
from ser_tasks.training.trainer import ModelSpec, is_pooled, learn, logits_of, prepare

SET_CONDITIONS = (REFERENCE, "noise 10 dB", "babble 10 dB")
"""Of the rows on which sets are calibrated where there is one corpus: noise makes up a little for calls that are unlike it."""
FOUR = ("anger", "happiness", "neutral", "sadness")


@dataclass(frozen=True)
class Training:
    """What a training made."""

    folder: Path
    """Of the bundle."""
    bundle: Bundle
    history: list[float]
    """Mean loss of each epoch."""
    corpora: list[str]
    """For each corpus, one line: clips read, and clips dropped with the reasons."""
    rows: pd.DataFrame
    """Of the scored clips, as ``Evaluation.rows``."""
    seconds: float


@dataclass(frozen=True)
class Validation:
    """Rows of clips scored by models that did not train on their speakers, and what the sides share."""

    rows: pd.DataFrame
    """Of the cross-validation by speaker."""
    foreign: pd.DataFrame | None
    """Of the cross-validation by corpus; None where there is one corpus."""
    leak: Leak


def train_bundle(
    data: list[Path], spec: ModelSpec, out: Path, plan: Plan, folds: int = 0, conditions: Sequence[str] = tuple(CONDITIONS)
) -> Training:
    """Trains a model on the corpora in the folders ``data`` and writes the bundle as the folder ``out``.

    A folder of several corpora counts as each of them (``read_corpora``). With ``folds`` 0 every speaker is on one of three sides:
    weights and normalisation come from the training speakers, temperature and ``unsure_below`` from the calibration speakers, and the
    scores from the test speakers. Otherwise the scores are those of a cross-validation by speaker with that many folds; temperature and
    ``unsure_below`` come from its logits, and the weights from all speakers. Raises ``ValueError`` where identical clips are on two sides,
    unless ``plan.allow_leak``, where data can't be split, for an unknown condition, and where a label is on no clip; ``FileExistsError``
    where ``out`` exists. ``conditions`` are those of the scores' robustness, with ``folds``.

    The same seed on the same machine gives the same weights. An interrupted training resumes from the checkpoints in ``plan.cache``.
    """
    started = time.perf_counter()
    if Path(out).exists():
        raise FileExistsError(f"{out} exists: name another folder, or remove it.")
    if unknown := sorted(set(conditions) - set(CONDITIONS)):
        raise ValueError(f"Condition {unknown[0]!r} is unknown: choose of {', '.join(CONDITIONS)}.")
    corpora = read_corpora(data)
    clips = pd.concat([corpus.clips for corpus in corpora], ignore_index=True)
    if not spec.recipe.other_emotions:
        clips = clips[clips["emotion"].isin(spec.labels)].reset_index(drop=True)
    work = plan.cache / f"training-{training_key(clips, spec, plan, folds, conditions)}"
    if folds:
        validation = _cross_validated(clips, spec, plan, folds, work, conditions)
        leak = validation.leak
        clips = clips.assign(side="train")
        bundle, history, _ = _learned(clips, spec, plan, work)
        bundle = calibrated_across(bundle, _passes(validation))
        if validation.foreign is None:
            bundle = with_sets(bundle, validation.rows[validation.rows["condition"].isin(SET_CONDITIONS)], by_corpus=False)
        else:
            bundle = with_sets(bundle, _passes(validation)[1], by_corpus=True)
        scores = _cross_validation_scores(validation, bundle)
        rows = validation.rows if validation.foreign is None else pd.concat([validation.rows, validation.foreign], ignore_index=True)
    else:
        clips = clips.assign(side=split_by_speaker(clips, plan.seed))
        leak = refuse_leaks(clips, plan.allow_leak)
        _check_sides(clips, spec.labels)
        bundle, history, pool = _learned(clips, spec, plan, work)
        labelled = clips[clips["emotion"].isin(spec.labels)]
        of_side = {side: _side_rows(labelled[labelled["side"] == side], bundle, pool) for side in ("test", "calibration")}
        rows, scores = of_side["test"], {side: _scores(of_it, bundle) for side, of_it in of_side.items()}
    used = clips[clips["emotion"].isin(spec.labels) | (clips["side"] == "train")]
    bundle = replace(
        bundle,
        training_data=tuple(_corpus_entry(corpus, used[used["corpus"] == corpus.name], leak) for corpus in corpora),
        training_clips=frozenset(used["digest"][used["side"] != "test"].str[:DIGEST_HEX_DIGITS]),
        priors=dict(spec.priors),
        scores=_length_of(spec.recipe, plan.seed, folds) | scores,
    )
    bundle = replace(bundle, card=model_card(bundle), licence_text=licence_notice(bundle))
    folder = save_bundle(bundle, out)
    shutil.rmtree(work, ignore_errors=True)
    summaries = [corpus.summary() for corpus in corpora]
    return Training(folder, bundle, history, summaries, rows, time.perf_counter() - started)


def _length_of(recipe: Recipe, seed: int, folds: int) -> dict[str, Any]:
    voices = {"voices": recipe.voices} if recipe.voices else {}
    return {"epochs": recipe.epochs, "seed": seed, "folds": folds, "copies": recipe.copies, **voices}


def _cross_validated(clips: pd.DataFrame, spec: ModelSpec, plan: Plan, folds: int, work: Path, conditions: Sequence[str]) -> Validation:
    scored = [name for name in CONDITIONS if name in (REFERENCE, *conditions)]
    rows, leak = cross_validate(clips, spec, work / "folds", plan, Folding(n_folds=folds), scored)
    foreign = None
    if clips["corpus"].nunique() > 1:
        foreign, _ = cross_validate(clips, spec, work / "corpora", plan, Folding("leave-one-corpus-out"))
    return Validation(rows, foreign, leak)


def _passes(validation: Validation) -> list[pd.DataFrame]:
    """Rows to calibrate on, of the cross-validation by speaker and, if there is one, of that by corpus: by their line if the model can."""
    every = [rows for rows in (validation.rows, validation.foreign) if rows is not None]
    return [_of_condition(rows, ON_LINE if (rows["condition"] == ON_LINE).any() else REFERENCE) for rows in every]


def _of_condition(rows: pd.DataFrame, condition: str) -> pd.DataFrame:
    """Its rows, under the name of the reference, which is the one that ``measure`` takes."""
    return rows[rows["condition"] == condition].assign(condition=REFERENCE)


def _cross_validation_scores(validation: Validation, bundle: Bundle) -> dict[str, Any]:
    passes = _passes(validation)
    labels, target_error = bundle.labels, bundle.target_error
    scores: dict[str, Any] = {
        "test": _scores(_of_condition(validation.rows, REFERENCE), bundle),
        "robustness": _robustness(validation.rows, bundle),
        "calibration": {
            name: _rounded(measure(recalibrated(rows, bundle), labels, target_error))
            for name, rows in zip(("unheard speakers", "unheard corpora"), passes, strict=False)
        },
        "sets": sets_measured(bundle, passes),
    }
    on_line = (validation.rows["condition"] == ON_LINE).any()
    if on_line:
        scores["test_on_line"] = _scores(passes[0], bundle)
    if validation.foreign is not None:
        scores["unheard_corpora"] = _scores(_of_condition(validation.foreign, REFERENCE), bundle)
        if on_line:
            scores["unheard_corpora_on_line"] = _scores(passes[1], bundle)
    return scores


def _robustness(rows: pd.DataFrame, bundle: Bundle) -> dict[str, dict[str, float]]:
    """Of each condition: UA, labels that flip, and the AUC of anger against the other emotions."""
    measured: dict[str, dict[str, float]] = measure(rows, bundle.labels, bundle.target_error)["robustness"]
    if "anger" in bundle.labels:
        for condition, of_it in rows.groupby("condition", sort=False):
            measured[str(condition)]["auc_anger"] = anger_auc(of_it, bundle.labels)
    return measured


def anger_auc(rows: pd.DataFrame, labels: Sequence[str]) -> float:
    """AUC of anger against the other emotions, which have equal weights in each corpus."""
    truth = rows["emotion"].map(list(labels).index).to_numpy()
    weights = even_weights(rows["corpus"].to_numpy(), truth)
    return float(roc_auc_score(rows["emotion"] == "anger", rows["p_anger"], sample_weight=weights))


def _check_sides(clips: pd.DataFrame, labels: Sequence[str]) -> None:
    for side in SIDES:
        if missing := sorted(set(labels) - set(clips["emotion"][clips["side"] == side])):
            raise ValueError(f"No {side} speaker has {', '.join(missing)}: give corpora of 3 speakers or more, or fewer labels.")


def _learned(clips: pd.DataFrame, spec: ModelSpec, plan: Plan, work: Path) -> tuple[Bundle, list[float], Pool]:
    """The bundle, the mean loss of each epoch, and the clips' features; with a progress bar."""
    with TerminalProgress() as progress:
        pool = prepare(clips, spec, plan, progress)
        task = progress.add_task("training", total=None)
        epochs = spec.recipe.epochs

        def show(step: int, steps: int, loss: float) -> None:
            epoch = -(-step * epochs // steps)
            progress.update(task, completed=step, total=steps, description=f"epoch {epoch} of {epochs}, loss {loss:.2f}")

        bundle, history = learn(clips, pool, spec, plan, work / "training.pt", show)
    return bundle, history, pool


def calibrated_across(bundle: Bundle, passes: list[pd.DataFrame]) -> Bundle:
    """The bundle calibrated on the rows of a cross-validation by speaker and, if given, of one by corpus.

    Callers are new speakers, and usually of a new corpus as well: the temperature and the scores' calibrations are those of unseen corpora.
    With one corpus they are those of unseen speakers, made more cautious (``CAUTION``, ``FOREIGN_TEMPERATURE``).
    The threshold keeps the target error in each.
    """
    labels = list(bundle.labels)
    truths = [rows["emotion"].map(labels.index).to_numpy() for rows in passes]
    speakers = [speaker_ids(rows).to_numpy() for rows in passes]
    logits = [_logits(rows, bundle) for rows in passes]
    even = [even_weights(speaker, truth) for speaker, truth in zip(speakers, truths, strict=True)]
    one_corpus = len(passes) == 1
    temperature, caution = best_temperature(logits[-1], truths[-1], even[-1]), 1.0
    if one_corpus:
        least = FOREIGN_TEMPERATURE if is_pooled(bundle.model) else 0.0
        caution = max(CAUTION, least / temperature)
        temperature *= caution
    thresholds = [
        threshold(softmax(given / temperature, axis=1), truth, weight, speaker, bundle.target_error)
        for given, truth, weight, speaker in zip(logits, truths, even, speakers, strict=True)
    ]
    groups = speakers[-1] if one_corpus else passes[-1]["corpus"].to_numpy()
    probabilities = softmax(logits[-1] / temperature, axis=1)
    weights = even_weights(groups, truths[-1])
    return replace(
        bundle,
        temperature=temperature,
        unsure_below=max(thresholds),
        calibrations=_score_calibrations(probabilities, truths[-1], weights, speakers[-1], bundle.labels, caution),
    )


def _score_calibrations(
    probabilities: np.ndarray, truth: np.ndarray, weights: np.ndarray, speakers: np.ndarray, labels: tuple[str, ...], caution: float
) -> dict[str, Platt]:
    """Calibrations of ``ser_tasks.inference.scores``, of those that the labels allow, ``caution`` times flatter."""
    found = {}
    for name, emotions in (("anger", ("anger",)), ("arousal", AROUSED)):
        of_emotions = np.isin(np.array(labels)[truth], emotions)
        logits = logit_of(emotions, probabilities, labels)
        if logits is None or of_emotions.all() or not of_emotions.any():
            continue
        fitted = platt(logits, of_emotions, weights)
        found[name] = cautious(fitted, float(np.isin(labels, emotions).mean()), caution)
        if name == "anger" and "neutral" in labels:
            strength, angry = made_up_calls(logits, of_emotions, truth == labels.index("neutral"), speakers)
            if angry.any() and not angry.all():
                of_calls = platt(strength, angry, np.ones(len(angry)))
                found["call_anger"] = cautious(of_calls, ANGRY_CALLS, caution)
    return {name: Platt(*(round(value, 4) for value in (each.slope, each.intercept, each.auc or 0))) for name, each in found.items()}


def with_sets(bundle: Bundle, rows: pd.DataFrame, by_corpus: bool) -> Bundle:
    """The calibrated bundle with the threshold of its sets of emotions, from rows of unseen speakers or, ``by_corpus``, of unseen corpora.

    It is that of the worst of the corpora or, with one corpus, of its worst condition, and then ``FOREIGN_SET_THRESHOLD`` at most.
    """
    truth = rows["emotion"].map(list(bundle.labels).index).to_numpy()
    groups = rows["corpus" if by_corpus else "condition"].to_numpy()
    weights = even_weights((groups if by_corpus else speaker_ids(rows).to_numpy()), truth)
    probabilities = softmax(_logits(rows, bundle) / bundle.temperature, axis=1)
    lowest = set_threshold(probabilities, truth, weights, groups, SET_COVERAGE)
    lowest = round(lowest if by_corpus else min(lowest, FOREIGN_SET_THRESHOLD), 4)
    return replace(bundle, set_coverage=SET_COVERAGE, set_thresholds=dict.fromkeys(bundle.labels, lowest))


def sets_measured(bundle: Bundle, passes: list[pd.DataFrame]) -> dict[str, dict[str, float | None]]:
    """``set_scores`` of unseen speakers with the bundle's threshold and, by name, of unseen corpora with that of the other corpora."""
    measured, lowest = {}, max(bundle.set_thresholds.values())
    for rows, by_corpus in zip(passes, (False, True), strict=False):
        truth = rows["emotion"].map(list(bundle.labels).index).to_numpy()
        corpora = rows["corpus"].to_numpy()
        weights = even_weights(corpora if by_corpus else speaker_ids(rows).to_numpy(), truth)
        probabilities = softmax(_logits(rows, bundle) / bundle.temperature, axis=1)
        if not by_corpus:
            measured["unheard speakers"] = set_scores(probabilities, truth, weights, lowest)
            continue
        for corpus in np.unique(corpora):
            own, others = corpora == corpus, corpora != corpus
            of_others = set_threshold(probabilities[others], truth[others], weights[others], corpora[others], SET_COVERAGE)
            measured[str(corpus)] = set_scores(probabilities[own], truth[own], weights[own], of_others)
    return measured


def _logits(rows: pd.DataFrame, bundle: Bundle) -> np.ndarray:
    """Logits of the rows' probabilities at their own temperatures, up to a constant a row."""
    probabilities = rows[[f"p_{label}" for label in bundle.labels]].to_numpy(np.float64)
    logits: np.ndarray = np.log(np.maximum(probabilities, 1e-30)) * rows["temperature"].to_numpy()[:, None]
    return logits


def recalibrated(rows: pd.DataFrame, bundle: Bundle) -> pd.DataFrame:
    """The rows with the bundle's temperature and threshold in place of their own."""
    probabilities = torch.softmax(torch.from_numpy(_logits(rows, bundle) / bundle.temperature), dim=1).numpy()
    columns = {f"p_{label}": probabilities[:, index] for index, label in enumerate(bundle.labels)}
    confidence = probabilities.max(axis=1)
    return rows.assign(**columns, confidence=confidence, unsure=confidence < bundle.unsure_below, temperature=bundle.temperature)


def training_key(clips: pd.DataFrame, spec: ModelSpec, plan: Plan, folds: int, conditions: Sequence[str] = tuple(CONDITIONS)) -> str:
    """Identifies a training by the code, the settings and the clips that its result depends on; names its checkpoints' folder."""
    labels = clips[["corpus", "speaker", "emotion", "digest"]].to_csv()
    content = json.dumps([code_version(), repr(spec), plan.seed, plan.device, folds, list(conditions), labels])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _side_rows(clips: pd.DataFrame, bundle: Bundle, pool: Pool) -> pd.DataFrame:
    logits = torch.from_numpy(logits_of(bundle, pool, clips.index.to_numpy()))
    probabilities = torch.softmax(logits / bundle.temperature, dim=1).numpy()
    return rows_of(clips, probabilities, REFERENCE, bundle.labels, bundle.temperature, bundle.unsure_below)


def _scores(rows: pd.DataFrame, bundle: Bundle) -> dict[str, dict[str, Any]]:
    """Scores over all clips, and over those of each corpus."""
    groups = {"all": rows} | {str(corpus): of_corpus for corpus, of_corpus in rows.groupby("corpus", sort=True)}
    return {name: _rounded(measure(of_it, bundle.labels, bundle.target_error)) for name, of_it in groups.items()}


def _rounded(metrics: dict[str, Any]) -> dict[str, Any]:
    """The metrics that a model card shows, to 4 decimals."""
    interval = metrics["intervals_95"]
    return {
        "segments": metrics["n"],
        **{name: round(metrics[name], 4) for name in ("ua", "wa", "ece", "coverage")},
        "ua_interval_95": [round(end, 4) for end in interval["ua"]] if interval else None,
        "error_covered": None if metrics["error_covered"] is None else round(metrics["error_covered"], 4),
        "recall": {label: round(row["recall"], 4) for label, row in metrics["per_class"].items() if row["n"]},
    }


def _corpus_entry(corpus: Corpus, clips: pd.DataFrame, leak: Leak) -> dict[str, Any]:
    """The bundle's entry on one corpus of its training data."""
    credit = CREDITS.get(corpus.name.lower())
    return {
        "corpus": corpus.name,
        "licence": credit.licence if credit else UNKNOWN,
        "clips": {side: int((clips["side"] == side).sum()) for side in SIDES},
        "speakers": {side: sorted(clips["speaker"][clips["side"] == side].unique()) for side in SIDES},
        "shared_sentences": sum(name.startswith(f"{corpus.name}/") for name in leak.sentences),
    }
