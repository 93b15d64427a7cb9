"""The flow on a real Prefect server (a temporary one): artifacts, failures, and the command line that starts it."""

import importlib
import json
import logging
import re
import shutil
import threading
import time
from datetime import date, timedelta
from pathlib import Path

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import Artifact
from prefect.concurrency.sync import concurrency
from prefect.runtime import task_run
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS, temporary_settings
from prefect.testing.utilities import prefect_test_harness
from typer.testing import CliRunner

from flows import chunk_groups
from flows.backfill import IncompleteBackfillError
from flows.cli import app
from flows.compact import compact
from flows.concurrency import concurrency_limit
from flows.doctor import doctor
from flows.nightly import IncompleteNightError, first_ten, nightly
from flows.report import report
from flows.retention import retention
from flows.retries import OPTIONS
from flows.server import ServerStartError, prefect_server
from flows.weekly import weekly
from ser_tasks.demo import CALLS
from ser_tasks.lake import catalog
from ser_tasks.pipeline.run import Night
from tests.factories.calls import TWO_SIDED, tiny_bundle, two_sided, write_call

run = CliRunner().invoke
flow_module = importlib.import_module("flows.nightly")


@pytest.fixture(scope="module", autouse=True)
def prefect():
    with prefect_test_harness(server_startup_timeout=600):
        yield


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calls")
    call = two_sided([("agent", 1, 4), ("customer", 5, 15)], 17)
    for day in (20, 21, 22):
        write_call(folder, f"2026-11-{day}/a.wav", call, TWO_SIDED | {"call_id": f"a-{day}", "queue": "sales"})
    write_call(folder, "2026-11-22/mono.wav", call.sum(axis=1))
    return folder


@pytest.fixture(scope="module")
def lake(calls, bundle, tmp_path_factory):
    """A lake that the command line made."""
    lake = str(tmp_path_factory.mktemp("lakes") / "lake")
    answer = run(app, ["nightly", "--recordings", str(calls), "--lake", lake, "--model", bundle, "--workers", "1", "--device", "cpu"])
    assert answer.exit_code == 0, answer.output
    assert "4 recordings listed, 4 new, 4 handled: 3 scored, 1 withheld" in answer.output
    return lake


def every_artifact() -> list[Artifact]:
    """All that the server holds: it answers in pages, and other tests of the session leave theirs."""
    found: list[Artifact] = []
    with get_client(sync_client=True) as client:
        while page := client.read_artifacts(limit=200, offset=len(found)):
            found += page
    return found


def artifacts() -> dict[str, str]:
    return {each.key: str(each.data) for each in sorted(every_artifact(), key=lambda artifact: artifact.created)}


def test_the_run_leaves_artifacts(lake):
    found = artifacts()
    assert {"outcomes", "throughput", "checks", "worst-calls"} <= found.keys()
    assert [row["what"] for row in json.loads(found["throughput"])][:3] == [
        "audio-hours per hour",
        "list, s per audio-hour",
        "fetch, s per audio-hour",
    ]
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
    with pytest.raises(IncompleteNightError, match="CUDA error") as error:
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
        (["nightly", "--recordings", ".", "--lake", "x", "--policy", "nobody"], "'nobody' is not a policy"),
        (["nightly", "--recordings", ".", "--lake", "x", "--day", "20.11.2026"], "write it as 2026-11-20"),
        (["nightly", "--recordings", ".", "--lake", "x", "--model", "no-such-model"], "give a shipped bundle"),
        (["nightly", "--recordings", "gs://x", "--lake", "x"], "s3://bucket/prefix"),
        (["nightly", "--recordings", "."], "Missing option"),
        (["sql", "--lake", "x", "--empty-ok", "SELECT nothing"], "nothing"),
        (["sql", "--lake", "x", "--empty-ok", "DROP VIEW segments"], ""),
        (["backfill", "--recordings", ".", "--lake", "x", "--first", "2026-11-02", "--last", "2026-11-01"], "The range is empty"),
        (["backfill", "--recordings", ".", "--lake", "x", "--first", "1.11.", "--last", "2026-11-01"], "write it as 2026-11-20"),
        (["backfill", "--recordings", "no-such-folder", "--lake", "x", "--first", "2026-11-01", "--last", "2026-11-02"], "no folder"),
        (["rescore", "--recordings", ".", "--lake", "x", "--empty-ok", "--model", "no-such-model"], "give a shipped bundle"),
        (["rescore", "--recordings", ".", "--lake", "x", "--model", "cnn_tcn"], "No night has written to"),
        (["retention", "--lake", "x"], "No night has written to"),
        (["compact", "--lake", "x"], "No night has written to"),
        (["rollback", "--lake", "x", "--empty-ok", "--version", "a.b"], "There are: none"),
        (["report", "--lake", "x", "--empty-ok"], "has no run"),
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


