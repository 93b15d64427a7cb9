"""Queries that only read, tried again where a part is replaced under them."""

import itertools
import re
from collections.abc import Callable
from time import sleep
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

Answer = TypeVar("Answer")

ACTING = ("enable_logging", "enable_profiling", "query", "json_execute_serialized_sql")
"""Functions by which a SELECT does more than read: they write files, or run SQL that is made while they run and that nobody has seen."""

BATCH_ROWS = 50_000
"""Rows of a long answer in memory at once."""

RETRY_PAUSES_S = (0.05, 0.2, 1.0)
"""Before each further try where a part was replaced while it was read."""


def query(connection: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, Any] | None = None) -> pa.Table:
    """The answer to one reading statement. Tries again where a part was replaced while it was read.

    Raises PermissionError for anything that could write, ValueError for none or several statements, and DuckDB's own
    error, which points at the place, for faulty SQL.
    """
    found = statements(connection, sql)
    if len(found) > 1:
        raise ValueError(f"There are {len(found)} SQL statements: write one at a time.")
    return retried(lambda: connection.execute(sql, parameters).to_arrow_table())


def query_in_batches(connection: duckdb.DuckDBPyConnection, statement: str, use: Callable[[pa.RecordBatchReader], Answer]) -> Answer:
    """What ``use`` makes of the answer to one of ``statements``, of which a batch of rows is in memory at once.

    ``use`` is called anew where a part was replaced while it was read.
    """
    return retried(lambda: use(connection.execute(statement).to_arrow_reader(BATCH_ROWS)))


def statements(connection: duckdb.DuckDBPyConnection, sql: str) -> list[str]:
    """The statements of a text, in their order: each reads, or sets a variable of the connection (``SET VARIABLE as_of = ...``).

    Raises as ``query`` does, before anything is run; several are allowed.
    """
    found = connection.extract_statements(sql)
    if not found:
        raise ValueError("There is no SQL statement: write one, such as FROM call_emotions LIMIT 10.")
    kinds = [statement.type for statement in found]
    if duckdb.StatementType.CREATE in kinds[:-1] and re.search(r"(?i)\bpivot\b", sql):
        raise ValueError("DuckDB runs PIVOT as two statements unless it knows the columns: write PIVOT ... ON column IN (values).")
    for statement in found:
        if not _only_reads(connection, statement):
            raise PermissionError(
                f"{statement.type.name} is not allowed here, only reading is: SELECT, WITH, FROM, DESCRIBE, SUMMARIZE, SHOW, EXPLAIN. "
                "To work on a copy, write a catalogue file (ser catalog) and open it with DuckDB."
            )
        if acting := _called(statement.query) & set(ACTING):
            raise PermissionError(
                f"{acting.pop()}() is not allowed here, only reading is: it writes files or runs other SQL. Leave it out."
            )
    return [statement.query for statement in found]


def sets_a_variable(statement: str) -> bool:
    return re.match(r"(?is)(\s*--[^\n]*\n)*\s*(re)?set\s+variable\b", statement) is not None


def _only_reads(connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement) -> bool:
    sql = re.sub(r"(?m)^\s*--.*$", "", statement.query)
    if statement.type == duckdb.StatementType.EXPLAIN:  # with ANALYZE it would run what it explains
        explained = re.sub(r"(?is)^\s*explain(\s+analyze)?\b", "", sql, count=1)
        return [each.type for each in connection.extract_statements(explained)] == [duckdb.StatementType.SELECT]
    return statement.type == duckdb.StatementType.SELECT or sets_a_variable(statement.query)


def _called(sql: str) -> set[str]:
    """Names, in small letters, that stand before a bracket: functions, whatever comments and quotes are around them."""
    encoded = sql.encode()  # DuckDB counts bytes
    starts = [start for start, _ in duckdb.tokenize(sql)]  # comments are no tokens
    words = [re.match(r'"(?:[^"]|"")*"|\w+|.', encoded[start:].decode())[0].lower().strip('"') for start in starts]  # type: ignore[index]
    return {word for word, following in itertools.pairwise(words) if following == "("}


def retried(ask: Callable[[], Answer]) -> Answer:
    for pause_s in RETRY_PAUSES_S:
        try:
            return ask()
        except (duckdb.Error, UnicodeDecodeError, OSError) as error:
            if not _changed_under_us(error):
                raise
            sleep(pause_s)
    return ask()


def _changed_under_us(error: Exception) -> bool:
    """Whether it is what DuckDB raises where a part is replaced while it is read: HTTP 404 or 416, another etag, or a
    footer that is none. Such errors may have no class of their own, or quote the bytes found, which are no text. Between two
    batches of an answer they come as an OSError that has DuckDB's words alone."""
    if has_no_part(error):
        return False
    if type(error) is OSError:
        return error.errno is None and re.match(r"(IO|Invalid Input|HTTP) Error|TProtocol", str(error)) is not None
    return isinstance(error, duckdb.IOException | duckdb.InvalidInputException | UnicodeDecodeError) or type(error) is duckdb.Error


def has_no_part(error: Exception) -> bool:
    """Whether a table's pattern matched nothing. A part that is deleted after its listing is reported in the same words, by its name."""
    return "No files found" in str(error) and '*.parquet"' in str(error)
