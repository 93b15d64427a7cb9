"""Retention: deletes the parts of days that are older than the settings keep them; and drops a model's version.

Only what tells of emotion is deleted. The manifest (``recordings``) and the ``outcomes`` stay: by them the planner knows
that a recording was handled, even while it is still in the store. ``deletions`` tells what was deleted when, and a day
in it is closed to every model (``ingest.Listing``), as is every day past the retention: nothing comes back.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby

from ser_tasks import schemas
from ser_tasks.lake import parts
from ser_tasks.settings import Settings, code_version
from ser_tasks.storage import Store

KEPT = {
    "segments": "keep_segments_days",
    "call_emotions": "keep_calls_days",
    "reports": "keep_calls_days",
    "alerts": "keep_calls_days",
}
"""Top folders of the lake that tell of emotion, and the setting that says for how many days."""

VERSIONED = ("outcomes", "call_emotions", "segments")
"""Tables with a folder for each version, in the order in which they are deleted: without its outcomes a version is not seen."""


@dataclass(frozen=True)
class Expired:
    """A day of a table that is to be deleted."""

    table: str
    day: date
    keep_days: int
    keys: list[str]
    size_bytes: int

    def told(self) -> str:
        return f"{self.table} of {self.day}: {len(self.keys)} parts, {self.size_bytes:,} bytes, kept for {self.keep_days} days"


def expired(lake: Store, settings: Settings, today: date | None = None) -> list[Expired]:
    """What the settings no longer keep, oldest first; nothing where they are unset. ``today`` is a date in UTC."""
    today = today or datetime.now(UTC).date()
    found = []
    for table, setting in KEPT.items():
        keep_days = getattr(settings, setting)
        if keep_days is None:
            continue
        limit = today - timedelta(days=keep_days)
        for day, items in groupby(lake.list(f"{table}/day="), key=lambda item: _day_of(item.key)):
            if day is not None and day < limit:
                own = list(items)
                found.append(Expired(table, day, keep_days, [item.key for item in own], sum(item.size_bytes for item in own)))
    return sorted(found, key=lambda each: (each.day, each.table))


def delete(lake: Store, what: Iterable[Expired]) -> int:
    """Deletes it and returns the number of parts. Each deletion is written down before it is done: a killed one is
    completed by the next, and the checks miss nothing that was to go."""
    deleted = 0
    for each in what:
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
        for part in each.keys:
            lake.delete(part)
            deleted += 1
    return deleted


def parts_of_version(lake: Store, version: str) -> list[str]:
    """Keys of every part of a version (``<model>.<policy>``), the outcomes first. Raises ValueError where there are none."""
    folder = f"/version={version}/"
    found = [item.key for table in VERSIONED for item in lake.list(f"{table}/day=") if folder in item.key]
    if not found:
        versions = sorted({key.partition("/version=")[2].partition("/")[0] for key in parts.keys(lake, "outcomes/day=")})
        raise ValueError(f"No part of the version {version!r} is in {lake.uri}. There are: {', '.join(versions) or 'none'}.")
    return found


def _day_of(key: str) -> date | None:
    try:
        return date.fromisoformat(key.split("/")[1].removeprefix("day="))
    except ValueError:  # a folder of somebody else's
        return None