def test_backfill_goes_on_after_a_bad_day_and_names_it(calls, bundle, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.CRITICAL)
    real = Night.extract

    def extract(self, day, chunk_id, progress):
        if day == date(2026, 11, 21):
            raise RuntimeError("the scratch disk is gone")
        return real(self, day, chunk_id, progress)

    monkeypatch.setattr(Night, "extract", extract)
    arguments = ["backfill", "--recordings", str(calls), "--lake", str(tmp_path / "lake"), "--first", "2026-11-20", "--last", "2026-11-23"]
    arguments += ["--model", bundle, "--workers", "1", "--device", "cpu"]
    answer = run(app, arguments)
    assert answer.exit_code == 1
    assert "1 days are not in order: 2026-11-21: " in answer.output and "the scratch disk is gone" in answer.output
    with catalog.connect(str(tmp_path / "lake")) as connection:
        query = "SELECT day::VARCHAR, outcome, count(*) FROM outcomes GROUP BY ALL ORDER BY ALL"
        found = connection.execute(query).fetchall()
    assert found == [
        ("2026-11-20", "scored", 1),
        ("2026-11-21", "failed", 1),
        ("2026-11-22", "scored", 1),
        ("2026-11-22", "withheld", 1),
    ]
    monkeypatch.undo()
    answer = run(app, arguments)
    assert answer.exit_code == 0, answer.output
    assert "4 days, 1 recordings handled: 2026-11-20 0, 2026-11-21 1, 2026-11-22 0, 2026-11-23 0" in answer.output


def test_rescore_scores_the_manifests_and_says_what_it_left_out(calls, bundle, tmp_path):
    store, lake = tmp_path / "calls", str(tmp_path / "lake")
    shutil.copytree(calls, store)
    nightly(str(store), lake, model=bundle, device="cpu", workers=1)
    (store / "2026-11-20" / "a.wav").unlink()
    shutil.copy(store / "2026-11-21" / "a.wav", store / "2026-11-21" / "new.wav")
    other = str(tiny_bundle(tmp_path, name="other", seed=5))
    arguments = ["rescore", "--recordings", str(store), "--lake", lake, "--model", other, "--workers", "1", "--device", "cpu"]
    answer = run(app, arguments)
    assert answer.exit_code == 0, answer.output
    assert "4 recordings listed, 0 new, 3 handled: 2 scored, 1 withheld" in answer.output
    assert "1 recordings keep older scores only" in answer.output and "Of 2 calls scored before" in answer.output
    with catalog.connect(lake) as connection:
        query = "SELECT split_part(model, '-', 1), count(*) FROM call_emotions GROUP BY ALL ORDER BY ALL"
        assert connection.execute(query).fetchall() == [("other", 3), ("tiny", 1)]
        assert connection.execute("SELECT count(*) FROM recordings_all").fetchall() == [(4,)]
    again = run(app, arguments)
    assert again.exit_code == 0 and "0 handled" in again.output
    assert nightly(str(store), lake, model=other, device="cpu", workers=1)["planned"] == 1  # the night takes the new one


def test_the_report_flow_leaves_the_page_in_the_lake_and_as_an_artifact(lake):
    text = report(lake)
    [page] = Path(lake, "reports").rglob("*.md")
    assert page.read_text() == text == artifacts()["night-report"]
    assert page.parent.name.startswith("day=") and page.stem in text
    printed = run(app, ["report", "--lake", lake, "--run", page.stem]).output
    assert printed.partition("## Disk")[0] == text.partition("## Disk")[0] != ""  # by now there is the report, too


