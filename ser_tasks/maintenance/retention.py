"""Retention: deletes the parts of days that the settings no longer keep, and drops a version of the scores.

``deletions`` records what was deleted and when, and is kept for ever. A day in it is closed to every model (``pipeline.listing``), as is
every day past the retention: nothing that was deleted is planned or scored again, even while the store still holds it. Rows of calls on
hold (``holds``) stay, and so do pages that name them. Receipts of erasures and holds are kept, too: they keep calls out, or in.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import groupby

import pyarrow as pa
import pyarrow.compute as pc

from ser_tasks import schemas
from ser_tasks.lake import catalog, erased, key_chain, parts, read_only, withheld
from ser_tasks.lake.withheld import Change
from ser_tasks.maintenance import erasure, holds, rewriting
from ser_tasks.maintenance.compaction import LISTING_S, READING_S
from ser_tasks.settings import Settings, code_version
from ser_tasks.storage import Store, StoredObject

KEPT = {
    "segments": ("keep_segments_days", "keep_outcomes_days"),
    "call_emotions": ("keep_calls_days", "keep_outcomes_days"),
    "reviews": ("keep_calls_days", "keep_outcomes_days"),
    "review_samples": ("keep_calls_days", "keep_outcomes_days"),
    "reports": ("keep_calls_days",),
    "alerts": ("keep_calls_days",),
    "outcomes": ("keep_outcomes_days",),
    "recordings": ("keep_outcomes_days",),
    "runs": ("keep_runs_days",),
}
"""Top folders of the lake with day folders, and the settings with the number of days that they are kept, of which the smallest counts:
rows without outcomes could not be read any more. ``quarantine`` has keep_quarantine_days, and the settings of what lies in it."""

VERSIONED = ("outcomes", "call_emotions", "segments")
"""Tables with a folder for each version, in the order of deletion: without its outcomes a version is not read."""


@dataclass(frozen=True)
class Expired:
    """A day of a table that the settings no longer keep. In quarantine, the day on which parts were moved there."""

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
    for table, day, keep_days, items in [*_past_days(lake, settings, today), *_past_in_quarantine(lake, settings, today)]:
        listed, trimmed = _not_held(lake, items, held, names) if held else (items, {})
        if listed or trimmed:
            size_bytes = sum(item.size_bytes for item in listed)
            days.append(Expired(table, day, keep_days, [item.key for item in listed], size_bytes, trimmed))
    return sorted(days, key=lambda each: (each.day, each.table))


@dataclass(frozen=True)
class ExpiredWords:
    """What was said in calls of days that the settings keep calls of, but no words."""

    days: tuple[date, ...]
    recordings: int
    """Rows of call_emotions that lose their words, in all versions."""
    keep_days: int | None

    def summary(self) -> str:
        """The words in one line."""
        return f"words of {len(self.days)} days: {self.recordings:,} rows, kept for {self.keep_days} days"


def expired_words(lake: Store, settings: Settings, today: date | None = None) -> ExpiredWords:
    """Words that the settings no longer keep; those of calls on hold stay."""
    keep_days = settings.keep_words_days
    if keep_days is None:
        return ExpiredWords((), 0, None)
    before = (today or datetime.now(UTC).date()) - timedelta(days=keep_days)
    days = {part.day for part, _ in parts.listed(lake, "call_emotions/") if part.day < before}
    found = rewriting.find(lake, days, without_words(holds.held_recordings(lake)))
    return ExpiredWords(tuple(sorted(days)) if found.rows.total() else (), found.rows["call_emotions"], keep_days)


def delete_words(lake: Store, words: ExpiredWords, listing_s: float = LISTING_S, reading_s: float = READING_S) -> int:
    """Takes these words out of every version, and returns the number of rows that lost them."""
    if not words.days:
        return 0
    change = without_words(holds.held_recordings(lake))
    return rewriting.rewrite(lake, words.days, change, listing_s, reading_s).rows["call_emotions"]


def without_words(held: frozenset[str]) -> Change:
    """The change that takes out what was said, but in these recordings."""

    def change(table: str, rows: pa.Table) -> pa.Table:
        if table != "call_emotions" or "words" not in rows.column_names:
            return rows
        gone = pc.and_(pc.is_valid(rows["words"]), pc.invert(erased.are_of(rows, held)))
        if not pc.any(gone).as_py():
            return rows
        place, of_words = rows.column_names.index("words"), rows.schema.field("words")
        kept = [None if lost else said for lost, said in zip(gone.to_pylist(), rows["words"].to_pylist(), strict=True)]
        return rows.set_column(place, of_words, pa.array(kept, of_words.type))

    return change


def kept_days(table: str, settings: Settings) -> int | None:
    """The number of days for which the settings keep a table; None: for ever."""
    return min((days for name in KEPT.get(table, ()) if (days := getattr(settings, name)) is not None), default=None)


def kept_for_ever(settings: Settings) -> dict[str, str]:
    """Tables without a limit, and the variable that would set it."""
    limits = {table: names[0] for table, names in KEPT.items() if kept_days(table, settings) is None}
    limits |= {"quarantine": "keep_quarantine_days"} if settings.keep_quarantine_days is None else {}
    return {table: f"SER_{name.upper()}" for table, name in limits.items()}


def _past_days(lake: Store, settings: Settings, today: date) -> Iterator[tuple[str, date, int, list[StoredObject]]]:
    for table in KEPT:
        keep_days = kept_days(table, settings)
        if keep_days is None:
            continue
        for day, items in groupby(lake.list(f"{table}/day="), key=lambda item: parts.day_of(item.key)):
            if day is not None and day < today - timedelta(days=keep_days):
                yield table, day, keep_days, list(items)


def _past_in_quarantine(lake: Store, settings: Settings, today: date) -> Iterator[tuple[str, date, int, list[StoredObject]]]:
    """Parts that were moved there too long ago, or whose own day is past its table's retention."""
    for (moved, keep_days), items in groupby(lake.list("quarantine/"), key=lambda item: _quarantined(item, settings, today)):
        if keep_days is not None:
            yield "quarantine", moved, keep_days, list(items)


