"""Tools of analysts on the catalogue file while parts are written: Superset's model of a database, and the notebook, where installed."""

import json
import os
import re
import subprocess
from datetime import timedelta

import pytest

from ser_tasks.lake import catalog
from ser_tasks.resources import resource
from tests.factories.lakes import DAY, Call, angry, write_calls, write_good_lake

NOTEBOOK = resource("deploy") / "notebooks" / "week.ipynb"
NOTEBOOK_PYTHON, SUPERSET_PYTHON = os.environ.get("SER_NOTEBOOK_PYTHON"), os.environ.get("SER_SUPERSET_PYTHON")
EXECUTE = """
import json, sys, nbformat, nbclient
notebook = nbformat.read(sys.argv[1], 4)
nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
print(json.dumps([output["data"]["text/plain"] for cell in notebook.cells for output in cell.get("outputs", [])]))
"""
CONFIG = """
SECRET_KEY = "of the tests, 0123456789012345678901234567"
PREVENT_UNSAFE_DB_CONNECTIONS = False
CACHE_CONFIG = DATA_CACHE_CONFIG = FILTER_STATE_CACHE_CONFIG = EXPLORE_FORM_DATA_CACHE_CONFIG = {"CACHE_TYPE": "NullCache"}
"""
SUPERSET = """
import json, sys
from superset.app import create_app
with create_app().app_context():
    from superset.models.core import Database
    options = json.dumps({"engine_params": {"connect_args": {"read_only": True}}})
    database = Database(database_name="calls", sqlalchemy_uri=f"duckdb:///{sys.argv[1]}", extra=options)
    for line in sys.stdin:
        try:
            print("answer", database.get_df(line.strip()).to_json(orient="values"), flush=True)
        except Exception as error:
            print("refused", error.__class__.__name__, str(error).replace("\\n", " "), flush=True)
"""


@pytest.fixture
def made(tmp_path):
    lake = str(tmp_path / "lake")
    write_good_lake(lake)
    return lake, catalog.write_catalog(lake, tmp_path / "warehouse.duckdb")


def test_the_notebook_is_stored_without_answers_and_its_sql_is_answered(made):
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells if cell["cell_type"] == "code")
    code = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    asked = [sql for _, sql in re.findall(r'lake\.sql\(\s*("""|")(.*?)\1', code, re.DOTALL)]
    with catalog.connect(made[0]) as connection:
        for sql in asked:
            assert connection.execute(sql).description
    assert len(asked) == 4


@pytest.mark.slow
@pytest.mark.skipif(NOTEBOOK_PYTHON is None, reason="SER_NOTEBOOK_PYTHON: a Python with nbclient, ipykernel, pandas and our duckdb")
def test_the_notebook_runs(made):
    environment = os.environ | {"SER_CATALOG": str(made[1]), "PYTHONPATH": ""}
    done = subprocess.run(
        [NOTEBOOK_PYTHON, "-c", EXECUTE, NOTEBOOK], env=environment, capture_output=True, text=True, check=True, timeout=300
    )
    counted, shares, _, calls = json.loads(done.stdout)
    assert counted.split("\n")[1].split()[1] == "4" and "sales" in shares and "worse" in calls


@pytest.mark.slow
@pytest.mark.skipif(SUPERSET_PYTHON is None, reason="SER_SUPERSET_PYTHON: a Python with apache-superset, duckdb-engine and our duckdb")
def test_superset_reads_the_file_while_parts_are_written_and_writes_nothing(made, tmp_path):
    (tmp_path / "superset_config.py").write_text(CONFIG)
    environment = os.environ | {"SUPERSET_CONFIG_PATH": str(tmp_path / "superset_config.py"), "PYTHONPATH": ""}
    command = [SUPERSET_PYTHON, "-c", SUPERSET, made[1]]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as superset:

        def ask(sql):
            superset.stdin.write(f"{sql}\n")
            superset.stdin.flush()
            while not (line := superset.stdout.readline()).startswith(("answer", "refused")):
                assert line, "Superset ended"
            return line

        counted = [json.loads(ask("SELECT count(*) FROM calls").partition(" ")[2])]
        for number in range(1, 4):
            write_calls(made[0], [Call(f"new-{number}", angry().segments, day=DAY + timedelta(days=number), chunk=f"new-{number}")])
            counted.append(json.loads(ask("SELECT count(*) FROM calls").partition(" ")[2]))
        refused = ask("CREATE TABLE own AS SELECT 1 AS a")
        superset.stdin.close()
    assert counted == [[[4 + number]] for number in range(4)]
    assert refused.startswith("refused") and "read-only" in refused
