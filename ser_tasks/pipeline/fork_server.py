"""The process that workers are forked from: it has loaded what they need, so that a worker starts in milliseconds, and shares memory.

It runs no thread of torch's and opens no connection. Where there is no such process (not Linux) workers are spawned. It loads nothing here:
a command can start it before it loads anything itself.
"""

import multiprocessing
import os
import sys
from multiprocessing import forkserver
from multiprocessing.context import BaseContext

LOADED = "ser_tasks.pipeline.loaded_by_workers"


def context() -> BaseContext:
    """The way in which workers are started."""
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    of_workers = multiprocessing.get_context("forkserver")
    of_workers.set_forkserver_preload([LOADED])
    return of_workers


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start() -> None:
    """Starts the process, if it is not there yet, and does not wait until it has loaded what it needs. It ends with this one."""
    if context().get_start_method() == "forkserver":
        forkserver.ensure_running()
