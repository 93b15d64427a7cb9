"""Sheets of facts for compliance (`ser compliance`): what is known from settings, bundle, checks, doctor and lake, with the law it is for.

They state facts and what the deployer must write. They are not legal advice, and decide nothing.
"""

from pathlib import Path

from ser_tasks.html_page import html_page
from ser_tasks.maintenance.compliance.facts import Facts, gather
from ser_tasks.maintenance.compliance.sheets import SHEETS
from ser_tasks.scratch import atomic_write
from ser_tasks.settings import Settings

__all__ = ["SHEETS", "Facts", "gather", "texts", "write"]


def write(lake: str, out: Path, settings: Settings, model: str | None = None) -> list[Path]:
    """Writes each sheet as ``<name>.md`` and ``<name>.html`` into a folder, and returns their paths.

    The same lake, settings and bundle give the same bytes. Raises ValueError and OSError for a lake, policy or bundle that cannot be read.
    """
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for name, (title, text) in texts(gather(lake, settings, model)).items():
        for path, content in (
            (out / f"{name}.md", text),
            (out / f"{name}.html", html_page(title, text, {}).replace("text-align: right", "text-align: left")),
        ):
            with atomic_write(path) as temporary:
                temporary.write_text(content, encoding="utf-8")
            written.append(path)
    return written


def texts(facts: Facts) -> dict[str, tuple[str, str]]:
    """Title and Markdown of every sheet, by its name."""
    made = {name: make(facts) for name, make in SHEETS.items()}
    return {name: (sheet.title, sheet.markdown(facts)) for name, sheet in made.items()}
