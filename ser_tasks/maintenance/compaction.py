"""Compaction: merges a day's many small parts into few, while nights write and others read.

No reader of the views sees a row twice or misses one. A merged part is named ``merged-<number>-...``; the views (and parts.py)
read a chunk's rows from the part with the greatest number that has its outcomes. The steps are:

1. write the merged segments and call_emotions: no query reads them yet;
2. when every query that listed the old parts has finished its listing, write the merged outcomes: one write a part, and from then on
   the merged parts are read, while a query that reads the small ones still finds them;
3. when every query that began before is over, delete the small ones, outcomes first.

Reviews have an id each, and their view counts each once, so their merged part is written first and the small ones are deleted last.

A run that is killed at any point leaves a lake that reads the same; the next run completes it. Names are made from what is merged, so
that a repeated run writes the same parts. Chunks with recordings that will be retried are left alone until they are done.
"""

import hashlib
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from ser_tasks.lake import erased, parts, reviews
from ser_tasks.lake.manifest import deleted_days, to_retry
from ser_tasks.settings import Settings
from ser_tasks.storage import Store, StoredObject

TABLES = ("segments", "call_emotions", "outcomes")
"""Outcomes last, as in publish.py: they decide which parts are read."""
MERGED_BYTES = 32 << 20
"""Small parts are merged up to about this size of segments, which one merge holds in memory."""
LISTING_S = 30.0
"""The longest time in which a query lists its parts."""
READING_S = 900.0
"""The longest duration of a query."""


@dataclass(frozen=True, order=True)
class DayVersion:
    """One version of one day: a folder in each table."""

    day: date
    version: str

    def folder(self, table: str) -> str:
        """The key prefix of the folder in a table."""
        return parts.folder(table, day=self.day, version=self.version)


@dataclass(frozen=True)
class Merge:
    """Parts of one day and version that become one."""

    day_version: DayVersion
    names: list[str]
    """Names of the parts that are merged."""
    name: str
    """Name of the merged part."""


@dataclass
class Compacted:
    """The counts of one run."""

    merged: int = 0
    """Small parts of each table that were merged."""
    into: int = 0
    """Merged parts of each table."""
    deleted: int = 0
    """Deleted parts of all tables."""


def compact(
    lake: Store,
    settings: Settings,
    older_than_days: int = 7,
    listing_s: float = LISTING_S,
    reading_s: float = READING_S,
) -> Compacted:
    """Merges the small parts of day folders older than ``older_than_days``, and deletes the merged ones.

    Waits ``listing_s`` and ``reading_s`` seconds for running queries where there is something to merge.
    """
    before = datetime.now(UTC).date() - timedelta(days=older_than_days)
    done = Compacted()
    merges = [merge for each, outcomes in _outcomes(lake, before) for merge in _merges(lake, each, outcomes, settings)]
    for merge in merges:
        for table in TABLES[:-1]:
            _write_merged(lake, table, merge, settings)
    judged = _merge_reviews(lake, before, settings)
    if merges:
        time.sleep(listing_s)
    for merge in merges:
        _write_merged(lake, "outcomes", merge, settings)
        done.merged += len(merge.names)
        done.into += 1
    done.merged += len(judged)
    done.into += len({part.day for key in judged if (part := parts.PartKey.parse(key))})
    if merges or judged:
        time.sleep(reading_s)
    for key in judged:
        lake.delete(key)
    done.deleted = _delete_merged(lake, before, reading_s) + len(judged)
    return done


def _merge_reviews(lake: Store, before: date, settings: Settings) -> list[str]:
    """Merges the reviews of each day before a date into one part, and returns the keys of the merged ones."""
    days = sorted({part.day for part, _ in parts.listed(lake, "reviews/") if part.day < before})
    merged = []
    for day in days:
        gone = erased.read(lake, *settings.pseudonym_keys())
        merged += reviews.merge(lake, day, gone)
    return merged


def _outcomes(lake: Store, before: date) -> Iterator[tuple[DayVersion, list[StoredObject]]]:
    """The outcomes parts of each day and version: days before a date, without those of which the retention deleted something."""
    outcomes: dict[DayVersion, list[StoredObject]] = defaultdict(list)
    deleted = deleted_days(lake)
    for part, item in parts.listed(lake, "outcomes/"):
        if part.version and part.day < before and part.day not in deleted:
            outcomes[DayVersion(part.day, part.version)].append(item)
    yield from sorted(outcomes.items())


