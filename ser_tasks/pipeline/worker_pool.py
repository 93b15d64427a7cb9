"""Worker processes: started once for a run, one thread each. They extract, and where there is no GPU they score.

Each process has a pipe of its own, so one that dies, hangs or runs out of memory costs its own batch and no other. The progress
marker that it left in scratch says which recording it was at: that one is tried once more, alone, and the rest of the batch again.
"""

import contextlib
import os
import pickle
import signal
import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ser_tasks import logs
from ser_tasks.apart import sendable
from ser_tasks.pipeline import fork_server
from ser_tasks.pipeline.extract import Batch, Extracted, ProgressMarker, extract_batch, start_worker
from ser_tasks.pipeline.listing import Recording
from ser_tasks.pipeline.spec import RunSpec

Task = tuple[Any, ...]
"""Arguments of a function that a worker calls."""

BATCH_AUDIO_S = 1800.0
"""Audio of a batch that is sent to a worker, about: small enough to share out, large enough to outweigh the cost of sending."""
CRASH_ATTEMPTS = 2
START_ATTEMPTS = 3
START_LIMIT_S = 300.0
"""A worker that takes longer to start is given up."""
LIMIT_PER_AUDIO_S = 0.1
"""Seconds that a batch may take for each second of its audio, on top of the settings' recording_limit_s: 20 times what is usual."""
LIMIT_PER_RECOGNISED_S = 10.0
"""The same, of audio whose words are recognised: a large model on a CPU is slower than the audio."""


class WorkerLostError(Exception):
    """A worker did not return its answer. ``exitcode`` is negative for a signal, None where it hung and was killed."""

    def __init__(self, exitcode: int | None, limit_s: float | None):
        super().__init__(exitcode, limit_s)
        self.exitcode, self.limit_s = exitcode, limit_s

    def __str__(self) -> str:
        if self.exitcode is not None:
            return f"A worker process ended with exit code {self.exitcode}."
        return f"A worker process took longer than {self.limit_s:,.0f} s and was killed."


