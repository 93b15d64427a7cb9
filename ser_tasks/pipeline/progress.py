"""Progress of a run and of its sample: a bar on a terminal, lines elsewhere."""

import sys
import time
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ser_tasks.pipeline.extract import Batch
from ser_tasks.pipeline.listing import Recording
from ser_tasks.pipeline.publish import ChunkReport
from ser_tasks.progress import LINE_EVERY_S
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


class SampleProgress:
    """Progress of a sample of calls: its recordings as workers finish them, then the files of features that are pooled.

    ``say`` takes the lines: one at the start, one every 30 s, one at the end of each of the two stages. Use it in a ``with``.
    """

    def __init__(self, say: Callable[[str], None] = lambda line: None):
        self._say, self._next_line = say, 0.0
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=Console(file=sys.stderr), transient=True, disable=not sys.stderr.isatty())
        self._task = self._bar.add_task("sample")

    def __enter__(self) -> "SampleProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self, recordings: Sequence[Recording]) -> None:
        """The sample is drawn."""
        hours = sum(recording.estimated_s for recording in recordings) / 3600
        self._say(f"adapting to a sample of {len(recordings)} recordings, about {hours:.1f} h")
        self._stage("recordings sampled", len(recordings))

    def batch_done(self, batch: Batch) -> None:
        self._advance(len(batch.extracted))

    def begin_pooling(self, files: int) -> None:
        """The recordings are extracted; their features go through the encoder next."""
        self._stage("files pooled", files)

    def begin_scoring(self, files: int) -> None:
        """Statistics are made; files of features are scored by them next, for base rates."""
        self._stage("files scored by their line", files)

    def file_done(self) -> None:
        self._advance(1)

    def _stage(self, what: str, total: int) -> None:
        self._next_line = time.monotonic() + LINE_EVERY_S
        self._bar.reset(self._task, total=total, description=what)

    def _advance(self, count: int) -> None:
        self._bar.update(self._task, advance=count)
        task = self._bar.tasks[0]
        if task.finished or time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_EVERY_S
            self._say(f"{task.description}: {task.completed:.0f} of {task.total:.0f}")
