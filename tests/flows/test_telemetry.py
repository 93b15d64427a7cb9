"""What a night sends to the site's platform, and that a dead or slow receiver neither fails it nor holds it up."""

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from flows import telemetry as module
from flows.telemetry import telemetry
from ser_tasks.settings import Settings
from tests.factories.calls import TWO_SIDED, night_of, two_sided, write_call
from tests.monitoring.test_night_metrics import samples


@pytest.fixture
def night(tmp_path, bundle, monkeypatch):
    """A night over one call that is not begun, and nothing set."""
    for name in ("OPENLINEAGE_URL", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    write_call(tmp_path / "calls", "2026-11-20/a.wav", two_sided([("customer", 1, 4)], 5), TWO_SIDED)
    with night_of(tmp_path / "calls", tmp_path / "lake", bundle) as made:
        yield made


@pytest.fixture
def settings(tmp_path):
    return Settings(metrics_file=tmp_path / "ser.prom")


def run(night) -> None:
    for chunk in night.list_and_plan().chunks:
        night.publish(night.extract(*chunk))
    night.write_run(night.check())


def events_of(folder) -> list[dict]:
    return [json.loads(line) for file in sorted(folder.glob("events*")) for line in file.read_text().splitlines()]


@pytest.fixture
def events(tmp_path, monkeypatch):
    """OpenLineage's events go to files in this folder."""
    pytest.importorskip("openlineage.client", reason="pip install 'ser-nightly[telemetry]'")
    folder = tmp_path / "events"
    folder.mkdir()
    transport = {"type": "file", "log_file_path": str(folder / "events.jsonl"), "append": "true"}
    for name, value in transport.items():
        monkeypatch.setenv(f"OPENLINEAGE__TRANSPORT__{name.upper()}", value)
    return folder


def test_a_complete_night(night, settings, events, tmp_path):
    warnings: list[str] = []
    with telemetry(night, settings, warnings.append):
        run(night)
    assert warnings == []
    lake = night.spec.lake_uri
    found = samples(tmp_path / "ser.prom")
    assert found["ser_nights_total", lake, "complete"] == 1 and found["ser_night_recordings_total", lake, "scored"] == 1
    assert found["ser_night_lag_seconds", lake, "1"] >= 0
    start, complete = events_of(events)
    assert [start["eventType"], complete["eventType"]] == ["START", "COMPLETE"] and start["run"]["runId"] == complete["run"]["runId"]
    counts = {each["name"].rpartition("/")[2]: each.get("outputFacets", {}).get("outputStatistics") for each in complete["outputs"]}
    assert counts["outcomes"]["rowCount"] == counts["call_emotions"]["rowCount"] == counts["recordings"]["rowCount"] == 1
    assert counts["segments"]["rowCount"] >= 1 and counts["segments"]["size"] > 0


@pytest.mark.parametrize(("error", "event"), [(ConnectionError("the key secret-name.wav"), "FAIL"), (KeyboardInterrupt(), "ABORT")])
def test_a_failed_night(error, event, night, settings, events, tmp_path):
    warnings: list[str] = []

    def fails() -> None:
        with telemetry(night, settings, warnings.append):
            night.list_and_plan()
            raise error

    with pytest.raises(type(error)):
        fails()
    found = samples(tmp_path / "ser.prom")
    assert found["ser_nights_total", night.spec.lake_uri, "failed"] == 1
    assert found["ser_night_listed_recordings", night.spec.lake_uri] == 1  # what it had counted
    assert ("ser_night_last_success_timestamp_seconds", night.spec.lake_uri) not in found
    assert events_of(events)[-1]["eventType"] == event and "secret-name" not in json.dumps(events_of(events))
    assert warnings == []


def test_a_night_that_published_and_needs_a_person_is_incomplete(night, settings, tmp_path):
    def fails() -> None:
        with telemetry(night, settings, print):
            run(night)
            raise RuntimeError("a check failed")

    with pytest.raises(RuntimeError):
        fails()
    assert samples(tmp_path / "ser.prom")["ser_nights_total", night.spec.lake_uri, "incomplete"] == 1


class Hangs(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        time.sleep(30)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(params=["refuses", "hangs", "silent"])
def dead_endpoint(request):
    """Nobody listens; a server that never answers; one that never accepts."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        if request.param == "silent":
            listener.listen(0)
        if request.param != "hangs":
            yield f"http://127.0.0.1:{port}"
            return
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hangs)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_a_dead_endpoint_is_one_warning_and_holds_up_nothing(dead_endpoint, night, monkeypatch):
    pytest.importorskip("openlineage.client", reason="pip install 'ser-nightly[telemetry]'")
    monkeypatch.setattr(module, "LIMIT_S", 1.0)
    monkeypatch.setenv("OPENLINEAGE_URL", dead_endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", dead_endpoint)
    warnings: list[str] = []
    begun = time.monotonic()
    with telemetry(night, Settings(), warnings.append):
        assert time.monotonic() - begun < 0.5  # the start waits for nobody
        night.list_and_plan()
        ending = time.monotonic()
    assert time.monotonic() - ending < 2 * 1.0 + 3
    assert sorted(line.partition(" (")[0] for line in warnings) == [
        "Not sent to the platform: OpenLineage",
        "Not sent to the platform: OpenTelemetry",
    ]


def test_a_file_that_cannot_be_written_is_one_warning(night, tmp_path):
    warnings: list[str] = []
    with telemetry(night, Settings(metrics_file=tmp_path / "missing" / "ser.prom"), warnings.append):
        run(night)
    assert len(warnings) == 1 and "SER_METRICS_FILE" in warnings[0]


def test_nothing_is_done_where_nothing_is_set(night, monkeypatch):
    monkeypatch.setattr(module, "_Sender", None)
    with telemetry(night, Settings(), print):
        pass
