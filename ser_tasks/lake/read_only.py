"""Read-only queries, and connections that are locked to a lake. Queries are retried where a part is replaced while they read it."""

import itertools
import json
import re
from collections.abc import Callable, Iterator
from time import sleep
from typing import TYPE_CHECKING, Any, TypeVar

import duckdb

from ser_tasks.lake.sql_text import literal
from ser_tasks.storage import open_store

if TYPE_CHECKING:
    import pyarrow as pa

Answer = TypeVar("Answer")

REFUSED_FUNCTIONS = ("enable_logging", "enable_profiling", "query", "json_execute_serialized_sql")
"""Functions with which a SELECT does more than read: they write files, or execute SQL that they are given as text."""

OF_FILES = re.compile(r"(read|parquet|iceberg|delta)_\w+|\w+_scan\w*|glob|sniff_csv|query_table|which_secret")
"""Functions that open files by name. Views call them, but the SQL of a locked connection may not: on S3, the name may lead to another
server (``?s3_endpoint=``) and carry what was read there."""

BATCH_ROWS = 50_000
"""Rows of a long answer that are in memory at a time."""

RETRY_PAUSES_S = (0.05, 0.2, 1.0)
"""Pauses before each retry."""


def lock(connection: duckdb.DuckDBPyConnection, lake: str) -> None:
    """Leaves a connection of ``catalog.connect``, and all its cursors, nothing but the lake: no other file, bucket or prefix, no extension,
    no database, no secret, no data frame of the calling code, and no setting can be reached or changed by SQL. It cannot be undone.

    Variables (``as_of``) and temporary tables still can. DuckDB itself would still write into the lake's folder, and ask another server for
    what seems to be a part of the lake: ``query`` refuses that, and every file that SQL names.
    """
    for setting in (
        f"allowed_directories = {literal([f'{open_store(lake).uri}/'])}",  # DuckDB resolves links and .. itself
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        "allow_community_extensions = false",
        "python_enable_replacements = false",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        connection.execute(f"SET GLOBAL {setting}")


def query(connection: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, Any] | None = None) -> "pa.Table":
    """The answer to one statement that only reads. It is retried where a part is replaced while it is read.

    Raises PermissionError for a statement that could write, ValueError for none or several statements, and DuckDB's own
    error, which shows the place, for faulty SQL.
    """
    count = len(statements(connection, sql))
    if count > 1:
        raise ValueError(f"There are {count} SQL statements: write one at a time.")
    return retried(lambda: connection.execute(sql, parameters).to_arrow_table())


def query_in_batches(connection: duckdb.DuckDBPyConnection, statement: str, use: "Callable[[pa.RecordBatchReader], Answer]") -> Answer:
    """What ``use`` returns for the answer to a statement of ``statements``. It reads the answer in batches of ``BATCH_ROWS`` rows.

    ``use`` is called again, with a new answer, where a part is replaced while it is read.
    """
    return retried(lambda: use(connection.execute(statement).to_arrow_reader(BATCH_ROWS)))


def statements(connection: duckdb.DuckDBPyConnection, sql: str) -> list[str]:
    """The statements of a text in order. Each only reads, or sets a variable of the connection (``SET VARIABLE as_of = ...``).

    Raises the errors of ``query``, except that several statements are allowed. No statement is executed.
    """
    extracted = connection.extract_statements(sql)
    if not extracted:
        raise ValueError("There is no SQL statement: write one, such as FROM call_emotions LIMIT 10.")
    kinds = [statement.type for statement in extracted]
    if duckdb.StatementType.CREATE in kinds[:-1] and re.search(r"(?i)\bpivot\b", sql):
        raise ValueError("DuckDB runs PIVOT as two statements unless it knows the columns: write PIVOT ... ON column IN (values).")
    for statement in extracted:
        if not _only_reads(connection, statement):
            raise PermissionError(
                f"{statement.type.name} is not allowed here, only reading is: SELECT, WITH, FROM, DESCRIBE, SUMMARIZE, SHOW, EXPLAIN. "
                "To work on a copy, write a catalogue file (ser catalog) and open it with DuckDB."
            )
        if refused := _called_functions(statement.query) & set(REFUSED_FUNCTIONS):
            raise PermissionError(
                f"{refused.pop()}() is not allowed here, only reading is: it writes files or executes other SQL. Leave it out."
            )
    if _is_locked(connection):
        for statement in extracted:
            _only_views(connection, statement.query)
    return [statement.query for statement in extracted]


