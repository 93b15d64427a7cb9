"""Metrics of a night for the site's monitoring: a Prometheus text file, and OpenTelemetry. Both are off unless set.

``METRICS`` is the one list: the table in deploy/OPERATIONS.md holds the same names, and a test compares them. No label holds the id of a
call or a person.
"""

import logging
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb

from ser_tasks import schemas
from ser_tasks.monitoring import alert_rules, run_report
from ser_tasks.scratch import atomic_write
from ser_tasks.settings import Settings, code_version

STATUSES = ("complete", "incomplete", "failed")
"""How a night ended: as it should; published, but a check or a chunk failed; or stopped by an error."""
SEND_LIMIT_S = 5.0
"""Time for the collector to accept a night's metrics."""


@dataclass(frozen=True)
class Metric:
    """``labels`` are its own; every metric also has ``lake``. Counters add up over nights, gauges are of the last night."""

    kind: Literal["counter", "gauge"]
    meaning: str
    labels: tuple[str, ...] = ()


METRICS = {
    "ser_nights_total": Metric("counter", "nights that ended", ("status",)),
    "ser_night_recordings_total": Metric("counter", "recordings by outcome", ("outcome",)),
    "ser_night_given_up_recordings_total": Metric("counter", "recordings whose last attempt failed"),
    "ser_night_audio_seconds_total": Metric("counter", "seconds of audio decoded"),
    "ser_night_stage_seconds_total": Metric("counter", "seconds of all processes by stage", ("stage",)),
    "ser_night_written_bytes_total": Metric("counter", "bytes written to the lake"),
    "ser_night_started_timestamp_seconds": Metric("gauge", "Unix time at which the last night started"),
    "ser_night_ended_timestamp_seconds": Metric("gauge", "Unix time at which the last night ended, in whatever way"),
    "ser_night_last_success_timestamp_seconds": Metric("gauge", "Unix time at which a night last ended as complete"),
    "ser_night_duration_seconds": Metric("gauge", "seconds from the end of the start-up to the last part"),
    "ser_night_start_up_seconds": Metric("gauge", "seconds to start the workers and load the model"),
    "ser_night_listed_recordings": Metric("gauge", "recordings listed in the store"),
    "ser_night_new_recordings": Metric("gauge", "recordings put into new chunks"),
    "ser_night_ignored_keys": Metric("gauge", "keys that are neither recordings nor sidecars of one"),
    "ser_night_failed_chunks": Metric("gauge", "chunks that a broken machine stopped"),
    "ser_night_failed_checks": Metric("gauge", "checks that returned rows"),
    "ser_night_lag_seconds": Metric(
        "gauge", "seconds from a recording's upload to its outcome, of the recordings of the night", ("quantile",)
    ),
    "ser_drift_psi": Metric("gauge", "population stability index of the newest month against the reference month", ("measure",)),
    "ser_disk_free_bytes": Metric("gauge", "free bytes of the disk that holds the lake or scratch", ("place",)),
    "ser_build_info": Metric("gauge", "1; its labels name the code, model and policy of the last night", ("version", "model", "policy")),
}

Values = dict[str, dict[tuple[str, ...], float]]
"""By metric, its values by those of its own labels."""

_LAG = """
    SELECT quantile_cont(epoch(o.scored_at) - epoch(r.last_modified), [0.5, 1]) AS lag_s
    FROM outcomes_all AS o JOIN recordings_all AS r USING (recording_id, etag) WHERE o.run_id = $run
"""


def is_on(settings: Settings) -> bool:
    """Whether anybody wants a night's metrics."""
    return settings.metrics_file is not None or otlp_is_on()


def otlp_is_on() -> bool:
    """Whether OpenTelemetry's own variables name a collector: an endpoint, or ``OTEL_METRICS_EXPORTER=otlp``."""
    exporters = os.environ.get("OTEL_METRICS_EXPORTER", "").lower().split(",")
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or "none" in exporters:
        return False
    return "otlp" in exporters or any(os.environ.get(f"OTEL_EXPORTER_OTLP_{name}ENDPOINT") for name in ("", "METRICS_"))


def of_night(run: dict[str, Any], status: str, lake: str, settings: Settings) -> Values:
    """The values that the run's row gives, which a night that failed has, too. ``status`` is one of STATUSES."""
    values: Values = {
        "ser_nights_total": {(each,): float(each == status) for each in STATUSES},
        "ser_night_recordings_total": {(outcome,): run[outcome] for outcome in schemas.OUTCOMES},
        "ser_night_audio_seconds_total": {(): run["audio_s"]},
        "ser_night_stage_seconds_total": {(stage,): run[f"{stage}_s"] for stage in schemas.STAGES},
        "ser_night_written_bytes_total": {(): run["written_bytes"]},
        "ser_night_started_timestamp_seconds": {(): run["started_at"].timestamp()},
        "ser_night_ended_timestamp_seconds": {(): run["ended_at"].timestamp()},
        "ser_night_duration_seconds": {(): run["wall_s"]},
        "ser_night_start_up_seconds": {(): run["start_up_s"]},
        "ser_night_listed_recordings": {(): run["listed"]},
        "ser_night_new_recordings": {(): run["planned"]},
        "ser_night_ignored_keys": {(): run["ignored_keys"]},
        "ser_night_failed_chunks": {(): run["failed_chunks"]},
        "ser_night_failed_checks": {(): run["checks_failed"]},
        "ser_disk_free_bytes": {(place,): free for place, (free, _) in alert_rules.disk_space(lake, settings).items()},
        "ser_build_info": {(code_version(), run["model"], run["policy"]): 1},
    }
    if status == "complete":
        values["ser_night_last_success_timestamp_seconds"] = {(): run["ended_at"].timestamp()}
    return values


