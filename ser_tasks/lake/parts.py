"""Parts: the lake's Parquet files. Their keys, their bytes, and which of several parts holds a chunk.

A part's key is ``<table>/day=<day>[/version=<version>]/<name>.parquet``; ``PartKey`` parses it, ``folder`` makes its first pieces.
Names are deterministic: a rerun writes the same names.
"""

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
import pyarrow.parquet as pq

from ser_tasks.lake import sql_views
from ser_tasks.partitions import PARTITIONS
from ser_tasks.schemas import TABLES
from ser_tasks.storage import Store, StoredObject

MERGED = sql_views.MERGED
FOOTER_BYTES = 1 << 16
"""Bytes from the end of a part that are fetched to read its footer. A longer footer costs a second request."""
_DAY_FOLDER = re.compile(r"\w+/day=(\d{4}-\d\d-\d\d)/")
_KEY = re.compile(r"(?P<table>\w+)/day=[^/]+(/version=(?P<version>[\w.-]+))?/(?P<name>[^/]+)\.parquet")
_UNREADABLE = (pa.ArrowException, OSError, struct.error)


class BrokenPartError(ValueError):
    """A part that cannot be read: truncated, overwritten, or not Parquet. ``key`` is the part's key."""

    def __init__(self, key: str, why: object):
        super().__init__(key, "".join(str(why).splitlines()[:1])[:200])
        self.key = key

    def __str__(self) -> str:
        return f"The part {self.key} cannot be read ({self.args[1]}): ser doctor says what to do."


@dataclass(frozen=True, slots=True)
class PartKey:
    """A part's key in its pieces. ``version`` is None for tables without version folders."""

    table: str
    day: date
    version: str | None
    name: str

    @classmethod
    def parse(cls, key: str) -> "PartKey | None":
        """The pieces of a key; None where the key is not that of a part: another table, other folders, another suffix."""
        match, day = _KEY.fullmatch(key), day_of(key)
        if match is None or day is None or match["table"] not in PARTITIONS:
            return None
        if ("version" in PARTITIONS[match["table"]]) != (match["version"] is not None):
            return None
        return cls(match["table"], day, match["version"], match["name"])

    @property
    def key(self) -> str:
        """The key of which these are the pieces."""
        partitions = {"day": self.day} if self.version is None else {"day": self.day, "version": self.version}
        return f"{folder(self.table, **partitions)}{self.name}.parquet"


def day_of(key: str) -> date | None:
    """The date of the day folder that a key lies in, be it a part or another file; None where there is no such folder."""
    match = _DAY_FOLDER.match(key)
    try:
        return date.fromisoformat(match[1]) if match else None
    except ValueError:  # such as 2026-99-99
        return None


def folder(table: str, **partitions: date | str) -> str:
    """The key prefix of one hive folder, such as ``outcomes/day=2026-11-20/version=cnn_lstm-1-ab12.customers_only/``.

    Leading partitions alone give the folder above. Values may hold letters, digits, ``-``, ``_`` and ``.`` only.
    """
    names = PARTITIONS[table][: len(partitions)]
    if set(names) != set(partitions):
        raise ValueError(f"{table} is partitioned by {PARTITIONS[table]}, got {tuple(partitions)}.")
    for value in partitions.values():
        if not re.fullmatch(r"[\w.-]+", str(value)):
            raise ValueError(f"{value!r} can't name a folder of the lake: use letters, digits, '-', '_' and '.'.")
    return "/".join([table, *(f"{name}={partitions[name]}" for name in names)]) + "/"


def encode(table: str, rows: pa.Table) -> bytes:
    """A part's bytes: Parquet with zstd compression. Raises ValueError where the rows do not have the table's schema."""
    if not rows.schema.equals(TABLES[table]):
        raise ValueError(f"The rows do not have the schema of {table}: {rows.schema.to_string()}")
    buffer = io.BytesIO()
    pq.write_table(rows, buffer, compression="zstd")
    return buffer.getvalue()


