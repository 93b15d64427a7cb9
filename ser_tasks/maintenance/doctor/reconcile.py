"""The reconciliation: manifests, outcomes and rows of a lake are compared with each other and with the recordings' store.

DuckDB reads the columns that it needs, within MEMORY_LIMIT.
"""

from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa

from ser_tasks.lake import catalog, erased, key_chain, parts
from ser_tasks.lake.manifest import MANIFEST, deleted_days, read_manifest
from ser_tasks.lake.sql_text import literal
from ser_tasks.maintenance.doctor.findings import KINDS, REPAIR, Report
from ser_tasks.maintenance.doctor.inventory import Inventory, parts_of_chunk
from ser_tasks.pipeline.ingest import WITHOUT_HASH
from ser_tasks.pipeline.listing import Listing
from ser_tasks.pseudonyms import KEYED
from ser_tasks.settings import Settings
from ser_tasks.storage import Store, open_store

MEMORY_LIMIT = "512MB"

_TABLES = """
    CREATE TEMP TABLE deleted AS SELECT DISTINCT day FROM parts.deletions WHERE table_name NOT IN ('runs', 'quarantine');
    CREATE TEMP TABLE planned AS SELECT recording_id, etag, sidecar_etag, chunk_id, day FROM recordings_all ANTI JOIN deleted USING (day);
    CREATE TEMP TABLE handled AS SELECT recording_id, etag, chunk_id, day, version, outcome FROM outcomes_all ANTI JOIN deleted USING (day);
    CREATE TEMP TABLE call_rows AS
        SELECT DISTINCT recording_id, etag, chunk_id, day, version FROM parts.call_emotions ANTI JOIN deleted USING (day);
    CREATE TEMP TABLE segment_rows AS
        SELECT recording_id, etag, chunk_id, day, version, bool_or(emotion IS NOT NULL) AS scored
        FROM parts.segments ANTI JOIN deleted USING (day) GROUP BY ALL;
    CREATE TEMP TABLE all_rows AS SELECT * FROM call_rows UNION SELECT * EXCLUDE (scored) FROM segment_rows;
"""
"""Days with deletions by the retention are left out: there is nothing to reconcile."""

_UNTOUCHED = """NOT EXISTS (
    FROM broken_parts AS b
    WHERE b.day = x.day AND (b.tbl = 'recordings'
        OR (b.name = x.chunk_id OR b.name LIKE 'merged-%') AND b.version IS NOT DISTINCT FROM x.version))"""
"""Only chunks whose parts and whose day's manifests can all be read. A merged part may hold any chunk."""

_OUTCOMES_READ = """NOT EXISTS (
    FROM broken_parts AS b WHERE b.day = x.day AND b.tbl = 'outcomes' AND (b.name = x.chunk_id OR b.name LIKE 'merged-%'))"""

_BY_CHUNK = {
    "rows_missing": f"""
        SELECT day, version, chunk_id, count(*) AS recordings FROM handled AS x
        WHERE {_UNTOUCHED} AND (
            outcome IN ('scored', 'no_speech', 'withheld')
                AND NOT EXISTS (FROM call_rows AS c WHERE (c.recording_id, c.etag, c.chunk_id, c.day, c.version)
                    = (x.recording_id, x.etag, x.chunk_id, x.day, x.version))
            OR outcome = 'scored'
                AND NOT EXISTS (FROM segment_rows AS s WHERE s.scored AND (s.recording_id, s.etag, s.chunk_id, s.day, s.version)
                    = (x.recording_id, x.etag, x.chunk_id, x.day, x.version)))
        GROUP BY ALL""",
    "rows_without_outcome": f"""
        SELECT day, version, chunk_id, count(*) AS recordings FROM all_rows AS x
        ANTI JOIN handled USING (recording_id, etag, chunk_id, day, version)
        WHERE {_UNTOUCHED} AND EXISTS (FROM handled AS h WHERE (h.chunk_id, h.day, h.version) = (x.chunk_id, x.day, x.version))
        GROUP BY ALL""",
    "half_published": f"""
        SELECT day, version, chunk_id, count(*) AS recordings FROM all_rows AS x
        WHERE {_UNTOUCHED} AND NOT EXISTS (FROM handled AS h WHERE (h.chunk_id, h.day, h.version) = (x.chunk_id, x.day, x.version))
            AND EXISTS (FROM planned AS p WHERE (p.chunk_id, p.day) = (x.chunk_id, x.day))
        GROUP BY ALL""",
    "unplanned_rows": f"""
        SELECT day, version, chunk_id, count(*) AS recordings FROM all_rows AS x
        WHERE {_OUTCOMES_READ}
            AND NOT EXISTS (FROM handled AS h WHERE (h.chunk_id, h.day, h.version) = (x.chunk_id, x.day, x.version))
            AND NOT EXISTS (FROM planned AS p WHERE (p.chunk_id, p.day) = (x.chunk_id, x.day))
        GROUP BY ALL""",
    "foreign_part": """
        SELECT day, version, chunk_id, count(*) AS recordings FROM handled AS x
        WHERE NOT EXISTS (FROM planned AS p WHERE (p.chunk_id, p.day) = (x.chunk_id, x.day))
            AND EXISTS (FROM planned AS p WHERE p.chunk_id = x.chunk_id)
        GROUP BY ALL""",
    "not_handled": f"""
        SELECT day, NULL AS version, chunk_id, count(*) AS recordings
        FROM (SELECT *, NULL::VARCHAR AS version FROM planned) AS x ANTI JOIN handled USING (recording_id, etag, chunk_id, day)
        WHERE {_OUTCOMES_READ}
        GROUP BY ALL""",
}
"""Queries for faulty chunks, by kind: day, version, chunk and number of recordings."""

