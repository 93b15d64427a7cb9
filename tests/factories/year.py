"""Makes a year of calls with planted stories whose truth is known: real parts of every table, vectorised, the same for the same seed.

    python -m tests.factories.year LAKE [CALLS [--no-segments]]     # 30,000 calls in 365 days: about 10 s; 1,000,000 also work

The stories, on a background of queues in which nothing happens (callers, days and models vary all the same):

- ``billing`` turns angry in week 30 (``ANGRY_FROM``) and stays so;
- ``returns`` moves to another codec in week 40 (``CODEC_FROM``), in which the model takes more speech for anger and is less sure: the
  callers are as before. From then on every call is standardised by another line profile, too. The other queues have a few calls in that
  codec all the year, read just as wrongly;
- one customer (``ESCALATING``) calls nine times, angrier each time;
- callers who are interrupted are angrier; evenings are busier on Mondays; one night (``MISSING_NIGHT``) is missing, made up the day after.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from ser_tasks import schemas
from ser_tasks.lake import catalog
from ser_tasks.lake.sql_views import duckdb_types
from ser_tasks.pipeline.aggregate import onset_s
from tests.factories.years import write_parts

FIRST_DAY, DAYS = date(2025, 1, 1), 365
ANGRY_QUEUE, ANGRY_FROM = "billing", date(2025, 7, 21)
CODEC_QUEUE, CODEC_FROM = "returns", date(2025, 9, 29)
MISSING_NIGHT = date(2025, 11, 4)
QUEUES = ("sales", "support", ANGRY_QUEUE, CODEC_QUEUE, "orders", "delivery", "technical", "contracts", "moving", "complaints")
QUEUE_SHARES = (0.18, 0.18, 0.15, 0.15, 0.08, 0.08, 0.06, 0.05, 0.04, 0.03)
USUAL_ANGER = (0.05, 0.07, 0.08, 0.08, 0.05, 0.07, 0.08, 0.05, 0.06, 0.15)
"""How much of a queue's speech is angry, by queue."""
ANGRIER, MISREAD = 2.5, 0.12
"""The angry queue's factor from week 30 on; the share of all speech that the other codec makes sound angry."""
CODECS = (("ULAW", "WAV", 8000), ("GSM610", "WAV", 8000))
MODEL, POLICY = "cnn_tcn-1-aaaa", "customers_only"
VERSION = f"{MODEL}.{POLICY}"
_STAGES = {"list": 0.01, "fetch": 0.1, "decode": 0.1, "speech": 0.3, "features": 0.1, "score": 0.38, "write": 0.01}
KNOWN = ("anger", "happiness", "neutral", "sadness")
UNSURE_BELOW = 0.5
ESCALATING_CALLS = 9
DAYS_AT_ONCE = 30

_MADE = {
    "model": f"'{MODEL}'",
    "policy": f"'{POLICY}'",
    "feature_set": "'logmel8k-1'",
    "run_id": "'run-' || planned_at::DATE",
    "code_version": "'0'",
    "scored_at": "planned_at + INTERVAL 5 MINUTE",
}
_GIVEN: dict[str, dict[str, str]] = {
    "recordings": {
        "size_bytes": "(16000 * duration_s)::BIGINT",
        "last_modified": "started_at + INTERVAL 1 HOUR",
        "day_source": "'key'",
        "estimated_s": "duration_s",
        "run_id": _MADE["run_id"],
    },
    "outcomes": _MADE
    | {
        "reason": "reason_code || ': made up'",
        "attempts": "1",
        "audio_s": "CASE WHEN outcome = 'quarantined' THEN 0 ELSE duration_s END",
        "spent_s": "0.02 * duration_s",
    },
    "call_emotions": _MADE
    | {"call_date_source": "'sidecar'", "call_id_source": "'key'", "language": "'de'", "notice_given": "true", "channels": "2"}
    | {"channel_roles": "'agent,customer'"}
    | {f"{fact}_source": "'sidecar'" for fact in schemas.CALL_FACTS},
    "segments": _MADE,
}


def escalating() -> str:
    """The pseudonym of the customer who escalates."""
    return duckdb.sql("SELECT md5('customer escalating')").fetchone()[0]  # type: ignore[index]


