"""Progress of a long computation: bars on a terminal, a line every 30 s elsewhere."""

import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

import torch
from rich.console import Console
from rich.progress import Progress, TaskID

from ser_tasks.printable import printable

LINE_EVERY_S = 30.0

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_parallel(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int, progress: Progress, description: str
) -> list[Result]:
    """``function`` of every item, in order, with a progress bar.

    Runs in ``workers`` processes of one thread each, or in this process where ``workers`` or the items are fewer than 2.
    """
    if workers < 2 or len(items) < 2:
        return [function(item) for item in progress.track(items, description=description)]
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        return list(progress.track(pool.map(function, items), total=len(items), description=description))


class TerminalProgress(Progress):
    """rich's Progress on standard error. Where that is no terminal, prints the running tasks and their percentages every 30 s."""

    def __init__(self) -> None:
        terminal = sys.stderr.isatty()
        super().__init__(console=Console(stderr=True), transient=True, disable=not terminal)
        self._next_line = float("inf") if terminal else time.monotonic() + LINE_EVERY_S

    def update(self, task_id: TaskID, **fields: Any) -> None:
        """As Progress.update."""
        super().update(task_id, **fields)
        self._print_line()

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """As Progress.advance, which ``track`` calls."""
        super().advance(task_id, advance)
        self._print_line()

    def _print_line(self) -> None:
        if time.monotonic() < self._next_line:
            return
        self._next_line = time.monotonic() + LINE_EVERY_S
        running = [task for task in self.tasks if task.started and task.completed and not task.finished]
        if running:
            line = "; ".join(f"{task.description} {task.completed / (task.total or 1):.0%}" for task in running)
            print(printable(line), file=sys.stderr, flush=True)
