"""List the recordings, plan new chunks, and find the chunks that wait for this model and policy.

A chunk is a set of recordings of one day that are handled together; its membership never changes. The manifest parts of
a day are numbered, and a number can be taken once only: when two runs plan the same day at the same time, the
second reads what the first one planned and plans the rest.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ser_tasks import schemas
from ser_tasks.lake import checkpoints, ledger, parts
from ser_tasks.lake.ledger import DayLedger
from ser_tasks.lake.manifest import after, manifest_key, to_retry
from ser_tasks.pipeline.listing import Listing, Recording
from ser_tasks.settings import Settings
from ser_tasks.storage import Store

MOST_SUFFIXES = 20
MANIFEST_ROWS = 10_000
"""Recordings from which on a manifest part is full; the chunk that fills it is in it."""
WITHOUT_HASH = (
    "%d recordings have the size of an earlier upload and another time. The lake holds no hash of those uploads, which an older version "
    "planned: they count as uploaded again."
)


@dataclass(frozen=True)
class Chunk:
    chunk_id: str
    day: date
    recordings: list[Recording]
    """Recordings to handle now: all, or those that failed before."""


@dataclass
class Plan:
    """What one run has to do."""

    listed: int = 0
    ignored_keys: int = 0
    lone_sidecars: int = 0
    """Sidecars of no recording; they count as ignored, too."""
    shown_lone_sidecars: list[str] = field(default_factory=list)
    """Masked keys of some of them."""
    ignored_suffixes: str = ""
    """The suffixes of those keys with their numbers, as ``.mkv 3, .txt 1``, the most frequent first; at most MOST_SUFFIXES."""
    planned: int = 0
    written_bytes: int = 0
    """Bytes of the manifests that were written."""
    chunks: list[tuple[date, str]] = field(default_factory=list)
    """Day and id of each chunk that waits, oldest day first."""
    recordings: int = 0
    """Recordings in those chunks."""
    closed: int = 0
    """Recordings in the store whose day is past the retention: nothing is done with them."""
    without_hash: int = 0
    """Recordings that WITHOUT_HASH is about."""
    broken: dict[str, parts.BrokenPartError] = field(default_factory=dict)
    """Parts of the lake that could not be read: the days and chunks that depend on them are left alone."""


def plan(listing: Listing, lake: Store, version: str, settings: Settings, run_id: str, plan_new: bool = True) -> Plan:
    """Plans new recordings (unless ``plan_new`` is false), writes their manifest, and returns the chunks that wait for this version.

    A chunk waits if it has no outcomes part of this version, or one with a failed recording that may be tried again. The recordings of
    waiting chunks are kept in the listing (``load_chunk``). A part that cannot be read stops only its day (a manifest) or chunk (outcomes).
    """
    suffixes = ", ".join(f"{suffix} {count}" for suffix, count in listing.ignored.most_common(MOST_SUFFIXES) if count)
    result = Plan(
        listed=listing.listed,
        ignored_keys=listing.ignored.total(),
        ignored_suffixes=suffixes,
        lone_sidecars=listing.lone_sidecars,
        shown_lone_sidecars=listing.shown_lone_sidecars,
        closed=listing.closed,
    )
    days = listing.days()
    known = checkpoints.read(lake, version)
    digests = listing.digests()
    newly: dict[date, str] = {}
    for listed in ledger.list_days(lake, days) if days else ():
        state = f"{settings.max_attempts}{'+' * settings.retry_given_up} {digests.get(listed.day)} {checkpoints.state_of(listed, version)}"
        if known.get(listed.day) == state:
            continue
        planned = 0
        try:
            day = ledger.read_day(lake, listed, version, settings)
            result.without_hash += listing.recognise(day.day, day.manifest)
            if plan_new:
                day, planned, written_bytes = _plan_day(listing, lake, day, version, settings, run_id)
                result.written_bytes += written_bytes
        except parts.BrokenPartError as error:  # what is planned is unknown: planning anew would double recordings
            result.broken[error.key] = error
            continue
        waiting = day.waiting()
        for rows in _to_handle(day, waiting):
            listing.keep(rows)
        result.broken |= day.broken
        result.planned += planned
        result.chunks += [(day.day, chunk_id) for chunk_id in waiting]
        result.recordings += sum(waiting.values())
        if plan_new and not planned and not waiting and not day.broken:
            newly[day.day] = state  # a part that was written since makes another state
    checkpoints.write(lake, version, known, newly)
    return result


def _to_handle(day: DayLedger, waiting: dict[str, int]) -> Iterator[pa.Table]:
    """Manifest rows of the recordings in waiting chunks, with ``attempts`` so far, and ``only_listed``: whether to leave it out where
    it is no longer in the store. A recording that no version ever gave an outcome is kept, and fails. A batch at a time.
    """
    ids = pa.array(waiting, pa.string())
    for batch in day.manifest.to_batches(max_chunksize=MANIFEST_ROWS):
        rows = pa.Table.from_batches([batch])
        rows = rows.filter(pc.is_in(rows["chunk_id"], ids))
        attempts: list[int | None] = []
        only_listed: list[bool] = []
        for chunk_id, recording_id in zip(rows["chunk_id"].to_pylist(), rows["recording_id"].to_pylist(), strict=True):
            done = day.retries.get(chunk_id)
            attempts.append(0 if done is None else done.get(recording_id))  # null: it has its outcome
            only_listed.append(done is not None or chunk_id in day.known_elsewhere)
        columns = {"attempts": pa.array(attempts, pa.int64()), "only_listed": pa.array(only_listed, pa.bool_())}
        for name, values in columns.items():
            rows = rows.append_column(name, values)
        yield rows.filter(pc.is_valid(rows["attempts"]))


def waiting_recordings(chunk: Chunk, done: pa.Table, settings: Settings) -> set[str]:
    """Ids of a chunk's recordings that, by its outcome rows, have no outcome yet or may be tried again."""
    final = {row["recording_id"] for row in done.to_pylist() if not to_retry(row, settings)}
    return {recording.recording_id for recording in chunk.recordings} - final