@contextmanager
def read_once(lake: Path | str) -> Iterator[duckdb.DuckDBPyConnection]:
    """The views of a lake without segments, over its parts as they are now: they are read once, into memory."""
    with catalog.connect(str(lake)) as connection:
        for table in ("outcomes", "call_emotions", "runs"):
            connection.execute(f"CREATE TABLE read_{table} AS FROM parts.{table}")
            connection.execute(f"CREATE OR REPLACE VIEW parts.{table} AS FROM read_{table}")
        yield connection


def make_year(lake: Path | str, calls: int = 30_000, seed: int = 7, segments: bool = True, stories: bool = True) -> dict[str, int]:
    """Writes about so many calls of the year, with their segments if wanted, and returns rows by table.

    Without ``stories`` no queue turns angry or changes its codec, and no caller escalates: nothing may be told of it.
    """
    draw = np.random.default_rng(seed)
    mood = draw.normal(0, 0.15, (DAYS, len(QUEUES)))
    """How far a day of a queue is above or below its usual anger, as a logarithm."""
    rows: dict[str, int] = {}
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for first in range(0, DAYS, DAYS_AT_ONCE):
            made = _calls(draw, np.arange(first, min(DAYS, first + DAYS_AT_ONCE)), calls, mood, stories)
            spoken = _segments(draw, made)
            _summarise(made, spoken)
            for table, given in _GIVEN.items():
                if table != "segments" or segments:
                    rows[table] = rows.get(table, 0) + _write(connection, Path(lake), table, made, spoken, given)
    rows["runs"] = _write_runs(Path(lake))
    return rows