def write_empty(store: Store) -> None:
    """Writes an empty part of each table for readers whose file pattern must match some file, as that of a DuckDB view must.

    Its name is hidden, so that no store lists it, and it is never deleted.
    """
    for table, schema in TABLES.items():
        prefix = f"{table}/day=1970-01-01/" + ("version=none/" if "version" in PARTITIONS[table] else "")
        store.create_bytes(f"{prefix}.empty.parquet", encode(table, schema.empty_table()))


def read(store: Store, key: str, table: str, columns: list[str] | None = None) -> pa.Table:
    """A part's rows in the current schema: a column that an older part lacks is null. Raises BrokenPartError, FileNotFoundError."""
    schema = TABLES[table] if columns is None else pa.schema([TABLES[table].field(name) for name in columns])
    data = store.read_bytes(key)
    try:
        file = pq.ParquetFile(io.BytesIO(data))
        stored = file.read(columns=[name for name in schema.names if name in file.schema_arrow.names])
        arrays = [
            stored[field.name].cast(field.type) if field.name in stored.column_names else pa.nulls(len(stored), field.type)
            for field in schema
        ]
    except _UNREADABLE as error:
        raise BrokenPartError(key, error) from error
    return pa.table(arrays, schema=schema)


def footer(store: Store, key: str, size_bytes: int) -> pq.FileMetaData:
    """A part's footer: schema, number of rows and statistics, read from the end of the file. Raises BrokenPartError, FileNotFoundError."""
    tail = store.tail_bytes(key, FOOTER_BYTES)
    try:
        length = struct.unpack("<I", tail[-8:-4])[0] + 8 if tail[-4:] == b"PAR1" else 0
        if len(tail) < length <= size_bytes:
            tail = store.tail_bytes(key, length)
        metadata = pq.read_metadata(pa.BufferReader(tail))
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        data_bytes = sum(group.column(index).total_compressed_size for group in groups for index in range(group.num_columns))
    except _UNREADABLE as error:
        raise BrokenPartError(key, error) from error
    if data_bytes + length > size_bytes:
        raise BrokenPartError(key, f"it has {size_bytes:,} bytes, its footer describes {data_bytes + length:,}")
    return metadata


def broken(store: Store, since: date | None = None, deep: bool = False) -> dict[str, BrokenPartError]:
    """Parts whose footer (``deep``: or any page) cannot be read, by key; with ``since``, only those of this day and later days."""
    errors = {}
    for table in TABLES:
        for part, item in listed(store, f"{table}/"):
            if since is None or part.day >= since:
                try:
                    footer(store, item.key, item.size_bytes)
                    if deep:
                        read(store, item.key, table)
                except BrokenPartError as error:
                    errors[item.key] = error
                except FileNotFoundError:  # replaced or removed since
                    continue
    return errors


def listed(store: Store, prefix: str) -> Iterator[tuple[PartKey, StoredObject]]:
    """The parts under a prefix, each with the store's entry. Other files are left out."""
    for item in store.list(prefix):
        part = PartKey.parse(item.key)
        if part is not None:
            yield part, item


def keys(store: Store, prefix: str) -> Iterator[str]:
    """Keys of the parts under a prefix."""
    return (item.key for _, item in listed(store, prefix))


def name_of(key: str) -> str:
    """The name in a part's key: the last piece without ``.parquet``."""
    return key.rpartition("/")[2].removesuffix(".parquet")


def name_to_write(held_by: str | None, chunk_id: str) -> str:
    """The name under which a chunk's rows are written: a new merged name where a merged part holds them, else the name they have."""
    if held_by is None or held_by.endswith(chunk_id):
        return held_by or chunk_id
    return f"{MERGED}{merged_number(held_by) + 1:06}-{chunk_id}"


def rank(name: str) -> str:
    """Sort key of part names: of several parts with rows of one chunk the greatest counts. A chunk's own part ranks lowest."""
    return name if name.startswith(MERGED) else ""


def merged_number(name: str) -> int:
    """The number in a merged part's name, 0 for a chunk's own."""
    return int(name.removeprefix(MERGED).partition("-")[0]) if name.startswith(MERGED) else 0