def test_an_erasure_deletes_the_artifacts_that_name_the_call_and_no_other(calls, bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("SER_PSEUDONYM_KEY", "a key of the tests")
    monkeypatch.setenv("PREFECT_API_URL", PREFECT_API_URL.value())
    monkeypatch.setattr("ser_tasks.maintenance.erasure.erase.__defaults__", (0.0, 0.0))
    write_call(
        tmp_path / "calls", "2026-11-20/b.wav", two_sided([("agent", 1, 4), ("customer", 5, 16)], 18), TWO_SIDED | {"call_id": "to-erase"}
    )
    nightly(str(tmp_path / "calls"), str(tmp_path / "lake"), model=bundle, device="cpu", workers=1)
    report(str(tmp_path / "lake"))

    def all_of_them() -> list[str]:
        return [f"{each.key} {each.data}" for each in every_artifact()]

    before = all_of_them()
    naming = [each for each in before if "to-erase" in each]
    assert {each.split()[0] for each in naming} == {"worst-calls", "night-report"}
    arguments = ["erase", "--lake", str(tmp_path / "lake"), "--call", "to-erase"]
    assert f"{len(naming)} artifacts" in run(app, arguments).output and len(all_of_them()) == len(before)
    done = run(app, [*arguments, "--delete"])
    assert done.exit_code == 0, done.output
    assert sorted(all_of_them()) == sorted(each for each in before if each not in naming)
    [receipt] = (tmp_path / "lake" / "erasures").glob("*.json")
    assert json.loads(receipt.read_text())["prefect_artifacts"] == len(naming)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        lost = run(app, ["erase", "--lake", str(tmp_path / "lake"), "--recordings", str(tmp_path / "calls"), "--call", "to-erase"])
    assert lost.exit_code == 2 and "PREFECT_API_URL" in lost.output


def test_the_retention_flow_deletes_only_when_told(calls, bundle, tmp_path, monkeypatch):
    lake = str(tmp_path / "lake")
    nightly(str(calls), lake, day=date(2026, 11, 20), model=bundle, device="cpu", workers=1)
    for part in Path(lake, "segments").iterdir():
        part.rename(part.with_name("day=2020-01-01"))
    assert retention(lake, delete=True) == []
    monkeypatch.setenv("SER_KEEP_SEGMENTS_DAYS", "365")
    for delete, left in ((False, 1), (True, 0)):
        [found] = retention(lake, delete=delete)
        assert (found["table"], found["day"], found["parts"]) == ("segments", "2020-01-01", 1)
        assert len(list(Path(lake, "segments").rglob("*.parquet"))) == left


def test_a_concurrency_limit_has_room_for_one_and_no_run_waits_for_ever():
    order = []

    @flow
    def hold(name: str, wait_s: float):
        with concurrency_limit(name, wait_s):
            order.append("in")
            time.sleep(1)
            order.append("out")

    threads = [threading.Thread(target=hold, args=("one", 60)) for _ in range(2)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert order == ["in", "out", "in", "out"]
    with concurrency("one", timeout_seconds=30):  # held by somebody who does not let go
        hold("one", 0.1)
    assert order[4:] == ["in", "out"]


def test_work_goes_on_without_a_concurrency_limit_while_the_server_is_away():
    @flow
    def work() -> str:
        with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}), concurrency_limit("away"):
            return "done"

    assert work() == "done"


def test_the_weekly_page_without_recipients_is_a_completed_run_that_says_so(tmp_path, monkeypatch):
    monkeypatch.delenv("SER_WEEKLY_TO", raising=False)
    for dry_run in (False, True):
        state = weekly(str(tmp_path / "no-lake"), dry_run=dry_run, return_state=True)
        assert state.is_completed() and "SER_WEEKLY_TO is not set" in state.result()[0]


def test_compaction_and_the_doctor_are_flows(lake, tmp_path, monkeypatch):
    assert compact(lake) == {"merged": 0, "into": 0, "deleted": 0}
    assert compact(str(tmp_path / "none")) == {"merged": 0, "into": 0, "deleted": 0}
    assert doctor(str(tmp_path / "none")) == "no lake yet"
    assert doctor(lake).startswith("Healthy: ")
    broken = tmp_path / "broken"
    shutil.copytree(lake, broken)
    next((broken / "outcomes").rglob("*.parquet")).write_bytes(b"PAR1")
    state = doctor(str(broken), return_state=True)
    assert state.is_failed() and f"ser doctor --lake {broken}" in state.message
    assert "unreadable" in artifacts()["doctor"] or "outcomes/" in artifacts()["doctor"]


def test_a_message_names_ten_chunks_and_how_many_more():
    lines = [f"chunk {number}" for number in range(10_000)]
    assert first_ten(lines, "failed chunks") == [*lines[:10], "and 9990 more failed chunks"]
    assert first_ten(lines[:10], "failed chunks") == lines[:10]
    error = IncompleteBackfillError({date(2026, 1, 1) + timedelta(days=number): "OSError" for number in range(300)})
    assert str(error).startswith("300 days are not in order: 2026-01-01: OSError") and str(error).endswith("; and 290 more days")


