"""A page that stands alone: Markdown as HTML, its pictures inside."""

import base64
from html import escape

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
