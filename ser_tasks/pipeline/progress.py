"""Progress of a run: a bar on a terminal, a line for each chunk elsewhere."""

import sys
import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ser_tasks.pipeline.extract import Batch
from ser_tasks.pipeline.publish import ChunkReport
from ser_tasks.schemas import OUTCOMES


class NightProgress:
    """Counts recordings as workers finish them. Use it in a ``with``."""

    def __init__(self, recordings: int, chunks: int, say: Callable[[str], None]):
        self._say, self._chunks, self._done = say, chunks, 0
        self._audio_s, self._begun = 0.0, time.perf_counter()
        columns = (TextColumn("recordings"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[speed]}"), TimeRemainingColumn())
        self._bar = Progress(*columns, console=Console(file=sys.stderr), disable=not sys.stderr.isatty())
        self._task = self._bar.add_task("recordings", total=recordings, speed="")

    def __enter__(self) -> "NightProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def batch_done(self, batch: Batch) -> None:
        self.recordings_done(len(batch.extracted), batch.audio_s)

    def recordings_done(self, count: int, audio_s: float) -> None:
        self._audio_s += audio_s
        self._bar.update(self._task, advance=count, speed=self._speed())

    def chunk_done(self, chunk_id: str, report: ChunkReport) -> None:
        self._done += 1
        counts = ", ".join(f"{report.outcomes[outcome]} {outcome}" for outcome in OUTCOMES if report.outcomes[outcome])
        self._say(f"chunk {self._done} of {self._chunks} ({chunk_id}): {counts or 'nothing left to do'}; {self._speed()}")

    def _speed(self) -> str:
        return f"{self._audio_s / (time.perf_counter() - self._begun):,.0f} audio-hours per hour"
