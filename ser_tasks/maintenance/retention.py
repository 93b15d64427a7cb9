"""Retention: deletes the parts of days that the settings no longer keep, and drops a version of the scores.

Only what describes emotion is deleted. The manifest (``recordings``) and the ``outcomes`` stay: they tell the planner that a recording
was handled, even while the store still holds it. ``deletions`` records what was deleted and when. A day in it is closed to every model
(``pipeline.listing``), as is every day past the retention: nothing that was deleted is scored again. Calls on hold (``holds``) stay, and so
do pages that name them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import groupby

import pyarrow as pa

from ser_tasks import schemas
from ser_tasks.lake import erased, parts
from ser_tasks.maintenance import erasure, holds
from ser_tasks.settings import Settings, code_version
from ser_tasks.storage import Store, StoredObject

KEPT = {
    "segments": "keep_segments_days",
    "call_emotions": "keep_calls_days",
    "reports": "keep_calls_days",
    "alerts": "keep_calls_days",
}
"""Top folders of the lake that describe emotion, and the setting with the number of days that they are kept."""

VERSIONED = ("outcomes", "call_emotions", "segments")
"""Tables with a folder for each version, in the order of deletion: without its outcomes a version is not read."""


@dataclass(frozen=True)
class Expired:
    """A day of a table that the settings no longer keep."""

    table: str
    day: date
    keep_days: int
    keys: list[str]
    size_bytes: int
    held: dict[str, pa.Table] = field(default_factory=dict)
    """Rows on hold, by key of a part that has others, too: they stay, the others are deleted."""

    def summary(self) -> str:
        """The day, its parts and their size, in one line."""
        return f"{self.table} of {self.day}: {len(self.keys)} parts, {self.size_bytes:,} bytes, kept for {self.keep_days} days"


def expired(lake: Store, settings: Settings, today: date | None = None) -> list[Expired]:
    """The days that the settings no longer keep, oldest first; empty where the settings are unset. ``today`` is a date in UTC."""
    today = today or datetime.now(UTC).date()
    days = []
    held = holds.held_recordings(lake)
    names = erasure.names_of(lake, held)
    for table, setting in KEPT.items():
        keep_days = getattr(settings, setting)
        if keep_days is None:
            continue
        limit = today - timedelta(days=keep_days)
        for day, items in groupby(lake.list(f"{table}/day="), key=lambda item: parts.day_of(item.key)):
            if day is not None and day < limit:
                listed = list(items)
                listed, trimmed = _not_held(lake, table, listed, held, names) if held else (listed, {})
                if listed or trimmed:
                    size_bytes = sum(item.size_bytes for item in listed)
                    days.append(Expired(table, day, keep_days, [item.key for item in listed], size_bytes, trimmed))
    return sorted(days, key=lambda each: (each.day, each.table))


def _not_held(
    lake: Store, table: str, items: list[StoredObject], held: frozenset[str], names: set[str]
) -> tuple[list[StoredObject], dict[str, pa.Table]]:
    """The parts and pages without anything on hold; and of parts with held rows and others, the held rows. Raises BrokenPartError."""
    free, trimmed = [], {}
    for item in items:
        if "recording_id" not in (schemas.TABLES[table].names if table in schemas.TABLES else ()):
            if not erasure.is_named(lake, item.key, names):
                free.append(item)
            continue
        rows = parts.read(lake, item.key, table)
        on_hold = rows.filter(erased.are_of(rows, held))
        if not len(on_hold):
            free.append(item)
        elif len(on_hold) < len(rows):
            trimmed[item.key] = on_hold
    return free, trimmed


def delete(lake: Store, days: Iterable[Expired]) -> int:
    """Deletes these days' parts and returns their number.

    Each deletion is recorded before it is done: the next run completes one that was killed, and the checks expect the deleted rows
    to be missing.
    """
    deleted = 0
    for each in days:
        row = {
            "table_name": each.table,
            "parts": len(each.keys),
            "size_bytes": each.size_bytes,
            "keep_days": each.keep_days,
            "deleted_at": datetime.now(UTC),
            "code_version": code_version(),
        }
        key = f"{parts.folder('deletions', day=each.day)}{each.table}-{row['deleted_at']:%Y%m%dT%H%M%S%f}.parquet"
        lake.write_bytes(key, parts.encode("deletions", schemas.table("deletions", [row])))
        for part, rows in each.held.items():
            lake.write_bytes(part, parts.encode(each.table, rows))
        for part in each.keys:
            lake.delete(part)
            deleted += 1
    return deleted


def parts_of_version(lake: Store, version: str) -> list[str]:
    """Keys of every part of a version (``<model>.<policy>``), the outcomes first. Raises ValueError where there are none."""
    tables = [list(parts.listed(lake, f"{table}/")) for table in VERSIONED]
    keys = [item.key for table in tables for part, item in table if part.version == version]
    if not keys:
        versions = sorted({part.version for part, _ in tables[0] if part.version})
        raise ValueError(f"No part of the version {version!r} is in {lake.uri}. There are: {', '.join(versions) or 'none'}.")
    return keys