def _calls(draw: np.random.Generator, days: np.ndarray, calls: int, mood: np.ndarray, stories: bool) -> dict[str, Any]:
    """A column each of what is true of the calls of these days, and of the lines they came on."""
    weekday = (days + FIRST_DAY.weekday()) % 7
    busy = np.array([1.3, 1.1, 1.0, 1.0, 1.0, 0.7, 0.5])[weekday]
    day = np.repeat(days, draw.poisson(calls / DAYS * busy / 0.943))
    number = len(day)
    queue = draw.choice(len(QUEUES), number, p=QUEUE_SHARES)
    customer = np.where(draw.random(number) < 0.3, draw.integers(0, calls // 12, number), -1 - np.arange(number) - 10**7 * (1 + days[0]))
    escalating = np.isin(day, np.linspace(20, 340, ESCALATING_CALLS).astype(int)) & (np.diff(day, prepend=-1) > 0) & stories
    step = np.searchsorted(np.linspace(20, 340, ESCALATING_CALLS).astype(int), day)
    other_codec = np.where((queue == QUEUES.index(CODEC_QUEUE)) & (day >= (CODEC_FROM - FIRST_DAY).days) & stories, 0.9, 0.05)
    codec = (draw.random(number) < other_codec).astype(int)
    anger = np.array(USUAL_ANGER)[queue] * np.exp(mood[day, queue])
    anger *= np.where((queue == QUEUES.index(ANGRY_QUEUE)) & (day >= (ANGRY_FROM - FIRST_DAY).days) & stories, ANGRIER, 1)
    interrupted = draw.poisson(0.8, number)
    anger = np.clip(anger * draw.gamma(0.7, 1 / 0.7, number) * (0.7 + 0.375 * interrupted), 0, 0.9)
    anger = np.where(escalating, 0.05 + 0.09 * step, anger)
    hour = draw.choice(np.arange(8, 20), number, p=np.array([4, 7, 9, 10, 9, 7, 8, 9, 10, 10, 9, 8]) / 100)
    ended = draw.choice(5, number, p=[0.93, 0.03, 0.02, 0.018, 0.002])
    ended[escalating] = 0
    return {
        "day_number": day,
        "in_lake": np.arange(number),
        "queue_number": queue,
        "customer": customer,
        "is_escalating": escalating,
        "codec_number": codec,
        "anger": anger,
        "slope": draw.normal(0, 0.8, number),
        "interrupted": interrupted,
        "hour": hour,
        "second": draw.integers(0, 3600, number),
        "ended": ended,
        "turns": np.where(ended == 0, draw.integers(5, 20, number), 0),
        "silence_share": draw.beta(2, 8, number),
        "overlap_s": draw.exponential(1.5, number).round(2),
    }


def _segments(draw: np.random.Generator, calls: dict[str, Any]) -> dict[str, np.ndarray]:
    """The customers' scored segments, call after call; times in steps of 0.01 s, so that nothing overlaps."""
    turns = calls["turns"]
    call = np.repeat(np.arange(len(turns)), turns)
    first = np.concatenate([[0], np.cumsum(turns)[:-1]])
    place = np.arange(len(call)) - first[call]
    length_s, pause_s = draw.integers(150, 600, len(call)) / 100, draw.integers(200, 900, len(call)) / 100
    so_far = np.cumsum(length_s + pause_s)
    end_s = so_far - np.where(first > 0, so_far[first - 1], 0)[call]
    calls["duration_s"] = np.where(turns > 0, np.bincount(call, length_s + pause_s, len(turns)) + 5, 30.0).round(2)
    through = place / np.maximum(turns[call] - 1, 1) - 0.5
    anger = np.clip(calls["anger"][call] * np.exp(calls["slope"][call] * through * 2), 0, 0.95)
    misread = calls["codec_number"][call] == 1
    anger = np.where(misread, anger + (1 - anger) * MISREAD, anger)
    said = np.stack([anger, 0.12 * (1 - anger), 0.73 * (1 - anger), 0.15 * (1 - anger)])
    heard = (np.cumsum(said, axis=0) < draw.random(len(call))).sum(axis=0)
    sure = draw.beta(5, np.where(misread, 3.5, 2.2))
    others = draw.dirichlet([1, 1, 1, 1], len(call)) * (1 - sure)[:, None]
    p = others.copy()
    p[np.arange(len(call)), heard] += sure
    p = (np.floor(p * 2**14) / 2**14).astype(np.float32)  # so that float32 holds them exactly
    p[np.arange(len(call)), heard] += (1 - p.sum(axis=1)).astype(np.float32)
    snr_db = draw.normal(np.where(misread, 16, 26), 4).round(1).astype(np.float32)
    loudness_dbfs = draw.normal(-24, 3, len(call)).round(1).astype(np.float32)
    return {
        "call": call,
        "start_s": (end_s - length_s).round(2) if len(call) else end_s,
        "end_s": end_s.round(2),
        "label": p.argmax(axis=1),
        "confidence": p.max(axis=1),
        "unsure": p.max(axis=1) < UNSURE_BELOW,
        "snr_db": snr_db,
        "loudness_dbfs": loudness_dbfs,
    } | {f"p_{emotion}": p[:, index] for index, emotion in enumerate(KNOWN)}


def _summarise(calls: dict[str, Any], spoken: dict[str, np.ndarray]) -> None:
    """Adds the columns of call_emotions that follow from the segments: what summarise.py does, of all calls at once."""
    call, number = spoken["call"], len(calls["turns"])
    seconds = spoken["end_s"] - spoken["start_s"]
    total_s = np.bincount(call, seconds, number)

    def mean(values: np.ndarray, weights: np.ndarray = seconds) -> np.ndarray:
        below = np.bincount(call, weights, number)
        return np.divide(np.bincount(call, values * weights, number), below, out=np.full(number, np.nan), where=below > 0)

    calls |= {"scored_speech_s": total_s.round(2), "scored_segments": calls["turns"], "scored_snr_db": mean(spoken["snr_db"])}
    calls["customer_loudness_dbfs"] = mean(spoken["loudness_dbfs"])
    calls["share_unsure"] = mean(spoken["unsure"])
    shares = []
    for index, emotion in enumerate(KNOWN):
        shares.append(mean((spoken["label"] == index) & ~spoken["unsure"]))
        calls[f"share_{emotion}"] = shares[-1]
        calls[f"mean_p_{emotion}"] = mean(spoken[f"p_{emotion}"])
    dominant = np.array(KNOWN, object)[np.nan_to_num(np.stack(shares)).argmax(axis=0)]
    calls["dominant_emotion"] = np.where((total_s > 0) & ~(calls["share_unsure"] > 0.5), dominant, None)
    for emotion in ("anger", "happiness"):
        order = np.lexsort((-spoken["start_s"], spoken[f"p_{emotion}"], call))
        last = np.flatnonzero(np.diff(call[order], append=-1))
        peak, at_s = np.full(number, np.nan), np.full(number, np.nan)
        peak[call[order][last]], at_s[call[order][last]] = spoken[f"p_{emotion}"][order][last], spoken["start_s"][order][last]
        calls |= {f"peak_{emotion}": peak, f"peak_{emotion}_at_s": at_s}
    negativity = spoken["p_anger"] + spoken["p_sadness"]
    duration_s = calls["duration_s"][call]
    for quarter in (1, 2, 3, 4):
        low, high = duration_s * (quarter - 1) / 4, duration_s * quarter / 4
        inside_s = np.clip(np.minimum(spoken["end_s"], high) - np.maximum(spoken["start_s"], low), 0, None)
        calls[f"negativity_q{quarter}"] = mean(negativity, inside_s)
    change = calls["negativity_q4"] - calls["negativity_q1"]
    escalated = (change >= 0.2) & (calls["negativity_q4"] >= 0.5)
    calls |= {"negativity_change": change, "escalated": np.where(np.isnan(change), None, escalated), "onset_s": np.full(number, np.nan)}
    first = np.concatenate([[0], np.cumsum(calls["turns"])])
    for each in np.flatnonzero(escalated):
        own = slice(first[each], first[each + 1])
        calls["onset_s"][each] = onset_s(negativity[own], spoken["start_s"][own], spoken["end_s"][own])


def _write(
    connection: duckdb.DuckDBPyConnection,
    lake: Path,
    table: str,
    calls: dict[str, Any],
    spoken: dict[str, np.ndarray],
    given: dict[str, str],
) -> int:
    connection.register("made", pa.table({name: pa.array(values, from_pandas=True) for name, values in calls.items()}))
    late = f"DATE '{FIRST_DAY}' + day_number::INT + 1 = DATE '{MISSING_NIGHT}'"
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP VIEW calls AS
        SELECT *,
            DATE '{FIRST_DAY}' + day_number::INT AS call_date,
            call_date::TIMESTAMPTZ + to_hours(hour::INT) + to_seconds(second) AS started_at,
            hour AS local_hour,
            (call_date + 1)::TIMESTAMPTZ + INTERVAL 1 HOUR + if({late}, INTERVAL 1 DAY, INTERVAL 0 DAY) AS planned_at,
            {list(QUEUES)}[queue_number + 1] AS queue,
            call_date || '/' || queue || '-' || in_lake AS call_id,
            call_id || '.wav' AS key,
            md5(key) AS recording_id,
            md5(key || ' etag') AS etag,
            md5('chunk of ' || call_date)[:20] AS chunk_id,
            md5('customer ' || if(is_escalating, 'escalating', customer::VARCHAR)) AS customer_pseudonym,
            md5('agent ' || in_lake % 40) AS agent_pseudonym,
            {[codec for codec, _, _ in CODECS]}[codec_number + 1] AS codec,
            {[container for _, container, _ in CODECS]}[codec_number + 1] AS container,
            {[rate for _, _, rate in CODECS]}[codec_number + 1] AS sampling_rate_hz,
            ['scored', 'no_speech', 'withheld', 'quarantined', 'failed'][ended + 1] AS outcome,
            [NULL, 'no_speech', 'notice_missing', 'not_audio', 'unreadable'][ended + 1] AS reason_code,
            if(ended = 0, 'customer', NULL) AS emotion_role,
            if(ended = 0, if(call_date < DATE '{CODEC_FROM}', 'first', 'second'), NULL) AS line_profile,
            if(ended = 0, 'all', NULL) AS line,
            if(ended = 0, 1, NULL) AS line_distance,
            scored_speech_s AS customer_speech_s,
            silence_share * duration_s AS silence_s,
            silence_share * duration_s / 4 AS longest_silence_s,
            greatest(0, duration_s - scored_speech_s - silence_s) AS agent_speech_s,
            interrupted AS interruptions_by_agent,
            in_lake % 3 AS interruptions_by_customer
        FROM made
        """
    )
    source, order = "calls", "day_number, recording_id"
    if table == "call_emotions":
        source = "(FROM calls WHERE ended < 3)"
    if table == "segments":
        connection.register("heard", pa.table({name: pa.array(values) for name, values in spoken.items()}))
        source = f"""(
            SELECT c.call_id, c.recording_id, c.etag, c.chunk_id, c.planned_at, c.day_number, c.call_date, c.queue,
                'customer' AS role, 1 AS channel,
                h.* EXCLUDE (call, label), {list(KNOWN)}[label + 1] AS emotion
            FROM heard AS h JOIN calls AS c ON c.in_lake = h.call
            UNION ALL BY NAME
            SELECT c.call_id, c.recording_id, c.etag, c.chunk_id, c.planned_at, c.day_number, c.call_date, c.queue,
                'agent' AS role, 0 AS channel,
                h.end_s + 0.3 AS start_s, h.end_s + 1.7 AS end_s, -22 AS loudness_dbfs, 28 AS snr_db, 'role_agent' AS not_scored_reason
            FROM heard AS h JOIN calls AS c ON c.in_lake = h.call
        )"""  # the agent answers in the pause after each of them
        order += ", start_s"
    known = connection.execute(f"DESCRIBE SELECT * FROM {source}").to_arrow_table()["column_name"].to_pylist()
    columns = [
        f"({given.get(field.name, field.name if field.name in known else 'NULL')})::{duckdb_types()[field.type]} AS {field.name}"
        for field in schemas.TABLES[table]
    ]
    name = "'manifest-000001'" if table == "recordings" else "chunk_id"
    query = f"SELECT {', '.join(columns)}, day_number, call_date AS folder, {name} AS file FROM {source} ORDER BY {order}"
    found = connection.execute(query).to_arrow_table()
    made = pa.table([found[field.name].cast(field.type) for field in schemas.TABLES[table]], schema=schemas.TABLES[table])
    write_parts(lake, table, made, found["day_number"].to_numpy(), found["folder"], found["file"], VERSION)
    return len(made)


def _write_runs(lake: Path) -> int:
    """A run for each night, with the counts of its outcomes."""
    counts = ", ".join(f"count(*) FILTER (outcome = '{outcome}') AS {outcome}" for outcome in schemas.OUTCOMES)
    with catalog.connect(str(lake)) as connection:
        nights = connection.execute(
            f"SELECT run_id, planned_at, count(*) AS recordings, sum(audio_s) AS audio_s, {counts} FROM outcomes GROUP BY ALL ORDER BY ALL"
        ).to_arrow_table()
    rows = []
    for night in nights.to_pylist():
        started_at, recordings = night.pop("planned_at"), night.pop("recordings")
        wall_s = night["audio_s"] / 300
        stages = {f"{stage}_s": wall_s * part for stage, part in _STAGES.items()}
        night |= {"listed": recordings, "planned": recordings, "failed_chunks": 0, "checks_failed": 0, "pseudonyms": True}
        night |= {"started_at": started_at, "ended_at": started_at + timedelta(seconds=wall_s), "wall_s": wall_s, "audio_h_per_h": 300.0}
        night |= {"model": MODEL, "policy": POLICY, "device": "cpu", "workers": 2, "start_up_s": 9.0, "recordings_uri": "s3://calls/2025"}
        night |= {"machines": 1, "written_bytes": 900 * recordings}
        rows.append(dict.fromkeys(schemas.RUNS.names) | night | stages)
    made = schemas.table("runs", rows)
    days = pa.chunked_array([pa.array([row["started_at"].date() for row in rows])])
    write_parts(lake, "runs", made, np.arange(len(rows)), days, made["run_id"], VERSION)
    return len(rows)


if __name__ == "__main__":
    print(make_year(sys.argv[1], *map(int, sys.argv[2:3]), segments="--no-segments" not in sys.argv))