def sets_a_variable(statement: str) -> bool:
    """Whether a statement is ``SET VARIABLE`` or ``RESET VARIABLE``."""
    return re.match(r"(?is)(\s*--[^\n]*\n)*\s*(re)?set\s+variable\b", statement) is not None


def _is_locked(connection: duckdb.DuckDBPyConnection) -> bool:
    return connection.execute("SELECT current_setting('lock_configuration')").fetchall() == [(True,)]


def _only_views(connection: duckdb.DuckDBPyConnection, statement: str) -> None:
    """Raises PermissionError for a statement that names a file, and for one that DuckDB's parser does not describe."""
    sql = re.sub(r"(?m)^\s*--.*$", "", statement)
    sql = re.sub(r"(?is)^\s*explain(\s+analyze)?\b", "", sql, count=1)
    sql = re.sub(r"(?is)^\s*reset\s+variable\b.*", "SELECT 1", sql, count=1)
    sql = re.sub(r"(?is)^\s*set\s+variable\s+(\w+|\"[^\"]*\")\s*(=|\bto\b)", "SELECT ", sql, count=1)
    [(text,)] = connection.execute("SELECT json_serialize_sql($sql)", {"sql": sql}).fetchall()
    described = json.loads(text)
    if described["error"]:
        raise PermissionError(
            "This statement is not allowed here, only queries of the lake's views are. If you trust it: ser sql --unlocked"
        )
    if files := sorted(_files(described)):
        raise PermissionError(f"{files[0]} is not allowed here, only the lake's views are. If you trust this SQL: ser sql --unlocked")


def _files(node: Any) -> Iterator[str]:
    """The tables and functions of a parsed statement that are files, or open one."""
    if isinstance(node, dict):
        name = node.get("table_name") or ""
        if node.get("type") == "BASE_TABLE" and re.search(r"[^\w ]", name):
            yield name
        if OF_FILES.fullmatch((node.get("function_name") or "").lower()):
            yield node["function_name"]
    for each in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _files(each)


def _only_reads(connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement) -> bool:
    sql = re.sub(r"(?m)^\s*--.*$", "", statement.query)
    if statement.type == duckdb.StatementType.EXPLAIN:  # EXPLAIN ANALYZE executes what it explains
        explained = re.sub(r"(?is)^\s*explain(\s+analyze)?\b", "", sql, count=1)
        return [each.type for each in connection.extract_statements(explained)] == [duckdb.StatementType.SELECT]
    return statement.type == duckdb.StatementType.SELECT or sets_a_variable(statement.query)


def _called_functions(sql: str) -> set[str]:
    """The names, in lower case, that are followed by a parenthesis. Quotes around them and comments between do not hide them."""
    encoded = sql.encode()  # DuckDB counts bytes
    at_tokens = [encoded[start:].decode() for start, _ in duckdb.tokenize(sql)]  # comments are no tokens
    tokens = [found[0].lower().strip('"') for text in at_tokens if (found := re.match(r'"(?:[^"]|"")*"|\w+|.', text))]
    return {token for token, following in itertools.pairwise(tokens) if following == "("}


def retried(execute: Callable[[], Answer]) -> Answer:
    """What ``execute`` returns; it is called again where it fails because a part was replaced while it was read."""
    for pause_s in RETRY_PAUSES_S:
        try:
            return execute()
        except (duckdb.Error, UnicodeDecodeError, OSError) as error:
            if not _part_was_replaced(error):
                raise
            sleep(pause_s)
    return execute()


def _part_was_replaced(error: Exception) -> bool:
    """Whether the error is one that DuckDB raises where a part is replaced while it is read: HTTP 404 or 416, another etag, or
    an invalid footer. Some have no class of their own, or quote the bytes that were read, which may be no valid text. Between two
    batches of an answer they are an OSError without an errno, with DuckDB's message."""
    if has_no_part(error):
        return False
    if type(error) is OSError:
        return error.errno is None and re.match(r"(IO|Invalid Input|HTTP) Error|TProtocol", str(error)) is not None
    return isinstance(error, duckdb.IOException | duckdb.InvalidInputException | UnicodeDecodeError) or type(error) is duckdb.Error


def has_no_part(error: Exception) -> bool:
    """Whether DuckDB raised the error because a table's pattern matches no file. For a part that was deleted after it was listed, the
    message is the same but names the part."""
    return "No files found" in str(error) and '*.parquet"' in str(error)
