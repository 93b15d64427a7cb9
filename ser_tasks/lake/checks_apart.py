"""The checks of a large night, in a process of their own: what DuckDB takes for them goes back to the system with it."""

import multiprocessing
import signal
from collections.abc import Collection
from datetime import date
from multiprocessing.connection import Connection
from typing import Any

import duckdb

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
    context = multiprocessing.get_context("spawn")  # a fork would have all that this process has
    answers, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(theirs, lake, since, frozenset(without), scratch), daemon=True)
    process.start()
    theirs.close()  # or its end would not be seen
    try:
        offending, error = answers.recv()
    except EOFError:
        process.join()
        raise ChecksLostError(
            f"The process of the checks ended with exit code {process.exitcode}, as where a system without memory kills it: every call is "
            "published, only the checks and the run's row are missing. Run again, with more memory or fewer workers."
        ) from None
    finally:
        process.kill()
        process.join()
        answers.close()
    if error is not None:
        raise error
    found: dict[str, int] = offending
    return found


def _answer(answers: Connection, lake: str, since: date | None, without: Collection[str], scratch: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the parent decides
    answer: tuple[Any, Any]
    try:
        with catalog.connect(lake, since=since, without=without) as connection:
            answer = catalog.run_checks(bounded(connection, scratch)), None
    except Exception as error:
        answer = None, error
    answers.send(answer)
