"""Fits a late fusion of voice, turn-taking and words to reviewed calls: refused unless better than the voice alone on held-out callers."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from ser_tasks.evaluation.compare_bundles import LEAST_CALLERS, Comparison, NotBetterError, compare_scores
from ser_tasks.evaluation.metrics import auc
from ser_tasks.inference import fusion
from ser_tasks.inference.bundle import Bundle, load_bundle, save_bundle
from ser_tasks.inference.fusion import FIGURES, PARTS, Fusion, Weight
from ser_tasks.lake import catalog, read_only
from ser_tasks.training.model_card import fusion_card

LEAST_CALLS = 20
"""Reviewed calls with anger, and as many without, below which nothing is fitted."""
MOST_FOLDS = 5
C = 0.1
"""Inverse of the ridge. Of 0.03, 0.1, 0.3 and 1, within 0.01 of the best AUC of anger on each set of 60 to 400 made-up calls."""
LABELS = """
    WITH votes AS (
        SELECT recording_id, etag, count(*) FILTER (emotion = 'anger') AS angry, count(*) FILTER (emotion <> 'anger') AS others
        FROM review_labels WHERE channel IS NULL GROUP BY ALL
    )
    SELECT c.*, v.angry, v.others, coalesce(c.customer_pseudonym, c.recording_id) AS caller
    FROM votes AS v JOIN call_emotions AS c USING (recording_id, etag)
    WHERE c.outcome = 'scored' AND c.notice_given IS DISTINCT FROM false
    ORDER BY recording_id
    """


@dataclass(frozen=True)
class Fused:
    """What a fusion became."""

    folder: Path
    bundle: Bundle
    comparison: Comparison
    left_out: list[str]
    """Reviewed calls that were left out, by reason."""


@dataclass(frozen=True)
class _Calls:
    """Reviewed calls: figures (calls, FIGURES), NaN where a call lacks one; whether each has anger; and its caller."""

    figures: np.ndarray
    angry: np.ndarray
    callers: np.ndarray


def fuse(lake: str, on: str, out: Path, name: str | None = None) -> Fused:
    """Fits a fusion to the calls of a lake that reviewers judged whole and the bundle ``on`` scored; writes both as the bundle ``out``.

    The truth of a call is whether most of its reviewers hear anger in it. In each of up to 5 folds, it is fitted without some callers and
    compared on these with the voice alone, fitted to the same labels.

    Raises NotBetterError, and writes nothing, unless it is better (``Comparison.better``); ValueError for a bundle that is a fusion already
    and for too few calls or callers; FileExistsError where ``out`` exists.
    """
    if Path(out).exists():
        raise FileExistsError(f"{out} exists: name another folder, or remove it.")
    voice = load_bundle(on)
    if voice.fusion is not None:
        raise ValueError(f"{voice.model_id} is a fusion already: fuse {voice.fusion.voice}, the bundle of the voice below it.")
    calls, left_out = _calls(lake, voice)
    _require(calls, left_out)
    held_out = {parts: _held_out(calls, parts) for parts in (("voice",), ("voice", "turn_taking"), ("voice", "words"), PARTS)}
    name = name or f"{voice.name}_fused"
    frame = pd.DataFrame({"corpus": "reviews", "speaker": calls.callers, "emotion": np.where(calls.angry, "anger", "other")})
    alone, both = (np.stack([chances, 1 - chances], axis=1) for chances in (held_out[("voice",)], held_out[PARTS]))
    comparison = compare_scores(frame, ("anger", "other"), alone, both, f"{voice.model_id} alone", name)
    if not comparison.better:
        raise NotBetterError(
            f"Refused, nothing is written: {summary(comparison)}. Review more calls that have a transcript, and try again."
        )
    aucs = {" + ".join(parts): auc(calls.angry, chances) for parts, chances in held_out.items()}
    fitted = _fitted(calls, voice.model_id, asdict(comparison) | {"gain_interval_95": list(comparison.gain_interval_95), "auc_anger": aucs})
    bundle = replace(voice, name=name, version="1", fusion=fitted)
    bundle = replace(bundle, card=fusion_card(bundle, comparison, voice.card))
    return Fused(save_bundle(bundle, out), bundle, comparison, left_out)


def summary(comparison: Comparison) -> str:
    """The figures of voice alone and fusion, in one sentence."""
    (old, new), (low, high) = (comparison.old, comparison.new), comparison.gain_interval_95
    return (
        f"voice, turn-taking and words have UA {new.ua:.3f}, AUC of anger {new.auc_anger:.3f}, and {comparison.old_id} UA {old.ua:.3f}, "
        f"AUC {old.auc_anger:.3f} on {comparison.clips} reviewed calls of {comparison.callers} held-out callers: a gain of "
        f"{new.ua - old.ua:+.3f} (95 % interval {low:+.3f} to {high:+.3f}; better is all above 0), with {comparison.callers_gaining} "
        f"callers gaining and {comparison.callers_losing} losing"
    )


def _calls(lake: str, voice: Bundle) -> tuple[_Calls, list[str]]:
    with catalog.connect(lake) as connection:
        rows = read_only.query(connection, LABELS).to_pylist()
    left_out = {
        f"scored by another model than {voice.model_id}": [row["model"] != voice.model_id for row in rows],
        "without anger of a customer's voice": [row["call_anger"] is None or row["emotion_role"] != "customer" for row in rows],
        "as many reviewers hear anger as do not": [row["angry"] == row["others"] for row in rows],
    }
    kept = [row for row, *why in zip(rows, *left_out.values(), strict=True) if not any(why)]
    figures = np.array([fusion.figures_of(row) for row in kept], np.float64).reshape(-1, len(FIGURES))
    angry = np.array([row["angry"] > row["others"] for row in kept], bool)
    lines = [f"{sum(why)} calls left out: {reason}" for reason, why in left_out.items() if any(why)]
    return _Calls(figures, angry, np.array([row["caller"] for row in kept], str)), lines


def _require(calls: _Calls, left_out: list[str]) -> None:
    for what, chosen in (("with anger", calls.angry), ("without", ~calls.angry)):
        callers = len(set(calls.callers[chosen]))
        if chosen.sum() < LEAST_CALLS or callers < LEAST_CALLERS:
            why = "".join(f"; {line}" for line in left_out)
            raise ValueError(
                f"{int(chosen.sum())} reviewed calls {what}, of {callers} callers, are too few: {LEAST_CALLS} of {LEAST_CALLERS} "
                f"callers are needed. Judge more whole calls on the dashboard{why}."
            )


def _held_out(calls: _Calls, parts: tuple[str, ...]) -> np.ndarray:
    """The chance of anger of each call, at equal rates, by a regression over these parts that was fitted without its caller."""
    columns = _columns(parts)
    chances = np.empty(len(calls.angry))
    folds = StratifiedGroupKFold(min(MOST_FOLDS, len(set(calls.callers))), shuffle=True, random_state=0)
    for train, test in folds.split(calls.figures, calls.angry, calls.callers):
        mean, deviation = _scale(calls.figures[train])
        given = fusion.standardised(calls.figures, mean, deviation)[:, columns]
        model = LogisticRegression(C=C, class_weight="balanced", max_iter=1000).fit(given[train], calls.angry[train])
        chances[test] = expit(model.decision_function(given[test]))
    return chances


def _fitted(calls: _Calls, voice_id: str, scores: dict[str, Any]) -> Fusion:
    """The fusion of all calls, at the share of calls with anger that ``call_anger`` has."""
    mean, deviation = _scale(calls.figures)
    given = fusion.standardised(calls.figures, mean, deviation)
    model = LogisticRegression(C=C, class_weight="balanced", max_iter=1000).fit(given, calls.angry)
    coefficients = model.coef_[0]
    spread = {part: float((given[:, _columns((part,))] @ coefficients[_columns((part,))]).std()) for part in PARTS}
    total = sum(spread.values())
    return Fusion(
        voice=voice_id,
        intercept=float(model.intercept_[0] + logit(fusion.RATE)),
        weights={
            figure: Weight(float(mean[index]), float(deviation[index]), float(coefficients[index])) for index, figure in enumerate(FIGURES)
        },
        parts={part: each / total if total else 0.0 for part, each in spread.items()},
        calls=len(calls.angry),
        angry=int(calls.angry.sum()),
        callers=len(set(calls.callers)),
        scores=scores,
    )


def _columns(parts: tuple[str, ...]) -> list[int]:
    return [index for index, (part, _) in enumerate(FIGURES.values()) if part in parts]


def _scale(figures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each figure over the calls that have it; 0 and 1 where none has it, or all have the same."""
    known = np.isfinite(figures)
    counts = known.sum(axis=0)
    filled = np.where(known, figures, 0.0)
    mean = filled.sum(axis=0) / np.maximum(counts, 1)
    deviation = np.sqrt((np.where(known, figures - mean, 0.0) ** 2).sum(axis=0) / np.maximum(counts, 1))
    return mean, np.where(deviation > 1e-9, deviation, 1.0)
