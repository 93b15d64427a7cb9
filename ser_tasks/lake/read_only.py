"""Read-only queries. They are retried where a part is replaced while they read it."""

import itertools
import re
from collections.abc import Callable
from time import sleep
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

Answer = TypeVar("Answer")

REFUSED_FUNCTIONS = ("enable_logging", "enable_profiling", "query", "json_execute_serialized_sql")
"""Functions with which a SELECT does more than read: they write files, or execute SQL that they are given as text."""

BATCH_ROWS = 50_000
"""Rows of a long answer that are in memory at a time."""

RETRY_PAUSES_S = (0.05, 0.2, 1.0)
"""Pauses before each retry."""


def query(connection: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, Any] | None = None) -> pa.Table:
    """The answer to one statement that only reads. It is retried where a part is replaced while it is read.

    Raises PermissionError for a statement that could write, ValueError for none or several statements, and DuckDB's own
    error, which shows the place, for faulty SQL.
    """
    count = len(statements(connection, sql))
    if count > 1:
        raise ValueError(f"There are {count} SQL statements: write one at a time.")
    return retried(lambda: connection.execute(sql, parameters).to_arrow_table())


def query_in_batches(connection: duckdb.DuckDBPyConnection, statement: str, use: Callable[[pa.RecordBatchReader], Answer]) -> Answer:
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
    return [statement.query for statement in extracted]


def sets_a_variable(statement: str) -> bool:
    """Whether a statement is ``SET VARIABLE`` or ``RESET VARIABLE``."""
    return re.match(r"(?is)(\s*--[^\n]*\n)*\s*(re)?set\s+variable\b", statement) is not None


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
