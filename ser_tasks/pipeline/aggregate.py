"""Aggregate: what was extracted and scored → rows of outcomes, segments and call_emotions.

``provenance`` holds the columns that every row ends with: model, feature set, policy, run, code version and time.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from ser_tasks.calls.metadata import pseudonym
from ser_tasks.inference.fusion import Fusion
from ser_tasks.inference.scores import (
    AROUSED,
    Platt,
    at_equal_rates,
    emotion_sets,
    logit_of,
    rate_shift,
    says_nothing,
    strongest,
)
from ser_tasks.pipeline.escalation import change_of
from ser_tasks.pipeline.extract import Extracted
from ser_tasks.schemas import CALL_FACTS, EMOTIONS, MACHINE_FAULTS, NEGATIVE_EMOTIONS, NOTICE
from ser_tasks.settings import Settings


def outcome_row(result: Extracted, provenance: dict[str, Any]) -> dict[str, Any]:
    recording = result.recording
    return {
        "recording_id": recording.recording_id,
        "etag": recording.etag,
        "key": recording.masked_key,
        "call_id": _call_id(result),
        "chunk_id": recording.chunk_id,
        "outcome": result.outcome,
        "reason_code": result.reason_code,
        "reason": result.reason,
        "note": result.note,
        "attempts": recording.attempts + (result.outcome != "failed" or result.reason_code not in MACHINE_FAULTS),
        "audio_s": result.audio_s,
        "spent_s": sum(result.seconds.values()),
        "planned_at": recording.planned_at,
        **provenance,
    }


def segment_rows(result: Extracted, scored: "Scored", day: date, provenance: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a segment, in the order of channels and time. ``day`` stands for an unknown date of the call."""
    shared = {
        "call_id": _call_id(result),
        "recording_id": result.recording.recording_id,
        "etag": result.recording.etag,
        "chunk_id": result.recording.chunk_id,
        "call_date": result.facts.get("call_date") or day,
        "queue": result.facts.get("queue"),
        **provenance,
    }
    rows = []
    for segment, columns in zip(result.segments, scored.segment_columns, strict=True):
        facts = {
            "role": segment.role,
            "channel": segment.channel,
            "start_s": segment.start_s,
            "end_s": segment.end_s,
            "loudness_dbfs": segment.loudness_dbfs,
            "snr_db": segment.snr_db,
        }
        rows.append(shared | facts | columns)
    return rows


class Scored:
    """A call's scores: ``segment_columns`` holds the emotion columns of each of its segments, filled or null with a reason."""

    def __init__(
        self,
        result: Extracted,
        probabilities: np.ndarray,
        rules: "ScoreRules",
        line: str | None = None,
        distances: np.ndarray | None = None,
    ):
        """``probabilities`` (scored segments, labels) in the order of the segments that have frames; NaN rows are null.

        ``distances`` (scored segments,): mean square of each segment's standardised features, by the statistics of ``line``.
        """
        self.labels, self.rules, self.line = rules.labels, rules, line
        finite = distances[np.isfinite(distances)] if distances is not None else np.zeros(0)
        self.line_distance = float(np.sqrt(finite.mean())) if line is not None and len(finite) else None
        usable = np.isfinite(probabilities).all(axis=1)
        self.probabilities = probabilities[usable].astype(np.float64).reshape(-1, len(self.labels))
        even = at_equal_rates(self.probabilities, rules.priors, self.labels)
        columns = rules.segment_columns(self.probabilities, even)
        self.anger_logit = logit_of(("anger",), even, self.labels)
        worse = ("anger",) if "anger" in self.labels else NEGATIVE_EMOTIONS
        self.worsening = even[:, [index for index, label in enumerate(self.labels) if label in worse]].sum(axis=1)
        """What rises where a call escalates, 0 to 1 at equal base rates: anger, or negativity with a model that does not know anger."""
        self.segments = [segment for segment, use in zip(result.scored_segments, usable, strict=True) if use]
        """Segments with scores, one for each row of ``probabilities``."""
        scores = dict(zip(map(id, self.segments), columns, strict=True))
        self.segment_columns = [
            scores.get(id(segment)) or _null_columns(segment.not_scored_reason or "not_finite") for segment in result.segments
        ]
        self.unsure = np.array([row["unsure"] for row in columns], bool)
        self.anger_score = np.array([row["anger_score"] for row in columns], np.float64)