def _merges(lake: Store, day_version: DayVersion, outcomes: list[StoredObject], settings: Settings) -> Iterator[Merge]:
    if len(outcomes) < 2:
        return
    etags = {parts.name_of(item.key): item.etag for item in outcomes}
    sizes = {part.name: item.size_bytes for part, item in parts.listed(lake, day_version.folder("segments"))}
    held_by = _held_by(lake, day_version, list(etags))
    replaced = set(etags) - set(held_by.values()) if held_by else set()
    group: list[str] = []
    group_bytes = 0
    for name in sorted(set(etags) - replaced):
        size_bytes = sizes.get(name, 0)
        if size_bytes > MERGED_BYTES / 2 or _to_retry(lake, day_version, name, held_by, settings):
            continue
        if group and group_bytes + size_bytes > MERGED_BYTES:
            yield from _merge_of(day_version, group, etags)
            group, group_bytes = [], 0
        group.append(name)
        group_bytes += size_bytes
    yield from _merge_of(day_version, group, etags)


def _merge_of(day_version: DayVersion, names: list[str], etags: dict[str, str]) -> Iterator[Merge]:
    if len(names) > 1:
        number = 1 + max(map(parts.merged_number, names))
        members = hashlib.sha256("\n".join(f"{name} {etags[name]}" for name in names).encode()).hexdigest()[:12]
        yield Merge(day_version, names, f"{parts.MERGED}{number:06}-{members}")


def _to_retry(lake: Store, day_version: DayVersion, name: str, held_by: dict[str, str], settings: Settings) -> bool:
    """Whether a part has recordings that will be retried, so that it will be rewritten. Chunks that a later part holds don't count."""
    rows = _read(lake, "outcomes", day_version, name, ["chunk_id", "outcome", "reason_code", "attempts"]).to_pylist()
    return any(to_retry(row, settings) and held_by.get(row["chunk_id"], name) == name for row in rows)


def _held_by(lake: Store, day_version: DayVersion, names: list[str]) -> dict[str, str]:
    """The name of the part that holds each chunk; empty where no part is merged and each holds its own chunk."""
    if not any(parts.merged_number(name) for name in names):
        return {}
    chunks = {name: _chunks(lake, day_version, name) for name in names}
    held_by: dict[str, str] = {}
    for name in sorted(names, key=parts.rank):
        held_by |= dict.fromkeys(chunks[name], name)
    return held_by


def _write_merged(lake: Store, table: str, merge: Merge, settings: Settings) -> None:
    gone = erased.read(lake, *settings.pseudonym_keys())  # an erasure may have begun since the last write
    tables = [_held_rows(lake, table, merge, name) for name in merge.names]
    rows = pa.concat_tables(tables).sort_by([("recording_id", "ascending"), ("chunk_id", "ascending")])
    lake.write_bytes(f"{merge.day_version.folder(table)}{merge.name}.parquet", parts.encode(table, gone.taken_from(rows)))


def _held_rows(lake: Store, table: str, merge: Merge, name: str) -> pa.Table:
    """A part's rows without those of chunks that a later one of the parts to merge holds as well."""
    rows = _read(lake, table, merge.day_version, name)
    for other in merge.names:
        if parts.rank(other) <= parts.rank(name):
            continue
        held = _read(lake, "outcomes", merge.day_version, other, ["chunk_id"])["chunk_id"]
        rows = rows.filter(pc.invert(pc.is_in(rows["chunk_id"], held.combine_chunks())))
    return rows


def _chunks(lake: Store, day_version: DayVersion, name: str) -> set[str]:
    """The chunks in a part."""
    return set(_read(lake, "outcomes", day_version, name, ["chunk_id"])["chunk_id"].to_pylist())


def _read(lake: Store, table: str, day_version: DayVersion, name: str, columns: list[str] | None = None) -> pa.Table:
    return parts.read(lake, f"{day_version.folder(table)}{name}.parquet", table, columns)


def _delete_merged(lake: Store, before: date, reading_s: float) -> int:
    """Deletes the parts that merged ones replaced at least ``reading_s`` ago, and their rows. Returns the number of parts."""
    deleted = 0
    for day_version, outcomes in _outcomes(lake, before):
        items = {parts.name_of(item.key): item for item in outcomes}
        merged = [item for name, item in items.items() if parts.merged_number(name)]
        if not merged or (datetime.now(UTC) - max(item.last_modified for item in merged)).total_seconds() < reading_s:
            continue
        replaced = set(items) - set(_held_by(lake, day_version, list(items)).values())
        for name in replaced:
            lake.delete(items[name].key)
        kept = items.keys() - replaced
        chunks = {chunk for name in kept for chunk in _chunks(lake, day_version, name)}
        deleted += len(replaced)
        for table in TABLES[:-1]:
            for part, item in list(parts.listed(lake, day_version.folder(table))):
                if part.name in replaced or (part.name not in kept and part.name in chunks):
                    lake.delete(item.key)
                    deleted += 1
    return deleted
