"""Worker processes that outlive their pool: the next pool in the same surroundings takes them, in place of starting its own.

A start takes 4 s of a core. What a worker remembers (bundles, stores) is named by content or address, as it is between the runs of a
platform's worker, which keeps its processes too (`ser_tasks.pipeline.remote`).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

KEPT = 2
"""So many at most: each takes some 500 MB."""
Kept = list[tuple[Any, Any]]
"""Idle workers, each with the surroundings that it was started in, the longest kept first."""


@contextmanager
def keeping_workers(kept: Kept) -> Iterator[None]:
    """Pools take their workers from ``kept``, and leave their idle ones there when they are closed."""
    from ser_tasks.pipeline.worker_pool import WorkerPool

    taken, spawned, close = WorkerPool._taken, WorkerPool._spawned, WorkerPool.close
    started_in: dict[Any, Any] = {}

    def surroundings(pool: WorkerPool) -> Any:
        variables = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
        return pool.memory_mb, os.getcwd(), frozenset(variables.items())

    def remembering(pool: WorkerPool) -> Any:
        here = surroundings(pool)
        worker = spawned(pool)
        started_in[worker] = here
        return worker

    def taking(pool: WorkerPool) -> Any:
        with pool._lock:
            if not pool._idle and not pool._closed:
                for number, (here, worker) in enumerate(kept):
                    if here == surroundings(pool) and worker.process.is_alive():
                        del kept[number]
                        started_in[worker] = here
                        pool._all.add(worker)
                        return worker
        return taken(pool)

    def keeping(pool: WorkerPool) -> None:
        with pool._lock:
            idle = [worker for worker in pool._idle if worker in started_in and worker.process.is_alive()]
            pool._idle.clear()
            pool._all -= set(idle)
        close(pool)
        kept.extend((started_in.pop(worker), worker) for worker in idle)
        end(kept, KEPT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WorkerPool, "_spawned", remembering)
        patch.setattr(WorkerPool, "_taken", taking)
        patch.setattr(WorkerPool, "close", keeping)
        yield


def end(kept: Kept, but: int = 0) -> None:
    """Ends the processes but the last ones."""
    while len(kept) > but:
        kept.pop(0)[1].kill()
