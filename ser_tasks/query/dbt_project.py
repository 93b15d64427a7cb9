"""The dbt project in ``deploy/dbt``, made from ``sql/``: models, macros, tests and the meanings of columns.

python -m ser_tasks.query.dbt_project          # rewrites the generated files; a test keeps them in step with sql/
"""

import re
import tempfile
from pathlib import Path

from ser_tasks.lake import catalog, sql_views
from ser_tasks.resources import resource

NOTE = "Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again."
KEYS = {"newest": "recording_id", "outcomes": "recording_id", "call_emotions": "recording_id", "counted_calls": "recording_id",
        "recordings": "recording_id", "runs": "run_id", "calls": "recording_id"}  # fmt: skip
"""The columns that are unique and never null: dbt's tests of them."""
BY_MACRO = {"calls_by_day_and_queue": "counted_calls", "calls_by_hour_and_queue": "counted_calls"}
"""Models that read another one through a macro."""


def files() -> dict[str, str]:
    """The text of every generated file, by its path in the project."""
    made = {}
    for view in sql_views.all_views():
        folder = "tests" if view.folder == "checks" else f"models/{view.folder}"
        depends = ""
        if view.name in BY_MACRO:
            depends = "{{ config(pre_hook='{{ create_calls_by_queue() }}') }}\n-- depends_on: {{ ref('" + BY_MACRO[view.name] + "') }}\n"
        made[f"{folder}/{view.name}.sql"] = f"-- {NOTE}\n{depends}{model(view.sql)}"
    made["macros/create_macros.sql"] = _macros()
    made["models/sources.yml"] = _sources()
    for folder in ("staging", "marts"):
        made[f"models/{folder}/{folder}.yml"] = _properties(folder)
    return made


def model(sql: str) -> str:
    """A SELECT of ``sql/`` with ``ref`` and ``source`` in place of the names of views and tables; its own CTEs keep theirs."""
    own = set(re.findall(r"(?m)^(?:WITH |\), |)(\w+) AS (?:MATERIALIZED )?\(", sql))
    views = {view.name for view in sql_views.all_views()} - own

    def reference(found: re.Match[str]) -> str:
        before, name = found.groups()
        if name.startswith(f"{sql_views.PARTS}."):
            return f"{before}{{{{ source('lake', '{name.partition('.')[2]}') }}}}"
        return (
            f"{before}{{{{ ref('{name}') }}}}" + ("" if found.string[found.end() :].lstrip().upper().startswith("AS ") else f" AS {name}")
            if (name in views)
            else found[0]
        )

    code = re.compile(r"\b((?:FROM|JOIN)\s+)(parts\.\w+|\w+)\b(?!\()")
    lines = [line if line.lstrip().startswith("--") else code.sub(reference, line) for line in sql.splitlines()]
    return "\n".join(lines) + "\n"


def _macros() -> str:
    """A dbt macro that creates the scalar macros of ``sql/macros`` before the first model, and one for each table macro."""
    macros = sorted((sql_views.SQL_FOLDER / "macros").glob("*.sql"))
    texts = {path.stem: path.read_text(encoding="utf-8") for path in macros}
    done: list[str] = []
    while len(done) < len(texts):  # each after those that it calls
        done += [name for name, text in texts.items() if name not in done and not (_called(text) & texts.keys()) - {name, *done}]
    created = {name: texts[name].replace("CREATE MACRO", "CREATE OR REPLACE MACRO").rstrip() for name in done}
    of_tables = [name for name in done if "AS TABLE" in created[name]]
    scalar = [f"{created[name]}\n;" for name in done if name not in of_tables]
    lines = [f"-- {NOTE}", "{% macro create_macros() %}", *scalar, "{% endmacro %}"]
    for name in of_tables:
        lines += ["", f"{{% macro create_{name}() %}}", created[name], "{% endmacro %}"]
    return "\n".join(lines) + "\n"


def _called(text: str) -> set[str]:
    return set(re.findall(r"\b(\w+)\(", text))


def _sources() -> str:
    lines = [f"# {NOTE}", "version: 2", "sources:", "  - name: lake", "    database: lake", f"    schema: {sql_views.PARTS}", "    tables:"]
    with tempfile.TemporaryDirectory() as no_lake, catalog.connect(no_lake) as connection:
        lines += [f"      - name: {table}" for table in sql_views.raw_columns(connection)]
    return "\n".join(lines) + "\n"


def _properties(folder: str) -> str:
    lines = [f"# {NOTE}", "version: 2", "models:"]
    with tempfile.TemporaryDirectory() as no_lake, catalog.connect(no_lake) as connection:
        for view in (view for view in sql_views.all_views() if view.folder == folder):
            known = sql_views.meanings(view)
            lines += [f"  - name: {view.name}", f"    description: {_quoted(view.question)}", "    columns:"]
            for column in connection.table(view.name).columns:
                lines += [f"      - name: {column}", f"        description: {_quoted(known[column])}"]
                if column == KEYS.get(view.name):
                    lines.append("        data_tests: [unique, not_null]")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def write() -> Path:
    """Writes the generated files into the project and returns its folder; files of views that are gone are removed."""
    project, made = resource("deploy") / "dbt", files()
    for old in [*project.glob("models/staging/*.sql"), *project.glob("models/marts/*.sql"), *project.glob("tests/*.sql")]:
        if str(old.relative_to(project)) not in made:
            old.unlink()
    for name, text in made.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text, encoding="utf-8")
    return project


if __name__ == "__main__":
    print(write())
