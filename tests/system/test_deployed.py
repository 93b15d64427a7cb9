"""The deployed system: a real Prefect server and worker, started by the commands of OPERATIONS.md, on loopback.

One server, one worker and one lake for the whole file; the tests build on each other in their order.
"""

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from ser_tasks.calls.metadata import recording_id
from ser_tasks.lake import catalog
from ser_tasks.settings import Settings
from tests.factories.calls import TWO_SIDED, tiny_bundle, two_sided, write_call
from tests.factories.lakes import Call, segment, write_calls
from tests.support.documented import command_that, environment_of_the_page
from tests.support.receivers import MailReceiver

pytestmark = pytest.mark.faults

ROOT = Path(__file__).parents[2]
SECRETS = {
    "SER_PSEUDONYM_KEY": "secret-pseudonym-key-81c1",
    "AWS_ACCESS_KEY_ID": "secret-access-key-id-81c2",
    "AWS_SECRET_ACCESS_KEY": "secret-access-key-81c3",
    "SER_SMTP_PASSWORD": "secret-smtp-password-81c5",
}
WEBHOOK_SECRET = "secret-hook-81c4"
LIMIT_S = 300
"""For any one thing to happen: it takes seconds, but a starved machine is no fault."""
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


class System:
    """The server, the worker, the webhook's receiver, and what they work on."""

    def __init__(self, folder: Path):
        self.folder, self.calls, self.lake = folder, folder / "calls", folder / "lake"
        self.alerts: list[dict[str, Any]] = []
        self._running: list[subprocess.Popen] = []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        receiver = self

        class Receiver(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.alerts.append(json.loads(body) | {"path": self.path})
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.webhook = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        threading.Thread(target=self.webhook.serve_forever, daemon=True).start()
        self.mail = MailReceiver(folder, "night", SECRETS["SER_SMTP_PASSWORD"])
        self.mail.__enter__()
        page = environment_of_the_page(folder, self.port)
        own = {
            "PREFECT_API_URL": f"http://127.0.0.1:{self.port}/api",
            "RECORDINGS_URI": str(self.calls),
            "LAKE_URI": str(self.lake),
            "SER_ALERT_WEBHOOK_URL": f"http://127.0.0.1:{self.webhook.server_port}/{WEBHOOK_SECRET}",
        }
        assert own.keys() <= page.keys()
        self.environment = page | own | SECRETS
        user, _, password = page["PREFECT_API_AUTH_STRING"].partition(":")
        self.password, self.auth = password, httpx.BasicAuth(user, password)
        self.environment |= {
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS": "5",
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "4",
            "PREFECT_SERVER_UI_ENABLED": "false",
            "SER_MODEL": str(tiny_bundle(folder)),
            "SER_CHUNK_RECORDINGS": "1",
            "SER_SCRATCH": str(folder / "scratch"),
            "TMPDIR": str(folder),
            "SER_SMTP_HOST": "127.0.0.1",
            "SER_SMTP_PORT": str(self.mail.port),
            "SER_SMTP_USER": "night",
            "SER_MAIL_FROM": "night@example.org",
            "SER_DASHBOARD_GROUPS": '{"sales-leads": {"queues": ["sales"]}}',
            "SER_WEEKLY_TO": '{"lead@example.org": ["sales-leads"]}',
            "SSL_CERT_FILE": str(self.mail.authority),
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def run(self, command: str) -> str:
        options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "timeout": LIMIT_S}
        answer = subprocess.run(shlex.split(command), cwd=ROOT, env=self.environment, **options, check=False)
        assert answer.returncode == 0, f"{command}\n{answer.stdout}"
        return answer.stdout

    def start(self, command: str, name: str) -> subprocess.Popen:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(shlex.split(command), cwd=ROOT, env=self.environment, stdout=log, stderr=log, start_new_session=True)
        self._running.append(process)
        return process

    def start_server(self) -> None:
        command = command_that("prefect server start").replace("4200", str(self.port))
        self.server = self.start(command, "server")
        wait_for(lambda: self.ask("GET", "health", silent=True), LIMIT_S, "the server's health")

    def start_worker(self) -> None:
        self.worker = self.start(command_that("prefect worker start"), "worker")

    def ask(self, method: str, path: str, body: Any = None, silent: bool = False) -> Any:
        """Asks the server. While its database is locked (503, or no answer) it is asked again, as Prefect's own client does."""
        url, end = f"{self.environment['PREFECT_API_URL']}/{path}", time.monotonic() + LIMIT_S
        while True:
            try:
                answer = httpx.request(method, url, json=body, auth=self.auth, timeout=30, trust_env=False)
                if answer.status_code != 503 or time.monotonic() > end:
                    break
            except httpx.HTTPError as error:
                if silent:
                    return None
                if not isinstance(error, httpx.ReadTimeout) or time.monotonic() > end:
                    raise
            time.sleep(0.5)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def trigger(self, deployment: str, **parameters: Any) -> str:
        """Asks for a run now and returns its id."""
        id_ = self.ask("GET", f"deployments/name/{deployment}/{deployment}")["id"]
        body = {"parameters": parameters, "idempotency_key": uuid.uuid4().hex}
        return self.ask("POST", f"deployments/{id_}/create_flow_run", body)["id"]

    def end_of(self, *runs: str, limit_s: float = LIMIT_S) -> list[dict[str, Any]]:
        """The runs as they ended."""
        body = {"flow_runs": {"id": {"any_": list(runs)}}}

        def ended() -> list[dict[str, Any]] | None:
            found = {run["id"]: run for run in self.ask("POST", "flow_runs/filter", body)}
            done = [found[run] for run in runs if found[run]["state_type"] in FINAL]
            return done if len(done) == len(runs) else None

        return wait_for(ended, limit_s, f"runs {runs} to end")

    def artifacts(self, run: str) -> dict[str, str]:
        found = self.ask("POST", "artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}})
        return {artifact["key"]: artifact["data"] for artifact in found}

    def alert(self, flow_run: str, state: str) -> dict[str, Any]:
        """The alert that tells that a run came into a state."""

        def sent() -> list[dict[str, Any]]:
            return [each for each in self.alerts if (each.get("flow_run_id"), each.get("state")) == (flow_run, state)]

        return wait_for(sent, LIMIT_S, f"an alert of {flow_run}, {state}")[0]

    def sent(self, rule: str, event: str = "began") -> list[dict[str, Any]]:
        """The messages of the alerts' rules that tell of one of them."""
        return [each for each in self.alerts if rule in {line["rule"] for line in each.get(event, ())}]

    def rows(self, sql: str) -> list[tuple]:
        with catalog.connect(str(self.lake)) as connection:
            return connection.execute(sql).fetchall()

    def end(self) -> None:
        for process in reversed(self._running):
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        for process in self._running:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        self.webhook.shutdown()
        self.webhook.server_close()
        self.mail.__exit__()

    def processes(self) -> list[int]:
        """Everything that was started in this system's environment and still runs, flow runs too."""
        mark, found = f"PREFECT_HOME={self.environment['PREFECT_HOME']}".encode(), []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except OSError:
                continue
        return found


def wait_for(what: Callable[[], Any], limit_s: float, awaited: str) -> Any:
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.3)
    raise AssertionError(f"waited {limit_s} s for {awaited}")


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deployed")
    system = System(folder)
    call = two_sided([("agent", 1, 4), ("customer", 5, 15)], 17)
    for name in ("a", "b", "c"):
        write_call(system.calls, f"2026-11-20/{name}.wav", call, TWO_SIDED | {"call_id": name, "queue": "sales"})
    write_call(system.calls, "2026-11-20/mono.wav", call.sum(axis=1))
    try:
        system.start_server()
        system.run(command_that("prefect work-pool create"))
        system.run(command_that("prefect --no-prompt deploy"))
        system.run(command_that("python -m flows.automations"))
        yield system
    except BaseException:
        for log in folder.glob("*.log"):
            print(log.name, log.read_text(errors="replace")[-3000:])
        raise
    finally:
        system.end()
        assert system.processes() == []


def test_what_stands_on_the_page_is_on_the_server(system):
    found = {each["name"]: each for each in system.ask("POST", "deployments/filter", {})}
    assert found.keys() == {"nightly", "report", "alerts", "weekly", "retention", "compact", "doctor", "backfill", "rescore"}
    scheduled = {name: [each["schedule"] for each in deployment["schedules"]] for name, deployment in found.items()}
    assert scheduled["nightly"] == [{"cron": "0 1 * * *", "timezone": "Europe/Berlin", "day_or": True}]
    assert {name for name, schedules in scheduled.items() if schedules} == {"nightly", "alerts", "weekly", "retention", "compact", "doctor"}
    assert scheduled["alerts"] == [{"cron": "5 6 * * *", "timezone": "Europe/Berlin", "day_or": True}]
    for name in ("nightly", "report", "alerts", "backfill", "rescore", "retention"):
        limit = found[name]["global_concurrency_limit"]["limit"]
        assert (limit, found[name]["concurrency_options"]["collision_strategy"]) == (1, "ENQUEUE")
    assert found["nightly"]["parameters"]["lake"] == str(system.lake)
    assert len(system.ask("POST", "automations/filter", {})) == 6  # two of them run the report and the alerts after a night
    system.run(command_that("python -m flows.automations"))  # again: nothing is there twice
    assert len(system.ask("POST", "automations/filter", {})) == 6


def test_a_run_that_no_worker_takes_is_late_and_notified(system):
    system.late = system.trigger("retention")
    alert = system.alert(system.late, "Late")
    assert (alert["flow"], alert["path"]) == ("retention", f"/{WEBHOOK_SECRET}")


def test_the_worker_runs_the_scheduled_night(system):
    """The deployed night's schedule is made to come round in some seconds."""
    soon = (datetime.now(UTC) + timedelta(seconds=8)).isoformat()
    id_ = system.ask("GET", "deployments/name/nightly/nightly")["id"]
    system.ask("POST", f"deployments/{id_}/schedules", [{"schedule": {"interval": 86400, "anchor_date": soon}, "active": True}])
    system.start_worker()
    body = {"deployments": {"id": {"any_": [id_]}}, "flow_runs": {"expected_start_time": {"before_": soon}}}
    night = wait_for(lambda: system.ask("POST", "flow_runs/filter", body), LIMIT_S, "the scheduler")[0]["id"]
    late, run = system.end_of(system.late, night)
    assert late["state_type"] == "COMPLETED", late["state"]["message"]
    assert (run["state_type"], run["auto_scheduled"]) == ("COMPLETED", True), run["state"]["message"]
    assert system.rows("SELECT outcome, count(*) FROM outcomes GROUP BY ALL ORDER BY ALL") == [("scored", 3), ("withheld", 1)]
    found = system.artifacts(run["id"])
    assert {"what": "scored", "recordings": 3} in json.loads(found["outcomes"])
    assert {row["what"] for row in json.loads(found["throughput"])} >= {"audio-hours per hour", "score, s per audio-hour"}
    assert "| [a](<file://" in found["worst-calls"] and "2026-11-20/a.wav>)" in found["worst-calls"]
    assert {row["offending rows"] for row in json.loads(found["checks"])} == {0}


def test_a_killed_server_and_two_nights_at_once(system):
    """The server dies by kill -9 while one night is at work and another waits, and is started again."""
    call = two_sided([("agent", 1, 4), ("customer", 5, 11)], 13)
    for number in range(16):
        write_call(system.calls, f"2026-11-21/{number:02}.wav", call, TWO_SIDED)
    runs = [system.trigger("nightly"), system.trigger("nightly"), system.trigger("backfill", first="2026-11-21", last="2026-11-21")]
    outcomes = system.lake / "outcomes" / "day=2026-11-21"
    wait_for(lambda: len(list(outcomes.rglob("*.parquet"))) >= 3, LIMIT_S, "the first parts")
    system.server.kill()
    system.server.wait()
    assert len(list(outcomes.rglob("*.parquet"))) < 16
    time.sleep(2)
    system.start_server()
    ended = system.end_of(*runs)
    if any(run["state_type"] != "COMPLETED" for run in ended):  # not what is seen here, but allowed: the rerun completes it
        ended += system.end_of(system.trigger("nightly"))
    assert ended[-1]["state_type"] == "COMPLETED"
    assert system.rows("SELECT count(*), count(DISTINCT recording_id) FROM outcomes_all WHERE day = '2026-11-21'") == [(16, 16)]
    assert system.rows("SELECT DISTINCT outcome, attempts FROM outcomes WHERE day = '2026-11-21'") == [("scored", 1)]
    assert system.rows("SELECT count(*) FROM recordings_all WHERE day = '2026-11-21'") == [(16,)]
    with catalog.connect(str(system.lake)) as connection:
        assert set(catalog.run_checks(connection).values()) == {0}
    spans = system.rows("SELECT started_at, ended_at, scored FROM runs ORDER BY started_at")
    assert len(spans) >= 4
    for (_, ended_at, _), (started_at, _, _) in zip(spans, spans[1:], strict=False):
        assert ended_at <= started_at, spans
    first, second = sorted(ended[:2], key=lambda run: run["start_time"])
    assert first["end_time"] <= second["start_time"]  # the second of one deployment was not even begun


def test_a_failed_check_fails_the_run_and_is_notified(system):
    bad = Call("bad", [segment(0, 4, (0.8, 0.0, 0.1, 0.1)), segment(2, 6, (0.8, 0.0, 0.1, 0.1))], day=datetime(2026, 11, 21).date())
    write_calls(str(system.lake), [bad])
    write_call(system.calls, "2026-11-21/new.wav", two_sided([("customer", 1, 6)], 8), TWO_SIDED)
    night = system.trigger("nightly")
    [run] = system.end_of(night)
    assert run["state_type"] == "FAILED" and "check segments_overlapping: 1 offending rows" in run["state"]["message"]
    known_as = recording_id("2026-11-21/new.wav", Settings(pseudonym_key=SECRETS["SER_PSEUDONYM_KEY"]).pseudonym_keys())
    assert system.rows(f"SELECT outcome FROM outcomes WHERE recording_id = '{known_as}'") == [("scored",)]
    checks = {row["check"]: row["offending rows"] for row in json.loads(system.artifacts(night)["checks"])}
    assert checks["segments_overlapping"] == 1
    alert = system.alert(night, "Failed")
    assert alert["flow"] == "nightly" and "segments_overlapping" in alert["message"]


def test_the_rules_are_evaluated_after_the_night_and_sent_once_by_the_automation(system):
    """The night that failed its check made the server run the alerts, and they an event that the automation sent on."""
    [message] = wait_for(lambda: system.sent("check_failed"), LIMIT_S, "the alert of the failed check")
    assert message["path"] == f"/{WEBHOOK_SECRET}" and message["severity"] == "error"
    assert message["title"].startswith("[error] ser alert") and "check_failed: Run " in message["text"]
    ended = system.end_of(system.trigger("alerts"), system.trigger("alerts"))
    assert {run["state_type"] for run in ended} == {"COMPLETED"}, [run["state"]["message"] for run in ended]
    assert system.rows("SELECT event, target FROM alerts WHERE rule = 'check_failed'") == [("began", "prefect")]
    time.sleep(5)  # a second message would come within this time
    assert len(system.sent("check_failed")) == 1 and system.sent("check_failed", "stays") == []


def test_the_report_is_written_after_each_night(system):
    """In the lake and as an artifact, nobody asked for it."""
    newest = system.rows("SELECT max(run_id) FROM runs")[0][0]
    [page] = wait_for(lambda: list((system.lake / "reports").rglob(f"{newest}.md")), LIMIT_S, "the newest night's report")
    assert (
        "| segments_overlapping | 1 " in page.read_text()
        and "**Needs attention:** the check segments_overlapping failed" in page.read_text()
    )
    artifacts = {"artifacts": {"key": {"any_": ["night-report"]}}}
    wait_for(
        lambda: page.read_text() in {each["data"] for each in system.ask("POST", "artifacts/filter", artifacts)}, LIMIT_S, "its artifact"
    )
    [run] = system.end_of(system.trigger("report"))
    assert run["state_type"] == "COMPLETED", run["state"]["message"]


def test_the_weekly_page_is_mailed_once_by_the_deployed_flow(system):
    ended = system.end_of(system.trigger("weekly", week="2026-W47"), system.trigger("weekly", week="2026-W47"))
    assert {run["state_type"] for run in ended} == {"COMPLETED"}, [run["state"]["message"] for run in ended]
    [(address, letter)] = system.mail.letters
    assert (address, letter["Subject"]) == ("lead@example.org", "Calls and moods, week 47 of 2026")
    [page] = letter.iter_attachments()
    assert "sales" in page.get_content() and page.get_filename() == "calls-and-moods-2026-W47.html"
    assert len(list((system.lake / "reports" / "day=2026-11-16").glob("weekly-*.html"))) == 1


def test_no_secret_is_in_a_log_a_row_an_artifact_or_a_parameter(system):
    """Everything that the system wrote is searched: logs, the server's database, the lake, the reports."""
    secrets = [value.encode() for value in (*SECRETS.values(), WEBHOOK_SECRET, system.password)]
    assert system.rows("SELECT count(*) FROM runs WHERE pseudonyms")[0][0] >= 4  # the key was there
    searched = 0
    for path in (Path(folder, name) for folder, _, names in os.walk(system.folder) for name in names):
        if path.parent.name.startswith("prefect-workspace-attempt-"):  # Prefect's own: a run's environment, for its owner alone
            with contextlib.suppress(FileNotFoundError):  # and for as long as the run is there
                assert path.stat().st_mode & 0o077 == 0 and path.parent.stat().st_mode & 0o077 == 0
        elif path == system.folder / "deploy" / "ser.env":  # the environment file itself
            assert path.stat().st_mode & 0o077 == 0
        elif path.is_file():
            data = path.read_bytes()
            if path.suffix == ".parquet":
                data = json.dumps(pq.ParquetFile(path).read().to_pylist(), default=str).encode()
            assert not [secret for secret in secrets if secret in data], path
            searched += 1
    assert searched > 50
    for kind in ("flow_runs", "deployments", "artifacts", "logs", "automations"):
        text = json.dumps(system.ask("POST", f"{kind}/filter", {}))
        assert not re.search(f"secret-[a-z-]+-81c|{system.password}", text), kind
