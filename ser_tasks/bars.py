"""How far a long computation is: bars on a terminal, a line now and then elsewhere."""

import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import Progress, TaskID

LINE_EVERY_S = 30.0


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
