"""The page of all views: columns, types, units and meanings, from sql/ and schemas.py.

python -m ser_tasks.query.data_dictionary          # rewrites sql/README.md
"""

import re
import tempfile
from itertools import groupby

from ser_tasks.html_page import markdown_table
from ser_tasks.lake import catalog, sql_views

PAGE = sql_views.SQL_FOLDER / "README.md"
HEADINGS = {
    "staging": ("Staging", "The tables, each recording in its newest version; `_all` has every version."),
    "marts": (
        "Marts",
        "Each answers one question. Narrow it as you like: `FROM escalations WHERE queue = 'sales' LIMIT 10`.",
    ),
    "macros": ("Macros", "Views with arguments: `FROM compare('2026-11', '2026-10') WHERE verdict = 'higher'`."),
    "checks": ("Checks", "Each lists offending rows and is empty in a good lake; every night runs them."),
}
UNITS = {
    r"_ms$": "milliseconds",
    r"^sentiment_": "-5 to 5",
    r"_dbfs$": "dB relative to full scale",
    r"_db$": "dB",
    r"_hz$": "Hz",
    r"_bytes$": "bytes",
    r"(^|_)audio_h_per_h$": "audio hours per hour",
    r"_h$": "hours",
    r"_s(_low|_high)?$": "seconds",
    r"^(share|p|mean_p|peak)_|^usual_(anger|low|high)$|^(confidence|compared_anger|agreement|jensen_shannon)$|_share(_|$)": "0 to 1",
    r"^negativity_change|^change|^anger_per_call$|^rise|^correlation|^difference|^happiness_score$|^kappa$": "-1 to 1",
    r"^(mean_)?negativity|^anger_score$": "0 to 1",
    r"(^|_words_)sentiment$": "-1 to 1",
    r"hour$": "hour of the day, 0 to 23",
    r"^weekday$": "day of the week, 1 to 7",
    r"^days_": "days",
    r"^psi": "from 0",
    r"^(reference_)?mean$|^band_": "the measure's",
}
"""Units by patterns of columns' names; the first that is found in a name counts."""
UNITS_OF_TYPES = {"TIMESTAMP WITH TIME ZONE": "UTC", "DATE": "date", "BOOLEAN": "true or false", "VARCHAR": "text"}


def page() -> str:
    """The whole page, as Markdown. Raises ValueError where a column has no meaning."""
    lines = [
        "# Every view, column, type, unit and meaning",
        "",
        "Made by `python -m ser_tasks.query.data_dictionary` from the SELECTs here and `ser_tasks/schemas.py`: "
        "change those, then run it again.",
        "Columns are explained beside them in a view's last SELECT (`AS moment_s, -- start of ...`), or once for all in `schemas.py`.",
        "`macros/` holds the functions that views share. `ser sql` runs a question, `ser catalog` writes the views as a DuckDB file.",
        "Dates and hours of calls are the site's (`SER_TIME_ZONE`), timestamps are UTC.",
        "`SET VARIABLE as_of = '2026-11-03 12:00'` asks for what was known then, but not for what the lake replaced or deleted since:",
        "see As of a day in [ANALYSTS.md](ANALYSTS.md).",
    ]
    with tempfile.TemporaryDirectory() as no_lake, catalog.connect(no_lake) as connection:
        for folder, found in groupby([*sql_views.all_views(), *sql_views.called_views()], lambda view: view.folder):
            heading, about = HEADINGS[folder]
            lines += ["", f"## {heading}", "", about]
            for view in found:
                lines += ["", f"### {view.name}", "", *_comment(view), ""]
                rows = []
                known = sql_views.meanings(view)
                described = connection.sql(f"FROM {sql_views.rows_of(view)}")
                for column, type_ in zip(described.columns, described.types, strict=True):
                    if column not in known:
                        raise ValueError(f"{view.name}.{column} has no meaning: write one beside it in sql/{view.folder}/{view.name}.sql.")
                    rows.append([f"`{column}`", str(type_), unit(column, str(type_)), known[column].replace("|", "\\|")])
                lines.append(markdown_table(["column", "type", "unit", "meaning"], rows))
    return "\n".join(lines) + "\n"


def unit(column: str, type_: str) -> str:
    """The unit of a column, by its name, else by its type."""
    if type_ not in ("VARCHAR", "BOOLEAN", "DATE"):
        for pattern, name in UNITS.items():
            if re.search(pattern, column):
                return name
    return UNITS_OF_TYPES.get(type_, "number")


def _comment(view: sql_views.View) -> list[str]:
    """The comment of a view as a paragraph: question, grain, units and remarks."""
    question, grain, units, *remarks = view.comment
    return [f"**{question}** {grain} {units}", *remarks]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
