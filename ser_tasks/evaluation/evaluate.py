"""Evaluate: a bundle and labelled corpora → one row a clip and condition, and every figure that follows from the rows."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from ser_tasks.datasets import read_corpora
from ser_tasks.datasets.conditions import CONDITIONS, REFERENCE, ConditionContext
from ser_tasks.datasets.leaks import person_of
from ser_tasks.datasets.telephone import LONGEST_S, read_trimmed
from ser_tasks.evaluation.metrics import brier, ece, risk_coverage, ua, wa
from ser_tasks.features import features_of
from ser_tasks.inference.bundle import DIGEST_HEX_DIGITS, Bundle, load_bundle
from ser_tasks.inference.scorer import Scorer, scorer_of
from ser_tasks.progress import TerminalProgress, map_parallel
from ser_tasks.schemas import SAMPLING_RATE_HZ

VOICES = 5
"""Other speakers' clips in babble."""
CLIPS_AT_ONCE = 64
SHOWN = 5
"""Names of speakers in a message."""
RESAMPLES = 1000
"""Of the speakers, for the 95 % intervals (percentile bootstrap)."""


@dataclass(frozen=True)
class Evaluation:
    """What was measured, and what it was measured on."""

    rows: pd.DataFrame
    """One row a clip and condition: corpus, file, speaker, gender, language, emotion, condition, predicted, confidence, unsure,
    p_<label> for each label of the model, and what calibrated them (temperature, unsure_below); across folds also fold and split."""
    metrics: dict[str, Any]


def evaluate(
    model: str,
    data: list[Path],
    *,
    robustness: bool = True,
    allow_leak: bool = False,
    unheard_only: bool = False,
    device: str = "cpu",
    workers: int = 1,
    seed: int = 0,
) -> Evaluation:
    """Scores a bundle (a shipped one's name, a folder or ``s3://...``) on the clips of the corpora in ``data``.

    Every clip is brought to the telephone: 8 kHz, the silence around it cut, -26 dBFS, mu-law; with ``robustness`` also to all other
    ``CONDITIONS``. Clips of emotions that the model does not know are left out. Where it was trained or calibrated on some of the
    speakers, or on samples identical to a clip's, ValueError names them: ``unheard_only`` leaves them out, ``allow_leak`` keeps them.
    Raises ValueError where nothing is left.
    """
    bundle = load_bundle(model)
    corpora = read_corpora(data)
    found = pd.concat([corpus.clips for corpus in corpora], ignore_index=True)
    known = found["emotion"].isin(bundle.labels)
    heard = _heard_in_training(found, bundle)
    if (known & heard).any() and not (allow_leak or unheard_only):
        raise ValueError(
            f"The split leaks. {bundle.model_id} was trained or calibrated on {_who(found[known & heard])}: give clips that it has not "
            "heard, or --unheard-only to leave these out, or --allow-leak to keep them (the report's title will say so)."
        )
    clips = found[known & (~heard | allow_leak)].reset_index(drop=True)
    if clips.empty:
        raise ValueError(
            f"No clip is left to score of {len(found)}: {int((~known).sum())} have an emotion that {bundle.model_id} does not know (it "
            f"knows {', '.join(bundle.labels)}), {int((known & heard).sum())} are of speakers it was trained on (--allow-leak keeps those)."
        )
    conditions = list(CONDITIONS) if robustness else [REFERENCE]
    probabilities = _score(clips, model, bundle.model_id, conditions, device, workers, seed)
    rows = pd.concat(
        [
            rows_of(clips, probabilities[:, index], name, bundle.labels, bundle.temperature, bundle.unsure_below)
            for index, name in enumerate(conditions)
        ],
        ignore_index=True,
    )
    names = found["corpus"] + "/" + found["speaker"]
    metrics = (
        {"model": bundle.model_id}
        | measure(rows, bundle.labels, bundle.target_error)
        | {
            "data": [corpus.summary() for corpus in corpora],
            "left_out_emotions": found["emotion"][~known].value_counts().to_dict(),
            "left_out_clips_of_training_speakers": 0 if allow_leak else int((known & heard).sum()),
            "leaked_speakers": sorted(set(names[known & heard])) if allow_leak else [],
        }
    )
    return Evaluation(rows, metrics)


