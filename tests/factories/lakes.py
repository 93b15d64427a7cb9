"""Makes small lakes whose truth is known: calls are given by their segments, and every column is filled by schemas.py."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb

from ser_tasks import schemas
from ser_tasks.lake import catalog, parts
from ser_tasks.partitions import PARTITIONS
from ser_tasks.storage import open_store

MODEL = "cnn_lstm-1-aaaa"
NEWER_MODEL = "crnn-2-bbbb"
POLICY = "customers_only"
DAY = date(2026, 11, 20)
NIGHT = datetime(2026, 11, 21, 1, tzinfo=UTC)
KNOWN = ("anger", "happiness", "neutral", "sadness")
"""Emotions that the made-up model knows; the others' columns are null."""


def row(table: str, **values: Any) -> dict[str, Any]:
    """A row of a table: the given values, null in every other column. An unknown column raises in schemas.table."""
    return dict.fromkeys(schemas.TABLES[table].names) | values


def write(lake: str, table: str, rows: list[dict], day: date = DAY, chunk: str = "c1", version: str = f"{MODEL}.{POLICY}") -> str:
    """Writes one part and returns its key."""
    partitions = {"day": day, "version": version} if "version" in PARTITIONS[table] else {"day": day}
    key = f"{parts.folder(table, **partitions)}{chunk}.parquet"
    open_store(lake).write_bytes(key, parts.encode(table, schemas.table(table, rows)))
    return key


def segment(
    start_s: float, end_s: float, p: tuple[float, ...] | None = None, role: str = "customer", channel: int = 1, **values: Any
) -> dict:
    """A segment's row without its call. ``p`` holds the probabilities of KNOWN; unsure below 0.5; without it, no emotion."""
    filled = {"start_s": start_s, "end_s": end_s, "role": role, "channel": channel, "loudness_dbfs": -20.0, "snr_db": 30.0}
    if p is None:
        filled |= {"not_scored_reason": f"role_{role}"}
    else:
        confidence = max(p)
        filled |= {"emotion": KNOWN[p.index(confidence)], "confidence": confidence, "unsure": confidence < 0.5}
        filled |= {f"p_{emotion}": value for emotion, value in zip(KNOWN, p, strict=True)}
    return row("segments", **filled | values)


class Call:
    """One recording in one version: its rows in every table, to be changed by a test before it is written.

    ``recording`` and ``outcome`` are rows; ``facts`` is the row of call_emotions, None where a recording has none;
    ``segments`` is a list of rows.
    """

    def __init__(  # noqa: PLR0913  a call has as many facts
        self,
        name: str,
        segments: list[dict],
        *,
        outcome: str = "scored",
        duration_s: float = 40.0,
        queue: str = "sales",
        etag: str = "e1",
        model: str = MODEL,
        policy: str = POLICY,
        chunk: str = "c1",
        day: date = DAY,
        planned_at: datetime = NIGHT,
        scored_at: datetime = NIGHT + timedelta(minutes=5),
        notice_given: bool | None = True,
        emotion_role: str = "customer",
        reason_code: str | None = None,
    ):
        self.day, self.chunk, self.version = day, chunk, f"{model}.{policy}"
        identity = {"recording_id": f"id-{name}", "etag": etag, "chunk_id": chunk}
        made = {
            "model": model,
            "policy": policy,
            "feature_set": "mfcc40-1",
            "priors": None,
            "line_profile": None,
            "precision": "float32",
            "run_id": "r1",
            "code_version": "0",
            "scored_at": scored_at,
        }
        key = f"{day}/{name}.wav"
        reason = reason_code and f"{reason_code}: do something about it"
        self.recording = row(
            "recordings",
            **identity,
            key=key,
            size_bytes=1000,
            last_modified=planned_at,
            day_source="key",
            planned_at=planned_at,
            run_id="r1",
        )
        self.outcome = row(
            "outcomes",
            **identity,
            **made,
            key=key,
            call_id=name,
            outcome=outcome,
            reason_code=reason_code,
            reason=reason,
            attempts=1,
            audio_s=duration_s,
            spent_s=0.5,
            planned_at=planned_at,
        )
        self.segments = [each | identity | made | {"call_id": name, "call_date": day, "queue": queue} for each in segments]
        self.facts = None
        if outcome in ("scored", "no_speech", "withheld"):
            self.facts = row(
                "call_emotions",
                **identity,
                **made,
                key=key,
                call_id=name,
                outcome=outcome,
                started_at=datetime(day.year, day.month, day.day, 9, tzinfo=UTC),
                call_date=day,
                local_hour=9,
                queue=queue,
                notice_given=notice_given,
                codec="ULAW",
                container="WAV",
                sampling_rate_hz=8000,
                channels=2,
                duration_s=duration_s,
                **_summary([each for each in segments if each["emotion"]], duration_s, emotion_role),
            )

    @property
    def rows(self) -> dict[str, list[dict]]:
        tables = {"recordings": [self.recording], "outcomes": [self.outcome], "segments": self.segments}
        return tables | {"call_emotions": [self.facts] if self.facts else []}


