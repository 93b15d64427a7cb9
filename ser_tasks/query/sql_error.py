"""DuckDB's errors as messages for a person: the line and column, the line of SQL with a caret below the place, and a hint."""

import contextlib
import json
import re
from collections.abc import Iterator

import duckdb

from ser_tasks.lake import sql_views
from ser_tasks.query import hints

SHOWN_CHARACTERS, CARET_AT_MOST = 100, 60
"""Characters of a line of SQL that a message shows, and the column in which its caret may be."""


class SqlError(ValueError):
    """An error in SQL. The message names the line and column and shows them, where DuckDB says where the error is."""


@contextlib.contextmanager
def sql_errors(text: str, source: str = "", start: int = 0) -> Iterator[None]:
    """Raises DuckDB's errors within the block as SqlError; the connection's setting ``errors_as_json`` must be on.

    ``text`` is the whole text that the user wrote, ``source`` the name of its file if any, and ``start`` the index in it of the first
    character of the statement that is executed. An error that is not in JSON is raised as it is.
    """
    try:
        yield
    except (duckdb.Error, OSError) as error:
        kind, brace, rest = str(error).partition("{")
        try:
            details = json.loads(brace + rest)
        except ValueError:
            raise error from None
        kind = kind.removesuffix(": ") or f"{details.get('exception_type', 'DuckDB')} Error"
        message = f"{kind}: {details.get('exception_message', '')}{_hint(details, text)}"
        if "position" in details:
            message = _with_place(message, text, source, start, int(details["position"]))
        raise SqlError(message) from None


def _with_place(message: str, text: str, source: str, start: int, position_bytes: int) -> str:
    before = text[:start] + text[start:].encode()[:position_bytes].decode(errors="ignore")  # DuckDB counts bytes
    line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
    first = max(0, column - CARET_AT_MOST)
    shown = text.split("\n")[line - 1].replace("\t", " ")[first : first + SHOWN_CHARACTERS]
    place = f"{source}, line {line}, column {column}" if source else f"Line {line}, column {column}"
    return f"{place}: {message}\n\n  {shown}\n  {' ' * (column - 1 - first)}^"


def _hint(details: dict[str, str], sql: str) -> str:
    message, name = details.get("exception_message", ""), details.get("name")
    if details.get("type") == "Table":
        from ser_tasks.query.describe import suggestions

        known = hints.of_name(name or "")
        similar = "" if "Did you mean" in message else suggestions(name or "", [view.name for view in sql_views.all_views()])
        return f"\n{known or similar} \\d lists the views.".replace("\n ", "\n")
    if "INSTALL " in message:
        return "\nser sql installs no extensions: install it in DuckDB itself."
    missing = re.search(r'"([^"]+)" does not have a column named "([^"]+)"', message)
    column = missing[2] if missing else name if details.get("error_subtype") == "COLUMN_NOT_FOUND" else None
    found = hints.of_quotes(message, column, sql) or (hints.of_name(column) if column else hints.of_habits(message, sql))
    if missing:
        return f"\n{found} Its columns: \\d {missing[1]}".replace("\n ", "\n")
    return f"\n{found}" if found else ""
