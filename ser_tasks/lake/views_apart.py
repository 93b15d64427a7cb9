"""The views of a large night in a process of their own: what DuckDB takes for a query goes back to the system with it."""

from collections.abc import Callable, Collection
from datetime import date
from typing import Any

import duckdb

from ser_tasks.apart import ProcessLostError, run_apart
from ser_tasks.lake import catalog
from ser_tasks.lake.sql_text import literal

MEMORY = "512MB"
"""What DuckDB may take for the queries at the end of a run. What they need beyond it goes to scratch."""


class ViewsLostError(RuntimeError):
    """The process of the views ended before it had answered."""


def bounded(connection: duckdb.DuckDBPyConnection, scratch: str) -> duckdb.DuckDBPyConnection:
    """The connection, kept to MEMORY; ``scratch`` is the folder for what is more."""
    connection.execute(f"SET memory_limit = '{MEMORY}'; SET preserve_insertion_order = false; SET threads = 1")
    connection.execute(f"SET temp_directory = {literal(scratch)}")
    return connection


def ask_apart(lake: str, since: date | None, without: Collection[str], scratch: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """``function(connection, *arguments)`` on ``catalog.connect(lake, since, without)``, bounded, or its error.

    Function, arguments and answer are pickled. Raises ViewsLostError where the process was killed.
    """
    try:
        return run_apart(_ask, lake, since, frozenset(without), scratch, function, arguments)
    except ProcessLostError as error:
        raise ViewsLostError(
            f"The process that reads the lake ended with exit code {error.exitcode}, as where a system without memory kills it: every call "
            "is published, only checks, the run's row or its page may be missing. Run again, with more memory or fewer workers."
        ) from None


def _ask(
    lake: str, since: date | None, without: Collection[str], scratch: str, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> Any:
    with catalog.connect(lake, since=since, without=without) as connection:
        return function(bounded(connection, scratch), *arguments)
