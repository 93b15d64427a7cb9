"""``python -m ser_tasks.training.field.page OUT...``: takes the tables of ``ser field`` into ``deploy/docs/`` and writes ``FIELD.md``."""

import sys
from pathlib import Path

import pandas as pd

from ser_tasks.html_page import svg_of
from ser_tasks.training.field.report import field_chart, field_markdown
from ser_tasks.training.field.rows import ROWS
from ser_tasks.training.field.table import COLUMNS, field_table, published_of, why_not

DOCS = Path(__file__).parents[3] / "deploy" / "docs"
HEAD = """# The field, run again

The systems that the literature on speech emotion recognition names, each run here twice on the same clips at telephone quality (8 kHz,
mu-law, trimmed, -26 dBFS): once by its paper's own protocol, and once tested on speakers that nothing was fitted to. `ser field` writes
this table for any corpora; this page is generated from `field.parquet` beside it by `python -m ser_tasks.training.field.page OUT`, and a
test compares both. A leaky figure is no accuracy on new voices: it says what its protocol adds.
"""


def page(table: pd.DataFrame) -> str:
    """The page as Markdown, from the table."""
    picture = "\n![published, leaky and honest](field.svg)\n" if table["flattery"].notna().any() else ""
    return f"{HEAD}{picture}\n{field_markdown(table, list(ROWS.values()), {})}\n"


def merged(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """One table of several: of a row, system and corpus in two of them, the last. In the order of the field's rows, with their reasons."""
    table = pd.concat([each.reindex(columns=list(COLUMNS)).astype(COLUMNS) for each in tables], ignore_index=True).drop_duplicates(
        ["row", "system", "corpus"], keep="last"
    )
    order = table["row"].map(list(ROWS).index)
    reasons = [
        why_not(ROWS[row], published_of(ROWS[row], system, corpus), dict(zip(table.columns, values, strict=True)))
        for values, row, system, corpus in zip(table.itertuples(index=False), table["row"], table["system"], table["corpus"], strict=True)
    ]
    table["why_not"] = pd.array(reasons, dtype="string")
    return table.assign(order=order).sort_values(["order", "system", "corpus"], kind="stable")[list(COLUMNS)].reset_index(drop=True)


def table_of(folder: Path) -> pd.DataFrame:
    """The table of a folder of ``ser field``, from its rows of tested clips; sizes and speeds are those of the folder's own table."""
    costs = pd.read_parquet(folder / "field.parquet", columns=["system", "parameters", "audio_h_per_h"]).drop_duplicates("system")
    return field_table(pd.read_parquet(folder / "rows.parquet"), costs)


def main(folders: list[str]) -> None:
    """Adds the folders' tables to ``field.parquet``; writes the page and its chart."""
    stored = DOCS / "field.parquet"
    tables = [pd.read_parquet(stored)] if stored.exists() else []
    table = merged([*tables, *(table_of(Path(folder)) for folder in folders)])
    table.to_parquet(stored, index=False)
    (DOCS / "FIELD.md").write_text(page(table), encoding="utf-8")
    if table["flattery"].notna().any():
        (DOCS / "field.svg").write_text(svg_of(field_chart(table)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
