"""Rewriting: changes or removes rows of parts of all versions, while nights write and others read.

A part whose rows change is replaced as the compaction does it: its new rows are written as a merged part, data first; when every query
that listed the old part is past its listing, the new outcomes follow, and the views read the new part; when every query that began before
is over, the old part is deleted, outcomes first. A part without outcomes, which no view reads, is rewritten in place, and so are the
manifests. A run that is killed at any point leaves a lake that reads the same, or without the rows; the next run completes it.
"""

import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from ser_tasks.lake import parts
from ser_tasks.lake.parts import BrokenPartError
from ser_tasks.lake.withheld import Change
from ser_tasks.storage import Store, StoredObject

VERSIONED = ("segments", "call_emotions", "outcomes")
"""Outcomes last, as in publish.py: they decide which parts are read."""
PASSES = 4
"""A pass after the first finds what a night or a compaction wrote meanwhile."""


@dataclass
class Rewritten:
    """The counts of a run."""

    rows: Counter[str] = field(default_factory=Counter)
    """Rows changed or removed, by table. A row in a part and in the merged part that replaced it counts twice."""
    parts: int = 0
    """Parts rewritten or deleted."""
    unread: list[str] = field(default_factory=list)
    """Keys of parts that cannot be read: they may hold such rows."""
    complete: bool = True
    """False where the last pass still found something."""


@dataclass(frozen=True, eq=False)
class _Group:
    """The parts of one name in one day and version, some of whose rows change."""

    day: date
    version: str
    name: str
    parts: dict[str, StoredObject]
    before: dict[str, pa.Table]
    after: dict[str, pa.Table]
    new_name: str | None
    """The name of the part that replaces it; None where nothing of it remains to be read."""

    def key(self, table: str) -> str:
        return f"{parts.folder(table, day=self.day, version=self.version)}{self.new_name}.parquet"

    def new_data(self) -> dict[str, str]:
        """Keys of the data parts that replace these, by table."""
        return {table: self.key(table) for table in ("segments", "call_emotions") if table in self.parts}


def find(lake: Store, days: Iterable[date], change: Change) -> Rewritten:
    """What ``rewrite`` would change, without changing anything."""
    found = Rewritten()
    for day in sorted(days):
        _manifests(lake, day, change, found, write=False)
        for group in _groups(lake, day, change, found):
            _count(group, found)
    found.unread = sorted(set(found.unread))
    return found


def rewrite(lake: Store, days: Iterable[date], change: Change, listing_s: float, reading_s: float) -> Rewritten:
    """Changes the rows of these days' manifests, outcomes, call_emotions and segments, in every version.

    Waits ``listing_s`` and ``reading_s`` seconds for running queries where there was something to replace.
    """
    done = Rewritten()
    for _ in range(PASSES):
        found = Rewritten()
        groups = []
        for day in sorted(days):
            _manifests(lake, day, change, found, write=True)
            groups += list(_groups(lake, day, change, found))
        done.unread = sorted(set(found.unread))
        done.rows += found.rows
        done.parts += found.parts
        if not groups and not found.rows:
            return done
        for group in groups:
            _count(group, done)
        _replace(lake, groups, listing_s, reading_s)
    done.complete = False
    return done


def _count(group: _Group, found: Rewritten) -> None:
    for table, rows in group.after.items():
        if rows is not group.before[table]:
            found.rows[table] += changed(group.before[table], rows)
    found.parts += len(group.parts)


def changed(before: pa.Table, after: pa.Table) -> int:
    """The number of rows removed, or else of rows that differ."""
    if len(after) != len(before):
        return len(before) - len(after)
    return sum(one != other for one, other in zip(before.to_pylist(), after.to_pylist(), strict=True))


def _manifests(lake: Store, day: date, change: Change, found: Rewritten, write: bool) -> None:
    """Manifests keep their numbers, so they are replaced in place, be it by an empty part: nobody else ever rewrites one."""
    for key in list(parts.keys(lake, parts.folder("recordings", day=day))):
        try:
            before = parts.read(lake, key, "recordings")
        except BrokenPartError:
            found.unread.append(key)
            continue
        after = change("recordings", before)
        if after is not before:
            found.rows["recordings"] += changed(before, after)
            found.parts += 1
            if write:
                lake.write_bytes(key, parts.encode("recordings", after))


