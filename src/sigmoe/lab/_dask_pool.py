"""Worker processes through Dask: a local cluster, or a scheduler that somebody else runs."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing.resource_tracker
import signal
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import dask
from distributed import Client, LocalCluster, as_completed

from sigmoe._base.errors import invalid
from sigmoe.lab._engine import Row, Work, do_task

_SETTINGS = {
    # One task a worker at a time: the death of a worker then costs the task that it ran only.
    "distributed.scheduler.worker-saturation": 1.0,
    # Dask lets workers give memory back at once. Iterations that ask for the same blocks again and
    # again then spend half their time on page faults: 1 000 000 of them a fit, against 5000.
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
    # Dask strikes off a worker that has not come back after 15 seconds. On a busy machine one that
    # died takes longer to import PyTorch again, and a run could be left waiting without workers.
    "distributed.deploy.lost-worker-timeout": "1 hour",
}
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
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="sigmoe-"))
        stack.enter_context(dask.config.set(_SETTINGS))
        with _interrupts_held_back():
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                # Any free port, on this machine only: with None, Dask would want port 8787 of every
                # network, which a second run on this machine could not have.
                dashboard_address="127.0.0.1:0",
                memory_limit=None,
                silence_logs=logging.CRITICAL,
                local_directory=folder,
            )
            stack.enter_context(cluster)
            client = stack.enter_context(Client(cluster))
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


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Hold Ctrl-C back, so that processes and threads started meanwhile never see it.

    A terminal sends Ctrl-C to the whole group. Workers must not die of it, each with a traceback:
    the coordinator hears it, and stops them in order. Children inherit the signals that are held
    back; the tracker of resources lets them through again when it starts, so it starts first.
    """
    multiprocessing.resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