class _Worker:
    """One process and the pipe to it: a task goes in, an answer or an error comes out."""

    def __init__(self, memory_mb: int | None):
        context = fork_server.context()
        self._pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, memory_mb, dict(os.environ)), daemon=True)  # type: ignore[attr-defined]
        self.process.start()
        theirs.close()  # or its end would not be seen

    def wait_until_ready(self) -> None:
        self._answer(START_LIMIT_S)

    def call(self, function: Callable[..., Any], task: Task, limit_s: float | None) -> Any:
        """The answer of ``function(*task)``, or its error. Raises WorkerLostError where the process died or took too long."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it died: reading its answer raises
            self._pipe.send((function, task))
        return self._answer(limit_s)

    def _answer(self, limit_s: float | None) -> Any:
        try:
            if not self._pipe.poll(limit_s):
                self.kill()
                raise WorkerLostError(None, limit_s)
            answer, error = pickle.loads(self._pipe.recv_bytes())
        except (EOFError, OSError):  # cut off in the middle of an answer, it is an OSError
            self.process.join()
            raise WorkerLostError(self.process.exitcode or 0, limit_s) from None
        if error is not None:
            raise error
        return answer

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self._pipe.close()


def _serve(pipe: Connection, memory_mb: int | None, environment: dict[str, str]) -> None:
    """A worker's life: answers one task after the other until its pipe is closed. ``environment`` is the pool's."""
    os.environ.clear()  # that of the process it was forked from is older
    os.environ.update(environment)
    logs.configure()
    start_worker(memory_mb)
    pipe.send_bytes(pickle.dumps((None, None)))
    while True:
        try:
            function, task = pipe.recv()
        except EOFError:
            return
        try:
            answer = pickle.dumps((function(*task), None))
        except Exception as error:
            answer = pickle.dumps((None, sendable(error)))
        pipe.send_bytes(answer)


class WorkerPool:
    """A number of worker processes, shared by the threads of a run. Close it, or use it in a ``with``.

    ``memory_mb``: what each may take (settings' worker_memory_mb).
    """

    def __init__(self, count: int, memory_mb: int | None = None):
        if count < 1:
            raise ValueError(f"{count} workers are too few: take 1 or more.")
        self.count, self.memory_mb = count, memory_mb
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._threads = ThreadPoolExecutor(count, "worker")  # each waits for one process

    def start(self) -> None:
        """Returns when every worker has loaded what it needs."""
        futures = [self._threads.submit(self._taken) for _ in range(self.count)]
        self._idle += [future.result() for future in futures]

    def map(
        self,
        function: Callable[..., Any],
        tasks: Sequence[Task],
        limits_s: Iterable[float] | None = None,
        done: Callable[[], None] = lambda: None,
    ) -> list[Any]:
        """The answers of ``function(*task)`` in the tasks' order. A task whose process died or hung is done again, by another.

        ``done`` is called once for each answer.
        """
        limits: list[float | None] = list(limits_s) if limits_s is not None else [None] * len(tasks)
        futures = [self._threads.submit(self._call_again, function, *rest) for rest in zip(tasks, limits, strict=True)]
        try:
            return [_counted(future.result(), done) for future in futures]
        finally:
            _cancel(futures)

    def over_frames(
        self,
        function: Callable[..., Any],
        batches: Sequence[Batch],
        spec: RunSpec,
        device: str,
        more: Sequence[Task] | None = None,
        done: Callable[[], None] = lambda: None,
    ) -> list[Any]:
        """``function(frames_files, lengths, scorer, *more)`` of each batch, in their order; None for batches without frames. ``more`` has
        what belongs to each batch; None: nothing.

        A GPU (``device`` is cuda) works in this process, CPUs in the workers. ``done`` is called once for each answer.
        """
        scorer = spec.scorer(device)
        with_frames = [(batch, task) for batch, task in zip(batches, more or [()] * len(batches), strict=True) if batch.frames_files]
        tasks = [(batch.frames_files, batch.lengths, scorer, *task) for batch, task in with_frames]
        if device == "cpu":
            limits_s = [spec.settings.recording_limit_s + batch.audio_s for batch, _ in with_frames]
            answers = iter(self.map(function, tasks, limits_s, done))
        else:
            answers = iter([_counted(function(*task), done) for task in tasks])
        return [next(answers) if batch.frames_files else None for batch in batches]

    def extract(self, recordings: list[Recording], spec: RunSpec, folder: Path, progress: Callable[[Batch], None]) -> list[Batch]:
        """Every recording's result, in batches in no particular order; frames go into files in ``folder``.

        A recording whose process crashes, hangs or runs out of memory is tried once more alone. If it does so again, it is
        quarantined or failed, and the others are not touched by that.
        """
        done: list[Batch] = []
        futures: dict[Future[Batch], tuple[list[Recording], Path]] = {}
        alone: set[Future[Batch]] = set()

        def submit(batch: list[Recording]) -> Future[Batch]:
            files = folder / f"frames-{uuid.uuid4().hex}"
            per_audio_s = LIMIT_PER_RECOGNISED_S if spec.recogniser else LIMIT_PER_AUDIO_S
            limit_s = spec.settings.recording_limit_s + per_audio_s * sum(recording.estimated_s for recording in batch)
            future = self._threads.submit(self._call, extract_batch, (batch, spec, files), limit_s)
            futures[future] = batch, files
            return future

        for batch in _batches(recordings, self.count):
            submit(batch)
        try:
            while futures:
                for future in wait(futures, return_when=FIRST_COMPLETED).done:
                    batch, files = futures.pop(future)
                    marker_file = files.with_suffix(".mark")
                    marker = ProgressMarker.read(marker_file)
                    marker_file.unlink(missing_ok=True)
                    try:
                        result = future.result()
                    except (WorkerLostError, MemoryError) as error:
                        files.with_suffix(".f32").unlink(missing_ok=True)
                        if future not in alone:
                            suspects, others = _suspects(batch, marker)
                            alone |= {submit([recording]) for recording in suspects}
                            if others:
                                submit(others)
                            continue
                        result = Batch([_given_up(batch[0], error, marker)])
                    done.append(result)
                    progress(result)
        finally:
            _cancel(futures)
        return done

    def _call_again(self, function: Callable[..., Any], task: Task, limit_s: float | None) -> Any:
        for _ in range(CRASH_ATTEMPTS - 1):
            with contextlib.suppress(WorkerLostError):
                return self._call(function, task, limit_s)
        return self._call(function, task, limit_s)

    def _call(self, function: Callable[..., Any], task: Task, limit_s: float | None) -> Any:
        worker = self._taken()
        try:
            return worker.call(function, task, limit_s)
        finally:
            if worker.process.is_alive():
                self._idle.append(worker)
            else:
                self._forget(worker)

    def _taken(self) -> _Worker:
        """An idle worker, or a new one. One that died while it was idle, or as it started, counts against no recording."""
        while self._idle:
            with contextlib.suppress(IndexError):  # another thread was quicker
                worker = self._idle.pop()
                if worker.process.is_alive():
                    return worker
                self._forget(worker)
        for _ in range(START_ATTEMPTS):
            worker = self._spawned()
            try:
                worker.wait_until_ready()
                return worker
            except WorkerLostError as error:
                self._forget(worker)
                lost = error
        raise RuntimeError(f"No worker process could be started in {START_ATTEMPTS} attempts: {lost}")

    def _forget(self, worker: _Worker) -> None:
        with self._lock:
            self._all.discard(worker)

    def _spawned(self) -> _Worker:
        with self._lock:
            if self._closed:
                raise RuntimeError("The workers are closed.")
            worker = _Worker(self.memory_mb)
            self._all.add(worker)
            return worker

    def close(self) -> None:
        """Ends the processes at once: what they were at is abandoned."""
        with self._lock:
            self._closed = True
            workers, self._all = self._all, set()
        for worker in workers:
            worker.process.kill()
            worker.process.join()
        self._threads.shutdown()  # what is queued fails at once; cancelled, it would leave `extract` waiting for ever

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _counted(answer: Any, done: Callable[[], None]) -> Any:
    done()
    return answer


def _suspects(batch: list[Recording], marker: tuple[str, int, int] | None) -> tuple[list[Recording], list[Recording]]:
    """The recordings that a lost worker was at, and the others. All are suspect where it left no marker."""
    if marker is None:
        return batch, []
    _, first, last = marker
    return batch[first : last + 1], batch[:first] + batch[last + 1 :]


def _given_up(recording: Recording, error: WorkerLostError | MemoryError, marker: tuple[str, int, int] | None) -> Extracted:
    """The end of a recording that took its worker down, or stopped it, twice: the second time alone.

    What comes before the audio is read, or from outside, is not the recording's fault: it fails, and is tried again next night.
    """
    stage = marker[0] if marker else "start"
    result = Extracted(recording)
    if isinstance(error, MemoryError):
        advice = "raise SER_WORKER_MEMORY_MB, or give the machine more memory. It is tried again next night."
        result.end("failed", "out_of_memory", f"A worker ran out of memory at it (stage {stage}), alone, too: {advice}")
    elif error.exitcode == -signal.SIGKILL:
        cause = f"Its worker was killed from outside (SIGKILL, stage {stage}) {CRASH_ATTEMPTS} times, as by a system without memory:"
        advice = "see the system's log; fewer workers need less memory. It is tried again next night."
        result.end("failed", "worker_killed", f"{cause} {advice}")
    elif stage in ("start", "fetch"):
        code = "store_hang" if error.exitcode is None else "worker_crash"
        result.end("failed", code, f"{error} That was before its audio was read (stage {stage}), twice. It is tried again next night.")
    elif error.exitcode is None:
        cause = f"It kept a worker busy for more than {error.limit_s:,.0f} s (stage {stage}), twice:"
        result.end("quarantined", "decoder_hang", f"{cause} export it again in another format, or raise SER_RECORDING_LIMIT_S.")
    else:
        cause = f"It crashed the decoder {CRASH_ATTEMPTS} times (stage {stage}, exit code {error.exitcode}):"
        result.end("quarantined", "decoder_crash", f"{cause} export it again in another format.")
    return result


def _cancel(futures: Iterable[Future[Any]]) -> None:
    for future in futures:
        future.cancel()


def _batches(recordings: list[Recording], workers: int) -> list[list[Recording]]:
    """Longest first, so that no worker is left with a long one at the end."""
    total_s = sum(recording.estimated_s for recording in recordings)
    budget_s = min(BATCH_AUDIO_S, total_s / (4 * workers))
    batches: list[list[Recording]] = []
    held_s = 0.0
    for recording in sorted(recordings, key=lambda recording: -recording.estimated_s):
        if not batches or held_s + recording.estimated_s > budget_s:
            batches.append([])
            held_s = 0.0
        batches[-1].append(recording)
        held_s += recording.estimated_s
    return batches