def measure(rows: pd.DataFrame, labels: Sequence[str], target_error: float) -> dict[str, Any]:
    """Every figure of the report, from the rows of ``evaluate``. All but ``robustness`` are of the reference condition."""
    labels = list(labels)
    reference = rows[rows["condition"] == REFERENCE]
    truth, given = _truth(reference, labels), _given(reference, labels)
    predicted = given.argmax(axis=1)
    present = sorted(set(truth.tolist()))
    precision, recall, f1, count = precision_recall_fscore_support(truth, predicted, labels=range(len(labels)), zero_division=0)
    sure = ~reference["unsure"].to_numpy()
    mse = brier(truth, given)
    return {
        "labels": labels,
        "n": len(truth),
        "speakers": int((reference["corpus"] + "/" + reference["speaker"]).nunique()),
        "ua": ua(truth, predicted),
        "wa": wa(truth, predicted),
        "macro_f1": float(f1[present].mean()),
        "weighted_f1": float(np.average(f1, weights=count)),
        "ece": ece(truth, given),
        "ece_before_calibration": ece(truth, _uncalibrated(given, reference["temperature"].to_numpy()[:, None])),
        "mse": mse,
        "rmse": mse**0.5,
        "unsure_below": float(reference["unsure_below"].mean()),
        "target_error": target_error,
        "coverage": float(sure.mean()),
        "error_covered": float((predicted != truth)[sure].mean()) if sure.any() else None,
        "area_under_risk_coverage": float(risk_coverage(truth, given)[1].mean()),
        "intervals_95": _intervals(reference, truth, given, seed=0),
        "per_class": {
            label: {"precision": float(precision[i]), "recall": float(recall[i]), "f1": float(f1[i]), "n": int(count[i])}
            for i, label in enumerate(labels)
        },
        "confusion": confusion_matrix(truth, predicted, labels=range(len(labels))).tolist(),
        "by": {name: _by(reference, name, truth, given) for name in ("corpus", "gender", "language")},
        "robustness": {name: _against_reference(of_it, reference, labels) for name, of_it in rows.groupby("condition", sort=False)},
    }


def rows_of(
    clips: pd.DataFrame, probabilities: np.ndarray, condition: str, labels: Sequence[str], temperature: float, unsure_below: float
) -> pd.DataFrame:
    """Rows of clips under one condition, from probabilities ``(clips, labels)``."""
    rows = clips[["corpus", "file", "speaker", "gender", "language", "emotion"]].copy()
    rows["file"] = rows["file"].map(lambda file: file.rpartition("/")[2])
    confidence = probabilities.max(axis=1)
    rows["condition"] = condition
    rows["predicted"] = np.array(labels)[probabilities.argmax(axis=1)]
    rows["confidence"], rows["unsure"] = confidence, confidence < unsure_below
    rows["temperature"], rows["unsure_below"] = temperature, unsure_below
    return rows.assign(**{f"p_{label}": probabilities[:, index] for index, label in enumerate(labels)})


def _who(clips: pd.DataFrame) -> str:
    """The speakers of clips, the first of them by name."""
    names = sorted(set(clips["corpus"] + "/" + clips["speaker"]))
    return f"{len(clips)} of these clips, of {len(names)} speakers ({', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''})"


def _heard_in_training(clips: pd.DataFrame, bundle: Bundle) -> pd.Series:
    """Whether a clip's speaker, or a clip of the same samples, was on the training or calibration side of the bundle's own data.

    Names that carry their corpus (``ravdess_01``) are known again in a folder of any name.
    """
    heard = [
        (told["corpus"], speaker)
        for told in bundle.training_data
        for side in ("train", "calibration")
        for speaker in told["speakers"][side]
    ]
    by_name = person_of(clips).isin(set(person_of(pd.DataFrame(heard, columns=["corpus", "speaker"], dtype=object))))
    return by_name | clips["digest"].str[:DIGEST_HEX_DIGITS].isin(bundle.training_clips)


def _score(clips: pd.DataFrame, model: str, model_id: str, conditions: list[str], device: str, workers: int, seed: int) -> np.ndarray:
    """Probabilities (clips, conditions, labels)."""
    others = babblers(clips, seed)
    whole = list(zip(clips["file"], clips["digest"], others, strict=True))
    parts = [whole[start : start + CLIPS_AT_ONCE] for start in range(0, len(whole), CLIPS_AT_ONCE)]
    score = functools.partial(score_clips, conditions=conditions, scorer=(model, model_id, device, None, "float32"), seed=seed)
    with TerminalProgress() as progress:
        found = map_parallel(score, parts, workers if device == "cpu" else 1, progress, "scoring clips")
    return np.concatenate(found)


def babblers(clips: pd.DataFrame, seed: int) -> list[list[str]]:
    """For each clip some of other speakers, drawn by its own digest: the same in any company of the same clips."""
    ordered = clips.sort_values("digest")
    files, speakers = ordered["file"].to_numpy(), (ordered["corpus"] + "/" + ordered["speaker"]).to_numpy()
    chosen = []
    for digest, speaker in zip(clips["digest"], clips["corpus"] + "/" + clips["speaker"], strict=True):
        candidates = files[speakers != speaker]
        rng = _rng(digest, "babble", seed)
        chosen.append(rng.choice(candidates, min(VOICES, len(candidates)), replace=False).tolist())
    return chosen