_UNPLANNED = """
    SELECT day, count(*) AS recordings FROM (
        SELECT DISTINCT recording_id, etag, chunk_id, day FROM handled AS x
        ANTI JOIN planned USING (recording_id, etag, chunk_id, day)
        WHERE NOT EXISTS (FROM planned AS p WHERE p.chunk_id = x.chunk_id AND p.day <> x.day)
    ) GROUP BY day"""

_NOT_IN_VERSION = """
    SELECT v.day, v.version, v.chunk_id, p.recording_id, p.etag
    FROM (SELECT DISTINCT day, version, chunk_id FROM handled) AS v JOIN planned AS p USING (day, chunk_id)
    ANTI JOIN handled AS h USING (day, version, chunk_id, recording_id, etag)
    SEMI JOIN handled AS other ON other.recording_id = p.recording_id AND other.etag = p.etag"""
"""Recordings without an outcome in a version that handled the rest of their chunk. Those that no version handled are in not_handled."""

_DOUBLED = {
    "outcomes_doubled": """
        SELECT recording_id, version, count(*), string_agg(DISTINCT chunk_id, ', ' ORDER BY chunk_id)
        FROM handled LEFT JOIN (SELECT DISTINCT recording_id, etag, chunk_id, day, sidecar_etag FROM planned)
            USING (recording_id, etag, chunk_id, day)
        GROUP BY recording_id, etag, sidecar_etag, version HAVING count(*) > 1""",
    "planned_twice": """
        SELECT recording_id, min(day), count(*), string_agg(DISTINCT chunk_id, ', ' ORDER BY chunk_id)
        FROM planned GROUP BY recording_id, etag, sidecar_etag HAVING count(*) > 1""",
}


_GIVEN_UP = """
    WITH tired AS (
        SELECT day, version, chunk_id, recording_id, etag, reason_code, scored_at
        FROM outcomes_all ANTI JOIN deleted USING (day) WHERE outcome = 'failed' AND attempts >= $attempts
    ), later AS (
        SELECT recording_id, version, max(scored_at) AS scored_at
        FROM outcomes_all SEMI JOIN tired USING (recording_id, version) GROUP BY ALL
    )
    FROM tired SEMI JOIN later USING (recording_id, version, scored_at)"""
"""Recordings whose newest outcome in a version is a failure after the last attempt."""


_UNKEYED = """
    SELECT count(DISTINCT recording_id), count(DISTINCT recording_id) FILTER (NOT starts_with(recording_id, $keyed)) FROM recordings_all"""

_KEYS_OF_RUNS = """
    SELECT key_fingerprint, min(started_at), max(started_at) FROM parts.runs WHERE key_fingerprint IS NOT NULL GROUP BY ALL ORDER BY 2"""

IGNORED = "Keys that are neither recordings nor sidecars of one are ignored (SER_RECORDING_SUFFIXES says what recordings are), {}."


def reconcile(store: Store, report: Report, inventory: Inventory, settings: Settings, scratch: Path) -> None:
    """Adds to the report what does not agree. Raises duckdb.Error where a part cannot be read after all."""
    with catalog.connect(report.lake, without=inventory.left_out) as lake:
        lake.execute(f"SET memory_limit = '{MEMORY_LIMIT}'; SET preserve_insertion_order = false")
        lake.execute(f"SET temp_directory = {literal(str(scratch))}")
        lake.register("broken_parts", inventory.broken)
        lake.execute(_TABLES)
        _find_faulty_chunks(store, report, lake)
        for day, count in lake.execute(_UNPLANNED + " ORDER BY day").fetchall():
            report.add("unplanned_outcomes", f"the day {day}", count, day=day)
            report.unplanned.add(day)
            report.to_rebuild.setdefault(day, [])
        for kind, query in _DOUBLED.items():
            for recording_id, _, count, chunks in lake.execute(query + " ORDER BY ALL").fetchall():
                report.add(kind, f"recording {recording_id}", count, f"chunks {chunks}")
        _find_manifest_gaps(report, inventory, deleted_days(store))
        given_up = lake.execute(_GIVEN_UP, {"attempts": settings.max_attempts}).to_arrow_table()
        if report.recordings:
            missing = lake.execute(_NOT_IN_VERSION).to_arrow_table()
            given_up = _compare_with_recordings(store, report, missing, given_up, settings, scratch)
        _add_given_up(report, lake, given_up)
        _look_at_keys(store, report, lake)
        last = lake.execute("SELECT ignored_suffixes FROM parts.runs ORDER BY started_at DESC LIMIT 1").fetchone()
        if not report.recordings and last and last[0]:
            report.notes.append(IGNORED.format(f"by the last night: {last[0]}"))


