"""The shell of ``ser sql``: executes SQL and ``\\d`` commands on a connection, and prints or writes the answers."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

import duckdb

from ser_tasks.lake import read_only
from ser_tasks.query import agents, plain_table
from ser_tasks.query.sql_error import sql_errors
from ser_tasks.scratch import atomic_write

if TYPE_CHECKING:
    import pyarrow as pa

Answer = TypeVar("Answer")

SUFFIXES = {".csv": "csv", ".json": "json", ".parquet": "parquet", ".txt": "table"}
"""The format of a file by its suffix."""
IN_MEMORY_BYTES = 64 << 20
"""Size up to which an answer is collected in memory, and beyond it in a temporary file: an error never leaves half an answer."""

HELP = r"""  \d            the views by folder, and the question that each answers
  \d VIEW       what a view answers: its grain, units, columns and their meanings
  \x            show a line for each column instead of a line for each row; \x again: back
  \rows N       show the first N rows; 0: all
  \out FILE     write the next answer to a file: .csv, .json, .parquet or .txt
  \q            quit (as does Ctrl-D)
A statement ends with ; or an empty line. Tab completes names, Ctrl-C stops a query. PAGER=less in the environment pages long answers.
SET VARIABLE as_of = '2026-11-03';   answers with what was known then; RESET VARIABLE as_of;   with everything again."""


@dataclass
class Shell:
    """A connection and how its answers are shown or written."""

    connection: duckdb.DuckDBPyConnection
    format: str = "table"
    out: Path | None = None
    shown_rows: int | None = plain_table.SHOWN_ROWS
    next_out: Path | None = None
    """The file for the next answer only, at the prompt."""
    on_export: Callable[[str], None] | None = None
    """Called with a statement before its answer is written to a file."""
    pages: bool = False
    """Whether the program in PAGER, if set, shows answers that are longer than the terminal."""

    def answer(self, text: str, source: str = "") -> None:
        """Prints or writes the answer to every statement of a text, or to a command that begins with a backslash."""
        if text.lstrip().startswith("\\"):
            self._command(text.strip())
            return
        with sql_errors(text, source):
            statements = read_only.statements(self.connection, text)
        if len(statements) > 1 and (self.out or self.format not in plain_table.FOR_A_PERSON):
            raise ValueError(f"{source or 'The query'} holds {len(statements)} statements, but {self.format} holds one answer: leave one.")
        start = answered = 0
        for statement in statements:
            start = max(start, text.find(statement, start))
            end = start + len(statement)
            with sql_errors(text, source, start):
                if read_only.sets_a_variable(statement):
                    self.connection.execute(statement)
                else:
                    if answered and not self.out:
                        print()
                    self._write(statement)
                    answered += 1
            start = end

    def _command(self, command: str) -> None:
        from ser_tasks.query import describe, formats

        name, *arguments = command.removesuffix(";").split()
        if name == "\\d" and len(arguments) < 2:
            heading, rows = describe.describe(self.connection, *arguments) if arguments else ([], describe.listing())
            if self.format in plain_table.FOR_A_PERSON and not self.out:
                description = "\n".join([*heading, formats.render(rows, whole=True), ""]).encode()
                self._put(lambda file: file.write(description))
            else:
                self._put(lambda file: self._write_rows(rows.to_reader(), file))
        elif name in ("\\?", "\\h", "\\help"):
            print(HELP)
        else:
            raise ValueError(f"There is no command {name}: \\? lists them.")

    def _write(self, statement: str) -> None:
        if self.out and self.on_export:
            self.on_export(statement)
        if guarded := agents.with_minimum(self.connection, statement):
            self.connection.execute(f"EXPLAIN {statement}")  # an error shows its place in what was written
            statement = guarded
            print(f"ser: {agents.LEFT_OUT}.", file=sys.stderr)

        def execute(file: IO[bytes]) -> int:
            if self.format == "table":
                rows = read_only.retried(lambda: plain_table.write(self.connection.execute(statement), _emptied(file), self.shown_rows))
                if rows is not None:
                    return rows
            return read_only.query_in_batches(self.connection, statement, lambda rows: self._write_rows(rows, _emptied(file)))

        self._put(lambda file: _stoppable(self.connection, lambda: execute(file)))

    def _write_rows(self, rows: "pa.RecordBatchReader", file: IO[bytes]) -> int:
        from ser_tasks.query import formats

        return formats.write(rows, file, self.format, shown_rows=self.shown_rows)

    def _put(self, write: Callable[[IO[bytes]], int]) -> None:
        """Sends what ``write`` writes to ``out`` or to standard output, once it is complete; ``write`` returns a number of rows."""
        if self.out:
            with atomic_write(self.out) as temporary, temporary.open("wb") as file:
                rows = write(file)
            print(f"Wrote {rows:,} row{'s' * (rows != 1)} to {self.out}.", file=sys.stderr)
            return
        if self.format == "parquet" and sys.stdout.isatty():
            raise ValueError("Parquet cannot be shown on a terminal: add --out FILE.parquet.")
        with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES) as answer:
            write(answer)
            self._print(answer)

    def _print(self, answer: IO[bytes]) -> None:
        sys.stdout.flush()
        pager = os.environ.get("PAGER") if self.pages else None
        answer.seek(0)
        if pager and answer.read().count(b"\n") >= shutil.get_terminal_size().lines:
            answer.seek(0)
            subprocess.run(pager, shell=True, input=answer.read(), check=False)
            return
        answer.seek(0)
        try:
            shutil.copyfileobj(answer, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        except BrokenPipeError:  # the reader ended early: | head
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def format_of(out: Path, format: str | None = None) -> str:
    """The format of a file to write: ``format`` if given, or else that of its suffix. Raises ValueError for an unknown suffix and
    FileNotFoundError where its folder does not exist."""
    if not format and out.suffix.lower() not in SUFFIXES:
        raise ValueError(f"The suffix of {out} names no format: use {', '.join(SUFFIXES)}, or add --format.")
    if not out.absolute().parent.is_dir():
        raise FileNotFoundError(f"There is no folder {out.absolute().parent} to write to.")
    return format or SUFFIXES[out.suffix.lower()]


def _emptied(file: IO[bytes]) -> IO[bytes]:
    file.seek(0)
    file.truncate()
    return file


def _stoppable(connection: duckdb.DuckDBPyConnection, execute: Callable[[], Answer]) -> Answer:
    """What ``execute`` returns. It runs on another thread, so that Ctrl-C is noticed in this one and stops its query."""
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(execute)
        try:
            return answer.result()
        except KeyboardInterrupt:
            connection.interrupt()
            raise
