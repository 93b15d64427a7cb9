"""Values and names as DuckDB's SQL writes them, for statements that take no parameters."""

from datetime import date
from typing import Any


def literal(value: Any) -> str:
    """A string, number, truth value, date or list of these as a literal: ``it's`` becomes ``'it''s'``."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, date):
        return f"DATE '{value}'"
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    return "'" + str(value).replace("'", "''") + "'"


def identifier(name: str) -> str:
    """The name of a table, view or column in double quotes, which allow any character in it; a double quote is doubled."""
    return '"' + name.replace('"', '""') + '"'
