"""The views that ``sql/`` defines: their files, what they answer, what their columns mean, and their creation in DuckDB.

Every file of ``FOLDERS`` holds one SELECT, the view of that name. They read the raw views of the schema ``PARTS``, one for each table of
``schemas.py``; ``create`` makes those empty, and ``catalog`` replaces them by views over a lake.
"""

import functools
import hashlib
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from ser_tasks.lake.sql_text import identifier, literal
from ser_tasks.partitions import PARTITIONS
from ser_tasks.resources import resource

SQL_FOLDER = resource("sql")
SCHEMAS = Path(__file__).parent.parent / "schemas.py"
FOLDERS = ("staging", "marts", "checks")
"""Folders of ``sql/`` in the order in which their views build on each other. ``sql/macros`` holds functions that they share."""

CALLED = {"compare": "compare('2026-11', '2026-10')"}
"""The table macros that analysts call, each with an example: views with arguments."""

PARTS = "parts"
"""Schema of the raw views. Not ``lake``: DuckDB could not tell it from a catalogue file named lake.duckdb."""

MERGED = "merged-"
"""Prefix of the names of parts that replace others; a number follows: see compaction.py. Any other part is named after its chunk."""
PARTITION_TYPES = {"day": "DATE", "version": "VARCHAR"}
COMMON_MEANINGS = {
    "day": "date of the day folder",
    "version": "model and policy, as <model>.<policy>",
    "part": "name of the merged part that holds the row, empty where it is a chunk's own",
    "recordings": "number of recordings",
    "audio_h": "hours of audio",
    "share_negative": "share of scored speech labelled anger, disgust, fear or sadness and not unsure, 0 to 1",
    **{
        f"share_{name}_of_sure": f"share of {name} speech in that of which the model is sure, 0 to 1"
        for name in ("negative", "anger", "happiness")
    },
    "what": "what is wrong",
    "detail": "where it is, with the values found",
}
"""Meanings of columns that views have and no table does."""


class View(NamedTuple):
    name: str
    folder: str
    """staging, marts or checks."""
    question: str
    """What the view answers: the first comment line of its file."""

    @property
    def path(self) -> Path:
        return SQL_FOLDER / self.folder / f"{self.name}.sql"

    @property
    def sql(self) -> str:
        """The text of its file: comments and one SELECT."""
        return self.path.read_text(encoding="utf-8")

    @property
    def comment(self) -> list[str]:
        """The comment lines at the top of its file: the question, the grain, the units, and remarks if any."""
        head = itertools.takewhile(lambda line: line.startswith("--"), self.sql.splitlines())
        return [line.removeprefix("--").strip() for line in head]


class Definition(NamedTuple):
    source: str
    """The file that it comes from, for messages."""
    sql: str
    """Statements that create a macro, or a view and its comment."""


def sql_files() -> list[Path]:
    """The file of every view, by folder and name."""
    return [path for folder in FOLDERS for path in sorted((SQL_FOLDER / folder).glob("*.sql"))]


def all_views() -> list[View]:
    """Every view of ``sql/``, by folder and name."""
    return [View(path.stem, path.parent.name, _question(path.read_text(encoding="utf-8"))) for path in sql_files()]


def called_views() -> list[View]:
    """The macros of ``CALLED``, described like views."""
    files = [path for path in sorted((SQL_FOLDER / "macros").glob("*.sql")) if path.stem in CALLED]
    return [View(path.stem, "macros", _question(path.read_text(encoding="utf-8"))) for path in files]


def rows_of(view: View) -> str:
    """What SQL writes after FROM to read a view: its name, or a call with example arguments."""
    return CALLED.get(view.name, identifier(view.name))


def meanings(view: View) -> dict[str, str]:
    """The meanings of a view's columns, by name: the comment beside a column in the view's last SELECT, else the meaning in ``schemas.py``
    of a column of that name.

    A staging view has the columns of its table. A mart may have columns of any table; of two tables with a column of one name,
    ``call_emotions`` comes first. ``_low`` and ``_high`` are the ends of an interval. A column with no meaning is not in the answer.
    """
    from ser_tasks.schemas import TABLES

    table = view.name.removesuffix("_all")
    tables = [table] if table in TABLES else ["call_emotions", "outcomes", "runs", "segments", "reviews", "review_samples"]
    known = dict(COMMON_MEANINGS)
    for name in reversed(tables):
        known |= {field.name: field.metadata[b"meaning"].decode() for field in TABLES[name]}
    known |= dict(re.findall(r"(?m)^(?: {4}.*[^\w\n])?(?: {4})?(\w+),? -- (.+)$", view.sql.rpartition("\nSELECT")[2]))
    ends = {f"{name}_{end}": f"{end}er end of the 95 % interval of {name}" for name in known for end in ("low", "high")}
    return ends | known


