"""The clock of one run: objectives as they are evaluated, and the reasons to stop a solver."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf

#: Evaluations without progress after which a solver is stopped ...
PATIENCE = 400
#: ... where progress is a decrease of the best objective by more than this share.
PROGRESS = 1e-9


class StopRunError(Exception):
    """Raised inside a solver's objective to end the run; ``reason`` is a word."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Recorder:
    """Record (seconds, objective) whenever the best objective so far improves.

    Parameters
    ----------
    limit : float
        Seconds after which the run ends with "limit".
    most : int, optional
        Evaluations after which it ends with "enough": to warm a solver up.
    clock : callable
        Returns seconds. A run that has one processor to itself is timed by the processor's
        seconds, which other work on the machine hardly changes; with more, by the wall clock.

    Attributes
    ----------
    first : float or None
        The objective at the start, as the solver's own function evaluates it.
    ready_seconds : float
        What ``start`` left out of the clock.
    trace : list of (float, float)
    """

    def __init__(
        self,
        limit: float,
        most: int | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.limit = limit
        self.most = most
        self.clock = clock
        self.first: float | None = None
        self.trace: list[tuple[float, float]] = []
        self.ready_seconds = 0.0
        self._began = self.clock()
        self._count = self._last_progress = 0
        self._reference = inf

    def start(self) -> None:
        """Start the clock anew: what came before was making ready, not solving."""
        self.ready_seconds = self.seconds
        self._began = self.clock()

    @property
    def seconds(self) -> float:
        """Return the time since the start."""
        return self.clock() - self._began

    @property
    def best(self) -> float:
        """Return the lowest objective so far."""
        return self.trace[-1][1] if self.trace else inf

    def record(self, objective: float) -> None:
        """Note an objective that has been evaluated; raise StopRunError if the run is over."""
        seconds = self.seconds
        self._count += 1
        if self.first is None:
            self.first = objective
        # The comparison is false for NaN: an evaluation that failed is no progress.
        if objective < self.best:
            self.trace.append((seconds, objective))
        if objective < self._reference * (1.0 - PROGRESS):
            self._reference, self._last_progress = objective, self._count
        if self.most is not None and self._count >= self.most:
            raise StopRunError("enough")
        if seconds > self.limit:
            raise StopRunError("limit")
        if self._count - self._last_progress >= PATIENCE:
            raise StopRunError("still")