def _groups(lake: Store, day: date, change: Change, found: Rewritten) -> list[_Group]:
    """The groups of a day with rows that change."""
    listed: dict[tuple[str, str], dict[str, StoredObject]] = defaultdict(dict)
    for table in VERSIONED:
        for part, item in parts.listed(lake, parts.folder(table, day=day)):
            listed[part.version or "", part.name][table] = item
    holders = _holders(lake, listed)
    groups = []
    for (version, name), items in sorted(listed.items()):
        before: dict[str, pa.Table] = {}
        for table, item in items.items():
            try:
                before[table] = parts.read(lake, item.key, table)
            except BrokenPartError:
                found.unread.append(item.key)
            except FileNotFoundError:  # replaced since it was listed
                continue
        if set(before) != set(items):
            continue
        after = {table: change(table, rows) for table, rows in before.items()}
        if all(after[table] is rows for table, rows in before.items()):
            continue
        new_name = None
        if "outcomes" in before:
            held = pa.array([chunk for chunk, holder in holders[version].items() if holder == name], pa.string())
            kept = {table: rows.filter(pc.is_in(rows["chunk_id"], held)) for table, rows in after.items()}
            if len(kept["outcomes"]):
                after = after if all(len(kept[table]) == len(rows) for table, rows in after.items()) else kept
                new_name = _new_name(name, items, after)
        groups.append(_Group(day, version, name, items, before, after, new_name))
    return groups


def _holders(lake: Store, listed: dict[tuple[str, str], dict[str, StoredObject]]) -> dict[str, dict[str, str]]:
    """By version, the name of the part that the views read for each chunk."""
    holders: dict[str, dict[str, str]] = defaultdict(dict)
    for version, name in sorted(listed, key=lambda each: parts.rank(each[1])):
        outcomes = listed[version, name].get("outcomes")
        if outcomes is not None:
            try:
                chunks = parts.read(lake, outcomes.key, "outcomes", ["chunk_id"])["chunk_id"].to_pylist()
            except (BrokenPartError, FileNotFoundError):
                continue
            holders[version] |= dict.fromkeys(chunks, name)
    return holders


def _new_name(name: str, items: dict[str, StoredObject], after: dict[str, pa.Table]) -> str:
    """The same for the same part and the same rows that stay: a repeated run writes the same parts."""
    content = [f"{table} {item.etag} {len(after[table])}" for table, item in sorted(items.items())]
    return f"{parts.MERGED}{parts.merged_number(name) + 1:06}-{hashlib.sha256(repr((name, content)).encode()).hexdigest()[:12]}"


def _replace(lake: Store, groups: list[_Group], listing_s: float, reading_s: float) -> None:
    finished = [group for group in groups if "outcomes" in group.parts]
    for group in groups:
        if group not in finished:  # a night or a compaction is writing it, or was killed: no view reads it
            _write(lake, group, {table: item.key for table, item in group.parts.items()})
        elif group.new_name:
            _write(lake, group, group.new_data())
    if any(group.new_name for group in finished):
        time.sleep(listing_s)
    replaced = [group for group in finished if not _was_rewritten(lake, group)]
    for group in replaced:
        if group.new_name:
            _write(lake, group, {"outcomes": group.key("outcomes")})
    kept = {key for group in replaced if group.new_name for key in group.new_data().values()}
    written = {key for group in finished if group.new_name for key in group.new_data().values()}
    for key in written - kept:  # a night tried a recording again: the next pass reads its parts anew
        lake.delete(key)
    if replaced:
        time.sleep(reading_s)
    for group in replaced:
        for table in reversed(VERSIONED):
            if table in group.parts:
                lake.delete(group.parts[table].key)


def _write(lake: Store, group: _Group, keys: dict[str, str]) -> None:
    for table, key in keys.items():
        lake.write_bytes(key, parts.encode(table, group.after[table]))


def _was_rewritten(lake: Store, group: _Group) -> bool:
    listed = group.parts["outcomes"]
    return all(item.etag != listed.etag for item in lake.list(listed.key) if item.key == listed.key)