@dataclass(frozen=True)
class ScoreRules:
    """How probabilities become columns: the bundle's labels and calibrations, at the base rates of the call's line."""

    labels: tuple[str, ...]
    unsure_below: float
    priors: Mapping[str, float] | None = None
    """Base rates to which the probabilities were corrected."""
    calibrations: Mapping[str, Platt] = field(default_factory=dict)
    set_thresholds: Mapping[str, float] = field(default_factory=dict)
    fusion: Fusion | None = None

    def segment_columns(self, probabilities: np.ndarray, even: np.ndarray) -> list[dict[str, Any]]:
        """The emotion columns of segments, from their probabilities (segments, labels), and those at equal base rates."""
        sets = emotion_sets(even, self.set_thresholds, self.labels) if self.set_thresholds else None
        anger, arousal = self._score("anger", ("anger",), even), self._score("arousal", AROUSED, even)
        rows = []
        for number, row in enumerate(probabilities):
            best = int(row.argmax())
            confidence = float(row[best])
            unsure = says_nothing(sets[number], self.labels) if sets else confidence < self.unsure_below
            rows.append(
                dict.fromkeys(f"p_{emotion}" for emotion in EMOTIONS)
                | {f"p_{label}": float(p) for label, p in zip(self.labels, row, strict=True)}
                | {"emotion": self.labels[best], "confidence": confidence, "unsure": unsure, "not_scored_reason": None}
                | {"emotion_set": ",".join(sets[number]) if sets else None}
                | {"anger_score": None if anger is None else float(anger[number])}
                | {"arousal_score": None if arousal is None else float(arousal[number])}
            )
        return rows

    def calibration(self, name: str) -> Platt:
        return self.calibrations.get(name, Platt())

    def _score(self, name: str, emotions: tuple[str, ...], even: np.ndarray) -> np.ndarray | None:
        logits = logit_of(emotions, even, self.labels)
        return None if logits is None else self.calibration(name)(logits, rate_shift(emotions, self.priors, self.labels))


def _null_columns(reason: str) -> dict[str, Any]:
    empty = dict.fromkeys([f"p_{emotion}" for emotion in EMOTIONS] + ["emotion", "confidence", "unsure", *_SCORES])
    return {**empty, "not_scored_reason": reason}


_SCORES = ("emotion_set", "anger_score", "arousal_score")


