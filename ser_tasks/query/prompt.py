"""The prompt of ``ser sql``: a Shell with a line editor, history and completion of names."""

import dataclasses
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import platformdirs
from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory
from prompt_toolkit.lexers import PygmentsLexer
from pygments.lexers.sql import SqlLexer

from ser_tasks.lake import sql_views
from ser_tasks.printable import printable
from ser_tasks.query.shell import HELP, Shell, format_of

WORDS = """
SELECT FROM WHERE GROUP BY ORDER LIMIT JOIN LEFT USING ON WITH AS AND OR NOT IN IS NULL LIKE BETWEEN HAVING QUALIFY DISTINCT UNION ALL
CASE WHEN THEN ELSE END DESC ASC DATE INTERVAL FILTER OVER PARTITION DESCRIBE SUMMARIZE
count sum avg min max round weighted_avg median quantile_cont date_trunc
"""
QUIT = ("\\q", "exit", "quit")


def prompt(shell: Shell, lake: str) -> None:
    """Reads and answers queries until Ctrl-D or \\q. An error is printed and does not end it."""
    session: PromptSession[str] = PromptSession(
        history=FileHistory(str(_history_file())),
        completer=_Names(shell.connection),
        complete_while_typing=False,
        lexer=PygmentsLexer(SqlLexer),
        multiline=Condition(lambda: not _is_complete(get_app().current_buffer.text)),
        prompt_continuation="...> ",
    )
    print(f"{lake}: \\d lists the views, \\? lists all commands, Ctrl-D quits.")
    while True:
        try:
            text = session.prompt(f"ser{_as_of(shell.connection)}> ").strip()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        if text.rstrip(";").lower() in QUIT:
            return
        try:
            _execute(shell, text)
        except KeyboardInterrupt:
            print("Stopped.", file=sys.stderr)
        except (ValueError, OSError, duckdb.Error) as error:
            print(printable(error), file=sys.stderr)


def _as_of(connection: duckdb.DuckDBPyConnection) -> str:
    """Shown at every prompt, so that a past state is never mistaken for the present one."""
    [moment] = connection.execute("SELECT TRY_CAST(getvariable('as_of') AS TIMESTAMPTZ)::VARCHAR").fetchone() or (None,)
    return f" as of {moment}" if moment else ""


def _execute(shell: Shell, text: str) -> None:
    """Executes one input: a command of the prompt, or SQL or a command for the shell. ``\\out`` applies to the next one."""
    if text == "\\x":
        shell.format = "table" if shell.format == "vertical" else "vertical"
        print(f"Answers are written as {shell.format}.")
    elif found := re.fullmatch(r"\\rows\s+(\d+)", text):
        shell.shown_rows = int(found[1]) or None
    elif found := re.fullmatch(r"\\out\s+(.+)", text):
        out = Path(found[1].strip("'\"")).expanduser()
        format_of(out)
        shell.next_out = out
        print(f"The next answer goes to {out}.")
    elif text.lower() == "help":
        print(HELP)
    elif text and shell.next_out:
        out, shell.next_out = shell.next_out, None
        dataclasses.replace(shell, out=out, format=format_of(out), shown_rows=None).answer(text)
    elif text:
        shell.answer(text)


def _is_complete(text: str) -> bool:
    """Whether Enter ends the input: after a semicolon, on an empty line, after a command."""
    return text.endswith(("\n", ";")) or text.startswith("\\") or text.strip().lower() in ("", "help", *QUIT)


class _Names(Completer):
    """Completes names of views, and of the columns of the views that the text names, or of all views where it names none."""

    def __init__(self, connection: duckdb.DuckDBPyConnection):
        rows = connection.execute("SELECT table_name, list(column_name) FROM duckdb_columns() WHERE schema_name = 'main' GROUP BY ALL")
        listed = {view.name for view in sql_views.all_views()}
        self.columns = {view: columns for view, columns in rows.fetchall() if view in listed}

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        word = document.get_word_before_cursor(pattern=re.compile(r"\w+"))
        named = set(re.findall(r"\w+", document.text)) & self.columns.keys()
        before = document.text_before_cursor.removesuffix(word).rstrip().rpartition(" ")[2].lower()
        views = sorted(self.columns)
        columns = sorted({column for view in named or views for column in self.columns[view]})
        for name in views if before in ("from", "join", "\\d", "describe", "summarize") else [*columns, *views, *WORDS.split()]:
            if name.lower().startswith(word.lower()):
                yield Completion(name, start_position=-len(word))


def _history_file() -> Path:
    """``sql_history`` in the user's state folder. Only the user may read it: queries may hold ids of calls."""
    path = platformdirs.user_state_path("ser-nightly", appauthor=False) / "sql_history"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    return path
