"""Metrics of a night: a text file that Prometheus can parse and counters that go on, and what OpenTelemetry's collector receives."""

import gzip
import math
import re
import stat
import threading
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError

from ser_tasks import schemas
from ser_tasks.dashboard import metrics as page_metrics
from ser_tasks.lake import catalog
from ser_tasks.monitoring import night_metrics
from ser_tasks.monitoring.night_metrics import METRICS, STATUSES, of_lake, of_night, write_file
from ser_tasks.settings import Settings
from tests.factories.lakes import Call, run_row, segment, write, write_calls, write_good_lake
from tests.support.documented import ROOT

RUN = run_row(
    **{"scored": 3, "withheld": 1, "audio_s": 50.0, "written_bytes": 1_000, "list_s": 0.5, "wall_s": 20.0, "start_up_s": 1.0},
    **{"ignored_keys": 2, "failed_chunks": 0, "checks_failed": 0},
)


def samples(path: Path) -> dict[tuple[str, ...], float]:
    """By name and values of its labels."""
    families = text_string_to_metric_families(path.read_text())
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


@pytest.fixture
def file(tmp_path):
    return tmp_path / "ser.prom"


def test_counters_go_on_and_gauges_are_of_the_last_night(file):
    settings = Settings(metrics_file=file)
    write_file(file, of_night(RUN, "complete", "lake-a", settings), "lake-a")
    write_file(file, of_night(RUN | {"scored": 2, "listed": 9}, "failed", "lake-a", settings), "lake-a")
    found = samples(file)
    assert found["ser_night_recordings_total", "lake-a", "scored"] == 5
    assert found["ser_night_audio_seconds_total", "lake-a"] == 100
    assert found["ser_night_written_bytes_total", "lake-a"] == 2_000
    assert found["ser_night_listed_recordings", "lake-a"] == 9
    assert [found["ser_nights_total", "lake-a", status] for status in STATUSES] == [1, 0, 1]
    assert found["ser_night_last_success_timestamp_seconds", "lake-a"] == RUN["ended_at"].timestamp()
    assert stat.S_IMODE(file.stat().st_mode) == 0o644  # the collector is another user
    assert [path.name for path in file.parent.iterdir()] == ["ser.prom"]


def test_another_lake_keeps_its_lines(file):
    for lake in ("a", 'b"\n\\'):
        write_file(file, of_night(RUN, "complete", lake, Settings()), lake)
    found = samples(file)
    assert found["ser_night_recordings_total", "a", "scored"] == found["ser_night_recordings_total", 'b"\n\\', "scored"] == 3


@pytest.mark.parametrize(
    "text", ["", "junk {", 'ser_nights_total{status="complete"} 3\n', 'ser_nights_total{lake="a",status="complete"} x\n', "\x00\xff"]
)
def test_a_file_that_cannot_be_read_is_replaced(text, file):
    file.write_bytes(text.encode("latin-1"))
    write_file(file, of_night(RUN, "complete", "a", Settings()), "a")
    assert samples(file)["ser_nights_total", "a", "complete"] == 1


def test_what_the_lake_knows(tmp_path):
    lake = str(tmp_path / "lake")
    write_good_lake(lake)
    write(lake, "runs", [RUN], chunk="r1")
    with catalog.connect(lake) as connection:
        values = of_lake(connection, RUN, Settings())
        [(most,)] = connection.execute(
            "SELECT max(epoch(scored_at) - epoch(last_modified)) FROM outcomes_all JOIN recordings_all USING (recording_id, etag)"
        ).fetchall()
    assert values["ser_night_lag_seconds"]["1",] == pytest.approx(most) and most is not None and math.isfinite(most)
    assert values["ser_night_given_up_recordings_total"] == {(): 0}


def test_every_metric_is_in_the_operators_table_and_in_a_file(file, tmp_path):
    section = (ROOT / "deploy/OPERATIONS.md").read_text().partition("## Seen by the platform")[2].partition("\n## ")[0]
    explained = re.findall(r"(?m)^\| `(\w+)(?:\{([\w,]+)\})?` \| (\w+) \|", section)
    expected = [(name, ",".join(metric.labels), metric.kind) for name, metric in METRICS.items()]
    assert explained[: len(expected)] == expected
    assert [name for name, *_ in explained[len(expected) :]] == list(page_metrics.METRICS)
    lake = str(tmp_path / "lake")
    for month in (9, 10):
        speech = [segment(2, 6, (0.8, 0.0, 0.1, 0.1))]
        write_calls(lake, [Call(f"{month}-{number}", speech, day=date(2026, month, 20)) for number in range(30)])
    write(lake, "runs", [RUN], chunk="r1")
    with catalog.connect(lake) as connection:
        write_file(file, of_night(RUN, "complete", lake, Settings()) | of_lake(connection, RUN, Settings()), lake)
    assert {name for name, *_ in samples(file)} == set(METRICS)


def test_names_follow_the_convention():
    for name, metric in METRICS.items():
        assert name.endswith("_total") == (metric.kind == "counter"), name
        assert not {"call", "recording_id", "key", "agent", "customer"} & set(metric.labels)
        assert set(of_night(RUN, "complete", "a", Settings())["ser_night_recordings_total"]) == {(each,) for each in schemas.OUTCOMES}


@pytest.mark.parametrize("name", ["ser.txt", "relative/ser.prom"])
def test_a_file_that_is_never_collected_is_refused(name, tmp_path):
    path = name if "/" in name else str(tmp_path / name)
    with pytest.raises(ValidationError, match="ending in .prom"):
        Settings(metrics_file=path)


@pytest.mark.parametrize(
    ("variables", "on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c:4318/v1/metrics"}, True),
        ({"OTEL_METRICS_EXPORTER": "otlp"}, True),
        ({"OTEL_METRICS_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, False),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318"}, False),
    ],
)
def test_opentelemetry_is_off_unless_its_variables_name_a_collector(variables, on, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert night_metrics.otlp_is_on() is on


def test_a_collector_receives_what_the_night_adds(monkeypatch):
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="pip install 'ser-nightly[telemetry]'")
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    taken: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken.append(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "nightly-of-site-7")
    night_metrics.send_otlp(of_night(RUN, "complete", "lake-a", Settings()), "lake-a")
    server.shutdown()
    [resource] = ExportMetricsServiceRequest.FromString(taken[0]).resource_metrics
    assert {each.key: each.value.string_value for each in resource.resource.attributes}["service.name"] == "nightly-of-site-7"
    metrics = {metric.name: metric for metric in resource.scope_metrics[0].metrics}
    points = metrics["ser_night_recordings_total"].sum.data_points
    counts = {each.attributes[-1].value.string_value: each.as_double or each.as_int for each in points}
    assert counts["scored"] == 3 and counts["withheld"] == 1
    server.server_close()  # nobody listens there any more
    with pytest.raises(ConnectionError):
        night_metrics.send_otlp(of_night(RUN, "complete", "lake-a", Settings()), "lake-a", limit_s=1)
