"""The lake as DuckDB views: raw views over the parts (schema ``parts``), and on them every view of ``sql/``.

No row is copied: a view reads the parts at the moment of the query, so it includes parts that were written later. One limit: a table
that has no part at all when ``connect`` is called stays empty on that connection. A catalogue file has no such limit, because
``write_catalog`` puts an empty part of each table into the lake.
"""

import functools
import logging
import os
import re
from collections.abc import Collection
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb

from ser_tasks.lake import sql_views, view_cache
from ser_tasks.lake.queues import check
from ser_tasks.lake.read_only import has_no_part, query, retried
from ser_tasks.lake.s3_access import open_s3
from ser_tasks.lake.sql_text import identifier, literal
from ser_tasks.scratch import atomic_write
from ser_tasks.storage import open_store

log = logging.getLogger(__name__)

OF_NO_QUEUE = ("runs", "deletions")
"""Tables without rows of single calls: a catalogue file for some queues holds them whole."""
MIN_CALLS = "SER_MIN_CALLS_BY_AGENT"
MADE_AT = {
    "recordings": "planned_at",
    "outcomes": "scored_at",
    "segments": "scored_at",
    "call_emotions": "scored_at",
    "runs": "ended_at",
    "profiles": "made_at",
    "deletions": "deleted_at",
    "alerts": "found_at",
    "reviews": "reviewed_at",
    "review_samples": "drawn_at",
}
"""The column of each table that holds when a row was made. Where DuckDB's variable ``as_of`` is set, views hold only rows made by then."""


def connect(
    lake: str, since: date | None = None, without: Collection[str] = (), as_of: datetime | None = None
) -> duckdb.DuckDBPyConnection:
    """An in-memory connection with every view over the lake, a folder or ``s3://bucket/prefix``.

    For pandas and Arrow: results are data frames, tables or batches, and SQL may name data frames of the calling code::

        with connect("s3://lake/emotions") as connection:
            worst = connection.sql("FROM worst_calls LIMIT 20").df()
            batches = connection.execute("FROM segments WHERE day = ?", ["2026-11-20"]).to_arrow_reader(50_000)

    The views are read-only, so no statement changes the lake. The connection itself is a plain DuckDB connection, on which ``COPY ... TO``
    writes files: ``read_only.query`` refuses everything but reading. Each thread needs its own ``cursor()``; it has the same views, but
    not the variables (``as_of``) of this connection. Fetch results before the connection is closed, by ``close`` or ``with``.

    With ``since``, the views read only parts in day folders from that day on, so the checks of one night take as long in an old lake
    as in a young one. An upload in an older day folder is then unknown, even where it is the newest version of a recording.
    ``without`` holds keys of parts to leave out, such as unreadable ones.
    With ``as_of`` (UTC unless it has a zone), the views hold what was known at that moment: rows made later are left out.
    What later nights replaced or deleted in the lake cannot be shown: see sql/ANALYSTS.md, As of a day.

    The views of an empty or missing lake are empty. Raises the store's error where the lake cannot be reached, and NotADirectoryError
    where it is a file.
    """
    connection = view_cache.connect()
    try:
        connection.execute("SET GLOBAL TimeZone = 'UTC'")  # global: its cursors have it, too
        connection.execute("SET enable_progress_bar = false")  # it would appear within a program's output
        if as_of is not None:
            moment = as_of if as_of.tzinfo else as_of.replace(tzinfo=UTC)
            connection.execute(f"SET VARIABLE as_of = TIMESTAMPTZ {literal(moment.isoformat())}")
        _read_from(connection, lake, since, without)
    except BaseException:
        connection.close()
        raise
    return connection