def _quarantined(item: StoredObject, settings: Settings, today: date) -> tuple[date, int | None]:
    """When a file was moved into quarantine, and for how many days it was to be kept; None where it is still kept."""
    match = erasure.QUARANTINE.fullmatch(item.key)
    part = parts.PartKey.parse(match["key"]) if match else None
    try:
        moved = datetime.strptime(item.key.split("/")[1][:8], "%Y%m%d").date()
    except ValueError:
        moved = item.last_modified.date()
    limits = [(moved, settings.keep_quarantine_days)] + ([(part.day, kept_days(part.table, settings))] if part else [])
    return moved, next((days for day, days in limits if days is not None and day < today - timedelta(days=days)), None)


def _not_held(
    lake: Store, items: list[StoredObject], held: frozenset[str], names: set[str]
) -> tuple[list[StoredObject], dict[str, pa.Table]]:
    """The parts and pages without anything on hold; and of parts with held rows and others, the held rows.

    Raises BrokenPartError for a part that can't be read, except in quarantine: there it stays.
    """
    free, trimmed = [], {}
    for item in items:
        table, in_quarantine = _table_of(item.key), item.key.startswith("quarantine/")
        if table is None or "recording_id" not in schemas.TABLES[table].names:
            if not (in_quarantine and table is None) and not erasure.is_named(lake, item.key, names):
                free.append(item)
            continue
        try:
            rows = parts.read(lake, item.key, table)
        except parts.BrokenPartError:
            if in_quarantine:
                continue
            raise
        on_hold = rows.filter(erased.are_of(rows, held))
        if not len(on_hold):
            free.append(item)
        elif len(on_hold) < len(rows):
            trimmed[item.key] = on_hold
    return free, trimmed


def _table_of(key: str) -> str | None:
    """The table of a part, in quarantine or not; None for any other file."""
    match = erasure.QUARANTINE.fullmatch(key)
    part = parts.PartKey.parse(match["key"] if match else key)
    return part.table if part else None


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
            lake.write_bytes(part, parts.encode(_table_of(part) or each.table, rows))
        for part in each.keys:
            lake.delete(part)
            deleted += 1
    return deleted


def roll_back(lake: Store, version: str, settings: Settings) -> int:
    """Deletes a version of the scores and returns the number of parts with rows on hold, which are copied into ``quarantine/`` before.

    Refusals that only this version knows are first written into the others: nothing that was withdrawn shows again. Raises ValueError
    where the version is not in the lake, BrokenPartError where holds need a part that can't be read.
    """
    keys, held = parts_of_version(lake, version), holds.held_recordings(lake)
    query = "SELECT recording_id, refusal FROM refused JOIN newest USING (recording_id) WHERE version = $version"
    with catalog.connect(lake.uri) as connection:
        codes = {row["recording_id"]: row["refusal"] for row in read_only.query(connection, query, {"version": version}).to_pylist()}
    folder = f"quarantine/{datetime.now(UTC):%Y%m%dT%H%M%S}/"
    others = [item.key for table in VERSIONED for _, item in parts.listed(lake, f"{table}/") if item.key not in keys]
    kept = sum(_copy_held(lake, key, held, folder) for key in keys) if held else 0
    kept += sum(_copy_held(lake, key, held & codes.keys(), folder) for key in others) if held & codes.keys() else 0
    if codes:
        withheld.withhold(lake, codes, key_chain.read(lake, settings).people)
    for key in keys:
        lake.delete(key)
    return kept


def _copy_held(lake: Store, key: str, held: frozenset[str], folder: str) -> bool:
    table = key.partition("/")[0]
    rows = parts.read(lake, key, table)
    rows = rows.filter(erased.are_of(rows, held))
    if len(rows):
        lake.write_bytes(folder + key, parts.encode(table, rows))
    return len(rows) > 0


def parts_of_version(lake: Store, version: str) -> list[str]:
    """Keys of every part of a version (``<model>.<policy>``), the outcomes first. Raises ValueError where there are none."""
    tables = [list(parts.listed(lake, f"{table}/")) for table in VERSIONED]
    keys = [item.key for table in tables for part, item in table if part.version == version]
    if not keys:
        versions = sorted({part.version for part, _ in tables[0] if part.version})
        raise ValueError(f"No part of the version {version!r} is in {lake.uri}. There are: {', '.join(versions) or 'none'}.")
    return keys
