"""Values and names as DuckDB's SQL writes them, for statements that take no parameters."""

import re
from datetime import date
from typing import Any

import duckdb


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


def without_values(sql: str) -> str:
    """A statement on one line with ``?`` in place of its texts and numbers, without comments: what it asks, but of nobody in particular."""
    encoded, words = sql.encode(), []
    for start, kind in duckdb.tokenize(sql):  # DuckDB counts bytes, and gives no comments but at the end
        if kind in (duckdb.token_type.string_const, duckdb.token_type.numeric_const):
            words.append("?")
        elif kind != duckdb.token_type.comment and (found := re.match(r'"(?:[^"]|"")*"|\w+|\S', encoded[start:].decode())):
            words.append(found[0])
    return " ".join(words)
