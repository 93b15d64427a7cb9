"""The lake as DuckDB views: raw ones over the parts (schema ``parts``), and on them every SELECT under ``sql/``.

Nothing is copied: a view reads the parts at the moment of the query, so it sees parts that came later. One limit: a table
without a single part when ``connect`` makes the views stays empty on that connection. A catalogue file has no such limit: its
making puts an empty part of each table into the lake.
"""

import functools
import logging
import os
import re
from collections.abc import Collection
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import duckdb
import pyarrow as pa

from ser_tasks import resource
from ser_tasks.lake import parts
from ser_tasks.lake.read_only import has_no_part, query, retried
from ser_tasks.lake.sql_text import identifier, literal
from ser_tasks.schemas import PARTITIONS, TABLES
from ser_tasks.scratch import atomic_write
from ser_tasks.storage import open_store

log = logging.getLogger(__name__)


SQL_FOLDER = resource("sql")
FOLDERS = ("staging", "marts", "checks")
"""Folders of ``sql/`` in the order in which their views build on each other. ``sql/macros`` holds functions that they share."""

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
COMMON_MEANINGS = {
    "day": "date of the day folder",
    "version": "model and policy, as <model>.<policy>",
    "part": "name of the merged part that holds the row, empty where it is a chunk's own",
    "recordings": "number of recordings",
    "audio_h": "hours of audio",
    "share_negative": "share of scored speech labelled anger, disgust, fear or sadness and not unsure, 0 to 1",
    "what": "what is wrong",
    "detail": "where it is, with the values found",
}
"""Columns of views that no table has."""

MADE_AT = {
    "recordings": "planned_at",
    "outcomes": "scored_at",
    "segments": "scored_at",
    "call_emotions": "scored_at",
    "runs": "ended_at",
    "deletions": "deleted_at",
    "alerts": "found_at",
}
"""When a row of each table was made. Every view shows only rows made by the moment in DuckDB's variable ``as_of``, where it is set."""


class View(NamedTuple):
    name: str
    folder: str
    """staging, marts or checks."""
    question: str
    """What the view answers: the first comment line of its file."""


def connect(
    lake: str, since: date | None = None, without: Collection[str] = (), as_of: datetime | None = None
) -> duckdb.DuckDBPyConnection:
    """An in-memory connection with every view over the lake, a folder or ``s3://bucket/prefix``.

    For pandas and Arrow: answers come as data frames, tables or batches, and data frames of yours are read by their names::

        with connect("s3://lake/emotions") as connection:
            worst = connection.sql("FROM worst_calls LIMIT 20").df()
            batches = connection.execute("FROM segments WHERE day = ?", ["2026-11-20"]).to_arrow_reader(50_000)

    The views can't be written to, so nothing changes the lake. The connection itself is DuckDB's own and unguarded, ``COPY ... TO``
    writes files: ``query`` allows reading alone. Each thread takes a ``cursor()`` of its own, which sees the same views but not the
    variables (``as_of``) of this connection. Close what you open, or use ``with``; fetch an answer before that.

    With ``since``, only over parts of day folders from that day on: as quick for the checks of one night in an old lake as in
    a young one. Then an upload that lies under an older day folder is not known here, not even as a newer version.
    ``without`` names parts (keys) to leave out: those that cannot be read.
    With ``as_of``, every view shows what was known at that moment, UTC unless it says a zone: rows made later are left out.
    What later nights replaced or deleted in the lake itself cannot be shown: see sql/ANALYSTS.md, As of a day.
    A lake that is empty, or not there yet, has empty views. Raises what the store raises where it cannot be reached.
    """
    connection = duckdb.connect()
    connection.execute("SET GLOBAL TimeZone = 'UTC'")  # of its cursors, too
    connection.execute("SET enable_progress_bar = false")  # it would stand in the middle of what a program prints
    _create_views(connection)
    if as_of is not None:
        moment = as_of if as_of.tzinfo else as_of.replace(tzinfo=UTC)
        connection.execute(f"SET VARIABLE as_of = TIMESTAMPTZ {literal(moment.isoformat())}")
    _lay_over_parts(connection, lake, since, without)
    return connection


