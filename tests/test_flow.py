"""The flow on a real Prefect server (a temporary one): artifacts, failures, and the command line that starts it."""

import json
import logging
from datetime import date

import pytest
from making import TWO_SIDED, tiny_bundle, two_sided, write_call
from prefect.client.orchestration import get_client
from prefect.testing.utilities import prefect_test_harness
from typer.testing import CliRunner

from flows.cli import app
from flows.nightly import IncompleteNight, nightly
from ser_tasks import catalog
from ser_tasks.demo import CALLS
from ser_tasks.night import Night

run = CliRunner().invoke


@pytest.fixture(scope="module", autouse=True)
def prefect():
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calls")
    call = two_sided([("agent", 1, 4), ("customer", 5, 11)], 13)
    for day in (20, 21, 22):
        write_call(folder, f"2026-11-{day}/a.wav", call, TWO_SIDED | {"call_id": f"a-{day}", "queue": "sales"})
    write_call(folder, "2026-11-22/mono.wav", call.sum(axis=1))
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return str(tiny_bundle(tmp_path_factory.mktemp("bundles")))


@pytest.fixture(scope="module")
def lake(calls, bundle, tmp_path_factory):
    """A lake that the command line made."""
    lake = str(tmp_path_factory.mktemp("lakes") / "lake")
    answer = run(app, ["nightly", "--recordings", str(calls), "--lake", lake, "--model", bundle, "--workers", "1", "--device", "cpu"])
    assert answer.exit_code == 0, answer.output
    assert "4 recordings listed, 4 new, 4 handled: 3 scored, 1 withheld" in answer.output
    return lake


def artifacts() -> dict[str, str]:
    with get_client(sync_client=True) as client:
        return {artifact.key: str(artifact.data) for artifact in client.read_artifacts()}


def test_the_run_leaves_artifacts(lake):
    found = artifacts()
    assert {"outcomes", "checks", "worst-calls"} <= found.keys()
    assert json.loads(found["outcomes"])[0] == {"what": "scored", "recordings": 3}
    assert "](<file://" in found["worst-calls"] and "a-20" in found["worst-calls"]


def test_one_task_a_chunk_and_stage(lake):
    with get_client(sync_client=True) as client:
        names = [task.name.partition(" ")[0] for task in client.read_task_runs()]
    assert names.count("extract") == names.count("score") == 3  # three days, three chunks


def test_the_day_option_narrows_the_night(calls, bundle, tmp_path):
    row = nightly(str(calls), str(tmp_path / "lake"), day=date(2026, 11, 21), model=bundle, device="cpu", workers=1)
    assert (row["listed"], row["scored"]) == (1, 1)


def test_a_broken_chunk_does_not_stop_the_others_but_the_run_says_so(calls, bundle, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.CRITICAL)
    real = Night.publish
    broken = []

    def publish(self, extracted):
        if not broken and not extracted.batches[0].extracted[0].outcome:
            broken.append(extracted.chunk.chunk_id)
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return real(self, extracted)

    monkeypatch.setattr(Night, "publish", publish)
    with pytest.raises(IncompleteNight, match="CUDA error") as error:
        nightly(str(calls), str(tmp_path / "lake"), model=bundle, device="cpu", workers=1)
    assert (error.value.run["failed"], error.value.run["scored"], error.value.run["failed_chunks"]) == (1, 2, 1)
    monkeypatch.undo()
    row = nightly(str(calls), str(tmp_path / "lake"), model=bundle, device="cpu", workers=1)
    assert (row["failed"], row["scored"]) == (0, 1)


def test_a_failed_check_fails_the_run_after_the_parts_are_published(calls, bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "run_checks", lambda *_: {"bad_shares": 2})
    lake = str(tmp_path / "lake")
    answer = run(app, ["nightly", "--recordings", str(calls), "--lake", lake, "--model", bundle, "--workers", "1"])
    assert answer.exit_code == 1 and "check bad_shares: 2 offending rows" in answer.output
    with catalog.connect(lake) as connection:
        assert connection.execute("SELECT count(*), min(checks_failed) FROM outcomes, runs").fetchall() == [(4, 1)]


def test_demo_prints_its_dozen_calls(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = run(app, ["demo"], env={"COLUMNS": "200"})
    assert answer.exit_code == 0, answer.output
    recordings = [path for path in CALLS.rglob("*.*") if path.suffix != ".json"]
    assert len(recordings) == 12
    for recording in recordings:
        assert recording.stem in answer.output
    assert (tmp_path / "demo-lake" / "call_emotions").is_dir()


def test_sql_answers_in_every_format(lake, tmp_path):
    query = "SELECT call_id FROM call_emotions WHERE queue = 'sales' ORDER BY call_id"
    assert "a-20" in run(app, ["sql", "--lake", lake, query]).output
    assert run(app, ["sql", "--lake", lake, query, "--format", "csv"]).output.split() == ["call_id", "a-20", "a-21", "a-22"]
    assert json.loads(run(app, ["sql", "--lake", lake, query, "--format", "json"]).output)[0] == {"call_id": "a-20"}
    assert run(app, ["sql", "--lake", lake, query, "--format", "parquet"]).stdout_bytes[:4] == b"PAR1"
    assert "calls_by_day_and_queue" in run(app, ["sql", "--lake", lake]).output


def test_the_catalogue_file_opens_anywhere(lake, tmp_path):
    import duckdb

    out = tmp_path / "warehouse.duckdb"
    assert run(app, ["catalog", "--lake", lake, "--out", str(out)]).exit_code == 0
    with duckdb.connect(str(out), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM call_emotions").fetchall() == [(4,)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nightly", "--recordings", "no-such-folder", "--lake", "x"], "There is no folder"),
        (["nightly", "--recordings", ".", "--lake", "x", "--policy", "nobody"], "'nobody' is no policy"),
        (["nightly", "--recordings", ".", "--lake", "x", "--day", "20.11.2026"], "write it as 2026-11-20"),
        (["nightly", "--recordings", ".", "--lake", "x", "--model", "no-such-model"], "give a shipped bundle"),
        (["nightly", "--recordings", "gs://x", "--lake", "x"], "s3://bucket/prefix"),
        (["nightly", "--recordings", "."], "Missing option"),
        (["sql", "--lake", "x", "SELECT nothing"], "nothing"),
        (["sql", "--lake", "x", "DROP VIEW segments"], ""),
        (["bench", "--recordings", "no-such-folder"], "No recordings"),
        (["evaluate", "--data", ".", "--out", "x", "--labels", "anger,neutral", "--epochs", "2"], "--labels, --epochs would be ignored"),
        (["evaluate", "--data", ".", "--out", "x", "--test", "emodb"], "Add --split"),
        (["evaluate", "--data", ".", "--out", "x", "--split", "k-fold", "--unheard-only"], "--unheard-only would be ignored"),
    ],
)
def test_bad_input_ends_in_one_clear_message_and_exit_code_2(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = run(app, arguments)
    assert answer.exit_code == 2
    assert message in answer.output
    assert "Traceback" not in answer.output
    assert list(tmp_path.iterdir()) == []
