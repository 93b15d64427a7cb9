"""The dbt project in ``deploy/dbt``: in step with ``sql/``, and, where dbt is installed, built on a lake."""

import os
import shutil
import subprocess

import duckdb
import pytest
import yaml

from ser_tasks.lake import catalog, sql_views
from ser_tasks.query import dbt_project
from ser_tasks.resources import resource
from tests.factories.lakes import write_good_lake

PROJECT = resource("deploy") / "dbt"
DBT = os.environ.get("SER_DBT") or shutil.which("dbt")


def test_the_project_is_in_step_with_sql():
    made = dbt_project.files()
    assert [
        name for name, text in made.items() if not (PROJECT / name).is_file() or (PROJECT / name).read_text(encoding="utf-8") != text
    ] == []
    there = {
        str(path.relative_to(PROJECT)) for pattern in ("models/staging/*", "models/marts/*", "tests/*") for path in PROJECT.glob(pattern)
    }
    assert there <= made.keys()


def test_a_model_is_its_select_but_for_the_names_of_what_it_reads():
    sql = "WITH a AS (\n    FROM call_emotions AS c JOIN runs USING (run_id)\n)\nSELECT * FROM a, parts.outcomes -- FROM runs"
    expected = (
        "WITH a AS (\n    FROM {{ ref('call_emotions') }} AS c JOIN {{ ref('runs') }} AS runs USING (run_id)\n)\n"
        "SELECT * FROM a, parts.outcomes -- FROM runs\n"
    )
    assert dbt_project.model(sql).replace(" -- FROM {{ ref('runs') }} AS runs", " -- FROM runs") == expected


def test_every_measure_of_the_semantic_file_reads_columns_that_exist():
    semantic = yaml.safe_load((PROJECT / "models/semantic/semantic.yml").read_text(encoding="utf-8"))
    [calls] = semantic["semantic_models"]
    with duckdb.connect() as connection:
        sql_views.create(connection, sql_views.read_definitions())
        for measure in calls["measures"]:
            assert connection.execute(f"SELECT {measure['agg']}({measure['expr']}) FROM counted_calls").fetchone()
        for dimension in calls["dimensions"]:
            assert dimension["name"] in connection.table("counted_calls").columns
    measures = {measure["name"] for measure in calls["measures"]}
    assert {metric["type_params"]["measure"] for metric in semantic["metrics"] if metric["type"] == "simple"} <= measures


@pytest.mark.slow
@pytest.mark.skipif(
    DBT is None, reason="dbt is not installed: pip install 'dbt-core<1.12' dbt-duckdb and our duckdb in a venv, SER_DBT=.../bin/dbt"
)
def test_dbt_builds_the_views_and_they_answer_as_ours(tmp_path):
    lake, made, built = str(tmp_path / "lake"), tmp_path / "warehouse.duckdb", tmp_path / "dbt.duckdb"
    write_good_lake(lake)
    catalog.write_catalog(lake, made)
    project = shutil.copytree(PROJECT, tmp_path / "project")
    environment = os.environ | {"SER_CATALOG": str(made), "SER_DBT_FILE": str(built), "PYTHONPATH": ""}
    done = subprocess.run([DBT, "build", "--profiles-dir", "."], cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    with duckdb.connect(built, read_only=True) as theirs, catalog.connect(lake) as ours:
        theirs.execute("SET TimeZone = 'UTC'")
        theirs.execute(f"ATTACH '{made}' AS lake (READ_ONLY)")
        for view in sql_views.all_views():
            if view.folder != "checks":
                sql = f"FROM {view.name} ORDER BY ALL"
                assert theirs.execute(sql).fetchall() == ours.execute(sql).fetchall(), view.name
        both = "SELECT measure, verdict FROM compare('sales', 'support') ORDER BY ALL"
        assert theirs.execute(both).fetchall() == ours.execute(both).fetchall()