def _summary(scored: list[dict], duration_s: float, emotion_role: str) -> dict[str, Any]:
    if not scored:
        return {}
    seconds = [each["end_s"] - each["start_s"] for each in scored]
    total_s = sum(seconds)
    peak = max(scored, key=lambda each: each["p_anger"])
    happiest = max(scored, key=lambda each: each["p_happiness"])

    def mean(values: list[float], weights: list[float]) -> float | None:
        return sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights) if sum(weights) else None

    def negativity(quarter: int) -> float | None:
        start_s, end_s = duration_s * (quarter - 1) / 4, duration_s * quarter / 4
        inside = [max(0.0, min(each["end_s"], end_s) - max(each["start_s"], start_s)) for each in scored]
        return mean([each["p_anger"] + each["p_sadness"] for each in scored], inside)

    quarters = {f"negativity_q{quarter}": negativity(quarter) for quarter in (1, 2, 3, 4)}
    first, last = quarters["negativity_q1"], quarters["negativity_q4"]
    known = first is not None and last is not None
    escalated = last - first >= 0.2 and last >= 0.5 if known else None
    labels = [None if each["unsure"] else each["emotion"] for each in scored]
    return {
        "emotion_role": emotion_role,
        "scored_speech_s": total_s,
        "scored_segments": len(scored),
        "scored_snr_db": mean([each["snr_db"] for each in scored], seconds),
        **{f"share_{each}": sum(s for s, label in zip(seconds, labels, strict=True) if label == each) / total_s for each in KNOWN},
        "share_unsure": sum(s for s, label in zip(seconds, labels, strict=True) if label is None) / total_s,
        **{f"mean_p_{each}": mean([one[f"p_{each}"] for one in scored], seconds) for each in KNOWN},
        "peak_anger": peak["p_anger"],
        "peak_anger_at_s": peak["start_s"],
        "peak_happiness": happiest["p_happiness"],
        "peak_happiness_at_s": happiest["start_s"],
        **quarters,
        "negativity_change": last - first if known else None,
        "escalated": escalated,
        "onset_s": next((each["start_s"] for each in scored if each["p_anger"] + each["p_sadness"] >= 0.5), None) if escalated else None,
    }


def write_calls(lake: str, calls: list[Call]) -> None:
    """Writes the calls' parts: one per table, day, version and chunk."""
    grouped: dict[tuple, list[dict]] = {}
    for call in calls:
        for table, rows in call.rows.items():
            if rows:
                version = call.version if "version" in PARTITIONS[table] else ""
                grouped.setdefault((table, call.day, call.chunk, version), []).extend(rows)
    for (table, day, chunk, version), rows in grouped.items():
        write(lake, table, rows, day, chunk, version)


def angry(**changes: Any) -> Call:
    """40 s; 4 s of anger, 2 s unsure, 4 s neutral, and an agent whose emotion is not scored."""
    segments = [
        segment(2, 6, (0.8, 0.0, 0.1, 0.1)),
        segment(10, 14, role="agent", channel=0),
        segment(20, 22, (0.4, 0.2, 0.3, 0.1)),
        segment(36, 40, (0.1, 0.1, 0.7, 0.1)),
    ]
    return Call("angry", segments, **changes)


def worse(**changes: Any) -> Call:
    """20 s that begin happily and end in anger."""
    segments = [segment(0, 4, (0.1, 0.8, 0.05, 0.05)), segment(16, 20, (0.9, 0.0, 0.05, 0.05))]
    return Call("worse", segments, **{"duration_s": 20.0} | changes)


def good_calls() -> list[Call]:
    """Five recordings of one night, with each outcome but failed."""
    return [
        angry(),
        worse(),
        Call("silent", [], outcome="no_speech", reason_code="no_speech", duration_s=60.0),
        Call(
            "mono",
            [segment(1, 5, role="mixed", channel=0, snr_db=10.0)],
            outcome="withheld",
            reason_code="role_mixed",
            duration_s=60.0,
            queue="support",
        ),
        Call("broken", [], outcome="quarantined", reason_code="not_audio", duration_s=0.0),
    ]


def run_row(**changes: Any) -> dict:
    """A row of runs for the night of good_calls."""
    stages = {"fetch_s": 1.0, "decode_s": 1.0, "speech_s": 4.0, "features_s": 2.0, "score_s": 1.5, "write_s": 0.5}
    counts = {"listed": 5, "planned": 5, "scored": 2, "no_speech": 1, "withheld": 1, "quarantined": 1, "failed": 0}
    times = {"started_at": NIGHT, "ended_at": NIGHT + timedelta(seconds=20), "wall_s": 18.0, "audio_s": 180.0, "audio_h_per_h": 10.0}
    return row("runs", **{"run_id": "r1", "model": MODEL, "policy": POLICY, "device": "cpu"} | stages | counts | times | changes)


def write_good_lake(lake: str) -> None:
    """The night of good_calls, and its run."""
    write_calls(lake, good_calls())
    write(lake, "runs", [run_row()], chunk="r1")


def views_over(lake: str) -> duckdb.DuckDBPyConnection:
    """A connection with every view over the lake."""
    return catalog.connect(lake)
