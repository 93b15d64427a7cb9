"""A table for a person from plain rows, as ``formats`` draws it from Arrow: what most answers of ``ser sql`` are.

Without Arrow and rich, which take longer to load than most queries take. Answers that need more of them (other types, several lines for a
value, a single wide row) are left to ``formats``.
"""

import bisect
import itertools
import math
import re
import shutil
import textwrap
from collections.abc import Sequence
from typing import IO, Any

import duckdb

from ser_tasks.printable import printable

FOR_A_PERSON = ("table", "vertical")
"""The formats that show the first rows to a person; others hold all rows."""
SHOWN_ROWS, SHOWN_CELL = 100, 40
"""The most rows of a table for a person, and the most characters of a value in it."""
BATCH_ROWS = 10_000

NUMBERS = re.compile(r"U?(TINY|SMALL|BIG)INT|U?INTEGER|FLOAT|DOUBLE")
OTHERS = re.compile(r"VARCHAR|BOOLEAN|DATE|TIMESTAMP( WITH TIME ZONE)?")
"""Types whose values are the same from DuckDB as from Arrow."""


def write(answer: duckdb.DuckDBPyConnection, file: IO[bytes], shown_rows: int | None) -> int | None:
    """Writes the result that a connection holds and returns its number of rows; None, and nothing written, where ``formats`` has to."""
    description = answer.description or []
    names, types = [name for name, *_ in description], [str(type_) for _, type_, *_ in description]
    if names == ["explain_key", "explain_value"] or len({name.lower() for name in names}) < len(names):
        return None
    if not all(NUMBERS.fullmatch(type_) or OTHERS.fullmatch(type_) for type_ in types):
        return None
    head: list[tuple[Any, ...]] = []
    rows = 0
    while batch := answer.fetchmany(BATCH_ROWS):
        room = len(batch) if shown_rows is None else max(0, shown_rows - len(head))
        head += batch[:room]
        rows += len(batch)
    text = drawn(names, types, head, rows, shutil.get_terminal_size((120, 40)).columns)
    if text is not None:
        file.write(f"{text}\n".encode())
        return rows
    return None


def drawn(names: list[str], types: list[str], head: Sequence[tuple[Any, ...]], rows: int, width: int) -> str | None:
    """The table as text; None where it needs more than ASCII, or a column is wider than the terminal, or a row has to stand upright."""
    names = [printable(name) for name in names]
    values = [list(column) for column in zip(*head, strict=True)] if head else [[] for _ in names]
    cells = [column_cells(column, type_) for column, type_ in zip(values, types, strict=True)]
    if not all(text.isascii() for text in itertools.chain(names, *cells)):
        return None
    needed = [min(max(map(len, [name, *column])), SHOWN_CELL) + 3 for name, column in zip(names, cells, strict=True)]
    fitting = bisect.bisect_right(list(itertools.accumulate(needed, initial=1)), width) - 1
    if fitting < 1 or (fitting < len(names) and rows == 1):
        return None
    widths = [each - 3 for each in needed[:fitting]]
    right = [NUMBERS.fullmatch(type_) is not None for type_ in types]
    lines = [_rule("┌┬┐", widths), _line(names, widths, right), _rule("├┼┤", widths)]
    lines += [_line(row, widths, right) for row in zip(*cells[:fitting], strict=True)] if head else []
    lines.append(_rule("└┴┘", widths))
    text = footer(len(head), rows)
    if left_out := names[fitting:]:
        text += f"; {len(left_out)} more column{'s' * (len(left_out) != 1)} (--format vertical or \\x shows all): {', '.join(left_out)}"
    return "\n".join([*lines, *textwrap.wrap(text, width)])


def column_cells(values: list[Any], type_: str) -> list[str]:
    """A column's values as text. Its numbers have the same number of decimals, unless small ones would then be shown as zero."""
    if type_ in ("FLOAT", "DOUBLE"):
        known = [abs(value) for value in values if value is not None and math.isfinite(value)]
        places = decimals(max(known, default=0))
        mixed = any(0 < value < 10.0 ** (1 - places) for value in known) and places < 3
        return ["null" if value is None else number(value, decimals(abs(value)) if mixed else places) for value in values]
    if type_.startswith("TIMESTAMP"):
        return ["null" if value is None else f"{value:%Y-%m-%d %H:%M:%S}" for value in values]
    if type_ == "BOOLEAN":
        return ["null" if value is None else str(value).lower() for value in values]
    return ["null" if value is None else printable(" ".join(str(value).split())) for value in values]


def decimals(value: float) -> int:
    """Three for probabilities, fewer for large numbers."""
    return 3 if value < 10 else 2 if value < 100 else 1


def number(value: float, places: int) -> str:
    """Only zero is shown as zero; a smaller number is written as 2e-09."""
    text = f"{value:.{places}f}"
    return f"{value:.0e}" if value and float(text) == 0 else text


def footer(shown: int, rows: int) -> str:
    text = f"{rows:,} row{'s' * (rows != 1)}"
    if rows > shown:
        text += f", the first {shown:,} shown, {rows - shown:,} left out (--rows 0 or \\rows 0 shows all, --out FILE.csv writes all)"
    return text


def _rule(corners: str, widths: list[int]) -> str:
    return corners[0] + corners[1].join("─" * (each + 2) for each in widths) + corners[2]


def _line(row: Sequence[str], widths: list[int], right: list[bool]) -> str:
    cut = [text if len(text) <= width else text[: width - 1] + "…" for text, width in zip(row, widths, strict=False)]
    return "│" + "│".join(f" {text:>{w}} " if r else f" {text:<{w}} " for text, w, r in zip(cut, widths, right, strict=False)) + "│"