def write_catalog(lake: str, out: str | Path) -> Path:
    """Writes the views as a DuckDB file for BI tools and returns its absolute path; an older file is replaced at once.

    The file holds no data and no credentials: for a lake on S3 the reader brings httpfs and a secret of its own. Many
    processes may open it read-only, while a night writes parts and while it is replaced.

    DuckDB refuses a view over no file: so an empty part of each table goes into the lake. Where that may not be written, a
    table without parts stays empty in the file, and a warning names it.
    """
    out = Path(out).expanduser().absolute()
    if out.is_dir():
        raise IsADirectoryError(f"{out} is a folder: name a file in it, such as {out / 'warehouse.duckdb'}.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(out) as temporary:
        try:
            with duckdb.connect(temporary) as connection:
                connection.begin()  # one write to disk instead of hundreds
                _create_views(connection)
                _comment_on_columns(connection)
                connection.commit()
                refused = _write_empty_parts(lake)
                for table in _lay_over_parts(connection, lake):
                    log.warning("%s has no parts yet and stays empty in %s: write it again when there are some (%s).", table, out, refused)
        finally:
            Path(f"{temporary}.wal").unlink(missing_ok=True)
    return out


def run_checks(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Offending rows by check, for every view of ``sql/checks``; 0 is good. ``FROM <check>`` shows the rows."""
    return {
        view.name: query(connection, f"SELECT count(*) AS rows FROM {identifier(view.name)}")["rows"][0].as_py()
        for view in views()
        if view.folder == "checks"
    }


def views() -> list[View]:
    """Every view of ``sql/`` by folder and name."""
    return [View(path.stem, path.parent.name, _question(path.read_text(encoding="utf-8"))) for path in _sql_files()]


def meanings(view: View) -> dict[str, str]:
    """What columns of a view mean: the comment beside the column in its last SELECT, else what schemas.py says of a column of that name.

    A staging view has the columns of its table; a mart may have those of any, a call's before others. Ends of intervals are named ``_low``
    and ``_high``.
    """
    tables = (
        [view.name.removesuffix("_all")] if view.name.removesuffix("_all") in TABLES else ["call_emotions", "outcomes", "runs", "segments"]
    )
    known = dict(COMMON_MEANINGS)
    for table in reversed(tables):
        known |= {field.name: field.metadata[b"meaning"].decode() for field in TABLES[table]}
    sql = (SQL_FOLDER / view.folder / f"{view.name}.sql").read_text(encoding="utf-8")
    known |= dict(re.findall(r"(?m)^(?: {4}.*[^\w\n])?(?: {4})?(\w+),? -- (.+)$", sql.rpartition("\nSELECT")[2]))
    ends = {f"{name}_{end}": f"{end}er end of the 95 % interval of {name}" for name in known for end in ("low", "high")}
    return ends | known


def _create_views(connection: duckdb.DuckDBPyConnection) -> None:
    """Every view, over no parts yet. Making a view binds it, and binding one over parts lists the store: so that is done once,
    by _lay_over_parts, and not for every view that builds on it."""
    connection.execute(f"CREATE SCHEMA {PARTS}")
    for table in TABLES:
        connection.execute(f"CREATE VIEW {PARTS}.{table} AS {_empty(table)}")
    waiting = [*sorted((SQL_FOLDER / "macros").glob("*.sql")), *_sql_files()]
    while waiting:
        too_early = []
        for path in waiting:
            sql = path.read_text(encoding="utf-8")
            try:
                if path.parent.name == "macros":
                    connection.execute(sql)
                else:
                    connection.execute(f"CREATE VIEW {identifier(path.stem)} AS\n{sql}")
                    connection.execute(f"COMMENT ON VIEW {identifier(path.stem)} IS {literal(_question(sql))}")
            except duckdb.CatalogException as error:  # it needs a view that comes later, or one that is nowhere
                too_early.append(path)
                fault = ValueError(f"sql/{path.parent.name}/{path.name} is no view: {error}")
            except duckdb.Error as error:
                raise ValueError(f"sql/{path.parent.name}/{path.name} is no view: {error}") from error
        if len(too_early) == len(waiting):
            raise fault
        waiting = too_early


def _comment_on_columns(connection: duckdb.DuckDBPyConnection) -> None:
    for view in views():
        known = meanings(view)
        for column in connection.table(view.name).columns:
            if column in known:
                connection.execute(f"COMMENT ON COLUMN {identifier(view.name)}.{identifier(column)} IS {literal(known[column])}")


def _write_empty_parts(lake: str) -> OSError | None:
    """Why the lake took none, if so: a lake may be there to be read only."""
    try:
        parts.write_empty(open_store(lake))
    except OSError as error:
        return error
    return None


def _lay_over_parts(
    connection: duckdb.DuckDBPyConnection, lake: str, since: date | None = None, without: Collection[str] = ()
) -> list[str]:
    """Lays the raw views over the lake and returns the tables without parts: theirs stay as they are."""
    root = open_store(lake).uri
    if root.startswith("s3://"):
        _open_s3(connection, root)
    elif Path(root).exists() and not Path(root).is_dir():
        raise NotADirectoryError(f"{root} is a file: give the folder that is the lake.")
    elif "\\" in root:
        raise ValueError(f"DuckDB takes the backslash in {root} for a slash: give the lake another folder.")
    without_parts = []
    for table in TABLES:
        wanted = [f"day >= DATE '{since:%Y-%m-%d}'"] if since else []
        left_out = [literal(f"{root}/{key}") for key in without if key.startswith(f"{table}/")]
        wanted += [f"filename NOT IN ({', '.join(left_out)})"] if left_out else []
        wanted.append(f"(getvariable('as_of') IS NULL OR {MADE_AT[table]} <= getvariable('as_of')::TIMESTAMPTZ)")
        try:
            rows = f"SELECT * EXCLUDE (filename) FROM ({_over_parts(table, root)}) WHERE {' AND '.join(wanted)}"
            view = f"CREATE OR REPLACE VIEW {PARTS}.{table} AS {rows}"
            retried(functools.partial(connection.execute, view))
        except duckdb.IOException as error:
            if not has_no_part(error):
                raise
            without_parts.append(table)
    return without_parts


def _empty(table: str) -> str:
    columns = [(field.name, DUCKDB_TYPES[field.type]) for field in TABLES[table]]
    columns += [(key, PARTITION_TYPES[key]) for key in PARTITIONS[table]]
    if "version" in PARTITIONS[table]:
        columns.append(("part", "VARCHAR"))
    return "SELECT " + ", ".join(f"NULL::{type_} AS {identifier(name)}" for name, type_ in columns) + " WHERE false"


def _over_parts(table: str, root: str) -> str:
    """A SELECT over the parts by schemas.py: a column that an older part lacks is null, whatever part is read first.

    Naming the schema spares DuckDB from opening every part to learn it (``union_by_name``), but excludes
    ``hive_partitioning``. So day and version are cut from the file name, by which DuckDB skips files just as well. ``part`` is
    the name of a merged part and empty for a chunk's own: of those with rows of a chunk the greatest counts.
    """
    pattern = "/".join([_glob_literal(root), table, *[f"{key}=*" for key in PARTITIONS[table]], "*.parquet"])
    schema = ", ".join(
        f"{literal(field.name)}: {{name: {literal(field.name)}, type: {literal(DUCKDB_TYPES[field.type])}, default_value: NULL}}"
        for field in TABLES[table]
    )
    columns = [identifier(field.name) for field in TABLES[table]]
    for key in PARTITIONS[table]:
        columns.append(f"url_decode(regexp_extract(filename, '.*/{key}=([^/]+)/', 1))::{PARTITION_TYPES[key]} AS {identifier(key)}")
    columns.append("filename")
    if "version" in PARTITIONS[table]:
        columns.append(f"regexp_extract(filename, '/({parts.MERGED}[^/]*)[.]parquet$', 1) AS part")
    return f"SELECT {', '.join(columns)} FROM read_parquet({literal(pattern)}, filename = true, schema = MAP {{{schema}}})"


def _glob_literal(path: str) -> str:
    return re.sub(r"[*?\[\\]", r"[\g<0>]", path)


def _open_s3(connection: duckdb.DuckDBPyConnection, root: str) -> None:
    """Loads httpfs and hands over what the AWS chain says, as a secret that lives as long as the connection."""
    import boto3

    open_store(root).check()  # it says what is wrong better than DuckDB
    _load_httpfs(connection)
    connection.execute(f"SET threads = {max(16, os.cpu_count() or 1)}")  # they wait for the network most of the time
    session = boto3.Session()
    client = session.client("s3")
    endpoint = urlsplit(client.meta.endpoint_url)
    options = {
        "TYPE": "s3",
        "SCOPE": literal("s3://" + root.removeprefix("s3://").partition("/")[0]),
        "ENDPOINT": literal(endpoint.netloc),
        "URL_STYLE": "'vhost'" if "amazonaws.com" in endpoint.netloc else "'path'",
        "USE_SSL": str(endpoint.scheme == "https").lower(),
        "REGION": literal(client.meta.region_name or "us-east-1"),
    }
    frozen = session.get_credentials().get_frozen_credentials()
    options |= {"KEY_ID": literal(frozen.access_key), "SECRET": literal(frozen.secret_key)}
    if frozen.token:
        options["SESSION_TOKEN"] = literal(frozen.token)
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
        connection.execute(f"LOAD {literal(str(extension))}" if extension.exists() else "INSTALL httpfs; LOAD httpfs")
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
