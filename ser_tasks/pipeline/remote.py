"""A chunk on another machine: what is sent to it, and what it does. Knows no cluster: flows/cluster.py sends it over Dask.

The machine fetches, extracts, scores on its own device, and publishes: frames never leave its scratch. Its stores, credentials,
SER_PSEUDONYM_KEY and SER_SCRATCH are those of its own environment; the rest of the settings comes with the chunk.
"""

import functools
import hashlib
import hmac
import multiprocessing
import os
import socket
import threading
from dataclasses import dataclass
from typing import Any

from ser_tasks.pipeline.ingest import Chunk
from ser_tasks.pipeline.run import Night
from ser_tasks.pipeline.worker_pool import Workers, cores
from ser_tasks.settings import Settings


@dataclass(frozen=True)
class ChunkJob:
    """What every machine of a run needs to know; small enough to be sent along with each chunk. Holds no secret."""

    recordings_uri: str
    lake_uri: str
    model: str
    model_id: str
    policy: str
    device: str
    workers: int | None
    run_id: str
    settings: Settings
    key_mark: str | None
    """Tells whether SER_PSEUDONYM_KEY is the same on both machines; null without a key."""


def job_of(night: Night, device: str, workers: int | None) -> ChunkJob:
    """A run as its chunks' machines need it. ``device`` and ``workers`` as the user said: each machine has its own."""
    return ChunkJob(
        night.recordings.uri,
        night.lake.uri,
        night.model,
        night.bundle.model_id,
        night.policy.name,
        device,
        workers,
        night.run_id,
        night.settings.without_secrets(),
        _key_mark(night.settings),
    )


def handle_chunk(job: ChunkJob, chunk: Chunk) -> dict[str, Any]:
    """Brings a chunk from the store to published parts, on this machine. Returns its report (publish.py) and the machine.

    Raises RuntimeError and ValueError where this machine is not set up as the run needs it, and what breaks on the way.
    """
    if multiprocessing.current_process().daemon:
        raise RuntimeError(
            "This cluster worker may not start processes of its own: set DASK_DISTRIBUTED__WORKER__DAEMON=False where it is started."
        )
    own = Settings()
    settings = job.settings.model_copy(update={"pseudonym_key": own.pseudonym_key, "scratch": own.scratch})
    if _key_mark(settings) != job.key_mark:
        raise ValueError(f"SER_PSEUDONYM_KEY on {socket.gethostname()} is not the one of the run: set the same on every machine.")
    workers = _workers(job.workers or cores())
    with Night(job.recordings_uri, job.lake_uri, settings, model=job.model, device=job.device, workers=workers, policy=job.policy) as night:
        if night.bundle.model_id != job.model_id:
            raise ValueError(
                f"{job.model} is {night.bundle.model_id} on {socket.gethostname()} and {job.model_id} in the run: give it as s3://..., "
                "or install the same on every machine."
            )
        night.run_id = job.run_id
        report = night.publish(night.extract_chunk(chunk))
        machine = {"machine": f"{socket.gethostname()}:{os.getpid()}", "processes": workers.count, "device": night.device}
        return report | {"score_s": night.seconds["score_s"]} | machine


_lock = threading.Lock()


def _workers(count: int) -> Workers:
    """This process's worker processes: kept between chunks, shared by its threads; they end with it."""
    with _lock:
        return _kept(count)


@functools.lru_cache(maxsize=1)
def _kept(count: int) -> Workers:
    return Workers(count)


def _key_mark(settings: Settings) -> str | None:
    if settings.pseudonym_key is None or not settings.pseudonym_key.get_secret_value():
        return None
    return hmac.new(settings.pseudonym_key.get_secret_value().encode(), b"ser cluster", hashlib.sha256).hexdigest()[:6]
