"""List the recordings, plan new chunks, and say which chunks wait for this model and policy.

A chunk is a set of recordings of one day that are handled together; its membership never changes. The manifest parts of
a day are numbered, and a number can be taken once only: of two runs that plan the same day at the same time, the
second reads what the first one planned and plans the rest.
"""

import contextlib
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ser_tasks import schemas
from ser_tasks.lake import checkpoints, parts
from ser_tasks.lake.manifest import after, next_manifest, read_manifest, read_outcomes, to_retry, versions_of
from ser_tasks.pipeline.listing import ROWS_AT_ONCE, Listing, Recording
from ser_tasks.settings import Settings
from ser_tasks.storage import Store


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
    planned: int = 0
    written_bytes: int = 0
    """Bytes of the manifests that were written."""
    chunks: list[tuple[date, str]] = field(default_factory=list)
    """Day and id of each chunk that waits, oldest day first."""
    recordings: int = 0
    """Recordings in those chunks."""
    closed: int = 0
    """Recordings in the store whose day is past the retention: nothing is done with them."""
    broken: dict[str, parts.BrokenPartError] = field(default_factory=dict)
    """Parts of the lake that could not be read: what hangs on them is left alone."""


def plan(listing: Listing, lake: Store, version: str, settings: Settings, run_id: str, plan_new: bool = True) -> Plan:
    """Plans what is new (unless told not to), writes it down, and returns the chunks that wait for this version.

    A chunk waits if it has no outcomes part of this version, or one with a failed recording that may be tried again.
    A part that cannot be read stops nothing but its own day (a manifest) or chunk (outcomes).
    """
    result = Plan(listed=listing.listed, ignored_keys=listing.ignored_keys, closed=listing.closed)
    days = listing.days()
    known = checkpoints.read(lake, version)
    states = checkpoints.states(lake, version, days)
    listed = listing.digests()
    newly: dict[date, str] = {}
    for day in days:
        state = f"{settings.max_attempts} {listed.get(day)} {states[day]}"
        if known.get(day) == state:
            continue
        try:
            planned, written_bytes = _plan_day(listing, lake, day, settings, run_id) if plan_new else (0, 0)
            waits, broken = _waiting_chunks(lake, day, version, settings)
        except parts.BrokenPartError as error:  # without it nobody knows what is planned: planning anew would double recordings
            result.broken[error.key] = error
            continue
        result.broken |= broken
        result.planned += planned
        result.written_bytes += written_bytes
        result.chunks += [(day, chunk_id) for chunk_id in waits]
        result.recordings += sum(waits.values())
        if plan_new and not planned and not waits and not broken and checkpoints.states(lake, version, [day])[day] == states[day]:
            newly[day] = state
    checkpoints.write(lake, version, known, newly)
    return result


def _waiting_chunks(lake: Store, day: date, version: str, settings: Settings) -> tuple[dict[str, int], dict[str, parts.BrokenPartError]]:
    """A day's chunks that wait for this version, and how many of their recordings do; and parts that cannot be read.

    A chunk whose outcomes cannot be read does not wait: nobody knows what it has. Where a merged part cannot be read, none of the
    day's chunks does.
    """
    waits = dict(Counter(read_manifest(lake, day)["chunk_id"].to_pylist()))
    done: dict[str, int] = {}
    broken: dict[str, parts.BrokenPartError] = {}
    keys = parts.keys(lake, parts.folder("outcomes", day=day, version=version))
    for key in sorted(keys, key=lambda key: parts.rank(parts.name_of(key))):
        left: Counter[str] = Counter()
        try:
            rows = parts.read(lake, key, "outcomes", ["chunk_id", "outcome", "attempts"]).to_pylist()
        except parts.BrokenPartError as error:
            broken[key] = error
            waits = {} if parts.merged_number(parts.name_of(key)) else {**waits, parts.name_of(key): 0}
            continue
        for row in rows:
            left[row["chunk_id"]] += to_retry(row, settings)
        done |= left
    waits |= {chunk_id: left for chunk_id, left in done.items() if chunk_id in waits}
    return {chunk_id: left for chunk_id, left in waits.items() if left}, broken


def waiting(chunk: Chunk, done: pa.Table | None, settings: Settings) -> set[str]:
    """Ids of a chunk's recordings that, by its outcome rows, have no outcome yet or may be tried again."""
    final = {row["recording_id"] for row in done.to_pylist() if not to_retry(row, settings)} if done else set()
    return {recording.recording_id for recording in chunk.recordings} - final


def last_scored_at(lake: Store, chunk: Chunk) -> datetime | None:
    """When any version's outcomes of a chunk were last made; what cannot be read is passed over."""
    found = []
    for version in versions_of(lake, chunk.day):
        with contextlib.suppress(parts.BrokenPartError, FileNotFoundError):
            done = read_outcomes(lake, chunk.day, version, chunk.chunk_id)
            found += done["scored_at"].drop_null().to_pylist() if done else []
    return max(found, default=None)


def load_chunk(listing: Listing, lake: Store, day: date, version: str, chunk_id: str, settings: Settings) -> Chunk:
    """A waiting chunk with the recordings that are to be handled now.

    A recording that has left the store is kept, without a key, only where no version ever gave it an outcome.
    """
    manifest = listing.manifest(lake, day)
    rows = manifest.filter(pc.equal(manifest["chunk_id"], chunk_id))
    done = read_outcomes(lake, day, version, chunk_id)
    attempts = {row["recording_id"]: row["attempts"] for row in done.to_pylist()} if done else {}
    recordings = listing.recordings(rows, attempts)
    if done:
        again = {row["recording_id"] for row in done.to_pylist() if to_retry(row, settings)}
        recordings = [recording for recording in recordings if recording.recording_id in again and recording.key is not None]
    elif any(read_outcomes(lake, day, other, chunk_id) for other in versions_of(lake, day)):
        recordings = [recording for recording in recordings if recording.key is not None]
    return Chunk(chunk_id, day, recordings)


def _plan_day(listing: Listing, lake: Store, day: date, settings: Settings, run_id: str) -> tuple[int, int]:
    """Writes the manifest parts of a day's new recordings, and returns how many were new, and the bytes written."""
    folder = parts.folder("recordings", day=day)
    planned = written_bytes = 0
    while True:
        number = next_manifest(lake, day)
        rows: list[dict[str, Any]] = []
        manifest = read_manifest(lake, day)
        now = after(pc.max(manifest["planned_at"]).as_py())
        for chunk in _chunked(listing.new(day, manifest), settings):
            chunk_id = _chunk_id(chunk)
            rows += [{**row, "chunk_id": chunk_id, "planned_at": now, "run_id": run_id} for row in chunk]
            if len(rows) >= ROWS_AT_ONCE:
                break
        if not rows:
            return planned, written_bytes
        part = parts.encode("recordings", schemas.table("recordings", rows))
        if lake.create_bytes(f"{folder}manifest-{number:06}.parquet", part):
            planned, written_bytes = planned + len(rows), written_bytes + len(part)


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
