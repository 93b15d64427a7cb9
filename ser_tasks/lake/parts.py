"""Parts: Parquet files of the lake under hive folders, named so that a rerun writes the same names."""

import io
import re
import struct
from collections.abc import Iterator
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ser_tasks.schemas import PARTITIONS, TABLES
from ser_tasks.storage import Store

MERGED = "merged-"
"""Names of parts that replace others begin so, and go on with a number: see compact.py. Any other part is named after its chunk."""
FOOTER_BYTES = 1 << 16
"""The end of a part that is fetched at first to read its footer: larger ones are fetched again."""
_NOWHERE = {"day": date(1970, 1, 1), "version": "none"}
_UNREADABLE = (pa.ArrowException, OSError, struct.error)


class BrokenPartError(ValueError):
    """A part that cannot be read: cut off, overwritten, or no Parquet at all. ``key`` names it."""

    def __init__(self, key: str, why: object):
        super().__init__(f"The part {key} cannot be read ({str(why).splitlines()[0][:200]}): ser doctor says what to do.")
        self.key = key


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
    """A part's bytes: zstd Parquet with the table's schema. Raises where the rows have another schema."""
    if not rows.schema.equals(TABLES[table]):
        raise ValueError(f"Rows for {table} have another schema than schemas.py says: {rows.schema.to_string()}")
    buffer = io.BytesIO()
    pq.write_table(rows, buffer, compression="zstd")
    return buffer.getvalue()


def write_empty(store: Store) -> None:
    """An empty part of each table, for readers whose pattern must match some file: DuckDB's views. Its name is hidden, so that no
    listing here knows it, and it is never deleted."""
    for table, schema in TABLES.items():
        place = folder(table, **{key: _NOWHERE[key] for key in PARTITIONS[table]})
        store.create_bytes(f"{place}.empty.parquet", encode(table, schema.empty_table()))


def read(store: Store, key: str, table: str, columns: list[str] | None = None) -> pa.Table:
    """A part's rows with today's schema: a column that an older part lacks is null."""
    schema = TABLES[table] if columns is None else pa.schema([TABLES[table].field(name) for name in columns])
    data = store.read_bytes(key)
    try:
        file = pq.ParquetFile(io.BytesIO(data))
        found = file.read(columns=[name for name in schema.names if name in file.schema_arrow.names])
        arrays = [
            found[field.name].cast(field.type) if field.name in found.column_names else pa.nulls(len(found), field.type) for field in schema
        ]
    except _UNREADABLE as error:
        raise BrokenPartError(key, error) from error
    return pa.table(arrays, schema=schema)


def footer(store: Store, key: str, size_bytes: int) -> pq.FileMetaData:
    """A part's footer: its schema, rows and statistics, from the end of the file alone. Raises BrokenPartError, FileNotFoundError."""
    tail = store.tail_bytes(key, FOOTER_BYTES)
    try:
        length = struct.unpack("<I", tail[-8:-4])[0] + 8 if tail[-4:] == b"PAR1" else 0
        if len(tail) < length <= size_bytes:
            tail = store.tail_bytes(key, length)
        found = pq.read_metadata(pa.BufferReader(tail))
        groups = [found.row_group(number) for number in range(found.num_row_groups)]
        data_bytes = sum(group.column(place).total_compressed_size for group in groups for place in range(group.num_columns))
    except _UNREADABLE as error:
        raise BrokenPartError(key, error) from error
    if data_bytes + length > size_bytes:
        raise BrokenPartError(key, f"{size_bytes:,} bytes, its footer speaks of {data_bytes + length:,}")
    return found


def broken(store: Store, since: date | None = None, deep: bool = False) -> dict[str, BrokenPartError]:
    """Parts whose footer (``deep``: or any page) cannot be read, by key; with ``since``, of day folders from that day on."""
    found = {}
    for table in TABLES:
        first = folder(table, day=since) if since else ""
        for item in store.list(f"{table}/"):
            if item.key.endswith(".parquet") and item.key >= first:
                try:
                    footer(store, item.key, item.size_bytes)
                    if deep:
                        read(store, item.key, table)
                except BrokenPartError as error:
                    found[item.key] = error
                except FileNotFoundError:  # replaced or removed since
                    continue
    return found


def keys(store: Store, prefix: str) -> Iterator[str]:
    """Keys of the parts under a prefix."""
    return (item.key for item in store.list(prefix) if item.key.endswith(".parquet"))


def name_of(key: str) -> str:
    """A part's name: the last piece of its key, without ``.parquet``."""
    return key.rpartition("/")[2].removesuffix(".parquet")


def find_chunk(store: Store, day: date, version: str, chunk_id: str) -> tuple[str, pa.Table] | None:
    """The name of the parts that hold a chunk, and its outcome rows; None where it is not done.

    Of several parts with rows of the chunk the latest merged one counts, then its own, as in ``sql/staging/chunks.sql``.
    """
    place = folder("outcomes", day=day, version=version)
    for key in sorted(keys(store, place + MERGED), reverse=True):
        rows = read(store, key, "outcomes")
        rows = rows.filter(pc.equal(rows["chunk_id"], chunk_id))
        if len(rows):
            return name_of(key), rows
    try:
        return chunk_id, read(store, f"{place}{chunk_id}.parquet", "outcomes")
    except FileNotFoundError:
        return None


def name_to_write(held_by: str | None, chunk_id: str) -> str:
    """The name under which a chunk's rows are written: anew where merged parts hold it, else where they are."""
    if held_by is None or held_by.endswith(chunk_id):
        return held_by or chunk_id
    return f"{MERGED}{merged_number(held_by) + 1:06}-{chunk_id}"


def rank(name: str) -> str:
    """What decides between parts with rows of one chunk: the greatest counts. A chunk's own part has the least."""
    return name if name.startswith(MERGED) else ""


def merged_number(name: str) -> int:
    """The number in a merged part's name, 0 for a chunk's own."""
    return int(name.removeprefix(MERGED).partition("-")[0]) if name.startswith(MERGED) else 0
