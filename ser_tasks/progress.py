"""How far a long computation is: bars on a terminal, a line now and then elsewhere."""

import multiprocessing
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress, TaskID

LINE_EVERY_S = 30.0


def through_workers(function: Callable[[Any], Any], parts: list, workers: int, progress: Progress, description: str) -> list:
    """``function`` of every part, in order, under a bar: in so many processes of one thread each, or here where one is enough."""
    if workers < 2 or len(parts) < 2:
        return [function(part) for part in progress.track(parts, description=description)]
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        return list(progress.track(pool.map(function, parts), total=len(parts), description=description))


class Bars(Progress):
    """rich's Progress on standard error. Where that is no terminal, every 30 s a line says what is under way."""

    def __init__(self) -> None:
        terminal = sys.stderr.isatty()
        super().__init__(console=Console(stderr=True), transient=True, disable=not terminal)
        self._next_line = float("inf") if terminal else time.monotonic() + LINE_EVERY_S

    def update(self, task_id: TaskID, **what: Any) -> None:
        """As Progress.update."""
        super().update(task_id, **what)
        self._say()

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """As Progress.advance, which ``track`` calls."""
        super().advance(task_id, advance)
        self._say()

    def _say(self) -> None:
        if time.monotonic() < self._next_line:
            return
        self._next_line = time.monotonic() + LINE_EVERY_S
        under_way = [task for task in self.tasks if task.started and task.completed and not task.finished]
        if under_way:
            told = "; ".join(f"{task.description} {task.completed / (task.total or 1):.0%}" for task in under_way)
            print(told, file=sys.stderr, flush=True)
