"""Compact: merge a day's many small parts into few, while nights write and others read.

No reader of the views sees a row twice or not at all. A merged part is named ``merged-<number>-...``; the views (and parts.py)
read a chunk's rows from the part with the greatest number that has its outcomes. So the steps are:

1. write the merged segments and call_emotions: nobody reads them yet;
2. when every query that listed the parts before is past its listing, write the merged outcomes: one write a part, and from then on
   the merged parts are read, while whoever read the small ones still finds them;
3. when every query that began before is over, delete the small ones, outcomes first.

A kill at any point leaves a lake that reads the same; the next run goes on. Names are made from what is merged, so that a run
repeated writes the same parts. Chunks with recordings that wait for another try are left alone until they are done.
"""

import hashlib
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from ser_tasks.lake import parts
from ser_tasks.lake.manifest import deleted_days, to_retry
from ser_tasks.settings import Settings
from ser_tasks.storage import Store, StoredObject

TABLES = ("segments", "call_emotions", "outcomes")
"""Outcomes last, as in publish.py: they say which parts are read."""
MERGED_BYTES = 32 << 20
"""Small parts are merged up to about so many bytes of segments: what one merge holds in memory."""
LISTING_S = 30.0
"""A query lists its parts within so many seconds."""
READING_S = 900.0
"""A query takes no longer than so many seconds."""


class Place(NamedTuple):
    day: date
    version: str


@dataclass
class Merge:
    """Parts of one day and version that become one."""

    place: Place
    names: list[str]
    name: str


@dataclass
class Compacted:
    """What one run did."""

    merged: int = 0
    """Small parts, of each table, that were merged."""
    into: int = 0
    deleted: int = 0
    """Parts deleted, of all tables."""


def compact(
    lake: Store,
    settings: Settings,
    older_than_days: int = 7,
    listing_s: float = LISTING_S,
    reading_s: float = READING_S,
) -> Compacted:
    """Merges the small parts of day folders older than so many days, and deletes those that are merged.

    Takes ``listing_s`` and ``reading_s`` seconds and the time of the merging.
    """
    before = datetime.now(UTC).date() - timedelta(days=older_than_days)
    done = Compacted()
    merges = [merge for place, names in _places(lake, before) for merge in _merges(lake, place, names, settings)]
    for merge in merges:
        for table in TABLES[:-1]:
            _write(lake, table, merge)
    if merges:
        time.sleep(listing_s)
    for merge in merges:
        _write(lake, "outcomes", merge)
        done.merged += len(merge.names)
        done.into += 1
    if merges:
        time.sleep(reading_s)
    done.deleted = _delete_merged(lake, before, reading_s)
    return done


def _places(lake: Store, before: date) -> Iterator[tuple[Place, list[StoredObject]]]:
    """Day and version folders of outcomes with their parts, those of days before a date of which the retention deleted nothing."""
    found: dict[Place, list[StoredObject]] = defaultdict(list)
    deleted = deleted_days(lake)
    for item in lake.list("outcomes/"):
        if item.key.endswith(".parquet"):
            _, day, version, _ = item.key.split("/")
            place = Place(date.fromisoformat(day.partition("=")[2]), version.partition("=")[2])
            if place.day < before and place.day not in deleted:
                found[place].append(item)
    yield from sorted(found.items())


def _merges(lake: Store, place: Place, outcomes: list[StoredObject], settings: Settings) -> Iterator[Merge]:
    if len(outcomes) < 2:
        return
    etags = {parts.name_of(item.key): item.etag for item in outcomes}
    sizes = {parts.name_of(item.key): item.size_bytes for item in lake.list(parts.folder("segments", **place._asdict()))}
    held_by = _held_by(lake, place, list(etags))
    replaced = set(etags) - set(held_by.values()) if held_by else set()
    group: list[str] = []
    group_bytes = 0
    for name in sorted(set(etags) - replaced):
        size_bytes = sizes.get(name, 0)
        if size_bytes > MERGED_BYTES / 2 or _waits(lake, place, name, held_by, settings):
            continue
        if group and group_bytes + size_bytes > MERGED_BYTES:
            yield from _merge_of(place, group, etags)
            group, group_bytes = [], 0
        group.append(name)
        group_bytes += size_bytes
    yield from _merge_of(place, group, etags)


