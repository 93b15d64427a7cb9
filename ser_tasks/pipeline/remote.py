"""A chunk on another machine. This module knows no cluster: flows/cluster.py sends the chunk over Dask.

The machine fetches, extracts, scores on its own device, and publishes: frames never leave its scratch. Its stores, credentials,
SER_PSEUDONYM_KEY, SER_OLD_PSEUDONYM_KEYS and SER_SCRATCH are those of its own environment; the rest of the settings comes
with the run's specification.
"""

import dataclasses
import functools
import multiprocessing
import os
import socket
import threading

from ser_tasks.lake import key_chain
from ser_tasks.pipeline.fork_server import cores
from ser_tasks.pipeline.handler import ChunkHandler
from ser_tasks.pipeline.ingest import Chunk
from ser_tasks.pipeline.publish import ChunkReport, Machine
from ser_tasks.pipeline.spec import RunSpec, key_fingerprint
from ser_tasks.pipeline.worker_pool import WorkerPool
from ser_tasks.scratch import scratch_folder
from ser_tasks.settings import Settings


def handle_chunk(spec: RunSpec, chunk: Chunk) -> ChunkReport:
    """Brings a chunk from the store to published parts, on this machine. The report names the machine.

    Raises RuntimeError and ValueError where this machine is not set up as the run needs it, and what breaks on the way.
    """
    if multiprocessing.current_process().daemon:
        raise RuntimeError(
            "This cluster worker may not start processes of its own: set DASK_DISTRIBUTED__WORKER__DAEMON=False where it is started."
        )
    local = Settings()
    host = socket.gethostname()
    lake_keys = key_chain.LakeKeys(key_chain.chosen(local.pseudonym_keys(), (spec.key_fingerprint or "").split()) or ())
    if key_fingerprint(lake_keys) != spec.key_fingerprint or bool(local.pseudonym_keys()) != bool(lake_keys.people):
        raise ValueError(f"SER_PSEUDONYM_KEY on {host} is not the one of the run: set the same on every machine.")
    workers = _workers(spec.workers or cores(), spec.settings.worker_memory_mb)
    with scratch_folder(local.scratch) as scratch:
        handler = ChunkHandler(spec, lake_keys, workers, scratch)
        report = handler.publish(handler.extract(chunk))
    machine = Machine(f"{host}:{os.getpid()}", workers.count, handler.device, handler.precision)
    return dataclasses.replace(report, machine=machine)


_lock = threading.Lock()


def _workers(count: int, memory_mb: int | None) -> WorkerPool:
    """This process's worker processes: kept between chunks, shared by its threads; they end with it."""
    with _lock:
        return _kept(count, memory_mb)


@functools.lru_cache(maxsize=1)
def _kept(count: int, memory_mb: int | None) -> WorkerPool:
    return WorkerPool(count, memory_mb)
