"""Makes a lake of years of nights, vectorised: made-up rows in real parts, with the truth of every view intact.

    python -m tests.factories.years LAKE [SEGMENTS [DAYS [PARTS_A_DAY]]]     # 10 million segments in 1,825 days: two minutes, 1 GB

Every fiftieth recording is uploaded again (a newer version in a chunk of its own), every hundredth is quarantined.
"""

import sys
from datetime import date
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ser_tasks import schemas
from ser_tasks.lake import parts
from ser_tasks.lake.sql_views import duckdb_types
from ser_tasks.partitions import PARTITIONS

FIRST_DAY = date(2021, 11, 20)
VERSION = "cnn_tcn-1-aaaa.customers_only"
SEGMENTS_A_CALL = 25
DAYS_AT_ONCE = 90

_MADE = {
    "model": "split_part($version, '.', 1)",
    "policy": "split_part($version, '.', 2)",
    "feature_set": "'logmel8k-1'",
    "run_id": "'run-' || day",
    "code_version": "'0'",
    "scored_at": "planned_at + INTERVAL 5 MINUTE",
}
_COLUMNS = {
    "recordings": {
        "size_bytes": "1500000",
        "last_modified": "planned_at",
        "day_source": "'key'",
        "estimated_s": "100.0",
        "run_id": "'run-' || day",
    },
    "outcomes": _MADE
    | {
        "outcome": "CASE WHEN broken THEN 'quarantined' ELSE 'scored' END",
        "reason_code": "CASE WHEN broken THEN 'not_audio' END",
        "reason": "CASE WHEN broken THEN 'not_audio: it is no audio' END",
        "attempts": "1",
        "audio_s": "CASE WHEN broken THEN 0 ELSE 100 END",
        "spent_s": "0.1",
    },
    "call_emotions": _MADE
    | {
        "outcome": "'scored'",
        "started_at": "planned_at - INTERVAL 12 HOUR",
        "call_date": "day",
        "call_date_source": "'key'",
        "queue": "['sales', 'support', 'billing', 'returns', NULL][1 + number % 5]",
        "language": "'de'",
        "notice_given": "true",
        "codec": "['ULAW', 'PCM_16', 'MP3'][1 + number % 3]",
        "container": "['WAV', 'WAV', 'MP3'][1 + number % 3]",
        "sampling_rate_hz": "8000",
        "channels": "2",
        "duration_s": "100.0",
        "customer_speech_s": "50.0",
        "agent_speech_s": "40.0",
        "emotion_role": "'customer'",
        "scored_speech_s": f"2.0 * {SEGMENTS_A_CALL}",
        "scored_segments": f"{SEGMENTS_A_CALL}",
        **{f"share_{emotion}": "0" for emotion in schemas.EMOTIONS},
        "share_anger": "round(mood, 3)",
        "share_neutral": "1 - round(mood, 3)::FLOAT",
        "share_unsure": "0",
        "mean_p_anger": "round(mood, 3)",
        "mean_p_neutral": "1 - round(mood, 3)",
        "dominant_emotion": "CASE WHEN mood > 0.5 THEN 'anger' ELSE 'neutral' END",
        "peak_anger": "round(mood, 3)",
        "peak_anger_at_s": "0.0",
        **{f"negativity_q{quarter}": "round(mood, 3)" for quarter in (1, 2, 3)},
        "negativity_q4": "least(1, round(mood, 3) + 0.3)",
        "negativity_change": "least(1, round(mood, 3) + 0.3) - round(mood, 3)",
        "escalated": "mood BETWEEN 0.2 AND 0.8",
    },
    "segments": _MADE
    | {
        "call_date": "day",
        "queue": "['sales', 'support', 'billing', 'returns', NULL][1 + number % 5]",
        "role": "'customer'",
        "channel": "1",
        "start_s": "4.0 * place",
        "end_s": "4.0 * place + 2",
        "emotion": "CASE WHEN p > 0.5 THEN 'anger' ELSE 'neutral' END",
        "confidence": "greatest(p, 1 - p)",
        "p_anger": "p",
        "p_neutral": "1 - p",
        "unsure": "false",
        "loudness_dbfs": "round(-20 - 10 * p, 1)",
        "snr_db": "round(30 * p, 1)",
    },
}