def write_catalog(lake: str, out: str | Path, queues: Collection[str] = (), empty_parts: bool = True) -> Path:
    """Writes the views as a DuckDB file for BI tools and returns its absolute path; an older file is replaced atomically.

    The file holds no rows and no credentials: readers of a lake on S3 need httpfs and a secret of their own. Any number of
    processes may open it read-only, also while a night writes parts and while the file is replaced.

    DuckDB rejects a view whose pattern matches no file, so this writes an empty part of each table into the lake. Where the lake is
    read-only, or ``empty_parts`` is false, a table without parts stays empty in the file, and a warning names it.

    With ``queues``, the views show only recordings whose newest version is a call of one of these queues: not those of an unknown queue,
    nor in quarantine. Raises ValueError for a queue that no call has. The parts stay as readable as they are: sql/ANALYSTS.md, Rights.
    """
    if queues:
        _require_queues(lake, queues)
    out = Path(out).expanduser().absolute()
    if out.is_dir():
        raise IsADirectoryError(f"{out} is a folder: name a file in it, such as {out / 'warehouse.duckdb'}.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(out) as temporary:
        try:
            with duckdb.connect(temporary) as connection:
                connection.begin()  # one write to disk instead of hundreds
                sql_views.create(connection, sql_views.read_definitions())
                sql_views.comment_on_columns(connection)
                connection.commit()
                refused = _write_empty_parts(lake) if empty_parts else "no night has written to the lake"
                for table in _read_from(connection, lake, queues=queues):
                    log.warning("%s has no parts yet and stays empty in %s: write the file again once it has (%s).", table, out, refused)
        finally:
            Path(f"{temporary}.wal").unlink(missing_ok=True)
    return out


def run_checks(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """The number of offending rows by check, for every view of ``sql/checks``; 0 is good. ``FROM <check>`` returns the rows."""
    return {
        view.name: query(connection, f"SELECT count(*) AS rows FROM {identifier(view.name)}")["rows"][0].as_py()
        for view in sql_views.all_views()
        if view.folder == "checks"
    }


def _require_queues(lake: str, queues: Collection[str]) -> None:
    with connect(lake) as connection:
        rows = query(connection, "SELECT DISTINCT queue FROM call_emotions WHERE queue IS NOT NULL")
    check(queues, rows["queue"].to_pylist())


def _write_empty_parts(lake: str) -> OSError | None:
    """Writes an empty part of each table; returns the error where the lake is read-only."""
    from ser_tasks.lake import parts

    try:
        parts.write_empty(open_store(lake))
    except OSError as error:
        return error
    return None


def _read_from(
    connection: duckdb.DuckDBPyConnection,
    lake: str,
    since: date | None = None,
    without: Collection[str] = (),
    queues: Collection[str] = (),
) -> list[str]:
    """Replaces the empty raw views by views over the lake, and returns the tables without parts, whose views stay empty."""
    if MIN_CALLS.casefold() in map(str.casefold, os.environ):  # else the macro has the setting's default
        from ser_tasks.settings import Settings

        connection.execute(f"CREATE OR REPLACE MACRO min_calls_by_agent() AS {Settings().min_calls_by_agent}")
    root = open_store(lake).uri
    if root.startswith("s3://"):
        open_s3(connection, root)
    elif Path(root).exists() and not Path(root).is_dir():
        raise NotADirectoryError(f"{root} is a file: give the folder that is the lake.")
    elif "\\" in root:
        raise ValueError(f"DuckDB takes the backslash in {root} for a slash: give the lake another folder.")
    without_parts = []
    tables = sql_views.raw_columns(connection)
    of_queues = _recordings_of(tables, root, queues) if queues else ""
    for table, columns in tables.items():
        wanted = [f"day >= DATE '{since:%Y-%m-%d}'"] if since else []
        left_out = [literal(f"{root}/{key}") for key in without if key.startswith(f"{table}/")]
        wanted += [f"filename NOT IN ({', '.join(left_out)})"] if left_out else []
        wanted.append(f"(getvariable('as_of') IS NULL OR {MADE_AT[table]} <= getvariable('as_of')::TIMESTAMPTZ)")
        if queues and "recording_id" in columns:
            wanted.append(f"recording_id IN ({of_queues})")
        elif queues and table not in OF_NO_QUEUE:  # of whose rows it is not known whose they are
            wanted.append(f"subject IN {_values(queues)}" if table == "alerts" else "false")
        try:
            rows = f"SELECT * EXCLUDE (filename) FROM ({_over_parts(table, columns, root)}) WHERE {' AND '.join(wanted)}"
            view = f"CREATE OR REPLACE VIEW {sql_views.PARTS}.{table} AS {rows}"
            retried(functools.partial(connection.execute, view))
        except duckdb.IOException as error:
            if not has_no_part(error):
                raise
            without_parts.append(table)
    return without_parts


def _recordings_of(tables: dict[str, dict[str, str]], root: str, queues: Collection[str]) -> str:
    """A SELECT of the recordings whose newest version, as the view ``newest`` orders them, is a call of one of the queues."""
    newest = f"""
        SELECT recording_id, chunk_id, version, part FROM ({_over_parts("outcomes", tables["outcomes"], root)})
        WHERE getvariable('as_of') IS NULL OR scored_at <= getvariable('as_of')::TIMESTAMPTZ
        QUALIFY row_number() OVER (
            PARTITION BY recording_id
            ORDER BY coalesce(planned_at, scored_at) DESC, scored_at DESC, version DESC, etag DESC, chunk_id DESC, part DESC
        ) = 1
    """
    calls = f"SELECT * FROM ({_over_parts('call_emotions', tables['call_emotions'], root)}) WHERE queue IN {_values(queues)}"
    return f"SELECT recording_id FROM ({newest}) SEMI JOIN ({calls}) USING (recording_id, chunk_id, version, part)"


def _values(texts: Collection[str]) -> str:
    return f"({', '.join(map(literal, texts))})"


def _over_parts(table: str, columns: dict[str, str], root: str) -> str:
    """A SELECT over a table's parts with the columns of its raw view; a column that an older part lacks is null.

    With an explicit schema DuckDB does not open every part to find its columns (as with ``union_by_name``), but it then refuses
    ``hive_partitioning``. So day and version are extracted from the file name, and filters on them still skip files. ``part`` is
    the name of a merged part, and empty for a chunk's own part: of the parts with rows of a chunk, the one with the greatest name counts.
    """
    partitions = [key for key in sql_views.PARTITION_TYPES if key in columns]
    pattern = "/".join([_escaped_for_glob(root), table, *[f"{key}=*" for key in partitions], "*.parquet"])
    of_file = {name: type_ for name, type_ in columns.items() if name not in (*partitions, "part")}
    schema = ", ".join(
        f"{literal(name)}: {{name: {literal(name)}, type: {literal(type_)}, default_value: NULL}}" for name, type_ in of_file.items()
    )
    selected = [identifier(name) for name in of_file]
    for key in partitions:
        selected.append(
            f"url_decode(regexp_extract(filename, '.*/{key}=([^/]+)/', 1))::{sql_views.PARTITION_TYPES[key]} AS {identifier(key)}"
        )
    selected.append("filename")
    if "part" in columns:
        selected.append(f"regexp_extract(filename, '/({sql_views.MERGED}[^/]*)[.]parquet$', 1) AS part")
    return f"SELECT {', '.join(selected)} FROM read_parquet({literal(pattern)}, filename = true, schema = MAP {{{schema}}})"


def _escaped_for_glob(path: str) -> str:
    return re.sub(r"[*?\[\\]", r"[\g<0>]", path)