def _look_at_keys(store: Store, report: Report, lake: duckdb.DuckDBPyConnection) -> None:
    [(recordings, unkeyed)] = lake.execute(_UNKEYED, {"keyed": KEYED}).fetchall()
    try:
        state = key_chain.stored(store)
    except ValueError:
        state = {}
    if state == {} or (state is None and unkeyed < recordings):
        report.add("keys_missing", key_chain.FILE)
    if unkeyed:
        report.notes.append(f"{unkeyed:,} of {recordings:,} recordings: {key_chain.UNKEYED.format(lake=report.lake)}.")
    keys = lake.execute(_KEYS_OF_RUNS).fetchall()
    if len(keys) > 1:
        nights = ", ".join(f"{key} from {first:%Y-%m-%d} to {last:%Y-%m-%d}" for key, first, last in keys)
        report.notes.append(
            f"Pseudonyms were made with {len(keys)} keys (fingerprint, first and last night): {nights}. A person has another pseudonym "
            "under each, and ser erase finds them under the one that is set: run it once with each key."
        )


def _find_faulty_chunks(store: Store, report: Report, lake: duckdb.DuckDBPyConnection) -> None:
    for kind, query in _BY_CHUNK.items():
        for day, version, chunk_id, count in lake.execute(query + " ORDER BY ALL").fetchall():
            if version is None:
                report.add(kind, f"chunk {chunk_id} of {day}", count, day=day)
                continue
            report.add(kind, f"chunk {chunk_id} of {day}, version {version},", count, day=day)
            if KINDS[kind][1] == REPAIR:
                report.move(*parts_of_chunk(store, day, version, chunk_id))


def _find_manifest_gaps(report: Report, inventory: Inventory, deleted: set[date]) -> None:
    numbers: dict[date, list[int]] = {}
    for table in (inventory.readable, inventory.broken):
        for name, day, key in zip(*(table[column].to_pylist() for column in ("tbl", "day", "key")), strict=True):
            if name == "recordings" and day not in deleted and (match := MANIFEST.search(key)):
                numbers.setdefault(day, []).append(int(match[1]))
    for day, present in sorted(numbers.items()):
        for number in sorted(set(range(1, max(present) + 1)) - set(present)):
            key = f"{parts.folder('recordings', day=day)}manifest-{number:06}.parquet"
            report.add("manifest_gap", key, day=day)
            report.to_rebuild.setdefault(day, []).append(key)


def _add_given_up(report: Report, lake: duckdb.DuckDBPyConnection, given_up: pa.Table) -> None:
    lake.register("given_up", given_up)
    query = """
        SELECT day, version, chunk_id, count(*), string_agg(DISTINCT reason_code, ', ' ORDER BY reason_code)
        FROM given_up GROUP BY ALL ORDER BY ALL"""
    for day, version, chunk_id, count, codes in lake.execute(query).fetchall():
        report.add("given_up", f"chunk {chunk_id} of {day}, version {version},", count, codes, day)


def _compare_with_recordings(
    store: Store, report: Report, missing: pa.Table, given_up: pa.Table, settings: Settings, scratch: Path
) -> pa.Table:
    """Finds recordings that no manifest has, and of ``missing`` (recordings without an outcome in a version) those that still exist.

    Returns the rows of ``given_up`` that still exist: others cannot be tried again.
    """
    lake_keys = key_chain.read(store, settings)
    deleted, gone = deleted_days(store), erased.read(store, *lake_keys.people)
    recordings = open_store(report.recordings or "")
    listing = Listing(recordings, settings, scratch / "listing.duckdb", deleted=deleted, erased=gone, keys=lake_keys.recordings)
    ignored = ", ".join(f"{suffix} {count}" for suffix, count in listing.ignored.most_common() if count)
    if ignored:
        report.notes.append(IGNORED.format(f"in {report.recordings}: {ignored}"))
    without_hash = 0
    for day in listing.days():
        try:
            manifest = read_manifest(store, day)
        except parts.BrokenPartError:
            continue
        without_hash += listing.recognise(day, manifest)
        count = sum(1 for _ in listing.new(day, manifest))
        if count:
            report.add("not_planned", f"{report.recordings}, day {day},", count, day=day)
    if without_hash:
        report.notes.append(WITHOUT_HASH % without_hash)
    cursor = listing.database.cursor()
    cursor.register("missing", missing)
    query = "SELECT day, version, chunk_id, count(*) FROM missing SEMI JOIN listing USING (recording_id, etag) GROUP BY ALL ORDER BY ALL"
    for day, version, chunk_id, count in cursor.execute(query).fetchall():
        report.add("not_in_version", f"chunk {chunk_id} of {day}, version {version},", count, day=day)
        report.move(*parts_of_chunk(store, day, version, chunk_id))
    cursor.register("given_up", given_up)
    return cursor.execute("FROM given_up SEMI JOIN listing USING (recording_id, etag)").to_arrow_table()
