"""The lake as DuckDB views: raw ones over the parts (schema ``parts``), and on them every SELECT under ``sql/``.

Nothing is copied: a view reads the parts at the moment of the query, so it sees parts that came later. One limit: a
table without a single part when the views are made stays empty until they are made again (``connect``, ``ser catalog``).
"""

import bisect
import csv
import functools
import io
import itertools
import json
import math
import os
import re
import secrets
import shutil
import textwrap
from collections.abc import Callable, Collection, Iterable
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from time import sleep
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import rich.box
import rich.console
import rich.table
import rich.text
from rich.cells import cell_len, set_cell_size

import ser_tasks
from ser_tasks import parts
from ser_tasks.schemas import PARTITIONS, TABLES
from ser_tasks.store import open_store

Answer = TypeVar("Answer")

SQL_FOLDER = Path(ser_tasks.__file__).parent.parent / "sql"
FOLDERS = ("staging", "marts", "checks")
"""Folders of ``sql/`` in the order in which their views build on each other."""

PARTS = "parts"
"""Schema of the raw views. Not ``lake``: DuckDB could not tell it from a catalogue file named lake.duckdb."""

DUCKDB_TYPES = {
    pa.string(): "VARCHAR",
    pa.bool_(): "BOOLEAN",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.date32(): "DATE",
    pa.timestamp("us", tz="UTC"): "TIMESTAMP WITH TIME ZONE",
}
PARTITION_TYPES = {"day": "DATE", "version": "VARCHAR"}


SHOWN_ROWS, SHOWN_CELL = 100, 40
"""Rows, and characters of a value, at which a table for a person ends."""

RETRY_PAUSES_S = (0.05, 0.2, 1.0)
"""Before each further try where a part was replaced while it was read."""


class View(NamedTuple):
    name: str
    folder: str
    """staging, marts or checks."""
    question: str
    """What the view answers: the first comment line of its file."""


def connect(lake: str, since: date | None = None, without: Collection[str] = ()) -> duckdb.DuckDBPyConnection:
    """An in-memory connection with every view over the lake, a folder or ``s3://bucket/prefix``.

    With ``since``, only over parts of day folders from that day on: as quick for the checks of one night in an old lake as in
    a young one. Then an upload that lies under an older day folder is not known here, not even as a newer version.
    ``without`` names parts (keys) to leave out: those that cannot be read.
    A lake that is empty, or not there yet, has empty views. Raises what the store raises where it cannot be reached.
    """
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    _create_views(connection)
    _lay_over_parts(connection, lake, since, without)
    return connection


def write_catalog(lake: str, out: str | Path) -> Path:
    """Writes the views as a DuckDB file for BI tools and returns its absolute path; an older file is replaced at once.

    The file holds no data and no credentials: for a lake on S3 the reader brings httpfs and a secret of its own. Many
    processes may open it read-only, while a night writes parts and while it is replaced.
    """
    out = Path(out).expanduser().absolute()
    if out.is_dir():
        raise IsADirectoryError(f"{out} is a folder: name a file in it, such as {out / 'warehouse.duckdb'}.")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(4)}.tmp")
    try:
        with duckdb.connect(temporary) as connection:
            connection.begin()  # one write to disk instead of hundreds
            _create_views(connection)
            _comment_on_columns(connection)
            connection.commit()
            _lay_over_parts(connection, lake)
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)
        Path(f"{temporary}.wal").unlink(missing_ok=True)
    return out


def query(connection: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, Any] | None = None) -> pa.Table:
    """The answer to one reading statement. Tries again where a part was replaced while it was read.

    Raises PermissionError for anything that could write, ValueError for none or several statements, and DuckDB's own
    error, which points at the place, for faulty SQL.
    """
    statement = _reading_statement(connection, sql)
    return _tried_again(lambda: connection.execute(statement, parameters).to_arrow_table())


