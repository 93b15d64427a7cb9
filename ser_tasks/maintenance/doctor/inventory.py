"""The inventory of a lake: every part with its footer read, and the files that are not good parts."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ser_tasks import schemas
from ser_tasks.lake import ledger, parts
from ser_tasks.lake.manifest import MANIFEST
from ser_tasks.lake.parts import PartKey
from ser_tasks.maintenance.doctor.findings import Report
from ser_tasks.storage import Store, StoredObject

ABANDONED_S = 3600.0
"""A temporary file older than this is abandoned: writing a part takes seconds."""
_WINDOW = 1000
"""Files that are listed at a time."""
_READERS = 16
"""Threads that read footers: on a slow store each waits most of the time."""
_PARTS = pa.schema([("tbl", pa.string()), ("day", pa.date32()), ("version", pa.string()), ("name", pa.string()), ("key", pa.string())])


@dataclass(frozen=True)
class Inventory:
    """Every part of a lake. The tables have the columns tbl, day, version, name and key."""

    readable: pa.Table
    broken: pa.Table
    """Parts with a finding. What follows from a broken part is not reported again."""
    left_out: list[str]
    """Keys that the reconciliation must not read: broken parts and stray files."""


def take_inventory(store: Store, report: Report, deep: bool) -> Inventory:
    """Lists the lake and reads the footer of every part (``deep``: every page). Adds the findings to the report."""
    readable: dict[str, list[Any]] = {name: [] for name in _PARTS.names}
    broken: dict[str, list[Any]] = {name: [] for name in _PARTS.names}
    left_out: list[str] = []
    for item, fault in _examined(store, deep):
        kind, detail = fault or (None, "")
        part = None if kind == "stray_file" else PartKey.parse(item.key)
        report.parts += part is not None
        if kind:
            report.add(kind, item.key, detail=detail)
            left_out.append(item.key)
        if kind == "broken_manifest" and part:
            report.to_rebuild.setdefault(part.day, []).append(item.key)
        elif kind:
            report.move(*parts_named(part.day, part.version, part.name) if part and part.version else (), item.key)
        if part:
            row = (part.table, part.day, part.version, part.name, item.key)
            for name, value in zip(_PARTS.names, row, strict=True):
                (broken if kind else readable)[name].append(value)
    _find_temporary_files(store, report)
    return Inventory(pa.table(readable, schema=_PARTS), pa.table(broken, schema=_PARTS), left_out)


def parts_named(day: date, version: str, name: str) -> list[str]:
    """Keys of the three parts of one name in one version, outcomes first: without them their chunks are not done."""
    return [f"{parts.folder(table, day=day, version=version)}{name}.parquet" for table in ("outcomes", "call_emotions", "segments")]


def parts_of_chunk(store: Store, day: date, version: str, chunk_id: str) -> list[str]:
    """Keys of the parts that hold a chunk in one version: its own, or merged ones, which hold other chunks as well."""
    try:
        held = ledger.find_chunk(store, parts.folder("outcomes", day=day, version=version), chunk_id)
    except parts.BrokenPartError:
        held = None
    return parts_named(day, version, held[0] if held else chunk_id)


def _examined(store: Store, deep: bool) -> Iterator[tuple[StoredObject, tuple[str, str] | None]]:
    """Every file in the tables' folders, with its fault."""
    listing = (item for table in schemas.TABLES for item in store.list(f"{table}/"))
    with ThreadPoolExecutor(_READERS) as readers:
        while window := list(islice(listing, _WINDOW)):
            yield from zip(window, readers.map(lambda item: _fault(store, item, deep), window), strict=True)


def _fault(store: Store, item: StoredObject, deep: bool) -> tuple[str, str] | None:
    """The kind of finding for one file of a table's folder, and its detail; None for a good part."""
    part = PartKey.parse(item.key)
    if part is None:
        return "stray_file", ""
    if part.table == "recordings" and not MANIFEST.search(item.key):
        return "stray_file", "a manifest is named manifest-000001 and so on"
    try:
        footer = parts.footer(store, item.key, item.size_bytes)
        if deep:
            parts.read(store, item.key, part.table)
    except FileNotFoundError:  # replaced or moved since it was listed
        return None
    except parts.BrokenPartError as error:
        return ("broken_manifest" if part.table == "recordings" else "broken_part"), str(error.__cause__ or error)[:200]
    for column, value in _expected_values(part).items():
        others = _extremes(footer, column) - {value}
        if others:
            return "foreign_part", f"its rows have {column} {', '.join(sorted(map(str, others)))}"
    return None


def _expected_values(part: PartKey) -> dict[str, str]:
    """Columns that have one value in all rows of a part, as its key says."""
    if part.table == "runs":
        return {"run_id": part.name}
    if part.version is None:
        return {}
    model, _, policy = part.version.rpartition(".")
    expected = {"model": model, "policy": policy}
    return expected if parts.merged_number(part.name) else expected | {"chunk_id": part.name}


def _extremes(footer: pq.FileMetaData, column: str) -> set[Any]:
    """A column's smallest and largest value, from the footer's statistics; empty where there are none."""
    values: set[Any] = set()
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        for index in range(group.num_columns):
            chunk = group.column(index)
            if chunk.path_in_schema == column and chunk.statistics is not None and chunk.statistics.has_min_max:
                values |= {chunk.statistics.min, chunk.statistics.max}
    return values


def _find_temporary_files(store: Store, report: Report) -> None:
    if store.local_root is None:  # an object store has none: a put is atomic
        return
    for table in schemas.TABLES:
        for path in (store.local_root / table).rglob(".*.tmp"):
            age_s = time.time() - path.stat().st_mtime
            if age_s > ABANDONED_S:
                report.add("temporary_file", path.relative_to(store.local_root).as_posix(), detail=f"{age_s / 3600:.0f} hours old")
                report.to_remove.append(path)
