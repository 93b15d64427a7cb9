"""What `ser sql` does: reads the query from its argument, a file, standard input or a prompt, and answers it from a lake."""

import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from ser_tasks.lake import catalog, read_only
from ser_tasks.printable import printable
from ser_tasks.query import plain_table
from ser_tasks.query.shell import Shell, format_of
from ser_tasks.storage import open_store


def run(  # noqa: PLR0913, PLR0917  the options of ser sql
    lake: str,
    query: str | None = None,
    file: Path | None = None,
    format: str | None = None,
    out: Path | None = None,
    shown_rows: int = plain_table.SHOWN_ROWS,
    as_of: str | None = None,
    on_export: Callable[[str], None] | None = None,
    locked: bool | None = None,
) -> None:
    """Answers ``query``, the SQL in ``file`` or standard input. Without any of these it starts a prompt on a terminal or lists the views.

    ``format`` is one of ``formats.FORMATS``, by default that of the suffix of ``out``, else a table. A table holds ``shown_rows`` rows,
    0 for all; files hold all. ``as_of`` is a date or moment in ISO 8601. ``on_export`` is called with a statement before its answer is
    written to a file. ``locked`` leaves the query nothing but the lake to read; by default it holds for a file of SQL, which others may
    have written. Raises ValueError and OSError for bad input, and duckdb.Error
    for what DuckDB rejects.
    """
    if query is not None and file:
        raise ValueError("Give a query or --file, not both.")
    format = format_of(out, format) if out else format or "table"
    everything = shown_rows == 0 or bool(out)
    text, source = query, ""
    if file:
        text, source = file.read_text(encoding="utf-8-sig"), str(file)
    elif query is None and not sys.stdin.isatty():
        text = sys.stdin.read()
    moment = _parse_moment(as_of) if as_of else None
    if next(open_store(lake).list(), None) is None:
        print(f"ser: there is nothing in {printable(lake)} (yet): its views are empty.", file=sys.stderr)
    with catalog.connect(lake, as_of=moment) as connection:
        connection.execute("SET errors_as_json = true")
        connection.execute("SET autoinstall_known_extensions = false")  # a query must not install software
        connection.execute("SET python_enable_replacements = false")  # FROM text must not read this program's variable
        if file is not None if locked is None else locked:
            read_only.lock(connection, lake)
        shell = Shell(connection, format, out, None if everything else shown_rows, on_export=on_export)
        if text is None and sys.stdout.isatty() and not out and format in plain_table.FOR_A_PERSON:
            from ser_tasks.query.prompt import prompt

            shell.pages = True
            prompt(shell, lake)
        elif not (text or "").strip() and not file:
            shell.answer("\\d")
        else:
            shell.answer(text or "", source)


def _parse_moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no moment: write it as 2026-11-03 or 2026-11-03T06:00 (UTC), or with a zone: +01:00.") from None
