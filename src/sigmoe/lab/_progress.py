"""Progress of a run: a bar on a terminal, a line now and then elsewhere.

The time left is weighed by cost: a task of a million samples counts more than one of a thousand.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from sigmoe.lab._engine import Row

#: Seconds between two lines where there is no terminal.
_QUIET_SECONDS = 15.0


class Clock:
    """Estimates the time left from the costs and the times of finished tasks.

    Parameters
    ----------
    total : float
        Cost of all tasks that are to be done.
    workers : int
        How many tasks run at the same time.
    """

    def __init__(self, total: float, workers: int) -> None:
        self.left = total
        self._workers = workers
        self._cost = 0.0
        self._seconds = 0.0

    def add(self, cost: float, seconds: float) -> None:
        """Count a finished task."""
        self.left = max(0.0, self.left - cost)
        self._cost += cost
        self._seconds += seconds

    def seconds_left(self) -> float | None:
        """Return the estimate, or None before the first task."""
        if self._cost <= 0:
            return None
        return self.left * self._seconds / self._cost / self._workers


def in_words(seconds: float | None) -> str:
    """Return a duration as people say it.

    Examples
    --------
    >>> in_words(8), in_words(200), in_words(7000), in_words(None)
    ('10 s left', '3 min left', '1 h 57 min left', 'time left unknown')
    """
    if seconds is None:
        return "time left unknown"
    if seconds < 90:
        return f"{max(5, 5 * round(seconds / 5))} s left"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min left"
    return f"{minutes // 60} h {minutes % 60} min left"


class RunProgress:
    """Shows how far a run is; a context manager, called with each task and row that is done."""

    def __init__(
        self,
        console: Console,
        tasks: Mapping[str, Any],
        done: set[str],
        cost: Callable[[Any], float],
        workers: int,
    ) -> None:
        self._console = console
        self._cost = cost
        self._total = len(tasks)
        self._finished = len(done & set(tasks))
        self._failed = 0
        to_do = sum(cost(task) for name, task in tasks.items() if name not in done)
        already = sum(cost(task) for name, task in tasks.items() if name in done)
        self._clock = Clock(to_do, workers)
        self._spoken = time.monotonic()
        self._bar = Progress(
            TextColumn("[bold]fits"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.description}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._line = self._bar.add_task("", total=to_do + already)
        self._bar.advance(self._line, already)
        self._show()

    def __enter__(self) -> RunProgress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def __call__(self, task: Any, row: Row) -> None:
        """Count a task that is done."""
        cost = self._cost(task)
        self._finished += 1
        self._failed += bool(row["failed"])
        self._clock.add(cost, float(row["seconds"] or 0.0))
        self._bar.advance(self._line, cost)
        self._show()
        if not self._console.is_terminal and time.monotonic() > self._spoken + _QUIET_SECONDS:
            self._spoken = time.monotonic()
            self._console.print(self._words())

    def _show(self) -> None:
        self._bar.update(self._line, description=self._words())

    def _words(self) -> str:
        failed = f", {self._failed} failed" if self._failed else ""
        left = in_words(self._clock.seconds_left())
        return f"{self._finished} of {self._total} tasks{failed}, {left}"
