"""What a site's platform is sent of a night: metrics and OpenLineage events. Off unless set; nothing here fails or holds up a night."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator

from prefect.runtime import flow_run

from ser_tasks.lake import catalog
from ser_tasks.monitoring import lineage, night_metrics
from ser_tasks.pipeline.run import Night
from ser_tasks.settings import Settings

LIMIT_S = 6.0
"""Time for a receiver to take what it is sent, and for the lake to be asked. What takes longer is given up."""
STOPPED_LIMIT_S = 1.0
"""The same for a night that was stopped: it has a few seconds to end."""


@contextlib.contextmanager
def telemetry(night: Night, settings: Settings, warn: Callable[[str], None]) -> Iterator[None]:
    """Sends what is set of the night in a ``with`` block: an event at its start; an event and metrics at its end, however it ends."""
    if not (lineage.is_on() or night_metrics.is_on(settings)):
        yield
        return
    sender = _Sender(night, settings, warn)
    sender.started()
    try:
        yield
    except BaseException as error:
        sender.ended(error)
        raise
    sender.ended(None)


class _Sender:
    def __init__(self, night: Night, settings: Settings, warn: Callable[[str], None]):
        self.night, self.settings, self._warn = night, settings, warn
        self.limit_s = LIMIT_S
        self._threads: dict[str, threading.Thread] = {}
        self._given_up: set[str] = set()

    def started(self) -> None:
        if lineage.is_on():
            self._run = self._night_run()
            self._start("OpenLineage", lambda: lineage.send(lineage.event(self._run)))  # the night does not wait for it

    def ended(self, error: BaseException | None) -> None:
        written = self.night.written_row
        status = "complete" if error is None else "incomplete" if written else "failed"
        if error is not None and not isinstance(error, Exception):
            self.limit_s = STOPPED_LIMIT_S
        lake, run, values = self.night.spec.lake_uri, written or self.night.row_so_far(), night_metrics.Values()
        if night_metrics.is_on(self.settings):
            values |= night_metrics.of_night(run, status, lake, self.settings)
            if written:
                self._do("metrics of the lake", lambda: values.update(self._of_lake()))
        if path := self.settings.metrics_file:
            self._do("SER_METRICS_FILE", lambda: night_metrics.write_file(path, dict(values), lake))
        if night_metrics.otlp_is_on():
            self._do("OpenTelemetry", lambda: night_metrics.send_otlp(dict(values), lake))
        if lineage.is_on():
            self._do("OpenLineage", lambda: lineage.send(lineage.event(self._run, self._end(error))))

    def _of_lake(self) -> night_metrics.Values:
        assert self.night.written_row is not None
        with catalog.connect(self.night.spec.lake_uri) as connection:
            return night_metrics.of_lake(connection, self.night.written_row, self.settings)

    def _night_run(self) -> lineage.NightRun:
        spec, flow_id = self.night.spec, flow_run.id
        return lineage.NightRun(
            run_id=spec.run_id,
            started_at=spec.started_at,
            recordings_uri=spec.recordings_uri,
            lake_uri=spec.lake_uri,
            model_id=spec.model_id,
            feature_set=self.night.handler.bundle.feature_set_id,
            policy=spec.policy,
            parent=lineage.parent_of(os.environ) or (lineage.Parent("prefect", "nightly", flow_id) if flow_id else None),
        )

    def _end(self, error: BaseException | None) -> lineage.End:
        event = "COMPLETE" if error is None else "FAIL" if isinstance(error, Exception) else "ABORT"
        message = f"{type(error).__name__}: the run's log has the cause" if error else None  # its own words may hold a key
        if not self.night.written_row:
            return lineage.End(event, error=message)
        with self.night.connect() as connection:
            return lineage.End(event, lineage.written(connection, self.night.lake, self.night.spec.run_id), message)

    def _do(self, what: str, work: Callable[[], object]) -> None:
        """Does it in a thread, for as long as the limit; not where the same has failed before."""
        former = self._threads.get(what)
        if former:
            former.join(self.limit_s)
        if (former is None or not former.is_alive()) and what not in self._given_up:
            self._start(what, work)
            self._threads[what].join(self.limit_s)
        if self._threads[what].is_alive():
            self._give_up(what, f"not done within {self.limit_s:g} s")

    def _start(self, what: str, work: Callable[[], object]) -> None:
        def run() -> None:
            try:
                work()
            except ImportError as error:
                self._give_up(what, f"{error}; pip install 'ser-nightly[telemetry]'")
            except Exception as error:
                self._give_up(what, f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")

        self._threads[what] = threading.Thread(target=run, name=f"telemetry {what}", daemon=True)
        self._threads[what].start()

    def _give_up(self, what: str, why: str) -> None:
        if what not in self._given_up:
            self._given_up.add(what)
            self._warn(f"Not sent to the platform: {what} ({why}). The night does not depend on it.")