def score_clips(clips: list[tuple[str, str, list[str]]], conditions: list[str], scorer: tuple, seed: int) -> np.ndarray:
    """Probabilities (clips, conditions, labels) of clips (file, digest, files of babble), in a worker process.

    ``scorer`` are the arguments of ``score.scorer_of``.
    """
    own = scorer_of(*scorer)
    read = functools.lru_cache(maxsize=256)(read_trimmed)
    heard = [
        [CONDITIONS[name](read(file), ConditionContext(_rng(digest, name, seed), [read(other) for other in others])) for name in conditions]
        for file, digest, others in clips
    ]
    pieces = [_pieces(signal) for signals in heard for signal in signals]
    counts = np.array([len(own_pieces) for own_pieces in pieces])
    probabilities = _probabilities(own, [piece for own_pieces in pieces for piece in own_pieces])
    means = np.add.reduceat(probabilities, np.cumsum(counts) - counts) / counts[:, None]
    return means.reshape(len(clips), len(conditions), -1)


def _probabilities(scorer: Scorer, signals: list[np.ndarray]) -> np.ndarray:
    bundle = scorer.bundle
    frames, lengths = features_of(bundle.feature_set, bundle.feature_params, signals, SAMPLING_RATE_HZ)
    return scorer.score(frames, lengths)


def _pieces(signal: np.ndarray) -> list[np.ndarray]:
    return np.array_split(signal, max(1, -(-len(signal) // int(LONGEST_S * SAMPLING_RATE_HZ))))


def _rng(digest: str, what: str, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, int(digest[:16], 16), *what.encode()])


def _truth(rows: pd.DataFrame, labels: list[str]) -> np.ndarray:
    return rows["emotion"].map(labels.index).to_numpy(np.int64)


def _given(rows: pd.DataFrame, labels: list[str]) -> np.ndarray:
    return rows[[f"p_{label}" for label in labels]].to_numpy(np.float64)


def _uncalibrated(probabilities: np.ndarray, temperature: np.ndarray) -> np.ndarray:
    """What the probabilities were at temperature 1: logits are ``temperature * log p`` up to a constant."""
    logits = temperature * np.log(np.maximum(probabilities, 1e-30))
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def _intervals(rows: pd.DataFrame, truth: np.ndarray, given: np.ndarray, seed: int) -> dict[str, list[float]] | None:
    """95 % intervals of UA, WA and ECE over resampled speakers: clips of a speaker are no independent evidence, so one
    speaker alone has none."""
    speakers = [group.to_numpy() for _, group in pd.Series(range(len(rows))).groupby((rows["corpus"] + "/" + rows["speaker"]).to_numpy())]
    if len(speakers) < 2:
        return None
    rng, found = np.random.default_rng(seed), []
    for _ in range(RESAMPLES):
        drawn = np.concatenate([speakers[index] for index in rng.integers(len(speakers), size=len(speakers))])
        own, guess = truth[drawn], given[drawn]
        found.append((ua(own, guess.argmax(axis=1)), wa(own, guess.argmax(axis=1)), ece(own, guess)))
    low, high = np.percentile(found, [2.5, 97.5], axis=0)
    return {name: [float(low[index]), float(high[index])] for index, name in enumerate(("ua", "wa", "ece"))}


def _by(rows: pd.DataFrame, column: str, truth: np.ndarray, given: np.ndarray) -> dict[str, Any]:
    """UA, WA, ECE and clips of each group, and the gap between the best UA and the worst.

    ``ua_among_its_emotions``: choosing among the emotions that the group has, as a corpus's own tables do.
    """
    names = rows[column].fillna("unknown").to_numpy()
    groups = {}
    for name in sorted(set(names)):
        chosen = names == name
        predicted = given[chosen].argmax(axis=1)
        among = np.unique(truth[chosen])
        predicted_among = among[given[chosen][:, among].argmax(axis=1)]
        groups[name] = {
            "ua": ua(truth[chosen], predicted),
            "ua_among_its_emotions": ua(truth[chosen], predicted_among),
            "wa": wa(truth[chosen], predicted),
            "ece": ece(truth[chosen], given[chosen]),
            "emotions": len(among),
            "n": int(chosen.sum()),
        }
    scores = [group["ua"] for group in groups.values()]
    return {"groups": groups, "ua_gap": max(scores) - min(scores)}


def _against_reference(rows: pd.DataFrame, reference: pd.DataFrame, labels: list[str]) -> dict[str, float]:
    truth, predicted = _truth(rows, labels), _given(rows, labels).argmax(axis=1)
    flipped = rows["predicted"].to_numpy() != reference["predicted"].to_numpy()
    return {"ua": ua(truth, predicted), "wa": wa(truth, predicted), "labels_flipped": float(flipped.mean())}
