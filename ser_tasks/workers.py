"""Worker processes: one pool for a run, spawned once, one thread each. They extract, and where there is no GPU they score."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from ser_tasks.extract import Batch, Extracted, Job, extract_batch, start_worker
from ser_tasks.ingest import Recording

BATCH_AUDIO_S = 1800.0
"""Recordings are sent to a worker in batches of about so much audio: small enough to share out, large enough to pay."""
CRASH_ATTEMPTS = 2


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """A pool of worker processes, shared by the threads of a run. Close it, or use it in a ``with``."""

    def __init__(self, count: int):
        if count < 1:
            raise ValueError(f"{count} workers can't work: take 1 or more.")
        self.count = count
        self._pool: ProcessPoolExecutor | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Returns when every worker has loaded what it needs."""
        pool = self._started()
        for future in [pool.submit(os.getpid) for _ in range(self.count)]:
            future.result()

    def map(self, function: Callable[..., Any], tasks: Sequence[tuple]) -> list[Any]:
        """The answers of ``function(*task)`` in the tasks' order. What a process that died was at is done again, by another."""
        answers: dict[int, Any] = {}
        for attempt in range(1, CRASH_ATTEMPTS + 1):
            pool = self._started()
            try:
                futures = {index: pool.submit(function, *task) for index, task in enumerate(tasks) if index not in answers}
                for index, future in futures.items():
                    answers[index] = future.result()
            except BrokenProcessPool:
                self._discard(pool)
                if attempt == CRASH_ATTEMPTS:
                    raise
        return [answers[index] for index in range(len(tasks))]

    def extract(self, recordings: list[Recording], job: Job, progress: Callable[[Batch], None]) -> list[Batch]:
        """Every recording's result, in batches in no particular order.

        A recording that takes its process down with it (a native crash in a decoder) is tried alone, and quarantined
        when it does so again; the others are not touched by that.
        """
        pool = self._started()
        done: list[Batch] = []
        futures: dict[Future[Batch], list[Recording]] = {}
        unfinished: list[Recording] = []
        for batch in _batches(recordings, self.count):
            try:
                futures[pool.submit(extract_batch, batch, job)] = batch
            except BrokenProcessPool:
                unfinished += batch
        for future in as_completed(futures):
            try:
                done.append(future.result())
                progress(done[-1])
            except BrokenProcessPool:
                unfinished += futures[future]
        if unfinished:
            self._discard(pool)
        for recording in unfinished:
            done.append(self._extract_alone(recording, job))
            progress(done[-1])
        return done

    def _extract_alone(self, recording: Recording, job: Job) -> Batch:
        for _ in range(CRASH_ATTEMPTS):
            pool = self._started()
            try:
                return pool.submit(extract_batch, [recording], job).result()
            except BrokenProcessPool:
                self._discard(pool)
        result = Extracted(recording)
        result.end("quarantined", "decoder_crash", f"It crashed the decoder {CRASH_ATTEMPTS} times: export it again in another format.")
        return Batch([result], None)

    def _started(self) -> ProcessPoolExecutor:
        with self._lock:
            if self._pool is None:
                context = multiprocessing.get_context("spawn")  # a forked torch or boto3 may hang
                self._pool = ProcessPoolExecutor(self.count, mp_context=context, initializer=start_worker)
            return self._pool

    def _discard(self, broken: ProcessPoolExecutor) -> None:
        """Forgets a broken pool, unless another thread has done so and started a new one."""
        with self._lock:
            if self._pool is broken:
                self._pool = None
        broken.shutdown(wait=True, cancel_futures=True)

    def close(self) -> None:
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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
