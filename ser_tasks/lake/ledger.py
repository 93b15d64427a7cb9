"""A day's ledger: what the lake holds of one day at one moment, read once when a run plans the day and once when it publishes a chunk.

Other runs and the compaction may write at any time. A manifest number can be taken once only (create-if-absent), so a ledger that is
out of date never plans a recording twice; and what is to be published is compared with the outcomes as they are then.
"""

import contextlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from ser_tasks import schemas
from ser_tasks.lake import parts
from ser_tasks.lake.manifest import manifest_number, to_retry
from ser_tasks.settings import Settings
from ser_tasks.storage import Store, StoredObject

Read = TypeVar("Read")

READ_ATTEMPTS = 5
"""Reads of a day before a part that was listed and is missing counts as an error: the compaction removes the parts that it merged."""


@dataclass(frozen=True)
class ListedDay:
    """The parts of a day's manifest, and of its outcomes under every version, in the order of their keys."""

    day: date
    manifest: tuple[StoredObject, ...]
    outcomes: tuple[StoredObject, ...]

    def keys(self, version: str | None = None) -> list[str]:
        """Keys of the outcomes parts of one version, or of all."""
        return [part.key for part in self.outcomes if version is None or version_of_key(part.key) == version]

    def versions(self) -> set[str]:
        return {version_of_key(part.key) for part in self.outcomes}


def version_of_key(key: str) -> str:
    """The version in the key of an outcomes part."""
    part = parts.PartKey.parse(key)
    return (part and part.version) or ""


def list_days(lake: Store, days: Sequence[date]) -> Iterator[ListedDay]:
    """The parts of each of these days, which are in ascending order. Several days cost one listing of each table."""
    prefixes = {table: parts.folder(table, day=days[0]) if len(days) == 1 else f"{table}/" for table in ("recordings", "outcomes")}
    wanted = set(days)
    manifests: dict[date, list[StoredObject]] = defaultdict(list)
    for item in lake.list(prefixes["recordings"]):
        part = parts.PartKey.parse(item.key)
        if part and part.day in wanted:
            manifests[part.day].append(item)
    pending = iter(days)
    by_day = groupby(lake.list(prefixes["outcomes"]), key=lambda item: parts.day_of(item.key))
    for day, items in by_day:  # one day's outcomes in memory at a time
        if day not in wanted:
            continue
        for earlier in pending:
            if earlier == day:
                break
            yield ListedDay(earlier, tuple(manifests.pop(earlier, ())), ())
        yield ListedDay(day, tuple(manifests.pop(day, ())), tuple(item for item in items if parts.PartKey.parse(item.key)))
    for day in pending:
        yield ListedDay(day, tuple(manifests.pop(day, ())), ())


@dataclass(frozen=True)
class DayLedger:
    """A day's manifest, and which of its chunks are done under one version."""

    day: date
    manifest: pa.Table
    last_number: int
    """The number of the newest manifest part; 0 without any."""
    retries: dict[str, dict[str, int]]
    """By chunk that has outcomes: its recordings that may be tried again, with the attempts so far."""
    known_elsewhere: frozenset[str]
    """Chunks without outcomes of this version that have outcomes of another one."""
    unreadable: frozenset[str]
    """Chunks whose state is unknown, since a part that may hold them cannot be read."""
    broken: dict[str, parts.BrokenPartError]
    """The parts that cannot be read, by key."""

    def waiting(self) -> dict[str, int]:
        """Chunks that wait for this version, in the order of the manifest, and how many of their recordings do."""
        counts = Counter(self.manifest["chunk_id"].to_pylist())
        left = {chunk_id: len(self.retries.get(chunk_id, range(count))) for chunk_id, count in counts.items()}
        return {chunk_id: count for chunk_id, count in left.items() if count and chunk_id not in self.unreadable}


def read_day(lake: Store, listed: ListedDay, version: str, settings: Settings) -> DayLedger:
    """The ledger of a day that was just listed. Raises BrokenPartError for a manifest part that cannot be read.

    ``settings`` say how often a failed recording is tried.
    """
    listed = _without_gap(lake, listed)
    return _reread(lake, listed, lambda now: _read_day(lake, now, version, settings))


def _without_gap(lake: Store, listed: ListedDay) -> ListedDay:
    """The day listed once more where a manifest number is missing: a listing that runs while others write may miss one of two new parts."""
    numbers = [manifest_number(part.key) for part in listed.manifest]
    return listed if max(numbers, default=0) <= len(numbers) else _list_day(lake, listed.day)


def _list_day(lake: Store, day: date) -> ListedDay:
    return next(list_days(lake, [day]))


def _reread(lake: Store, listed: ListedDay, read: Callable[[ListedDay], Read]) -> Read:
    """``read`` of the listed parts; the day is listed anew where the compaction has removed one of them since."""
    for _ in range(READ_ATTEMPTS - 1):
        try:
            return read(listed)
        except FileNotFoundError:
            listed = _list_day(lake, listed.day)
    return read(listed)


