"""Running tasks: in this process, on local worker processes, or on any Dask scheduler.

The coordinator, this process, alone decides what runs next and alone writes results. Workers get a
task and give back a row. So a worker that dies costs the time of its task and nothing else, and the
numbers do not depend on how many workers there are: each task runs on one thread and takes its
random streams from its own identity.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch

# threadpoolctl ships no types.
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # no stubs

from sigmoe.lab._store import Store

Row = dict[str, Any]


class Task(Protocol):
    """What the engine must know of a task."""

    @property
    def task_id(self) -> str:
        """Return the hash that names the task."""

    @property
    def requires(self) -> tuple[str, ...]:
        """Return the hashes of the tasks whose rows this one needs."""


@dataclass(frozen=True)
class Work:
    """How tasks are done; the functions must be importable by workers.

    Attributes
    ----------
    execute : callable
        ``execute(task, required)`` returns the task's row; ``required`` maps hashes to rows.
    failure : callable
        ``failure(task, text)`` returns the row of a task that could not be done.
    cost : callable
        ``cost(task)`` estimates the seconds that the task takes.
    """

    execute: Callable[[Any, Mapping[str, Row]], Row]
    failure: Callable[[Any, str], Row]
    cost: Callable[[Any], float]


class Pool(Protocol):
    """Where tasks run."""

    @property
    def workers(self) -> int:
        """Return the number of tasks that run at the same time."""

    @property
    def window(self) -> int:
        """Return the number of tasks that may be submitted and not finished."""

    def submit(self, work: Work, task: Any, required: Mapping[str, Row]) -> None:
        """Start a task, or let it wait for a worker."""

    def next_finished(self) -> tuple[str, Row | None, str]:
        """Wait for a task; return its hash, its row, or None and why there is no row."""


def run_tasks(
    tasks: Mapping[str, Any],
    work: Work,
    store: Store,
    pool: Pool,
    on_done: Callable[[Any, Row], None],
) -> None:
    """Do the tasks that the store does not have yet, costly ones first.

    Parameters
    ----------
    tasks : mapping of str to task
        By hash. Tasks that others require must be among them.
    work : Work
        How they are done.
    store : Store
        Gets each row as soon as it is there.
    pool : Pool
        Where they run.
    on_done : callable
        Called with each task and row after it was stored.
    """
    finished = store.done()
    waiting = [task for name, task in tasks.items() if name not in finished]
    needed = {name for task in waiting for name in task.requires}
    # What others wait for comes first, then what takes longest, so that no long task is left over.
    waiting.sort(key=lambda t: (t.task_id not in needed, -work.cost(t), t.task_id))
    rows: dict[str, Row] = {row["task_id"]: row for row in store.read(needed).to_dicts()}
    running: dict[str, Any] = {}
    suspects: list[Any] = []
    second_chance: set[str] = set()
    while waiting or running or suspects:
        batch = _take_ready(waiting, rows, pool.window - len(running))
        if not batch and not running:
            # The workers of a suspect died, perhaps of a task beside it; now it runs alone.
            batch = [suspects.pop(0)]
            second_chance.add(batch[0].task_id)
        for task in batch:
            running[task.task_id] = task
            pool.submit(work, task, {name: rows[name] for name in task.requires})
        name, row, reason = pool.next_finished()
        task = running.pop(name)
        if row is None and name not in second_chance:
            suspects.append(task)
            continue
        if row is None:
            row = work.failure(task, reason)
        store.write(row)
        if name in needed:
            rows[name] = row
        on_done(task, row)


def _take_ready(waiting: list[Any], rows: Mapping[str, Row], free: int) -> list[Any]:
    """Remove and return the first tasks whose requirements are met, at most `free` of them."""
    ready: list[Any] = []
    for task in waiting:
        if len(ready) >= free:
            break
        if all(name in rows for name in task.requires):
            ready.append(task)
    for task in ready:
        waiting.remove(task)
    return ready


def do_task(work: Work, task: Any, required: Mapping[str, Row]) -> Row:
    """Do one task on one thread; whatever it raises becomes the row of a failed task."""
    with one_thread():
        try:
            return work.execute(task, required)
        except Exception as error:
            text = " ".join(str(error).split())
            return work.failure(task, f"{type(error).__name__}: {text}")


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let numerical libraries use one thread, so that sums are added in one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(before)


class SerialPool:
    """Runs each task at once in this process; errors are easy to follow with a debugger."""

    workers = 1
    window = 1

    def __init__(self) -> None:
        self._queue: list[tuple[Work, Any, Mapping[str, Row]]] = []

    def submit(self, work: Work, task: Any, required: Mapping[str, Row]) -> None:
        """Keep the task until somebody waits for it."""
        self._queue.append((work, task, required))

    def next_finished(self) -> tuple[str, Row | None, str]:
        """Do the task that waits longest."""
        work, task, required = self._queue.pop(0)
        return task.task_id, do_task(work, task, required), ""
