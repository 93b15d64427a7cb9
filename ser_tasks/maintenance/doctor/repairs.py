"""Repairs of what the doctor found: parts move into quarantine, manifests are rebuilt, abandoned temporary files are removed."""

import contextlib
from datetime import UTC, date, datetime

import pyarrow as pa

from ser_tasks import schemas
from ser_tasks.lake import key_chain, parts
from ser_tasks.lake.manifest import next_manifest
from ser_tasks.maintenance.doctor.findings import Report
from ser_tasks.pipeline.listing import Listing
from ser_tasks.scratch import scratch_folder
from ser_tasks.settings import Settings
from ser_tasks.storage import Store, open_store

_OUTCOME_COLUMNS = ["recording_id", "etag", "key", "chunk_id", "scored_at", "run_id"]


def repair(report: Report, settings: Settings | None = None) -> list[str]:
    """Does every repair that is safe and returns one line about each. No night may run on the lake meanwhile.

    A chunk with a broken or a missing part loses its parts of that version to ``quarantine/``, outcomes first: the next night makes them
    again from the recordings. Of recordings that have left the store since, the rows stay in quarantine.
    """
    store, done = open_store(report.lake), []
    folder = f"quarantine/{datetime.now(UTC):%Y%m%dT%H%M%S}/"
    for day, keys in sorted(report.to_rebuild.items()):
        if day in report.unplanned and report.recordings is None:
            done.append(f"left the manifest of {day} alone: give --recordings, for only the store knows the sidecars' etags")
        else:
            done += _rebuild_manifest(store, report, day, keys, folder, settings or Settings())
    for key in report.to_move:
        if _copy(store, key, folder):
            store.delete(key)
            done.append(f"moved {key} into {folder}")
    for path in report.to_remove:
        path.unlink(missing_ok=True)
        done.append(f"removed {path}")
    return done


def _copy(store: Store, key: str, folder: str) -> bool:
    try:
        data = store.read_bytes(key)
    except FileNotFoundError:
        return False
    store.write_bytes(folder + key, data)
    return True


def _rebuild_manifest(store: Store, report: Report, day: date, keys: list[str], folder: str, settings: Settings) -> list[str]:
    """Writes a complete manifest part in place of each that is missing or cannot be read, after a copy of the latter into ``folder``."""
    rows = _rows_from_outcomes(store, report, day, settings) if day in report.unplanned else schemas.RECORDINGS.empty_table()
    done = []
    for key in keys or [f"{parts.folder('recordings', day=day)}manifest-{next_manifest(store, day):06}.parquet"]:
        if _copy(store, key, folder):
            done.append(f"copied {key} into {folder}")
        store.write_bytes(key, parts.encode("recordings", rows))
        done.append(f"rebuilt {key}: {rows.num_rows:,} recordings of {day}, from their outcomes")
        rows = schemas.RECORDINGS.empty_table()
    return done


def _rows_from_outcomes(store: Store, report: Report, day: date, settings: Settings) -> pa.Table:
    """Manifest rows of a day's handled recordings that no readable manifest has, in the chunks that their outcomes name.

    Size, time of upload and the sidecar's etag come from the store where it still holds the same bytes, and are null elsewhere.
    A recording that was planned but has no outcome is in no part: the next night plans it again.
    """
    planned = _readable(store, parts.folder("recordings", day=day), "recordings", None)
    handled = _readable(store, parts.folder("outcomes", day=day), "outcomes", _OUTCOME_COLUMNS)
    with scratch_folder(settings.scratch) as scratch:
        keys = key_chain.read(store, settings).recordings
        listing = Listing(open_store(report.recordings or ""), settings, scratch / "listing.duckdb", keys=keys)
        database = listing.database
        database.register("planned", pa.concat_tables([schemas.RECORDINGS.empty_table(), *planned]))
        database.register("handled", pa.concat_tables(handled))
        rows = database.execute(
            """
            SELECT h.recording_id, h.etag, any_value(h.key) AS key, any_value(l.sidecar_etag) AS sidecar_etag,
                any_value(l.size_bytes) AS size_bytes, any_value(l.last_modified) AS last_modified,
                any_value(l.day_source) AS day_source, any_value(l.estimated_s) AS estimated_s,
                h.chunk_id, min(h.scored_at) AS planned_at, arg_min(h.run_id, h.scored_at) AS run_id,
                NULL::VARCHAR AS content_hash, NULL::VARCHAR AS sidecar_hash
            FROM handled AS h LEFT JOIN listing AS l USING (recording_id, etag)
            ANTI JOIN planned AS p USING (recording_id, etag, chunk_id)
            GROUP BY h.recording_id, h.etag, h.chunk_id ORDER BY key, h.recording_id
            """
        ).to_arrow_table()
    return schemas.table("recordings", rows.to_pylist())


def _readable(store: Store, prefix: str, table: str, columns: list[str] | None) -> list[pa.Table]:
    tables = []
    for key in parts.keys(store, prefix):
        with contextlib.suppress(parts.BrokenPartError):
            tables.append(parts.read(store, key, table, columns))
    return tables