@pytest.mark.parametrize("place", ["a file", "/proc"])
def test_a_lake_or_scratch_that_cannot_be_written_is_one_line_and_nothing_is_written(place, calls, bundle, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("-")
    place = f"{tmp_path}/file/here" if place == "a file" else "/proc/here"
    arguments = ["nightly", "--recordings", str(calls), "--model", bundle, "--workers", "1", "--device", "cpu", "--lake"]
    answer = run(app, [*arguments, place])
    assert answer.exit_code == 2 and re.fullmatch(rf"ser: The lake {place} can't be written \(.*\): give a folder .*\n", answer.output)
    monkeypatch.setenv("SER_SCRATCH", place)
    answer = run(app, [*arguments, str(tmp_path / "lake")])
    assert answer.exit_code == 2 and re.fullmatch(rf"ser: The scratch folder {place} can't .*: set SER_SCRATCH .*\n", answer.output)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_temporary_server_that_is_not_up_in_time_is_one_line(tmp_path, monkeypatch):
    settings = {PREFECT_API_URL: None, PREFECT_HOME: tmp_path / "home", PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 1}
    with temporary_settings(settings), pytest.raises(ServerStartError, match="not up within 1 s. Raise PREFECT_SERVER_.* PREFECT_API_URL"):
        prefect_server().__enter__()
    (tmp_path / "file").write_text("-")
    with (
        temporary_settings(settings | {PREFECT_HOME: tmp_path / "file" / "home"}),
        pytest.raises(ServerStartError, match="Set PREFECT_HOME"),
    ):
        prefect_server().__enter__()


@pytest.mark.parametrize("has_database", [False, True])
def test_what_a_night_needs_is_loaded_while_its_server_starts_but_not_while_that_makes_its_database(has_database, tmp_path, monkeypatch):
    seen: list[str] = []

    class Server:
        url, auth_string = "http://127.0.0.1:1/api", "-"

        def __init__(self, variables):
            seen.append("launched")

        def wait_until_up(self, limit_s):
            seen.append("up")

        def kill(self):
            seen.append("killed")

    def refuse():
        raise FileNotFoundError("no such folder")

    monkeypatch.setattr("flows.server.TemporaryServer", Server)
    monkeypatch.setattr("flows.server._started", [])
    if has_database:
        (tmp_path / "prefect.db").touch()
    with temporary_settings({PREFECT_API_URL: None, PREFECT_HOME: tmp_path}):
        with prefect_server(lambda: seen.append("loaded")) as server:
            assert server.url == Server.url
        assert seen == (["launched", "loaded", "up"] if has_database else ["loaded", "launched", "up"])
        seen.clear()
        with pytest.raises(FileNotFoundError, match="no such folder"):
            prefect_server(refuse).__enter__()
        assert seen == (["launched", "killed"] if has_database else [])
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}), prefect_server(lambda: seen.append("named")) as server:
        assert server is None and seen[-1] == "named"


def test_links_that_lead_out_are_planned_once(calls, bundle, tmp_path):
    (tmp_path / "calls" / "2026-11-20").mkdir(parents=True)
    (tmp_path / "calls" / "2026-11-20" / "a.wav").symlink_to("/proc/self/status")
    (tmp_path / "outside.wav").write_bytes(b"-")
    (tmp_path / "calls" / "2026-11-20" / "b.wav").symlink_to(tmp_path / "outside.wav")
    planned = []
    for number in range(3):
        (tmp_path / "outside.wav").write_bytes(b"-" * number)
        planned.append(nightly(str(tmp_path / "calls"), str(tmp_path / "lake"), model=bundle, device="cpu", workers=1)["planned"])
    assert planned == [2, 0, 0]
    with catalog.connect(str(tmp_path / "lake")) as connection:
        query = "SELECT DISTINCT outcome, reason FROM outcomes"
        assert connection.execute(query).fetchall() == [
            ("quarantined", "It is a link that leads out of its folder: put the file itself there.")
        ]


