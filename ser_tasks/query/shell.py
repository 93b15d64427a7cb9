"""``ser sql``: answers a query, a file of them or what is piped in; on a terminal without any, a prompt."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import duckdb
import pyarrow as pa

from ser_tasks.lake import read_only, sql_views
from ser_tasks.query import describe, formats
from ser_tasks.scratch import atomic_write

Answer = TypeVar("Answer")

SUFFIXES = {".csv": "csv", ".json": "json", ".parquet": "parquet", ".txt": "table"}
"""The format of a file by its suffix."""
IN_MEMORY_BYTES = 64 << 20
"""An answer is written to memory first, a longer one to a temporary file: it comes whole or not at all."""

HELP = r"""  \d            the views by folder, and the question that each answers
  \d VIEW       what a view answers: its grain, units, columns and their meanings
  \x            a line for each column instead of a row for each line; again: back
  \rows N       show the first N rows; 0: all
  \out FILE     write the next answer to a file: .csv, .json, .parquet or .txt
  \q            leave (so does Ctrl-D)
A statement ends with ; or an empty line. Tab completes, Ctrl-C stops a query. PAGER=less in the environment pages long answers.
SET VARIABLE as_of = '2026-11-03';   asks for what was known then, RESET VARIABLE as_of;   for everything again."""


class Pointed(ValueError):
    """An error in SQL, with the line it is in and a caret below the place."""


@dataclass
class Shell:
    """What a run of ``ser sql`` was told."""

    connection: duckdb.DuckDBPyConnection
    format: str = "table"
    out: Path | None = None
    shown_rows: int | None = formats.SHOWN_ROWS
    next_out: Path | None = None
    """File for the next answer at the prompt."""
    pages: bool = False
    """Whether what is longer than the terminal goes through the program in PAGER, if that is set."""

    def answer(self, text: str, source: str = "") -> None:
        """Prints or writes the answer to every statement of a text, or to a command that begins with a backslash."""
        if text.lstrip().startswith("\\"):
            return self._command(text.strip())
        with _errors_pointed_at(text, source):
            statements = read_only.statements(self.connection, text)
        if len(statements) > 1 and (self.out or self.format in formats.FOR_PROGRAMS):
            raise ValueError(f"{source or 'The query'} holds {len(statements)} statements, but {self.format} holds one answer: leave one.")
        start = answered = 0
        for statement in statements:
            start = max(start, text.find(statement, start))
            end = start + len(statement)
            with _errors_pointed_at(text, source, start):
                if read_only.sets_a_variable(statement):
                    self.connection.execute(statement)
                else:
                    if answered and not self.out:
                        print()
                    self._write(statement)
                    answered += 1
            start = end

    def _command(self, command: str) -> None:
        name, *arguments = command.removesuffix(";").split()
        if name == "\\d" and len(arguments) < 2:
            heading, rows = describe.describe(self.connection, *arguments) if arguments else ([], describe.listing())
            if self.format in formats.FOR_A_PERSON and not self.out:
                told = "\n".join([*heading, formats.render(rows, whole=True), ""]).encode()
                self._put(lambda file: file.write(told))
            else:
                self._put(lambda file: self._write_rows(rows.to_reader(), file))
        elif name in ("\\?", "\\h", "\\help"):
            print(HELP)
        else:
            raise ValueError(f"There is no command {name}: \\? lists them.")

    def _write(self, statement: str) -> None:
        self._put(
            lambda file: _stoppable(
                self.connection,
                lambda: read_only.query_in_batches(self.connection, statement, lambda rows: self._write_rows(rows, _emptied(file))),
            )
        )

    def _write_rows(self, rows: pa.RecordBatchReader, file: BinaryIO) -> int:
        return formats.write(rows, file, self.format, shown_rows=self.shown_rows)

    def _put(self, write: Callable[[BinaryIO], int]) -> None:
        """Lets ``write`` fill a file, then puts it in its place: standard output, or ``out`` at once."""
        if self.out is None:
            if self.format == "parquet" and sys.stdout.isatty():
                raise ValueError("Parquet is nothing to read on a terminal: add --out FILE.parquet.")
            with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES) as file:
                write(file)
                file.seek(0)
                sys.stdout.flush()
                if self.pages and os.environ.get("PAGER") and file.read().count(b"\n") >= shutil.get_terminal_size().lines:
                    file.seek(0)
                    subprocess.run(os.environ["PAGER"], shell=True, input=file.read(), check=False)
                    return
                file.seek(0)
                try:
                    shutil.copyfileobj(file, sys.stdout.buffer)
                    sys.stdout.buffer.flush()
                except BrokenPipeError:  # its reader has seen enough: | head
                    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
        with atomic_write(self.out) as temporary, temporary.open("wb") as file:
            rows = write(file)
        print(f"Wrote {rows:,} row{'s' * (rows != 1)} to {self.out}.", file=sys.stderr)


def format_of(out: Path, format: str | None = None) -> str:
    """The format of a file that is to be written: as given, else by its suffix."""
    if not format and out.suffix.lower() not in SUFFIXES:
        raise ValueError(f"The suffix of {out} says no format: end it in {', '.join(SUFFIXES)}, or add --format.")
    if not out.absolute().parent.is_dir():
        raise FileNotFoundError(f"There is no folder {out.absolute().parent} to write to.")
    return format or SUFFIXES[out.suffix.lower()]


def _emptied(file: BinaryIO) -> BinaryIO:
    file.seek(0)
    file.truncate()
    return file


def _stoppable(connection: duckdb.DuckDBPyConnection, ask: Callable[[], Answer]) -> Answer:
    """What ``ask`` returns or raises; Ctrl-C stops its query: it runs on a thread of its own, so that this one hears."""
    done: dict[str, Any] = {}

    def work() -> None:
        try:
            done["answer"] = ask()
        except BaseException as error:
            done["error"] = error

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        thread.join()
    except KeyboardInterrupt:
        connection.interrupt()
        thread.join()
        raise
    if "error" in done:
        raise done["error"]
    return done["answer"]


@contextlib.contextmanager
def _errors_pointed_at(text: str, source: str, start: int = 0) -> Iterator[None]:
    """DuckDB's errors as Pointed ones; ``start`` is where in the text the statement begins that is run."""
    try:
        yield
    except (duckdb.Error, OSError) as error:
        kind, brace, told = str(error).partition("{")
        try:
            told = json.loads(brace + told)
        except ValueError:
            raise error from None
        kind = kind.removesuffix(": ") or f"{told.get('exception_type', 'DuckDB')} Error"
        raise Pointed(_pointed(text, source, start, kind, told)) from None


def _pointed(text: str, source: str, start: int, kind: str, told: dict[str, str]) -> str:
    message = f"{kind}: {told.get('exception_message', '')}{_hint(told)}"
    if "position" not in told:
        return message
    before = text[:start] + text[start:].encode()[: int(told["position"])].decode(errors="ignore")  # DuckDB counts bytes
    line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
    shown = text.split("\n")[line - 1].replace("\t", " ")
    first = max(0, column - 60)
    shown, caret = shown[first : first + 100], column - 1 - first
    where = f"{source}, line {line}, column {column}" if source else f"Line {line}, column {column}"
    return f"{where}: {message}\n\n  {shown}\n  {' ' * caret}^"


def _hint(told: dict[str, str]) -> str:
    message = told.get("exception_message", "")
    if told.get("type") == "Table" and "Did you mean" not in message:
        return "\n" + describe.near(told.get("name", ""), [view.name for view in sql_views.all_views()]) + "\\d lists the views."
    if "INSTALL " in message:
        return "\nser sql installs nothing: do that once in DuckDB itself."
    if missing := re.search(r'"([^"]+)" does not have a column named "([^"]+)"', message):
        return f"\nIts columns: \\d {missing[1]}"
    return ""
