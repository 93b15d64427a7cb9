"""Self-contained HTML pages from Markdown, and charts as SVG."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from markdown_it import MarkdownIt

if TYPE_CHECKING:
    import altair

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 } td, th { border: 1px solid #ccc; padding: .2rem .6rem; text-align: right }
td:first-child, th:first-child { text-align: left } img { max-width: 100%; height: auto } h1 { line-height: 1.2 }
h1, h2, p, li { overflow-wrap: anywhere } pre, .wide { overflow-x: auto }
@media (max-width: 40rem) { body { margin: 1rem auto } h1 { font-size: 1.4rem } .wide { font-size: 13px } }
"""
VIEWPORT = "<meta name='viewport' content='width=device-width, initial-scale=1'>"
LINKED_SCHEMES = ("http", "https", "mailto", "s3", "file")
KINDS = {"png": "image/png", "svg": "image/svg+xml"}
CHART_CONFIG: dict[str, Any] = {
    "background": "white",
    "font": "sans-serif",
    "view": {"stroke": None},
    "axis": {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "gridOpacity": 0.4, "labelLimit": 260},
    "legend": {"labelFontSize": 12, "title": None},
    "title": {"fontSize": 12, "fontWeight": "normal"},
    "padding": {"left": 25, "right": 45, "top": 5, "bottom": 5},  # a browser's sans-serif may be wider than the one measured here
}
"""Vega-Lite's config for charts of a report."""


def html_page(title: str, text: str, pictures: dict[str, bytes]) -> str:
    """A page without links to other files. ``text`` is Markdown; HTML in it is escaped.

    ``pictures`` are the contents of PNG or SVG files by the name under which ``text`` links them: the page embeds them.
    """
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    markdown.validateLink = _may_be_linked  # type: ignore[method-assign, assignment]
    body = markdown.render(text)
    # a table that is wider than a phone scrolls alone, not the page
    body = body.replace("<table>", '<div class="wide" tabindex="0" role="region" aria-label="Table"><table>')
    body = body.replace("</table>", "</table></div>")
    for name, data in pictures.items():
        kind = KINDS[name.rpartition(".")[2]]
        body = body.replace(f'src="{name}"', f'src="data:{kind};base64,{base64.b64encode(data).decode()}"')
    head = f"<!doctype html><html lang='en'><head><meta charset='utf-8'>{VIEWPORT}<title>{escape(title)}</title>"
    return f"{head}<style>{STYLE}</style></head><body>{body}</body></html>"


def _may_be_linked(address: str) -> bool:
    """Whether the page links to an address: one within it or beside it, on the web, of a store or of a folder (``file:``)."""
    scheme, colon, _ = address.partition(":")
    return not colon or "/" in scheme or "#" in scheme or scheme.lower() in LINKED_SCHEMES


def svg_of(chart: altair.TopLevelMixin) -> str:
    """The chart as SVG text, rendered here without a browser, with ``CHART_CONFIG`` as its config."""
    import vl_convert  # starts a JavaScript engine, which takes half a second

    return str(vl_convert.vegalite_to_svg(chart.to_dict() | {"config": CHART_CONFIG}))


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