def call_row(result: Extracted, scored: Scored, day: date, provenance: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """The call_emotions row of a recording that was scored, withheld or without speech."""
    assert result.info is not None
    facts, recording = result.facts, result.recording
    sources = {f"{name}_source": facts.sources.get(name) for name in CALL_FACTS} | {"roles_source": result.roles_source}
    row = {
        "call_id": _call_id(result),
        "recording_id": recording.recording_id,
        "etag": recording.etag,
        "key": recording.masked_key,
        "chunk_id": recording.chunk_id,
        "outcome": result.outcome,
        "started_at": facts.get("started_at"),
        "call_date": facts.get("call_date") or day,
        "call_date_source": facts.sources.get("call_date", "object"),
        "local_hour": _local_hour(facts.get("started_at"), settings),
        "agent_pseudonym": pseudonym("agent", facts.get("agent_id"), settings),
        "customer_pseudonym": pseudonym("customer", facts.get("customer_id"), settings),
        "queue": facts.get("queue"),
        "language": facts.get("language"),
        "notice_given": facts.get("notice_given"),
        **{name: facts.get(name) for name in NOTICE},
        "call_id_source": facts.sources.get("call_id", "key"),
        **sources,
        "roles_confidence": result.roles_confidence,
        "roles_evidence": result.roles_evidence,
        "codec": result.info.codec,
        "container": result.info.container,
        "sampling_rate_hz": result.info.sampling_rate_hz,
        "channels": result.info.channels,
        "channel_roles": ",".join(result.roles),
        "duration_s": result.audio_s,
        **result.activity,
        "words": _kept_words(result, day, settings),
        "redact": json.dumps(result.redact) if result.redact else None,
        "line": scored.line,
        "line_distance": scored.line_distance,
        **emotion_columns(scored, result.audio_s),
        **provenance,
    }
    fusion = scored.rules.fusion
    return row | {"call_anger_fused": fusion.anger_of(row) if fusion else None}


def _kept_words(result: Extracted, day: date, settings: Settings) -> str | None:
    """What was said, as JSON, on a call that is not withheld, of a day whose words are still kept."""
    kept_days = settings.keep_words_days
    past = kept_days is not None and day < datetime.now(UTC).date() - timedelta(days=kept_days)
    return None if past or result.outcome == "withheld" or result.words is None else json.dumps(result.words, ensure_ascii=False)


def emotion_columns(scored: Scored, duration_s: float) -> dict[str, Any]:
    """The call's emotion columns: of the customer where a customer is scored, else of a mixed or unknown channel, last of an agent."""
    columns: dict[str, Any] = dict.fromkeys(_EMOTION_COLUMNS)
    columns |= {"scored_speech_s": 0.0, "scored_segments": 0}
    roles = [segment.role for segment in scored.segments]
    subject = next((role for role in ("customer", "mixed", "unknown", "agent") if role in roles), None)
    if subject is None:
        return columns
    chosen = np.array([role == subject for role in roles])
    own = [segment for segment in scored.segments if segment.role == subject]
    p = scored.probabilities[chosen]
    start_s, end_s = np.array([segment.start_s for segment in own]), np.array([segment.end_s for segment in own])
    weights = end_s - start_s
    unsure = scored.unsure[chosen]
    total_s = float(weights.sum())
    best = p.argmax(axis=1)

    columns |= {"emotion_role": subject, "scored_speech_s": total_s, "scored_segments": len(p)}
    shares = {label: float(weights[(best == index) & ~unsure].sum() / total_s) for index, label in enumerate(scored.labels)}
    columns |= {f"share_{label}": share for label, share in shares.items()}
    columns["share_unsure"] = share_unsure = float(weights[unsure].sum() / total_s)
    columns |= {f"mean_p_{label}": float(np.average(p[:, index], weights=weights)) for index, label in enumerate(scored.labels)}
    columns["dominant_emotion"] = max(shares, key=shares.__getitem__) if share_unsure <= 0.5 else None
    for emotion in {"anger", "happiness"} & set(scored.labels):
        of_emotion = p[:, scored.labels.index(emotion)]
        columns |= {f"peak_{emotion}": float(of_emotion.max()), f"peak_{emotion}_at_s": float(start_s[of_emotion.argmax()])}
    if scored.anger_logit is not None:
        columns |= _call_anger(scored, chosen, weights, start_s)
    snr_db = np.array([segment.snr_db for segment in own], np.float64)  # NaN without a noise floor
    if np.isfinite(snr_db).any():
        columns["scored_snr_db"] = float(np.average(snr_db[np.isfinite(snr_db)], weights=weights[np.isfinite(snr_db)]))

    negative = [index for index, label in enumerate(scored.labels) if label in NEGATIVE_EMOTIONS]
    negativity = p[:, negative].sum(axis=1)
    quarters = _by_quarter(negativity, start_s, end_s, duration_s)
    columns |= {f"negativity_q{number}": value for number, value in enumerate(quarters, 1)}
    first, last = quarters[0], quarters[-1]
    if first is not None and last is not None:
        columns["negativity_change"] = last - first
    change = change_of(scored.worsening[chosen], start_s)
    if change is not None:
        columns |= {"escalation_z": change.z, "escalated": change.escalated, "deescalated": change.deescalated}
    if columns["escalated"]:
        columns["onset_s"] = onset_s(scored.worsening[chosen], start_s, end_s)
    return columns


def _call_anger(scored: Scored, chosen: np.ndarray, seconds: np.ndarray, start_s: np.ndarray) -> dict[str, Any]:
    assert scored.anger_logit is not None
    strength, at_s = strongest(scored.anger_logit[chosen], seconds, start_s)
    return {
        "anger_seconds": float((scored.anger_score[chosen] * seconds).sum()),
        "call_anger": float(scored.rules.calibration("call_anger")(np.array(strength))),
        "call_anger_at_s": at_s,
    }


def _by_quarter(negativity: np.ndarray, start_s: np.ndarray, end_s: np.ndarray, duration_s: float) -> list[float | None]:
    """Mean negativity in each quarter of the call, each segment weighted by its seconds inside; None without any."""
    edges = np.linspace(0, duration_s, 5)
    means: list[float | None] = []
    for low, high in zip(edges, edges[1:], strict=False):
        inside_s = np.clip(np.minimum(end_s, high) - np.maximum(start_s, low), 0, None)
        means.append(float(np.average(negativity, weights=inside_s)) if inside_s.sum() > 0 else None)
    return means


def onset_s(worsening: np.ndarray, start_s: np.ndarray, end_s: np.ndarray) -> float | None:
    """Start of the segment from which on values are higher: the split in two that leaves the least variance within; None without a rise.

    Segments count by their seconds. (A single change point by least squares: Scott and Knott, Biometrics 30, 1974.)
    """
    order = np.argsort(start_s)
    value, seconds, starts = worsening[order], (end_s - start_s)[order], start_s[order]
    before_s, before = np.cumsum(seconds)[:-1], np.cumsum(seconds * value)[:-1]
    after_s, after = seconds.sum() - before_s, (seconds * value).sum() - before
    rise = after / after_s - before / before_s
    between = np.where(rise > 0, rise**2 * before_s * after_s, -1.0)
    return float(starts[1 + between.argmax()]) if len(between) and between.max() > 0 else None


def _local_hour(started_at: datetime | None, settings: Settings) -> int | None:
    return started_at.astimezone(ZoneInfo(settings.time_zone)).hour if started_at else None


_EMOTION_COLUMNS = (
    ["emotion_role", "scored_speech_s", "scored_segments", "scored_snr_db"]
    + [f"share_{emotion}" for emotion in EMOTIONS]
    + ["share_unsure"]
    + [f"mean_p_{emotion}" for emotion in EMOTIONS]
    + [
        "dominant_emotion",
        "anger_seconds",
        "call_anger",
        "call_anger_at_s",
        "peak_anger",
        "peak_anger_at_s",
        "peak_happiness",
        "peak_happiness_at_s",
    ]
    + [f"negativity_q{quarter}" for quarter in (1, 2, 3, 4)]
    + ["negativity_change", "escalation_z", "escalated", "deescalated", "onset_s"]
)


def _call_id(result: Extracted) -> str:
    return result.facts.get("call_id") or result.recording.masked_key.rpartition(".")[0]