def run_checks(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Offending rows by check, for every view of ``sql/checks``; 0 is good. ``FROM <check>`` shows the rows."""
    return {
        view.name: query(connection, f"SELECT count(*) AS rows FROM {_name(view.name)}")["rows"][0].as_py()
        for view in views()
        if view.folder == "checks"
    }


def views() -> list[View]:
    """Every view of ``sql/`` by folder and name."""
    return [View(path.stem, path.parent.name, _question(path.read_text(encoding="utf-8"))) for path in _sql_files()]


def render(answer: pa.Table | duckdb.DuckDBPyRelation, format: str = "table", width: int | None = None) -> str | bytes:
    """An answer as text for a person (``table``, as wide as the terminal), as ``csv`` or ``json`` (an array with one
    object a line), or as the bytes of a ``parquet`` file."""
    if format not in FORMATS:
        raise ValueError(f"{format!r} is no format: choose one of {', '.join(FORMATS)}.")
    answer = answer if isinstance(answer, pa.Table) else answer.to_arrow_table()
    if format == "table":
        return _as_box(answer, width or shutil.get_terminal_size((120, 40)).columns)
    return FORMATS[format](answer)


def _create_views(connection: duckdb.DuckDBPyConnection) -> None:
    """Every view, over no parts yet. Making a view binds it, and binding one over parts lists the store: so that is done once,
    by _lay_over_parts, and not for every view that builds on it."""
    connection.execute(f"CREATE SCHEMA {PARTS}")
    for table in TABLES:
        connection.execute(f"CREATE VIEW {PARTS}.{table} AS {_empty(table)}")
    waiting = _sql_files()
    while waiting:
        too_early = []
        for path in waiting:
            sql = path.read_text(encoding="utf-8")
            try:
                connection.execute(f"CREATE VIEW {_name(path.stem)} AS\n{sql}")
                connection.execute(f"COMMENT ON VIEW {_name(path.stem)} IS {_text(_question(sql))}")
            except duckdb.CatalogException as error:  # it needs a view that comes later, or one that is nowhere
                too_early.append(path)
                fault = ValueError(f"sql/{path.parent.name}/{path.name} is no view: {error}")
            except duckdb.Error as error:
                raise ValueError(f"sql/{path.parent.name}/{path.name} is no view: {error}") from error
        if len(too_early) == len(waiting):
            raise fault
        waiting = too_early


def _comment_on_columns(connection: duckdb.DuckDBPyConnection) -> None:
    for table, schema in TABLES.items():
        for view in {table, f"{table}_all"} & {path.stem for path in _sql_files()}:
            for field in schema:
                meaning = field.metadata[b"meaning"].decode()
                connection.execute(f"COMMENT ON COLUMN {_name(view)}.{_name(field.name)} IS {_text(meaning)}")


def _lay_over_parts(connection: duckdb.DuckDBPyConnection, lake: str, since: date | None = None, without: Collection[str] = ()) -> None:
    root = open_store(lake).uri
    if root.startswith("s3://"):
        _open_s3(connection, root)
    elif Path(root).exists() and not Path(root).is_dir():
        raise NotADirectoryError(f"{root} is a file: give the folder that is the lake.")
    elif "\\" in root:
        raise ValueError(f"DuckDB takes the backslash in {root} for a slash: give the lake another folder.")
    for table in TABLES:
        wanted = [f"day >= DATE '{since:%Y-%m-%d}'"] if since else []
        left_out = [_text(f"{root}/{key}") for key in without if key.startswith(f"{table}/")]
        wanted += [f"filename NOT IN ({', '.join(left_out)})"] if left_out else []
        where = f" WHERE {' AND '.join(wanted)}" if wanted else ""
        try:
            view = f"CREATE OR REPLACE VIEW {PARTS}.{table} AS SELECT * EXCLUDE (filename) FROM ({_over_parts(table, root)}){where}"
            _tried_again(functools.partial(connection.execute, view))
        except duckdb.IOException as error:
            if not _has_no_part(error):
                raise


def _empty(table: str) -> str:
    columns = [(field.name, DUCKDB_TYPES[field.type]) for field in TABLES[table]]
    columns += [(key, PARTITION_TYPES[key]) for key in PARTITIONS[table]]
    if "version" in PARTITIONS[table]:
        columns.append(("part", "VARCHAR"))
    return "SELECT " + ", ".join(f"NULL::{type_} AS {_name(name)}" for name, type_ in columns) + " WHERE false"


def _over_parts(table: str, root: str) -> str:
    """A SELECT over the parts by schemas.py: a column that an older part lacks is null, whatever part is read first.

    Naming the schema spares DuckDB from opening every part to learn it (``union_by_name``), but excludes
    ``hive_partitioning``. So day and version are cut from the file name, by which DuckDB skips files just as well. ``part`` is
    the name of a merged part and empty for a chunk's own: of those with rows of a chunk the greatest counts.
    """
    pattern = "/".join([_glob_literal(root), table, *[f"{key}=*" for key in PARTITIONS[table]], "*.parquet"])
    schema = ", ".join(
        f"{_text(field.name)}: {{name: {_text(field.name)}, type: {_text(DUCKDB_TYPES[field.type])}, default_value: NULL}}"
        for field in TABLES[table]
    )
    columns = [_name(field.name) for field in TABLES[table]]
    for key in PARTITIONS[table]:
        columns.append(f"url_decode(regexp_extract(filename, '.*/{key}=([^/]+)/', 1))::{PARTITION_TYPES[key]} AS {_name(key)}")
    columns.append("filename")
    if "version" in PARTITIONS[table]:
        columns.append(f"regexp_extract(filename, '/({parts.MERGED}[^/]*)[.]parquet$', 1) AS part")
    return f"SELECT {', '.join(columns)} FROM read_parquet({_text(pattern)}, filename = true, schema = MAP {{{schema}}})"


def _glob_literal(path: str) -> str:
    return re.sub(r"[*?\[\\]", r"[\g<0>]", path)


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _name(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


def _open_s3(connection: duckdb.DuckDBPyConnection, root: str) -> None:
    """Loads httpfs and hands over what the AWS chain says, as a secret that lives as long as the connection."""
    import boto3

    open_store(root).probe()  # it says what is wrong better than DuckDB
    _load_httpfs(connection)
    connection.execute(f"SET threads = {max(16, os.cpu_count() or 1)}")  # they wait for the network most of the time
    session = boto3.Session()
    client = session.client("s3")
    endpoint = urlsplit(client.meta.endpoint_url)
    options = {
        "TYPE": "s3",
        "SCOPE": _text("s3://" + root.removeprefix("s3://").partition("/")[0]),
        "ENDPOINT": _text(endpoint.netloc),
        "URL_STYLE": "'vhost'" if "amazonaws.com" in endpoint.netloc else "'path'",
        "USE_SSL": str(endpoint.scheme == "https").lower(),
        "REGION": _text(client.meta.region_name or "us-east-1"),
    }
    frozen = session.get_credentials().get_frozen_credentials()
    options |= {"KEY_ID": _text(frozen.access_key), "SECRET": _text(frozen.secret_key)}
    if frozen.token:
        options["SESSION_TOKEN"] = _text(frozen.token)
    try:
        connection.execute(f"CREATE OR REPLACE TEMPORARY SECRET lake ({', '.join(f'{key} {value}' for key, value in options.items())})")
    except duckdb.Error:
        raise RuntimeError(f"DuckDB {duckdb.__version__} takes no secret of type s3.") from None  # its own message quotes the secret


def _load_httpfs(connection: duckdb.DuckDBPyConnection) -> None:
    try:
        import duckdb_extension_httpfs
    except ImportError:
        folder = Path()
    else:
        folder = Path(duckdb_extension_httpfs.__file__).parent / "extensions"
    extension = folder / f"v{duckdb.__version__}" / "httpfs.duckdb_extension"
    try:
        connection.execute(f"LOAD {_text(str(extension))}" if extension.exists() else "INSTALL httpfs; LOAD httpfs")
    except duckdb.Error as error:
        raise RuntimeError(
            f"DuckDB {duckdb.__version__} has no httpfs extension, which reads S3: "
            f"pip install duckdb-extension-httpfs=={duckdb.__version__} ({error})"
        ) from error


@functools.cache
def _sql_files() -> list[Path]:
    return [path for folder in FOLDERS for path in sorted((SQL_FOLDER / folder).glob("*.sql"))]


def _question(sql: str) -> str:
    return sql.partition("\n")[0].removeprefix("--").strip()


def _reading_statement(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    statements = connection.extract_statements(sql)
    if not statements:
        raise ValueError("There is no SQL statement: write one, such as FROM call_emotions LIMIT 10.")
    kinds = [statement.type for statement in statements]
    if kinds == [duckdb.StatementType.CREATE, duckdb.StatementType.SELECT] and len(re.findall(r"(?i)\bpivot\b", sql)) > 0:
        raise ValueError("DuckDB runs PIVOT as two statements unless it knows the columns: write PIVOT ... ON column IN (values).")
    if len(statements) > 1:
        raise ValueError(f"There are {len(statements)} SQL statements: write one at a time.")
    if kinds == [duckdb.StatementType.EXPLAIN]:  # with ANALYZE it would run what it explains
        explained = re.sub(r"(?is)^\s*explain(\s+analyze)?\b", "", re.sub(r"(?m)^\s*--.*$", "", sql), count=1)
        kinds = [statement.type for statement in connection.extract_statements(explained)]
    if kinds != [duckdb.StatementType.SELECT]:
        raise PermissionError(
            f"{statements[0].type.name} is not allowed here, only reading is: SELECT, WITH, FROM, DESCRIBE, SUMMARIZE, SHOW, EXPLAIN. "
            "To work on a copy, write a catalogue file (ser catalog) and open it with DuckDB."
        )
    return sql


def _tried_again(ask: Callable[[], Answer]) -> Answer:
    for pause_s in RETRY_PAUSES_S:
        try:
            return ask()
        except (duckdb.Error, UnicodeDecodeError) as error:
            if not _changed_under_us(error):
                raise
            sleep(pause_s)
    return ask()


def _changed_under_us(error: Exception) -> bool:
    """Whether it is what DuckDB raises where a part is replaced while it is read: HTTP 404 or 416, another etag, or a
    footer that is none. Such errors may have no class of their own, or quote the bytes found, which are no text."""
    if _has_no_part(error):
        return False
    return isinstance(error, duckdb.IOException | duckdb.InvalidInputException | UnicodeDecodeError) or type(error) is duckdb.Error


def _has_no_part(error: Exception) -> bool:
    """Whether a table's pattern matched nothing. A part that is deleted after its listing is reported in the same words, by its name."""
    return "No files found" in str(error) and '*.parquet"' in str(error)


def _as_box(answer: pa.Table, width: int) -> str:
    """The first rows, and the first columns that fit; a footer names what is left out. One row too wide stands upright."""
    if answer.column_names == ["explain_key", "explain_value"]:
        return "\n".join(answer["explain_value"].to_pylist()).rstrip("\n")
    answer = _distinctly_named(answer)
    columns = {name: _cells(column.slice(0, SHOWN_ROWS)) for name, column in zip(answer.column_names, answer.columns, strict=True)}
    needed = [min(max(map(cell_len, [name, *cells])), SHOWN_CELL) + 3 for name, cells in columns.items()]
    fitting = max(1, bisect.bisect_right(list(itertools.accumulate(needed, initial=1)), width) - 1)
    footer = f"{answer.num_rows:,} row{'s' * (answer.num_rows != 1)}"
    if answer.num_rows > SHOWN_ROWS:
        footer += f", the first {SHOWN_ROWS} shown: add LIMIT, or --format csv for all"
    if fitting < len(columns) and answer.num_rows == 1:
        value_width = max(SHOWN_CELL, width - max(map(cell_len, columns)) - 7)
        rows = [(name, _cut(cells[0], value_width)) for name, cells in columns.items()]
        lines = _box(["column", "value"], rows, [False, False], width)
    else:
        shown, left_out = list(columns)[:fitting], list(columns)[fitting:]
        cut = [[_cut(cell, SHOWN_CELL) for cell in columns[name]] for name in shown]
        numbers = [_is_number(column.type) for column in answer.columns[:fitting]]
        lines = _box([_cut(name, SHOWN_CELL) for name in shown], zip(*cut, strict=True), numbers, width)
        if left_out:
            footer += f"; {len(left_out)} more column{'s' * (len(left_out) != 1)}: {', '.join(left_out)}"
    return lines + "\n".join(textwrap.wrap(footer, width))


def _cut(text: str, cells: int) -> str:
    return text if cell_len(text) <= cells else set_cell_size(text, cells - 1) + "…"


def _box(names: list[str], rows: Iterable[Iterable[str]], numbers: list[bool], width: int) -> str:
    box = rich.table.Table(box=rich.box.SQUARE)
    for name, is_number in zip(names, numbers, strict=True):
        box.add_column(rich.text.Text(name), justify="right" if is_number else "left", no_wrap=True, overflow="ellipsis")
    for row in rows:
        box.add_row(*map(rich.text.Text, row))
    text = io.StringIO()
    rich.console.Console(file=text, width=width, color_system=None, force_terminal=False).print(box)
    return text.getvalue()


def _cells(column: pa.ChunkedArray) -> list[str]:
    """Text of a column's values. Three decimals for probabilities, fewer for large numbers; one rule for a whole column."""
    values = column.to_pylist()
    if pa.types.is_floating(column.type):
        largest = max((abs(value) for value in values if value is not None and math.isfinite(value)), default=0)
        decimals = 3 if largest < 10 else 2 if largest < 100 else 1
        return ["null" if value is None else f"{value:.{decimals}f}" for value in values]
    if pa.types.is_timestamp(column.type):
        return ["null" if value is None else f"{value:%Y-%m-%d %H:%M:%S}" for value in values]
    return ["null" if value is None else _printable(" ".join(str(value).split())) for value in values]


def _printable(text: str) -> str:
    """Text that only shows: what would steer the terminal, or turn the reading direction, is written as its number."""
    return text if text.isprintable() else "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def _is_number(type_: pa.DataType) -> bool:
    return pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_)


