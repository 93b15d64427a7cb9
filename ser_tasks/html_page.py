"""A page that stands alone: Markdown as HTML, its pictures inside."""

import base64
import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from markdown_it import MarkdownIt

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 } td, th { border: 1px solid #ccc; padding: .2rem .6rem; text-align: right }
td:first-child, th:first-child { text-align: left } img { max-width: 100%; height: auto } h1 { line-height: 1.2 }
"""
KINDS = {"png": "image/png", "svg": "image/svg+xml"}


def html_page(title: str, text: str, pictures: dict[str, bytes]) -> str:
    """The page. ``pictures`` are PNG or SVG files by the name under which ``text`` links them; HTML in ``text`` is shown, not obeyed."""
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    for name, data in pictures.items():
        kind = KINDS[name.rpartition(".")[2]]
        body = body.replace(f'src="{name}"', f'src="data:{kind};base64,{base64.b64encode(data).decode()}"')
    head = f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{escape(title)}</title><style>{STYLE}</style></head>"
    return f"{head}<body>{body}</body></html>"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], aligned: bool = False) -> str:
    """A Markdown table without a last line break. The cells are Markdown: text from outside goes through ``markdown_text`` first.

    With ``aligned``, columns are padded so that they line up as plain text, too, except for the last, whose text may be long.
    """
    lines = [header, ["---"] * len(header), *rows]
    if not aligned:
        return "\n".join("|---" * len(header) + "|" if number == 1 else f"| {' | '.join(line)} |" for number, line in enumerate(lines))
    widths = [max(len(line[column]) for line in lines) for column in range(len(header) - 1)] + [0]
    lines[1] = ["-" * max(3, width) for width in widths]
    return "\n".join(f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |" for line in lines)


def markdown_text(value: Any) -> str:
    """A value as plain text on one line of Markdown: what Markdown or HTML would interpret is escaped. None is empty."""
    text = "" if value is None else str(value)
    return re.sub(r"([\\`*\[\]<>|!])", r"\\\1", " ".join(text.split()))
