"""A night on a Dask cluster: one Prefect task a chunk, which one machine handles from first to last (ser_tasks/pipeline/remote.py)."""

import queue
import time
from collections import deque
from typing import Any

from prefect import task
from prefect.settings import PREFECT_API_URL
from prefect_dask.task_runners import DaskTaskRunner

from flows.retries import OPTIONS
from ser_tasks.pipeline.ingest import Chunk
from ser_tasks.pipeline.progress import NightProgress
from ser_tasks.pipeline.publish import ChunkReport
from ser_tasks.pipeline.remote import handle_chunk
from ser_tasks.pipeline.run import Night
from ser_tasks.pipeline.spec import RunSpec

AHEAD = 2
"""Chunks sent for each thread of the cluster: one at work, one that waits, so that none idles."""
NO_WORKER_S = 600.0
"""A night waits this long for a worker before it ends."""
START_WORKER = "DASK_DISTRIBUTED__WORKER__DAEMON=False dask worker {} --nworkers 1 --nthreads 2"


@task(name="chunk", task_run_name="chunk {chunk.chunk_id}", **OPTIONS)
def chunk_on_cluster(spec: RunSpec, chunk: Chunk) -> ChunkReport:
    return handle_chunk(spec, chunk)


def preflight() -> None:
    """Raises ValueError where a night could not use the cluster."""
    if not PREFECT_API_URL.value():
        raise ValueError("SER_CLUSTER needs a Prefect server that the cluster's workers reach: set PREFECT_API_URL, here and there.")


def score_on_cluster(night: Night, progress: NightProgress, log: Any) -> None:
    """Has every waiting chunk handled by the cluster that the settings name. A chunk that fails is given up, the others go on.

    A chunk whose machine dies goes to another one, as often as the scheduler allows (distributed.scheduler.allowed-failures, 3).
    Raises TimeoutError where the cluster has no worker for NO_WORKER_S.
    """
    address = night.spec.settings.cluster
    waiting = deque(night.plan.chunks)
    running: dict[Any, tuple[Chunk, Any]] = {}
    finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with DaskTaskRunner(address=address) as cluster:
        while waiting or running:
            while waiting and len(running) < AHEAD * _threads(cluster, address):
                day, chunk_id = waiting.popleft()
                chunk = night.load(day, chunk_id)
                future = cluster.submit(chunk_on_cluster, {"spec": night.spec, "chunk": chunk})
                running[future.task_run_id] = (chunk, future)
                future.wrapped_future.add_done_callback(lambda _, name=future.task_run_id: finished.put(name))
            try:
                chunk, future = running.pop(finished.get(timeout=10))
            except queue.Empty:
                _threads(cluster, address)
                continue
            try:
                report = future.result()
                night.record.add_chunk(report)
                progress.recordings_done(len(chunk.recordings), report.audio_s)
                progress.chunk_done(chunk.chunk_id, report)
            except Exception as error:
                log.exception(f"chunk {chunk.chunk_id} failed")
                night.give_up(chunk.day, chunk.chunk_id, error)


def _threads(cluster: DaskTaskRunner, address: str | None) -> int:
    """Threads of the cluster's workers; waits for a worker where there is none."""
    end = time.monotonic() + NO_WORKER_S
    client: Any = cluster.client  # untyped
    while not (threads := sum(client.nthreads().values())):
        if time.monotonic() > end:
            command = START_WORKER.format(address)
            raise TimeoutError(f"The cluster at {address} has had no worker for {NO_WORKER_S:.0f} s. Start one: {command}")
        time.sleep(1)
    return int(threads)