def _merge_of(place: Place, names: list[str], etags: dict[str, str]) -> Iterator[Merge]:
    if len(names) > 1:
        number = 1 + max(map(parts.merged_number, names))
        members = hashlib.sha256("\n".join(f"{name} {etags[name]}" for name in names).encode()).hexdigest()[:12]
        yield Merge(place, names, f"{parts.MERGED}{number:06}-{members}")


def _waits(lake: Store, place: Place, name: str, held_by: dict[str, str], settings: Settings) -> bool:
    """Whether a part has recordings that are tried again: it will be written anew. What a later part holds is no longer the part's."""
    rows = _read(lake, "outcomes", place, name, ["chunk_id", "outcome", "attempts"]).to_pylist()
    return any(to_retry(row, settings) and held_by.get(row["chunk_id"], name) == name for row in rows)


def _held_by(lake: Store, place: Place, names: list[str]) -> dict[str, str]:
    """The part that holds each chunk, where there are merged ones; empty where every part holds its own."""
    if not any(parts.merged_number(name) for name in names):
        return {}
    chunks = {name: set(_read(lake, "outcomes", place, name, ["chunk_id"])["chunk_id"].to_pylist()) for name in names}
    held_by: dict[str, str] = {}
    for name in sorted(names, key=parts.rank):
        held_by |= dict.fromkeys(chunks[name], name)
    return held_by


def _write(lake: Store, table: str, merge: Merge) -> None:
    found = [_held(lake, table, merge, name) for name in merge.names]
    rows = pa.concat_tables(found).sort_by([("recording_id", "ascending"), ("chunk_id", "ascending")])
    place = parts.folder(table, **merge.place._asdict())
    lake.write_bytes(f"{place}{merge.name}.parquet", parts.encode(table, rows))


def _held(lake: Store, table: str, merge: Merge, name: str) -> pa.Table:
    """A part's rows, but for those of chunks that a later of the merged parts holds, too."""
    rows = _read(lake, table, merge.place, name)
    for other in merge.names:
        if parts.rank(other) <= parts.rank(name):
            continue
        held = _read(lake, "outcomes", merge.place, other, ["chunk_id"])["chunk_id"]
        rows = rows.filter(pc.invert(pc.is_in(rows["chunk_id"], held.combine_chunks())))
    return rows


def _read(lake: Store, table: str, place: Place, name: str, columns: list[str] | None = None) -> pa.Table:
    return parts.read(lake, f"{parts.folder(table, **place._asdict())}{name}.parquet", table, columns)


def _delete_merged(lake: Store, before: date, reading_s: float) -> int:
    """Deletes parts that merged ones have replaced for ``reading_s``: their outcomes, and what lies beside without outcomes."""
    deleted = 0
    for place, outcomes in _places(lake, before):
        items = {parts.name_of(item.key): item for item in outcomes}
        merged = [item for name, item in items.items() if parts.merged_number(name)]
        if not merged or (datetime.now(UTC) - max(item.last_modified for item in merged)).total_seconds() < reading_s:
            continue
        gone = set(items) - set(_held_by(lake, place, list(items)).values())
        for name in gone:
            lake.delete(items[name].key)
        kept = items.keys() - gone
        chunks = {chunk for name in kept for chunk in _read(lake, "outcomes", place, name, ["chunk_id"])["chunk_id"].to_pylist()}
        deleted += len(gone)
        for table in TABLES[:-1]:
            for key in list(parts.keys(lake, parts.folder(table, **place._asdict()))):
                name = parts.name_of(key)
                if name in gone or (name not in kept and name in chunks):
                    lake.delete(key)
                    deleted += 1
    return deleted
