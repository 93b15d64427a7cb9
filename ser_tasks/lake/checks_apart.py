"""The checks of a large night, in a process of their own: what DuckDB takes for them goes back to the system with it."""

from collections.abc import Collection
from datetime import date

import duckdb

from ser_tasks.apart import ProcessLostError, run_apart
from ser_tasks.lake import catalog
from ser_tasks.lake.sql_text import literal

MEMORY = "512MB"
"""What DuckDB may take for the checks at the end of a run. What they need beyond it goes to scratch."""


class ChecksLostError(RuntimeError):
    """The process of the checks ended before it had answered."""


def bounded(connection: duckdb.DuckDBPyConnection, scratch: str) -> duckdb.DuckDBPyConnection:
    """The connection, kept to MEMORY; ``scratch`` is the folder for what is more."""
    connection.execute(f"SET memory_limit = '{MEMORY}'; SET preserve_insertion_order = false; SET threads = 1")
    connection.execute(f"SET temp_directory = {literal(scratch)}")
    return connection


def run_checks(lake: str, since: date | None, without: Collection[str], scratch: str) -> dict[str, int]:
    """Offending rows by check, as ``catalog.run_checks`` on ``catalog.connect(lake, since, without)``, and its errors.

    Raises ChecksLostError where the process was killed.
    """
    try:
        found: dict[str, int] = run_apart(_run_checks, lake, since, frozenset(without), scratch)
    except ProcessLostError as error:
        raise ChecksLostError(
            f"The process of the checks ended with exit code {error.exitcode}, as where a system without memory kills it: every call is "
            "published, only the checks and the run's row are missing. Run again, with more memory or fewer workers."
        ) from None
    return found


def _run_checks(lake: str, since: date | None, without: Collection[str], scratch: str) -> dict[str, int]:
    with catalog.connect(lake, since=since, without=without) as connection:
        return catalog.run_checks(bounded(connection, scratch))
