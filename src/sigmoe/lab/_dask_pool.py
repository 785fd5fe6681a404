"""Worker processes through Dask: a local cluster, or a scheduler that somebody else runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from distributed import Client, as_completed

from sigmoe._base.errors import invalid
from sigmoe.estimation import local_client
from sigmoe.lab._engine import Row, Work, do_task

#: Seconds to wait for a scheduler that somebody else runs.
_CONNECT_SECONDS = 20


class DaskPool:
    """Tasks on the workers of a Dask client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._finished = as_completed()

    @property
    def workers(self) -> int:
        """Return the number of threads of all workers, at least 1; workers may come and go."""
        threads: dict[str, int] = self._client.nthreads()
        return max(1, sum(threads.values()))

    @property
    def window(self) -> int:
        """Return two tasks a worker: the scheduler holds few, and no worker runs dry."""
        return 2 * self.workers

    def submit(self, work: Work, task: Any, required: Mapping[str, Row]) -> None:
        """Send the task to the scheduler under its own hash."""
        future = self._client.submit(
            do_task, work, task, dict(required), key=task.task_id, pure=False
        )
        self._finished.add(future)

    def next_finished(self) -> tuple[str, Row | None, str]:
        """Wait for a task; one whose workers died again and again has no row."""
        future = next(self._finished)
        if future.status == "finished":
            return future.key, future.result(), ""
        error = future.exception()
        return future.key, None, f"{type(error).__name__}: {' '.join(str(error).split())}"


@contextlib.contextmanager
def local_pool(workers: int) -> Iterator[DaskPool]:
    """Start that many worker processes on this machine, and stop them at the end."""
    with local_client(workers) as client:
        yield DaskPool(client)


@contextlib.contextmanager
def remote_pool(address: str) -> Iterator[DaskPool]:
    """Use the workers of a running Dask scheduler.

    Raises
    ------
    InputError
        If no scheduler answers at that address.
    """
    try:
        client = Client(address, timeout=_CONNECT_SECONDS)
    except (OSError, ValueError, TimeoutError):
        remedy = "Start one with 'dask scheduler', or leave --scheduler out."
        raise invalid(
            "scheduler", "the address of a running Dask scheduler", address, remedy
        ) from None
    with client:
        yield DaskPool(client)