def load_chunk(listing: Listing, day: date, chunk_id: str) -> Chunk:
    """A chunk that waited when it was planned, with the recordings to handle."""
    return Chunk(chunk_id, day, listing.recordings(chunk_id))


def _plan_day(listing: Listing, lake: Store, day: DayLedger, version: str, settings: Settings, run_id: str) -> tuple[DayLedger, int, int]:
    """Writes manifest parts of a day's new recordings. Returns the ledger with them, how many were new, and the bytes written."""
    planned = written_bytes = 0
    while True:
        tables: list[pa.Table] = []
        now = after(pc.max(day.manifest["planned_at"]).as_py())
        for chunk in _chunked(listing.new(day.day, day.manifest, hashed=True), settings):
            chunk_id = _chunk_id(chunk)
            rows = [{**row, "chunk_id": chunk_id, "planned_at": now, "run_id": run_id} for row in chunk]
            tables.append(schemas.table("recordings", rows))
            if sum(map(len, tables)) >= MANIFEST_ROWS:
                break
        if not tables:
            return day, planned, written_bytes
        table = pa.concat_tables(tables).combine_chunks()
        part = parts.encode("recordings", table)
        number = day.last_number + 1
        if lake.create_bytes(manifest_key(day.day, number), part):
            planned, written_bytes = planned + len(table), written_bytes + len(part)
            day = replace(day, manifest=pa.concat_tables([day.manifest, table]), last_number=number)
        else:  # another run planned the day in the meantime
            [listed] = ledger.list_days(lake, [day.day])
            day = ledger.read_day(lake, listed, version, settings)


def _chunked(rows: Iterator[dict[str, Any]], settings: Settings) -> Iterator[list[dict[str, Any]]]:
    chunk: list[dict[str, Any]] = []
    chunk_s = 0.0
    for row in rows:
        full = len(chunk) >= settings.chunk_recordings or chunk_s + row["estimated_s"] > settings.chunk_audio_s
        if chunk and full:
            yield chunk
            chunk, chunk_s = [], 0.0
        chunk.append(row)
        chunk_s += row["estimated_s"]
    if chunk:
        yield chunk


def _chunk_id(rows: list[dict[str, Any]]) -> str:
    members = sorted(f"{row['recording_id']} {row['etag']} {row['sidecar_etag'] or ''}" for row in rows)
    return hashlib.sha256("\n".join(members).encode()).hexdigest()[:20]