def test_ignored_suffixes_are_counted_and_named(calls, bundle, tmp_path):
    folder = tmp_path / "calls" / "2026-11-20"
    folder.mkdir(parents=True)
    for name in ("a.mkv", "b.MKV", "c.g729", "d", "e.+4915112345678", "f.json"):
        (folder / name).write_bytes(b"-")
    row = nightly(str(tmp_path / "calls"), str(tmp_path / "lake"), model=bundle, device="cpu", workers=1)
    assert (row["listed"], row["ignored_keys"]) == (0, 6)
    assert set(row["ignored_suffixes"].split(", ")) == {".mkv 2", ".g729 1", "none 1", "another 1", ".json 1"}
    assert row["ignored_suffixes"].startswith(".mkv 2")
    other = nightly(str(tmp_path / "calls"), str(tmp_path / "lake"), day=date(2026, 11, 21), model=bundle, device="cpu", workers=1)
    assert (other["ignored_keys"], other["ignored_suffixes"]) == (1, ".json 1")
    assert "6 other keys ignored (.mkv 2" in report(str(tmp_path / "lake"), row["run_id"])


# Chunks that share task runs


class Recorded:
    """A night of chunks that do nothing, and what was done with them. ``trouble``: errors by stage and chunk, one for each attempt."""

    def __init__(self, count, trouble=None):
        self.plan = self.listing = self.handler = self
        self.chunks = [(date(2026, 11, 20), f"{number:04}") for number in range(count)]
        self.device, self.trouble = "cpu", trouble or {}
        self.done, self.given_up = [], {}

    def start_workers(self):
        pass

    def sizes(self):
        return {chunk_id: (1, 3.0) for _, chunk_id in self.chunks}

    def batch_done(self, batch):
        raise AssertionError("there are no batches")

    def _stage(self, stage, chunk_id):
        self.done.append((stage, chunk_id, task_run.name))
        if self.trouble.get((stage, chunk_id)):
            raise self.trouble[stage, chunk_id].pop()

    def extract(self, day, chunk_id, progress):
        self._stage("extract", chunk_id)
        return chunk_id

    def publish(self, extracted):
        self._stage("score", extracted)
        return f"report of {extracted}"

    def give_up(self, day, chunk_id, error):
        self.given_up[chunk_id] = error

    def chunk_done(self, chunk_id, report):
        assert report == f"report of {chunk_id}"
        self.done.append(("published", chunk_id, None))

    def error(self, *_, **__):
        pass

    def of(self, stage):
        return [chunk_id for done, chunk_id, _ in self.done if done == stage]


@pytest.fixture
def two_to_a_group(monkeypatch):
    monkeypatch.setattr(chunk_groups, "SINGLE_UP_TO", 2)
    monkeypatch.setattr(chunk_groups, "GROUP_RECORDINGS", 2)


def hand_out(night):
    extract, score = (task.with_options(retry_delay_seconds=[0, 0]) for task in (flow_module.extract, flow_module.score))

    @flow(task_runner=flow_module.EXTRACTION, persist_result=False)
    def chunks_only():
        flow_module.score_here(night, night, night)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow_module, "extract", extract)
        patch.setattr(flow_module, "score", score)
        chunks_only()


def test_two_task_runs_a_group_whose_names_say_what_they_hold(two_to_a_group):
    night = Recorded(5)
    hand_out(night)
    assert {name for *_, name in night.done if name} == {
        f"{stage} {group}" for stage in ("extract", "score") for group in ("0000 and 1 more", "0002 and 1 more", "0004")
    }
    every = [chunk_id for _, chunk_id in night.chunks]
    assert sorted(night.of("extract")) == night.of("score") == night.of("published") == every


def test_a_chunk_that_fails_in_a_group_is_given_up_and_the_others_are_published(two_to_a_group):
    not_extracted, not_published = RuntimeError("a broken machine"), RuntimeError("an illegal memory access")
    night = Recorded(5, {("extract", "0000"): [not_extracted], ("score", "0003"): [not_published]})
    hand_out(night)
    assert night.given_up == {"0000": not_extracted, "0003": not_published}
    assert night.of("published") == ["0001", "0002", "0004"]
    assert len(night.of("extract")) == 5  # no error of storage: no other try


def test_a_retry_of_a_group_does_again_what_failed_and_nothing_else(two_to_a_group):
    night = Recorded(4, {("extract", "0001"): [ConnectionError("away")], ("score", "0002"): [ConnectionError("away")] * 2})
    hand_out(night)
    assert night.given_up == {}
    assert sorted(night.of("extract")) == ["0000", "0001", "0001", "0002", "0003"]
    assert sorted(night.of("score")) == ["0000", "0001", "0002", "0002", "0002", "0003"]
    assert sorted(night.of("published")) == ["0000", "0001", "0002", "0003"]
    assert OPTIONS["retries"] == 2
