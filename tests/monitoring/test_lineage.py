"""OpenLineage events: valid against the specification's schema, with counts that the lake confirms, and nothing that names a call."""

import json
import uuid
from datetime import UTC, datetime

import pytest
from jsonschema import Draft202012Validator

from ser_tasks import schemas
from ser_tasks.lake import catalog
from ser_tasks.monitoring import lineage
from ser_tasks.monitoring.lineage import End, NightRun, Parent, Written, dataset_name, parent_of, written
from ser_tasks.storage import open_store
from tests.factories.lakes import DAY, run_row, write, write_good_lake

NIGHT = NightRun(
    run_id="20261120T010000-0a1b2c3d",
    started_at=datetime(2026, 11, 20, 1, tzinfo=UTC),
    recordings_uri="s3://calls/2026",
    lake_uri="s3://lake/emotions",
    model_id="ge2e_tcn-1-1a2b3c4d",
    feature_set="mel32-1",
    policy="customers_only",
    parent=Parent("prefect", "nightly", "0636a816-9637-46f9-8d89-aa6f8c4b14ad"),
)

_FACETS = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "required": ["_producer", "_schemaURL"],
        "properties": {"_producer": {"$ref": "#/$defs/uri"}, "_schemaURL": {"$ref": "#/$defs/uri"}},
    },
}
_NAMED = {"type": "object", "required": ["namespace", "name"], "properties": {"namespace": {"type": "string"}, "name": {"type": "string"}}}
_RUN_AND_JOB = {"run": {"$ref": "#/$defs/run"}, "job": _NAMED}
_NUMBERS = {"rowCount": {"type": "integer"}, "size": {"type": "integer"}, "fileCount": {"type": "integer"}}
SCHEMA = {
    "type": "object",
    "required": ["eventTime", "producer", "schemaURL", "run", "job"],
    "properties": {
        "eventType": {"enum": ["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]},
        "eventTime": {"type": "string", "format": "date-time"},
        "producer": {"$ref": "#/$defs/uri"},
        "schemaURL": {"$ref": "#/$defs/uri"},
        "run": {"$ref": "#/$defs/run"},
        "job": {"allOf": [_NAMED, {"properties": {"facets": _FACETS}}]},
        "inputs": {"type": "array", "items": {"allOf": [_NAMED, {"properties": {"facets": _FACETS, "inputFacets": _FACETS}}]}},
        "outputs": {
            "type": "array",
            "items": {
                "allOf": [
                    _NAMED,
                    {"properties": {"facets": {"allOf": [_FACETS, {"properties": {"schema": {"$ref": "#/$defs/schema"}}}]}}},
                    {"properties": {"outputFacets": {"allOf": [_FACETS, {"properties": {"outputStatistics": {"properties": _NUMBERS}}}]}}},
                ]
            },
        },
    },
    "$defs": {
        "uri": {"type": "string", "format": "uri", "pattern": "^[A-Za-z][A-Za-z0-9+.-]*:[^ ]+$"},
        "run": {
            "type": "object",
            "required": ["runId"],
            "properties": {
                "runId": {"type": "string", "format": "uuid"},
                "facets": {"allOf": [_FACETS, {"properties": {"parent": {"required": ["run", "job"], "properties": _RUN_AND_JOB}}}]},
            },
        },
        "schema": {
            "properties": {
                "fields": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {"name": {"type": "string"}, "type": {"type": "string"}},
                    },
                }
            }
        },
    },
}
"""What OpenLineage 2-0-2 demands of a RunEvent and of the facets used here (spec/OpenLineage.json, spec/facets), in our own words."""
VALIDATOR = Draft202012Validator(SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER)


@pytest.fixture(autouse=True)
def client():
    """Its only logger is set aside: a level that one test sets would be another's."""
    return pytest.importorskip("openlineage.client", reason="pip install 'ser-nightly[telemetry]'")


def as_sent(run: NightRun, end: End | None = None) -> dict:
    """The event as the client writes it, which is valid."""
    from openlineage.client.serde import Serde

    made = json.loads(Serde.to_json(lineage.event(run, end)))
    assert [error.message for error in VALIDATOR.iter_errors(made)] == []
    return made


def test_start_and_end_are_of_one_run():
    start, complete, fail = as_sent(NIGHT), as_sent(NIGHT, End("COMPLETE")), as_sent(NIGHT, End("FAIL", error="OSError: the run's log"))
    assert [each["eventType"] for each in (start, complete, fail)] == ["START", "COMPLETE", "FAIL"]
    assert len({each["run"]["runId"] for each in (start, complete, fail)}) == 1
    assert uuid.UUID(start["run"]["runId"]) and start["eventTime"] == "2026-11-20T01:00:00Z"
    assert fail["run"]["facets"]["errorMessage"]["message"] == "OSError: the run's log" and "errorMessage" not in complete["run"]["facets"]
    assert start["job"] | {"facets": {}} == {"namespace": "ser-nightly", "name": "nightly", "facets": {}}


