"""Dask: the same fit on any number of workers, whatever becomes of them."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import torch
from distributed import Client, LocalCluster, wait

from sigmoe._base.errors import InputError, SigmoeError
from sigmoe.estimation import FitResult, near_truth_start
from sigmoe.estimation.blocks._distributed import DaskBlocks, local_client
from sigmoe.estimation.blocks._fit import fit_blocks
from sigmoe.moe import Architecture, draw_sample, draw_truth

MODEL = Architecture("sigmoid", "linear", "tanh", 2)
TRUTH = draw_truth(MODEL, 2, seed=1)
START = near_truth_start(TRUTH, 2, scale=0.1, seed=0)
#: Three groups of partitions: two would give the same sum in either order.
N_PARTITIONS = 35


def partition(k: int) -> tuple[np.ndarray, ...]:
    """Return the k-th partition; one of them has no weight at all."""
    X, y = draw_sample(TRUTH, 60 + 5 * k, seed=k)
    weight = np.arange(len(X)) % 3 * (k != 5)
    return X.numpy(), y.numpy(), weight


def chunks() -> Iterator[tuple[np.ndarray, ...]]:
    return (partition(k) for k in range(N_PARTITIONS))


def fit(source: Any, **arguments: Any) -> FitResult:
    return fit_blocks(source, MODEL, 2, **({"start": START, "max_iterations": 3} | arguments))


def assert_identical(a: FitResult, b: FitResult) -> None:
    assert torch.equal(a.measure.coordinates, b.measure.coordinates)
    assert a.history == b.history
    assert a.start_objectives == b.start_objectives


def assert_same_fit(found: FitResult, streamed: FitResult) -> None:
    """Compare with the same rows in one process, whose sums round differently."""
    torch.testing.assert_close(
        found.measure.coordinates, streamed.measure.coordinates, rtol=1e-9, atol=1e-9
    )
    assert found.history == pytest.approx(streamed.history, rel=1e-12)
    assert found.start_objectives == pytest.approx(streamed.start_objectives, rel=1e-12)


@pytest.fixture
def in_process() -> Iterator[Callable[[int], Client]]:
    """Return a function that starts workers which are threads of this process."""
    opened: list[Any] = []

    def start(n_workers: int) -> Client:
        cluster = LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            processes=False,
            dashboard_address="127.0.0.1:0",
        )
        opened.extend([cluster, Client(cluster)])
        return opened[-1]

    yield start
    for one in reversed(opened):
        one.close()


@pytest.fixture(scope="module")
def processes() -> Iterator[Client]:
    with local_client(2) as client:
        yield client


# The same fit


def test_the_fit_does_not_depend_on_the_workers(in_process: Callable[[int], Client]) -> None:
    fits = []
    for n_workers in (1, 4):
        client = in_process(n_workers)
        futures = [client.submit(partition, k) for k in range(N_PARTITIONS)]
        fits.append(fit(DaskBlocks(futures, client)))
    assert_identical(*fits)
    assert_same_fit(fits[0], fit(chunks))


def test_random_starts_see_the_same_rows_as_in_one_process(
    in_process: Callable[[int], Client],
) -> None:
    in_process(2)
    delayed = [dask.delayed(partition)(k) for k in range(N_PARTITIONS)]
    random = {"start": "random", "n_starts": 1, "start_rows": 150, "max_iterations": 2}
    # Without an argument, the current client is used.
    found = fit(DaskBlocks(delayed), **random)
    streamed = fit(chunks, **random)
    assert found.start == streamed.start
    assert_same_fit(found, streamed)


def test_dask_arrays_and_frames_are_fitted(in_process: Callable[[int], Client]) -> None:
    client = in_process(1)
    X, y, weight = (np.concatenate(parts) for parts in zip(*chunks(), strict=True))
    cut = [*range(0, len(X), 1000), len(X)]
    rows = [slice(a, b) for a, b in itertools.pairwise(cut)]
    expected = fit([(X[r], y[r], weight[r]) for r in rows])
    arrays = [da.from_array(array, chunks=1000) for array in (X, y, weight)]
    assert_same_fit(fit(DaskBlocks.from_arrays(*arrays, client=client)), expected)

    table = pd.DataFrame({"w": weight, "b": X[:, 1], "y": y, "a": X[:, 0]})

    class Frame:
        def to_delayed(self) -> list[Any]:
            return [dask.delayed(table[r]) for r in rows]

    source = DaskBlocks.from_frame(Frame(), ["a", "b"], "y", "w", client)
    assert source.n_partitions == len(rows)
    assert_same_fit(fit(source), expected)
    two = Architecture("sigmoid", "linear", "tanh", 2, n_outputs=2)
    start = draw_truth(two, 2, seed=0)
    source = DaskBlocks.from_frame(Frame(), ["a", "b"], ["y", "w"], client=client)
    found = fit_blocks(source, two, 2, start, max_iterations=1)
    both = np.column_stack([y, weight])
    expected = fit_blocks([(X[r], both[r]) for r in rows], two, 2, start, max_iterations=1)
    assert_same_fit(found, expected)


# Workers that die


def kill_a_worker(client: Client) -> None:
    """Kill the worker that holds most, and let the scheduler notice."""
    held = client.has_what()
    pids = client.run(os.getpid)
    os.kill(pids[max(held, key=lambda worker: len(held[worker]))], signal.SIGKILL)


def test_a_worker_that_dies_costs_time_and_not_the_fit(processes: Client) -> None:
    # Other processes know the functions of the package only, not those of this file.
    sizes = [60 + 5 * k for k in range(N_PARTITIONS)]
    futures = [processes.submit(draw_sample, TRUTH, n, seed=n) for n in sizes]
    wait(futures)
    before = set(processes.run(os.getpid).values())

    def kill(iterations: int, _: float) -> None:
        if iterations == 2:
            kill_a_worker(processes)

    expected = fit(DaskBlocks(futures, processes))
    assert_identical(fit(DaskBlocks(futures, processes), callback=kill), expected)
    assert set(processes.run(os.getpid).values()) != before


def test_rows_that_cannot_be_computed_again_end_the_fit(processes: Client) -> None:
    processes.wait_for_workers(2)
    futures = processes.scatter([partition(k) for k in range(6)])

    def kill(iterations: int, _: float) -> None:
        if iterations == 1:
            kill_a_worker(processes)
            while processes.status == "running" and all(f.status == "finished" for f in futures):
                time.sleep(0.01)

    with pytest.raises(SigmoeError) as caught:
        fit(DaskBlocks(futures, processes), callback=kill)
    assert str(caught.value).startswith(
        "Rows of the source are lost: a worker died that held some which Dask cannot compute again"
    )
    assert str(caught.value).endswith("Dask collections rather than client.scatter.")


# What is refused


def test_a_bad_row_is_named_with_its_partition(in_process: Callable[[int], Client]) -> None:
    client = in_process(1)

    def spoilt(k: int) -> tuple[np.ndarray, ...]:
        X, y, weight = partition(k)
        y[17] = np.inf if k == 3 else 0.0
        return X, y, weight

    futures = [client.submit(spoilt, k) for k in range(5)]
    with pytest.raises(InputError) as caught:
        fit(DaskBlocks(futures, client))
    assert str(caught.value) == (
        "y of partition 3 must be finite; got 'inf in row 17, column 0'. "
        "Remove or impute rows with NaN, infinity or null."
    )
    with pytest.raises(InputError, match=r"partition 0 must be a tuple \(X, y\)"):
        fit(DaskBlocks([client.submit(np.zeros, 3)], client))


def test_partitions_must_be_futures_or_delayed(in_process: Callable[[int], Client]) -> None:
    client = in_process(1)
    with pytest.raises(InputError) as caught:
        DaskBlocks([partition(0)], client)
    assert str(caught.value) == (
        "partitions must be futures or delayed; got 'tuple'. "
        "Pass what client.submit or dask.delayed returned."
    )
    with pytest.raises(InputError, match="partitions must be at least one"):
        DaskBlocks([], client)
    X, y = da.zeros((20, 2), chunks=(5, 2)), da.zeros(20, chunks=5)
    with pytest.raises(
        InputError, match=r"X must be cut along the rows only; .*X.rechunk\({1: -1}"
    ):
        DaskBlocks.from_arrays(X.rechunk((5, 1)), y, client=client)
    with pytest.raises(InputError, match="y must be cut into 4 parts, as X; got 2"):
        DaskBlocks.from_arrays(X, y.rechunk(10), client=client)
    with (
        pytest.raises(InputError, match="n_workers must be an integer >= 1; got 0"),
        local_client(0),
    ):
        pass


# Dask itself


def test_workers_keep_the_settings_that_long_fits_need(processes: Client) -> None:
    assert set(processes.nthreads().values()) == {1}
    environment = processes.run(lambda: os.environ.get("MALLOC_TRIM_THRESHOLD_"))
    assert set(environment.values()) == {None}
    blocked = processes.run(lambda: signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))
    assert set(blocked.values()) == {True}
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_dask_is_imported_by_those_who_use_it_only() -> None:
    code = (
        "import sys, sigmoe.estimation.blocks._fit, sigmoe.estimation.blocks._distributed\n"
        "print(sorted({'dask', 'distributed'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