def _read_day(lake: Store, listed: ListedDay, version: str, settings: Settings) -> DayLedger:
    manifest = [parts.read(lake, part.key, "recordings") for part in listed.manifest]
    recordings = pa.concat_tables([schemas.RECORDINGS.empty_table(), *manifest])
    planned = set(recordings["chunk_id"].to_pylist())
    retries: dict[str, dict[str, int]] = {}
    unreadable: set[str] = set()
    broken: dict[str, parts.BrokenPartError] = {}
    for key in sorted(listed.keys(version), key=lambda key: parts.rank(parts.name_of(key))):
        try:
            rows = parts.read(lake, key, "outcomes", ["chunk_id", "recording_id", "outcome", "reason_code", "attempts"])
        except parts.BrokenPartError as error:
            broken[key] = error
            name = parts.name_of(key)
            unreadable |= planned if parts.merged_number(name) else {name}
            continue
        attempts: dict[str, dict[str, int]] = {chunk_id: {} for chunk_id in rows["chunk_id"].unique().to_pylist()}
        unfinished = pc.or_kleene(pc.equal(rows["outcome"], "failed"), pc.is_in(rows["reason_code"], pa.array(schemas.LOCKED)))
        for row in rows.filter(unfinished).to_pylist():
            if to_retry(row, settings):
                attempts[row["chunk_id"]][row["recording_id"]] = row["attempts"]
        retries |= attempts  # of several parts with rows of a chunk the last one counts
        unreadable -= attempts.keys()
    new = planned - retries.keys() - unreadable
    elsewhere = set()
    for key in listed.keys() if new else ():
        name = parts.name_of(key)
        if version_of_key(key) == version:
            continue
        if not parts.merged_number(name):
            elsewhere.add(name)
            continue
        try:
            elsewhere |= set(parts.read(lake, key, "outcomes", ["chunk_id"])["chunk_id"].to_pylist())
        except parts.BrokenPartError as error:
            broken[key] = error
            unreadable |= new
    last = max((manifest_number(part.key) for part in listed.manifest), default=0)
    return DayLedger(listed.day, recordings, last, retries, frozenset(elsewhere & new), frozenset(unreadable), broken)


@dataclass(frozen=True)
class ChunkLedger:
    """What a chunk has at the moment of publishing it."""

    held_by: str | None
    """Name of the parts with its rows under the version that is published; None where it is not done."""
    outcomes: pa.Table
    """Its outcome rows under that version."""
    last_scored_at: datetime | None
    """When its outcomes of any version were last made."""


def read_chunk(lake: Store, day: date, version: str, chunk_id: str) -> ChunkLedger:
    """A chunk's ledger. Raises BrokenPartError where a part of this version cannot be read; those of other versions are passed over.

    However many parts the day has, it lists only the folders of versions and their merged parts.
    """
    for _ in range(READ_ATTEMPTS - 1):
        with contextlib.suppress(FileNotFoundError):  # the compaction has removed a merged part since it was listed
            return _read_chunk(lake, day, version, chunk_id)
    return _read_chunk(lake, day, version, chunk_id)


def _read_chunk(lake: Store, day: date, version: str, chunk_id: str) -> ChunkLedger:
    held, times = None, []
    for folder in lake.folders(parts.folder("outcomes", day=day)):
        place = f"{parts.folder('outcomes', day=day)}{folder}/"
        if folder == f"version={version}":
            held = find_chunk(lake, place, chunk_id)
            times += _scored_at(held)
        else:
            with contextlib.suppress(parts.BrokenPartError):
                times += _scored_at(find_chunk(lake, place, chunk_id))
    rows = held[1] if held else schemas.TABLES["outcomes"].empty_table()
    return ChunkLedger(held and held[0], rows, max(times, default=None))


def _scored_at(held: tuple[str, pa.Table] | None) -> list[datetime]:
    return held[1]["scored_at"].drop_null().to_pylist() if held else []


def find_chunk(lake: Store, place: str, chunk_id: str) -> tuple[str, pa.Table] | None:
    """Of the outcomes parts in the folder of one day and version, the name of the one that holds a chunk, and its rows; None where
    it is not done.

    Of several parts with rows of the chunk the latest merged one counts, then its own, as in ``sql/staging/chunks.sql``. The own part
    is read first: where it is gone, the merged part that replaced it was written long before, and is listed.
    """
    own: pa.Table | parts.BrokenPartError | None = None
    try:
        own = _rows_of(lake, f"{place}{chunk_id}.parquet", chunk_id)
    except FileNotFoundError:
        pass
    except parts.BrokenPartError as error:
        own = error
    for key in sorted(parts.keys(lake, place + parts.MERGED), key=lambda key: parts.rank(parts.name_of(key)), reverse=True):
        rows = _rows_of(lake, key, chunk_id)
        if len(rows):
            return parts.name_of(key), rows
    if isinstance(own, parts.BrokenPartError):
        raise own
    return None if own is None else (chunk_id, own)


def _rows_of(lake: Store, key: str, chunk_id: str) -> pa.Table:
    rows = parts.read(lake, key, "outcomes")
    return rows.filter(pc.equal(rows["chunk_id"], chunk_id))