def read_definitions() -> list[Definition]:
    """The definitions of the raw views, the macros and the views. Their order is not always that of their dependencies."""
    from ser_tasks.schemas import TABLES

    found = [Definition("schemas.py", f"CREATE SCHEMA {PARTS}")]
    found += [Definition("schemas.py", f"CREATE VIEW {PARTS}.{table} AS {_no_rows(table)}") for table in TABLES]
    for path in sorted((SQL_FOLDER / "macros").glob("*.sql")):
        found.append(Definition(f"sql/macros/{path.name}", path.read_text(encoding="utf-8")))
    for path in sql_files():
        sql, name = path.read_text(encoding="utf-8"), identifier(path.stem)
        create_view = f"CREATE VIEW {name} AS\n{sql}\n;\nCOMMENT ON VIEW {name} IS {literal(_question(sql))}"
        found.append(Definition(f"sql/{path.parent.name}/{path.name}", create_view))
    return found


def version() -> str:
    """A hash of everything that the views are made from: ``sql/``, the schemas and this module by their text, and DuckDB by its version.

    Of the text, so that views which are cached are found without loading the schemas, which need Arrow.
    """
    digest = hashlib.sha256(repr(duckdb.__version__).encode())
    for path in [SCHEMAS, Path(__file__), *sorted((SQL_FOLDER / "macros").glob("*.sql")), *sql_files()]:
        digest.update(f"\0{path.parent.name}/{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:32]


@functools.cache
def duckdb_types() -> dict[Any, str]:
    """DuckDB's name of each Arrow type in ``schemas.py``."""
    import pyarrow as pa

    return {
        pa.string(): "VARCHAR",
        pa.bool_(): "BOOLEAN",
        pa.int32(): "INTEGER",
        pa.int64(): "BIGINT",
        pa.float32(): "FLOAT",
        pa.float64(): "DOUBLE",
        pa.date32(): "DATE",
        pa.timestamp("us", tz="UTC"): "TIMESTAMP WITH TIME ZONE",
        pa.list_(pa.float32()): "FLOAT[]",
    }


def raw_columns(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, str]]:
    """The columns of each raw view with their types, as ``create`` made them: those of its table, its partitions and ``part``."""
    rows = connection.execute(
        f"SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE schema_name = '{PARTS}' ORDER BY table_name, column_index"
    ).fetchall()
    return {table: {column: type_ for _, column, type_ in own} for table, own in itertools.groupby(rows, lambda row: row[0])}


def create(connection: duckdb.DuckDBPyConnection, definitions: Sequence[Definition]) -> None:
    """Creates the macros and every view in an empty database, over empty tables. Raises ValueError, which names the file, for faulty SQL.

    Creating a view binds it, and binding a view over parts lists the store: over empty tables none is listed.
    """
    waiting = list(definitions)
    while waiting:
        too_early = []
        for definition in waiting:
            try:
                connection.execute(definition.sql)
            except duckdb.CatalogException as error:  # it needs a view that comes later, or one that does not exist
                too_early.append(definition)
                fault = ValueError(f"{definition.source} is no view: {error}")
            except duckdb.Error as error:
                raise ValueError(f"{definition.source} is no view: {error}") from error
        if len(too_early) == len(waiting):
            raise fault
        waiting = too_early


def comment_on_columns(connection: duckdb.DuckDBPyConnection) -> None:
    """Adds the meaning of each column of the views as its comment in the database."""
    for view in all_views():
        known = meanings(view)
        for column in connection.table(view.name).columns:
            if column in known:
                connection.execute(f"COMMENT ON COLUMN {identifier(view.name)}.{identifier(column)} IS {literal(known[column])}")


def _no_rows(table: str) -> str:
    from ser_tasks.schemas import TABLES

    columns = [(field.name, duckdb_types()[field.type]) for field in TABLES[table]]
    columns += [(key, PARTITION_TYPES[key]) for key in PARTITIONS[table]]
    if "version" in PARTITIONS[table]:
        columns.append(("part", "VARCHAR"))
    return "SELECT " + ", ".join(f"NULL::{type_} AS {identifier(name)}" for name, type_ in columns) + " WHERE false"


def _question(sql: str) -> str:
    return sql.partition("\n")[0].removeprefix("--").strip()
