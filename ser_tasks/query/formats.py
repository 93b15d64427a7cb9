"""Writes DuckDB's answers as text for a person, or as CSV, JSON or Parquet, in batches, so that a long answer takes little memory."""

import bisect
import csv
import io
import itertools
import json
import math
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, time
from decimal import Decimal
from types import SimpleNamespace
from typing import IO, Any, Literal, overload

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import rich.box
import rich.console
import rich.table
import rich.text
from rich.cells import cell_len, set_cell_size

from ser_tasks.lake.sql_text import identifier
from ser_tasks.printable import printable
from ser_tasks.query.plain_table import SHOWN_CELL, SHOWN_ROWS, decimals, footer, number

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes text that begins so for a formula."""

Batches = Iterator[pa.Table]


def write(
    answer: pa.RecordBatchReader,
    file: IO[bytes],
    format: str,
    width: int | None = None,
    shown_rows: int | None = SHOWN_ROWS,
    whole: bool = False,
) -> int:
    """Writes an answer to an open file and returns its number of rows.

    ``table`` is for a person, at most ``width`` characters wide (the terminal's width by default); ``vertical`` has a line for each
    column instead of one for each row. Both hold the first ``shown_rows`` rows, None for all. With ``whole``, a table wraps long values of
    its last column instead of cutting them. ``csv``, ``json`` (an array with one object a line) and ``parquet`` hold all rows.
    """
    if format not in FORMATS:
        raise ValueError(f"{format!r} is no format: choose one of {', '.join(FORMATS)}.")
    names = _distinct(answer.schema.names)
    empty = answer.schema.empty_table().rename_columns(names)
    rows = 0

    def batches() -> Batches:
        nonlocal rows
        for batch in answer:
            rows += batch.num_rows
            yield pa.Table.from_batches([batch]).rename_columns(names)

    if format in FOR_A_PERSON:
        head, room = [empty], sys.maxsize if shown_rows is None else shown_rows
        for batch in batches():
            if room:
                head.append(batch.slice(0, room))
                room -= head[-1].num_rows
        text = FOR_A_PERSON[format](pa.concat_tables(head), rows, width or shutil.get_terminal_size((120, 40)).columns, whole)
        file.write(f"{text}\n".encode())
    else:
        FOR_PROGRAMS[format](empty, batches(), file)
    return rows


@overload
def render(
    answer: pa.Table | duckdb.DuckDBPyRelation,
    format: Literal["table", "vertical", "csv", "json"] = "table",
    width: int | None = None,
    whole: bool = False,
) -> str: ...


@overload
def render(answer: pa.Table | duckdb.DuckDBPyRelation, format: str, width: int | None = None, whole: bool = False) -> str | bytes: ...


def render(answer: pa.Table | duckdb.DuckDBPyRelation, format: str = "table", width: int | None = None, whole: bool = False) -> str | bytes:
    """An answer as text, or as the bytes of a ``parquet`` file; see ``write``."""
    answer = answer if isinstance(answer, pa.Table) else answer.to_arrow_table()
    file = io.BytesIO()
    write(answer.to_reader(), file, format, width, whole=whole)
    return file.getvalue() if format == "parquet" else file.getvalue().decode().removesuffix("\n")


def spreadsheet_safe(value: Any) -> Any:
    """The value for a CSV that a spreadsheet opens: text that it would run as a formula gets an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value


def _as_table(head: pa.Table, rows: int, width: int, whole: bool) -> str:
    """The first columns that fit, and a footer with the names of the others. A single row that is too wide is shown vertically."""
    if head.column_names == ["explain_key", "explain_value"]:
        return printable("\n".join(head["explain_value"].to_pylist()).rstrip("\n"))
    columns = {printable(name): _cells(column) for name, column in zip(head.column_names, head.columns, strict=True)}
    needed = [min(max(map(cell_len, [name, *cells])), SHOWN_CELL) + 3 for name, cells in columns.items()]
    fitting = max(1, bisect.bisect_right(list(itertools.accumulate(needed, initial=1)), width) - 1)
    if fitting < len(columns) and rows == 1:
        return _upright(columns, 0, "value", width) + "1 row"
    shown, left_out = list(columns)[:fitting], list(columns)[fitting:]
    cut = [columns[name] if whole and name == shown[-1] else [_cut(cell, SHOWN_CELL) for cell in columns[name]] for name in shown]
    numbers = [_is_number(column.type) for column in head.columns[:fitting]]
    lines = _box([_cut(name, SHOWN_CELL) for name in shown], zip(*cut, strict=True), numbers, width, whole)
    text = footer(len(head), rows)
    if left_out:
        text += f"; {len(left_out)} more column{'s' * (len(left_out) != 1)} (--format vertical or \\x shows all): {', '.join(left_out)}"
    return lines + "\n".join(textwrap.wrap(text, width))


def _as_upright(head: pa.Table, rows: int, width: int, whole: bool = True) -> str:
    """A line for each column with its whole value, row by row."""
    columns = {printable(name): _cells(column) for name, column in zip(head.column_names, head.columns, strict=True)}
    each = [_upright(columns, place, f"row {place + 1:,}", width) for place in range(len(head))]
    return "".join(each) + "\n".join(textwrap.wrap(footer(len(head), rows), width))


def _upright(columns: dict[str, list[str]], place: int, title: str, width: int) -> str:
    return _box(["column", title], [(name, cells[place]) for name, cells in columns.items()], [False, False], width, whole=True)


def _cut(text: str, cells: int) -> str:
    return text if cell_len(text) <= cells else set_cell_size(text, cells - 1) + "…"


def _box(names: list[str], rows: Iterable[Iterable[str]], numbers: list[bool], width: int, whole: bool = False) -> str:
    """A box as wide as its content needs. With ``whole``, the last column wraps long values; the others end them in an ellipsis."""
    box = rich.table.Table(box=rich.box.SQUARE)
    for name, is_number in zip(names, numbers, strict=True):
        folds = whole and name == names[-1]
        box.add_column(
            rich.text.Text(name),
            justify="right" if is_number else "left",
            no_wrap=not folds,
            overflow="fold" if folds else "ellipsis",
            min_width=SHOWN_CELL // 2 if folds and width > 2 * SHOWN_CELL else None,
        )
    for row in rows:
        box.add_row(*map(rich.text.Text, row))
    text = io.StringIO()
    rich.console.Console(file=text, width=width, color_system=None, force_terminal=False).print(box)
    return text.getvalue()


def _cells(column: pa.ChunkedArray) -> list[str]:
    """A column's values as text. Its numbers have the same number of decimals, unless small ones would then be shown as zero."""
    values = column.to_pylist()
    if pa.types.is_floating(column.type):
        known = [abs(value) for value in values if value is not None and math.isfinite(value)]
        places = decimals(max(known, default=0))
        mixed = any(0 < value < 10.0 ** (1 - places) for value in known) and places < 3
        return ["null" if value is None else number(value, decimals(abs(value)) if mixed else places) for value in values]
    if pa.types.is_timestamp(column.type):
        return ["null" if value is None else f"{value:%Y-%m-%d %H:%M:%S}" for value in values]
    return [printable(" ".join(_plain(value).split())) for value in values]


def _plain(value: object) -> str:
    """A value as DuckDB writes it, also within a list or a struct."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return number(value, decimals(abs(value)))
    if isinstance(value, list):
        return f"[{', '.join(map(_plain, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_plain(each)}' for key, each in value.items())}}}"
    return str(value)


def _is_number(type_: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_))


def csv_writer(file: IO[str]) -> Any:
    """A writer of CSV whose lines end in ``\\n``. Unlike with that as its ``lineterminator``, it quotes a value that holds ``\\r``."""
    lines = SimpleNamespace(write=lambda line: file.write(line.removesuffix("\r\n") + "\n"))  # one call a row
    return csv.writer(lines, lineterminator="\r\n")


def _write_csv(empty: pa.Table, batches: Batches, file: IO[bytes]) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv_writer(text)
    writer.writerow(empty.column_names)
    with _connection() as connection:
        for batch in batches:
            writer.writerows(_projected(connection, batch, lambda name, column: f"{name}::VARCHAR").fetchall())
    text.detach()


def _write_json(empty: pa.Table, batches: Batches, file: IO[bytes]) -> None:
    file.write(b"[")
    before = "\n"
    with _connection() as connection:
        for batch in batches:
            for row in _projected(connection, batch, _jsonable).to_arrow_table().to_pylist():
                line = json.dumps(row, ensure_ascii=False, allow_nan=False, default=_json_default)
                file.write(f"{before}{line}".encode())
                before = ",\n"
    file.write(b"]\n" if before == "\n" else b"\n]\n")


def _write_parquet(empty: pa.Table, batches: Batches, file: IO[bytes]) -> None:
    with pq.ParquetWriter(file, empty.schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_table(batch)


FOR_A_PERSON: dict[str, Callable[[pa.Table, int, int, bool], str]] = {"table": _as_table, "vertical": _as_upright}
FOR_PROGRAMS: dict[str, Callable[[pa.Table, Batches, IO[bytes]], None]] = {
    "csv": _write_csv,
    "json": _write_json,
    "parquet": _write_parquet,
}
FORMATS = (*FOR_A_PERSON, *FOR_PROGRAMS)


def _connection() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def _projected(
    connection: duckdb.DuckDBPyConnection, rows: pa.Table, expression: Callable[[str, pa.ChunkedArray], str]
) -> duckdb.DuckDBPyRelation:
    columns = [
        f"{expression(identifier(name), column)} AS {identifier(name)}"
        for name, column in zip(rows.column_names, rows.columns, strict=True)
    ]
    return connection.from_arrow(rows).project(", ".join(columns))


def _distinct(given: list[str]) -> list[str]:
    """Names made distinct by a number: SQL allows several columns of one name and ignores case, files and JSON objects do not."""
    names: list[str] = []
    for name in given:
        taken = {other.lower() for other in names}
        names.append(next(each for n in itertools.count() if (each := f"{name}_{n}" if n else name).lower() not in taken))
    return names


def _jsonable(name: str, column: pa.ChunkedArray) -> str:
    """JSON has neither NaN nor infinity. A float32 is written with its own digits: 0.1, not 0.10000000149011612."""
    if not pa.types.is_floating(column.type):
        return name
    return f"CASE WHEN isfinite({name}) THEN {name}::VARCHAR::DOUBLE END"


def _json_default(value: object) -> object:
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else str(value)