def of_lake(connection: duckdb.DuckDBPyConnection, run: dict[str, Any], settings: Settings) -> Values:
    """The values that are asked of the lake: what was given up, lag and drift. ``connection``: the views over the whole lake."""
    alert_rules.set_reference_month(connection, settings)
    lags = connection.execute(_LAG, {"run": run["run_id"]}).fetchall()[0][0]
    drift = run_report.drift_rows(connection, run["started_at"].date())
    return {
        "ser_night_given_up_recordings_total": {(): run_report.given_up_recordings(connection, run["run_id"], settings)},
        "ser_night_lag_seconds": dict(zip((("0.5",), ("1",)), lags, strict=True)) if lags else {},
        "ser_drift_psi": {(row["measure"],): row["psi"] for row in drift if row["psi"] is not None},
    }


def write_file(path: Path, values: Values, lake: str) -> None:
    """Replaces the text file of node_exporter's textfile collector: counters go on from the file that is there.

    Lines of other lakes stay. A file that cannot be parsed is replaced, and its counters begin anew, as a scraper expects of any restart.
    Raises OSError.
    """
    from prometheus_client import CollectorRegistry, generate_latest

    merged = _merged(_read(path), values, lake)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(merged))
    with atomic_write(path) as temporary:
        temporary.write_bytes(generate_latest(registry))
        temporary.chmod(0o644)  # the collector is another user


_Samples = dict[str, dict[tuple[str, ...], float]]
"""As ``Values``, with the lake before the other labels."""


def _read(path: Path) -> _Samples:
    from prometheus_client.parser import text_string_to_metric_families

    samples: _Samples = defaultdict(dict)
    try:
        for family in text_string_to_metric_families(path.read_text(encoding="utf-8")):
            for sample in family.samples:
                if metric := METRICS.get(sample.name):
                    samples[sample.name][tuple(sample.labels[label] for label in ("lake", *metric.labels))] = sample.value
    except FileNotFoundError:
        pass
    except (ValueError, KeyError):
        logging.getLogger(__name__).warning("%s is not a file of metrics: it is replaced, and counters begin anew.", path)
        samples.clear()
    return samples


def _merged(old: _Samples, values: Values, lake: str) -> _Samples:
    merged: _Samples = defaultdict(dict)
    for name, metric in METRICS.items():
        kept = metric.kind == "counter" or name == "ser_night_last_success_timestamp_seconds"
        merged[name] = {labels: value for labels, value in old.get(name, {}).items() if labels[0] != lake or kept}
        for labels, value in values.get(name, {}).items():
            former = merged[name].get((lake, *labels), 0.0) if metric.kind == "counter" else 0.0
            merged[name][lake, *labels] = former + value
    return merged


class _Collector:
    """What prometheus_client asks for the samples of a page."""

    def __init__(self, samples: _Samples):
        self.samples = samples

    def collect(self) -> Iterable[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        for name, metric in METRICS.items():
            family = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}[metric.kind]
            page = family(name, metric.meaning, labels=("lake", *metric.labels))
            for labels, value in sorted(self.samples[name].items()):
                page.add_metric(labels, value)
            if page.samples:
                yield page


def send_otlp(values: Values, lake: str, limit_s: float = SEND_LIMIT_S) -> None:
    """Sends a night's values to the collector that OpenTelemetry's variables name: counters as what the night adds (delta).

    Raises ConnectionError where it does not accept them, and ImportError without the packages of ``ser-nightly[telemetry]``.
    """
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import Counter, MeterProvider
    from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader, MetricExportResult
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource

    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # it says each try; the caller says the end
    reader = InMemoryMetricReader(preferred_temporality={Counter: AggregationTemporality.DELTA})
    resource = Resource({"service.name": "ser-nightly", "service.version": code_version()}).merge(OTELResourceDetector().detect())
    provider = MeterProvider([reader], resource, shutdown_on_exit=False)
    meter = provider.get_meter("ser-nightly", code_version())
    for name, metric in METRICS.items():
        if metric.kind == "counter":
            record = meter.create_counter(name, description=metric.meaning).add
        else:
            record = meter.create_gauge(name, description=metric.meaning).set
        for labels, value in values.get(name, {}).items():
            record(value, dict(zip(("lake", *metric.labels), (lake, *labels), strict=True)))
    exporter = OTLPMetricExporter(timeout=limit_s)
    data = reader.get_metrics_data()
    assert data is not None
    try:
        if exporter.export(data, limit_s * 1000) is not MetricExportResult.SUCCESS:
            raise ConnectionError("the collector of OpenTelemetry did not accept them")
    finally:
        exporter.shutdown()
        provider.shutdown()