def make_years(
    lake: Path,
    segments: int = 10_000_000,
    days: int = 1825,
    parts_a_day: int = 1,
    version: str = VERSION,
    tables: tuple[str, ...] = tuple(_COLUMNS),
) -> dict[str, int]:
    """Writes parts of about so many segments over so many days, as so many nights would have, and returns rows by table.

    With ``tables``, parts of these alone: the others of a large lake take most of the time.
    """
    calls_a_day = round(segments / days / SEGMENTS_A_CALL / 1.02 / 0.99)
    rows = dict.fromkeys(tables, 0)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for first in range(0, days, DAYS_AT_ONCE):
            connection.execute(
                """
                CREATE OR REPLACE TABLE calls AS
                SELECT *, md5(day || ' ' || number) AS recording_id,
                    md5(recording_id || upload) AS etag,
                    md5(day || ' ' || part || ' ' || upload)[:20] AS chunk_id,
                    day || '/call-' || number AS call_id,
                    day || '/call-' || number || '.wav' AS key,
                    day::TIMESTAMPTZ + INTERVAL 1 DAY + upload * INTERVAL 1 DAY AS planned_at,
                    upload = 0 AND number % 100 = 7 AS broken,
                    (hash(recording_id, upload) % 1000) / 1000 AS mood
                FROM (
                    SELECT ($start + day_number::INTEGER)::DATE AS day, number, upload, number * $parts_a_day // $calls AS part
                    FROM range($first, $last) AS days(day_number), range($calls) AS calls(number), range(2) AS uploads(upload)
                    WHERE upload = 0 OR number % 50 = 3
                )
                """,
                {
                    "start": FIRST_DAY,
                    "first": first,
                    "last": min(days, first + DAYS_AT_ONCE),
                    "calls": calls_a_day,
                    "parts_a_day": parts_a_day,
                },
            )
            for table in tables:
                rows[table] += _write(connection, Path(lake), table, _COLUMNS[table], version)
    return rows


def _write(connection: duckdb.DuckDBPyConnection, lake: Path, table: str, given: dict[str, str], version: str) -> int:
    source = "calls"
    if table in ("segments", "call_emotions"):
        source = "(FROM calls WHERE NOT broken)"
    if table == "segments":  # the first segment has the peak of anger that the call says
        places = f"range({SEGMENTS_A_CALL}) AS places(place)"
        p = "CASE WHEN place = 0 THEN round(mood, 3) ELSE round(mood * (hash(etag, place) % 1000) / 1000, 3) END::FLOAT AS p"
        source = f"(SELECT *, {p} FROM {source}, {places})"
    known = connection.execute(f"DESCRIBE SELECT * FROM {source}").to_arrow_table()["column_name"].to_pylist()
    columns = []
    for field in schemas.TABLES[table]:
        value = given.get(field.name, field.name if field.name in known else "NULL")
        columns.append(f"({value})::{duckdb_types()[field.type]} AS {field.name}")
    name = "day || '-' || (1 + upload)" if table == "recordings" else "chunk_id"
    order = "day, file, recording_id" + (", place" if table == "segments" else "")
    query = f"SELECT {', '.join(columns)}, day AS folder, {name} AS file, hash(day, file) AS place FROM {source} ORDER BY {order}"
    found = connection.execute(query.replace("$version", f"'{version}'")).to_arrow_table()
    made = pa.table([found[field.name].cast(field.type) for field in schemas.TABLES[table]], schema=schemas.TABLES[table])
    names = pc.replace_substring_regex(found["file"], r".*-(\d)$", r"manifest-00000\1") if table == "recordings" else found["file"]
    write_parts(lake, table, made, found["place"].to_numpy(), found["folder"], names, version)
    return len(found)


def write_parts(
    lake: Path, table: str, made: pa.Table, place: np.ndarray, days: pa.ChunkedArray, names: pa.ChunkedArray, version: str
) -> None:
    """Writes rows as parts: a new one wherever ``place`` changes, in the folder of its first row's day, under its first row's name."""
    ends = [*(np.flatnonzero(np.diff(place)) + 1).tolist(), len(made)]
    first = 0
    for end in ends:
        partitions = {"day": days[first].as_py()} | ({"version": version} if "version" in PARTITIONS[table] else {})
        folder = lake / parts.folder(table, **partitions)
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(made.slice(first, end - first), folder / f"{names[first].as_py()}.parquet", compression="zstd")
        first = end


if __name__ == "__main__":
    print(make_years(Path(sys.argv[1]), *map(int, sys.argv[2:])))