def _as_csv(answer: pa.Table) -> str:
    with duckdb.connect() as connection, io.StringIO(newline="") as text:
        relation = _projected(connection, answer, lambda name, column: f"{name}::VARCHAR")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(relation.columns)
        writer.writerows(relation.fetchall())
        return text.getvalue().rstrip("\n")


def _as_json(answer: pa.Table) -> str:
    with duckdb.connect() as connection:
        rows = _projected(connection, answer, _jsonable).to_arrow_table().to_pylist()
    lines = [json.dumps(row, ensure_ascii=False, allow_nan=False, default=_json_default) for row in rows]
    return "[\n" + ",\n".join(lines) + "\n]" if lines else "[]"


def _as_parquet(answer: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(_distinctly_named(answer), buffer, compression="zstd")
    return buffer.getvalue()


FORMATS: dict[str, Callable[..., str | bytes]] = {
    "table": _as_box,
    "csv": _as_csv,
    "json": _as_json,
    "parquet": _as_parquet,
}


def _projected(
    connection: duckdb.DuckDBPyConnection, answer: pa.Table, expression: Callable[[str, pa.ChunkedArray], str]
) -> duckdb.DuckDBPyRelation:
    connection.execute("SET TimeZone = 'UTC'")
    answer = _distinctly_named(answer)
    columns = [
        f"{expression(_name(name), column)} AS {_name(name)}" for name, column in zip(answer.column_names, answer.columns, strict=True)
    ]
    return connection.from_arrow(answer).project(", ".join(columns))


def _distinctly_named(answer: pa.Table) -> pa.Table:
    """SQL allows two columns of one name (and tells upper from lower case nowhere); files and objects do not."""
    names: list[str] = []
    for name in answer.column_names:
        taken = {other.lower() for other in names}
        names.append(next(each for n in itertools.count() if (each := f"{name}_{n}" if n else name).lower() not in taken))
    return answer.rename_columns(names)


def _jsonable(name: str, column: pa.ChunkedArray) -> str:
    """JSON knows neither NaN nor infinity, and a float32 is written as short as it is: 0.1, not 0.10000000149011612."""
    if not pa.types.is_floating(column.type):
        return name
    return f"CASE WHEN isfinite({name}) THEN {name}::VARCHAR::DOUBLE END"


def _json_default(value: object) -> object:
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else str(value)
