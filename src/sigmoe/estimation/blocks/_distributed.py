"""Blocks of rows on the workers of a Dask cluster: sums travel, rows stay where they are."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing.resource_tracker
import signal
import tempfile
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sigmoe._base.constraints import Interval, check
from sigmoe._base.errors import SigmoeError, invalid
from sigmoe.estimation._sample import Sample
from sigmoe.estimation.blocks._data import (
    Array,
    Model,
    Summary,
    Tick,
    rows_at,
    sample_of_tables,
    summarise,
    with_rows,
)
from sigmoe.estimation.blocks._sources import block_of, checked_sample
from sigmoe.estimation.blocks._sums import GROUP, Kind, SummedProblem, add_up, block_sums
from sigmoe.estimation.engine._rows import Rows
from sigmoe.moe import Architecture

# Dask takes a while to import, and whoever fits in memory never needs it.
if TYPE_CHECKING:
    from distributed import Client, Future

_SETTINGS = {
    # One task a worker at a time: the death of a worker then costs the task that it ran only.
    "distributed.scheduler.worker-saturation": 1.0,
    # Dask lets workers give memory back at once; passes that ask for the same blocks again and
    # again would then spend half their time on page faults.
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
    # Dask strikes off a worker that has not come back after 15 seconds. On a busy machine one that
    # died takes longer to import PyTorch again, and a fit could be left waiting without workers.
    "distributed.deploy.lost-worker-timeout": "1 hour",
}


class DaskBlocks:
    """Partitions of rows that a Dask cluster holds.

    In every pass each partition is visited where it lies, and only its sums travel. They are added
    in a fixed order, so that the fit is the same, to the last bit, for any number of workers.

    Parameters
    ----------
    partitions : sequence of Future or Delayed
        Each stands for a tuple (X, y) or (X, y, weight) of arrays, with 1e5 rows or more: a visit
        costs a few milliseconds beside its computations.
    client : Client, optional
        Of the cluster; default the current one.

    Raises
    ------
    InputError
        For no partitions, or objects that are neither futures nor delayed.

    Notes
    -----
    A worker that dies costs time: Dask computes its partitions again on another one. That needs
    partitions that came from computations (``client.submit``, delayed functions, Dask
    collections); what was put on the workers with ``client.scatter`` is lost with them.

    Examples
    --------
    >>> from distributed import Client
    >>> with Client(processes=False, n_workers=1, dashboard_address="127.0.0.1:0") as client:
    ...     partition = client.submit(lambda: ([[0.0], [1.0]], [1.0, 3.0]))
    ...     DaskBlocks([partition], client).n_partitions
    1
    """

    #: Only a pass tells.
    n_rows = None

    def __init__(self, partitions: Sequence[Any], client: Client | None = None) -> None:
        from dask.delayed import Delayed
        from distributed import Future, default_client

        self._client = default_client() if client is None else client
        partitions = list(partitions)
        if not partitions:
            raise invalid("partitions", "at least one", partitions, "Pass a list of futures.")
        for one in partitions:
            if not isinstance(one, (Delayed, Future)):
                remedy = "Pass what client.submit or dask.delayed returned."
                raise invalid("partitions", "futures or delayed", type(one).__name__, remedy)
        self._futures: list[Future[Any]] = [
            self._client.compute(one) if isinstance(one, Delayed) else one for one in partitions
        ]

    @classmethod
    def from_arrays(
        cls, X: Any, y: Any, weight: Any = None, client: Client | None = None
    ) -> DaskBlocks:
        """Return the blocks of Dask arrays that are cut along the rows only, all alike.

        Parameters
        ----------
        X : dask.array.Array of shape (n, d)
        y : dask.array.Array of shape (n,) or (n, m)
        weight : dask.array.Array of shape (n,), optional
        client : Client, optional
        """
        from dask.delayed import delayed

        named = {"X": X, "y": y} | ({} if weight is None else {"weight": weight})
        for name, array in named.items():
            if any(count != 1 for count in array.numblocks[1:]):
                remedy = f"Write {name}.rechunk({{1: -1}})."
                raise invalid(name, "cut along the rows only", array.numblocks, remedy)
            if array.numblocks[0] != X.numblocks[0]:
                rule = f"cut into {X.numblocks[0]} parts, as X"
                remedy = f"Give {name} the row chunks of X with rechunk."
                raise invalid(name, rule, array.numblocks[0], remedy)
        columns = [array.to_delayed().ravel().tolist() for array in named.values()]
        together = delayed(_together, pure=True)
        return cls([together(*parts) for parts in zip(*columns, strict=True)], client)

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        features: Sequence[str],
        response: str | Sequence[str],
        weight: str | None = None,
        client: Client | None = None,
    ) -> DaskBlocks:
        """Return the blocks of a Dask data frame, or of anything with ``to_delayed``.

        Parameters
        ----------
        frame : dask.dataframe.DataFrame
            Its partitions give columns by name, ``partition[names]``, that become arrays.
        features, response, weight
            Names of columns, as in ``ParquetBlocks``.
        client : Client, optional
        """
        from dask.delayed import delayed

        pick = delayed(_columns, pure=True)
        response = response if isinstance(response, str) else list(response)
        return cls(
            [pick(part, list(features), response, weight) for part in frame.to_delayed()], client
        )

    @property
    def n_partitions(self) -> int:
        """Return the number of partitions."""
        return len(self._futures)

    def total(self, kind: Kind, theta: Array, model: Model, tick: Tick) -> Array:
        """Return the sums over all partitions."""
        parts = self._each(_sums, kind=kind, theta=theta, model=model)
        groups = [
            self._client.submit(add_up, parts[k : k + GROUP], pure=False)
            for k in range(0, len(parts), GROUP)
        ]
        del parts
        return add_up(_arriving(groups, tick))

    def survey(self, model: Model, tick: Tick) -> Summary:
        """Check all rows, and return what a fit must know beforehand."""
        total: Summary | None = None
        for future in self._each(_summary, architecture=model.architecture):
            summary: Summary | None = _result(future)
            if summary is not None:
                total = summary if total is None else total + summary
                tick(summary.rows)
        return with_rows(total)

    def rows(self, positions: Array, model: Model, tick: Tick) -> Sample:
        """Return the rows at some positions."""
        architecture = model.architecture
        counts = [_result(future) for future in self._each(_count, architecture=architecture)]
        firsts = np.cumsum([0, *counts])
        cuts = np.searchsorted(positions, firsts)
        fetched = [
            self._client.submit(
                _rows, future, k, architecture, positions[low:high] - firsts[k], pure=False
            )
            for k, (future, (low, high)) in enumerate(
                zip(self._futures, pairwise(cuts), strict=True)
            )
            if high > low
        ]
        tables: list[Array] = []
        for future in fetched:
            tables.append(_result(future))
            tick(len(tables[-1]))
        return sample_of_tables(tables, architecture)

    def problem(self, model: Model, summary: Summary, tick: Tick) -> SummedProblem:
        """Return the least squares problem of all rows."""
        return SummedProblem(self, model, summary.rows, tick)

    def _each(self, function: Any, **arguments: Any) -> list[Future[Any]]:
        """Call a function of a partition and its position for each one, where it lies."""
        positions = range(len(self._futures))
        futures: list[Future[Any]] = self._client.map(
            function, self._futures, positions, pure=False, **arguments
        )
        return futures


def _sums(partition: Any, position: int, kind: Kind, theta: Array, model: Model) -> Array:
    with _one_thread():
        return block_sums(kind, theta, block_of(partition, f"partition {position}"), model)


def _summary(partition: Any, position: int, architecture: Architecture) -> Summary | None:
    with _one_thread():
        sample = checked_sample(block_of(partition, f"partition {position}"), architecture)
        if sample is None:
            return None
        return summarise(Rows.of(sample.X, sample.y, sample.weight))


def _count(partition: Any, position: int, architecture: Architecture) -> int:
    sample = checked_sample(block_of(partition, f"partition {position}"), architecture)
    return 0 if sample is None else len(sample)


def _rows(partition: Any, position: int, architecture: Architecture, index: Array) -> Array:
    sample = checked_sample(block_of(partition, f"partition {position}"), architecture)
    # Rows are asked for only where some were counted.
    assert sample is not None
    return rows_at(sample, index)


def _together(*arrays: Any) -> tuple[Any, ...]:
    return arrays


def _columns(
    frame: Any, features: list[str], response: str | list[str], weight: str | None
) -> tuple[Any, ...]:
    X, y = np.asarray(frame[features]), np.asarray(frame[response])
    return (X, y) if weight is None else (X, y, np.asarray(frame[weight]))


def _arriving(futures: list[Future[Any]], tick: Tick) -> Iterator[Array]:
    for future in futures:
        sums: Array = _result(future)
        tick(int(sums[0]))
        yield sums


def _result(future: Future[Any]) -> Any:
    """Return what a worker computed; its errors about bad rows come through as they are."""
    from concurrent.futures import CancelledError

    from distributed.scheduler import KilledWorker

    try:
        return future.result()
    except (CancelledError, KilledWorker) as error:
        reason = " ".join(str(error).split())
        raise SigmoeError(
            f"Rows of the source are lost: a worker died that held some which Dask cannot compute "
            f"again, or workers died again and again ({reason}). Make the partitions with "
            "client.submit, delayed functions or Dask collections rather than client.scatter."
        ) from None


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let PyTorch, which does all the work of a pass, add sums in one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def local_client(n_workers: int) -> Iterator[Client]:
    """Start worker processes on this machine, and stop them at the end.

    The cluster has the settings that long fits need: one thread a worker, workers that keep their
    memory between passes, patience with one that died, and no worker that hears Ctrl-C.

    Parameters
    ----------
    n_workers : int

    Examples
    --------
    >>> with local_client(1) as client:
    ...     client.submit(sum, [1, 2]).result()
    3
    """
    import dask
    from distributed import Client, LocalCluster

    check("n_workers", n_workers, Interval("integer", 1), "Ask for at least one worker.")
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="sigmoe-"))
        stack.enter_context(dask.config.set(_SETTINGS))
        with _interrupts_held_back():
            cluster = LocalCluster(
                n_workers=n_workers,
                threads_per_worker=1,
                processes=True,
                # Any free port, on this machine only.
                dashboard_address="127.0.0.1:0",
                memory_limit=None,
                silence_logs=logging.CRITICAL,
                local_directory=folder,
            )
            stack.enter_context(cluster)
            client = stack.enter_context(Client(cluster))
        yield client


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Hold Ctrl-C back, so that processes and threads started meanwhile never see it.

    A terminal sends Ctrl-C to the whole group. Workers must not die of it: the coordinator hears
    it and stops them in order. The tracker of resources lets signals through when it starts, so it
    starts first.
    """
    multiprocessing.resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
