"""Extraction processes: one pool for a run, spawned once, one recording at a time in each."""

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from ser_tasks.extract import Batch, Extracted, Job, extract_batch, start_worker
from ser_tasks.ingest import Recording

BATCH_AUDIO_S = 300.0
"""Recordings are sent to a worker in batches of about so much audio: small enough to share out, large enough to pay."""
CRASH_ATTEMPTS = 2


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """A pool of extraction processes. Close it, or use it in a ``with``."""

    def __init__(self, count: int):
        if count < 1:
            raise ValueError(f"{count} workers can't work: take 1 or more.")
        self.count = count
        self._pool: ProcessPoolExecutor | None = None

    def start(self) -> None:
        """Returns when every worker has loaded what it needs."""
        if self._pool is None:
            context = multiprocessing.get_context("spawn")  # a forked torch or boto3 may hang
            self._pool = ProcessPoolExecutor(self.count, mp_context=context, initializer=start_worker)
        for future in [self._pool.submit(os.getpid) for _ in range(self.count)]:
            future.result()

    def extract(self, recordings: list[Recording], job: Job, progress: Callable[[Batch], None]) -> list[Batch]:
        """Every recording's result, in batches in no particular order.

        A recording that takes its process down with it (a native crash in a decoder) is tried alone, and quarantined
        when it does so again; the others are not touched by that.
        """
        self.start()
        assert self._pool is not None
        done: list[Batch] = []
        futures: dict[Future[Batch], list[Recording]] = {}
        unfinished: list[Recording] = []
        for batch in _batches(recordings, self.count):
            try:
                futures[self._pool.submit(extract_batch, batch, job)] = batch
            except BrokenProcessPool:
                unfinished += batch
        for future in as_completed(futures):
            try:
                done.append(future.result())
                progress(done[-1])
            except BrokenProcessPool:
                unfinished += futures[future]
        for recording in unfinished:
            done.append(self._extract_alone(recording, job))
            progress(done[-1])
        return done

    def _extract_alone(self, recording: Recording, job: Job) -> Batch:
        for _ in range(CRASH_ATTEMPTS):
            try:
                self.start()
                assert self._pool is not None
                return self._pool.submit(extract_batch, [recording], job).result()
            except BrokenProcessPool:
                self.close()
        result = Extracted(recording)
        result.end("quarantined", "decoder_crash", f"It crashed the decoder {CRASH_ATTEMPTS} times: export it again in another format.")
        return Batch([result], None)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

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