def test_the_model_and_the_parent_are_facets_of_the_run():
    facets = as_sent(NIGHT)["run"]["facets"]
    model = facets["serNightly_model"]
    assert (model["name"], model["version"], model["hash"], model["policy"]) == ("ge2e_tcn", "1", "1a2b3c4d", "customers_only")
    assert facets["parent"]["run"]["runId"] == NIGHT.parent.run_id and facets["parent"]["job"]["name"] == "nightly"


def test_inputs_and_outputs_are_named_by_the_rules_and_have_the_tables_columns():
    made = as_sent(NIGHT, End("COMPLETE", {"outcomes": Written(5, 1234, 1), "recordings": Written(5)}))
    assert [(each["namespace"], each["name"]) for each in made["inputs"]] == [("s3://calls", "2026")]
    tables = {each["name"].rpartition("/")[2]: each for each in made["outputs"]}
    assert {(each["namespace"], each["name"]) for each in made["outputs"]} == {("s3://lake", f"emotions/{table}") for table in tables}
    for table, output in tables.items():
        assert [each["name"] for each in output["facets"]["schema"]["fields"]] == schemas.TABLES[table].names
    statistics = tables["outcomes"]["outputFacets"]["outputStatistics"]
    assert (statistics["rowCount"], statistics["size"], statistics["fileCount"]) == (5, 1234, 1)
    assert tables["recordings"]["outputFacets"]["outputStatistics"]["rowCount"] == 5


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("/data/lake", ("file", "/data/lake/outcomes")),
        ("file:///data/lake/", ("file", "/data/lake/outcomes")),
        ("s3://lake", ("s3://lake", "outcomes")),
        ("s3://lake/a/b/", ("s3://lake", "a/b/outcomes")),
    ],
)
def test_names_of_datasets(uri, expected):
    assert dataset_name(uri, "outcomes") == expected
    assert dataset_name("s3://calls") == ("s3://calls", "/")


def test_counts_are_those_of_the_lake(tmp_path):
    lake = str(tmp_path / "lake")
    write_good_lake(lake)
    write(lake, "runs", [run_row()], chunk="r1")
    with catalog.connect(lake) as connection:
        found = written(connection, open_store(lake), "r1")
        other = written(connection, open_store(lake), "another run")
        views = {table: "runs" if table == "runs" else f"{table}_all" for table in found}
        counts = {
            table: connection.execute(f"SELECT count(*) FROM {view} WHERE run_id = 'r1'").fetchall()[0][0] for table, view in views.items()
        }
    assert {table: each.rows for table, each in found.items()} == counts and all(counts.values())
    for table in lineage.VERSIONED:
        files = list((tmp_path / "lake" / table / f"day={DAY}").rglob("*.parquet"))
        assert (found[table].size_bytes, found[table].files) == (sum(file.stat().st_size for file in files), len(files))
    assert {(each.rows, each.size_bytes or 0) for each in other.values()} == {(0, 0)}


def test_the_parent_may_be_named_by_a_variable():
    run_id = "0636a816-9637-46f9-8d89-aa6f8c4b14ad"
    assert parent_of({"OPENLINEAGE_PARENT_ID": f"airflow/night.ser/{run_id}"}) == Parent("airflow", "night.ser", run_id)
    assert parent_of({}) is None
    for wrong in ("airflow", f"a/{run_id}", "a/b/c"):
        with pytest.raises(ValueError, match=r"namespace/job/run id|hexadecimal UUID"):
            parent_of({"OPENLINEAGE_PARENT_ID": wrong})


@pytest.mark.parametrize(
    ("variables", "on"),
    [
        ({}, False),
        ({"OPENLINEAGE_NAMESPACE": "calls"}, False),
        ({"OPENLINEAGE_URL": ""}, False),
        ({"OPENLINEAGE_URL": "http://marquez:5000"}, True),
        ({"OPENLINEAGE_CONFIG": "/etc/openlineage.yml"}, True),
        ({"OPENLINEAGE__TRANSPORT__TYPE": "console"}, True),
        ({"OPENLINEAGE_URL": "http://marquez:5000", "OPENLINEAGE_DISABLED": "true"}, False),
    ],
)
def test_it_is_off_unless_a_variable_names_a_transport(variables, on, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert lineage.is_on() is on
