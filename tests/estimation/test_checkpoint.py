"""A fit that was stopped goes on as if it had not been, and only on its own problem."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sigmoe._base.errors import StoreError
from sigmoe.estimation import Bounds, FitResult, near_truth_start
from sigmoe.estimation.blocks._checkpoint import Beginning, Checkpoint, write_atomically
from sigmoe.estimation.blocks._fit import fit_blocks
from sigmoe.estimation.blocks._sources import ArrayBlocks
from sigmoe.estimation.engine._levenberg_marquardt import State
from sigmoe.estimation.engine._refine import Point
from sigmoe.moe import Architecture, draw_sample, draw_truth

MODEL = Architecture("sigmoid", "full", "tanh", 1)
TRUTH = draw_truth(MODEL, 2, seed=1)
X, Y = draw_sample(TRUTH, 300, seed=1)
START = near_truth_start(TRUTH, 2, scale=0.3, seed=1)


RANDOM = {"start": "random", "n_starts": 2, "start_rows": 100, "seed": 3}


class StoppedError(Exception):
    """Stands for Ctrl-C."""


def fit(x: Tensor = X, y: Tensor = Y, **arguments: Any) -> FitResult:
    arguments = {"start": START, "n_experts": 2, "architecture": MODEL} | arguments
    return fit_blocks(ArrayBlocks(x, y, block_rows=110), **arguments)


@cache
def uninterrupted() -> FitResult:
    return fit()


@cache
def uninterrupted_from_random() -> FitResult:
    return fit(**RANDOM)


def fit_until(iteration: int, **arguments: Any) -> None:
    """Fit, and stop after some iteration."""

    def stop(iterations: int, _: float) -> None:
        if iterations == iteration:
            raise StoppedError

    with pytest.raises(StoppedError):
        fit(callback=stop, **arguments)


def assert_identical(a: FitResult, b: FitResult) -> None:
    assert torch.equal(a.measure.coordinates, b.measure.coordinates)
    assert replace(a, seconds=0.0) == replace(b, seconds=0.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fit.checkpoint"


# Going on


@pytest.mark.parametrize("seconds", [0.0, 1000.0])
@pytest.mark.parametrize("iteration", [1, 2, 5])
def test_a_stopped_fit_ends_as_if_it_had_never_stopped(
    path: Path, iteration: int, seconds: float
) -> None:
    whole = uninterrupted()
    assert whole.n_iterations > 5
    fit_until(iteration, checkpoint=path, checkpoint_seconds=seconds)
    iterations: list[int] = []
    resumed = fit(checkpoint=path, callback=lambda k, _: iterations.append(k))
    assert iterations[0] == iteration + 1
    assert_identical(resumed, whole)


def test_a_fit_may_be_stopped_again_and_again(path: Path) -> None:
    for iteration in range(1, 6):
        fit_until(iteration, checkpoint=path)
    assert_identical(fit(checkpoint=path), uninterrupted())


def test_a_killed_fit_goes_on_from_the_last_writing(path: Path, tmp_path: Path) -> None:
    left = tmp_path / "left"

    def copy(iterations: int, _: float) -> None:
        # What is on the disk at this moment is what a power cut would leave.
        if iterations == 4:
            shutil.copy(path, left)

    whole = fit(checkpoint=path, checkpoint_seconds=0, callback=copy)
    iterations: list[int] = []
    resumed = fit(checkpoint=left, callback=lambda k, _: iterations.append(k))
    assert iterations[0] == 5
    assert_identical(resumed, whole)


@pytest.mark.parametrize(
    ("status", "tolerances"),
    [
        ("gradient", {"gradient_tolerance": 1e-4}),
        ("decrease", {"gradient_tolerance": 0.0, "relative_tolerance": 1e-3}),
    ],
)
def test_a_finished_fit_is_found_again_at_once(
    path: Path, status: str, tolerances: dict[str, float]
) -> None:
    whole = fit(checkpoint=path, **tolerances)
    assert whole.status == status
    iterations: list[int] = []
    again = fit(checkpoint=path, callback=lambda k, _: iterations.append(k), **tolerances)
    assert len(iterations) <= 1
    assert_identical(again, whole)


def test_more_iterations_go_on_where_fewer_ended(path: Path) -> None:
    short = fit(checkpoint=path, max_iterations=3)
    assert short.status == "iterations"
    assert_identical(fit(checkpoint=path, max_iterations=3), short)
    assert_identical(fit(checkpoint=path), uninterrupted())


def test_random_starts_race_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = uninterrupted_from_random()
    fit_until(1, checkpoint=path, **RANDOM)
    monkeypatch.setattr("sigmoe.estimation.blocks._fit.race", None)
    resumed = fit(checkpoint=path, **RANDOM)
    assert_identical(resumed, whole)
    assert len(resumed.start_objectives) == 2
    assert resumed.n_agreed == whole.n_agreed > 0


def test_the_race_is_kept_before_the_first_iteration(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = uninterrupted_from_random()

    def stop(*_: object) -> None:
        raise StoppedError

    with monkeypatch.context() as patched:
        patched.setattr("sigmoe.estimation.blocks._fit.minimise", stop)
        with pytest.raises(StoppedError):
            fit(checkpoint=path, **RANDOM)
    monkeypatch.setattr("sigmoe.estimation.blocks._fit.race", None)
    assert_identical(fit(checkpoint=path, **RANDOM), whole)


# Refusals


def refusal(path: Path, **arguments: Any) -> str:
    with pytest.raises(StoreError) as caught:
        fit(checkpoint=path, **arguments)
    return str(caught.value)


def test_a_checkpoint_of_another_problem_is_refused(path: Path) -> None:
    fit_until(2, checkpoint=path)
    before = path.read_bytes()
    more = near_truth_start(TRUTH, 3, scale=0.1, seed=0)
    text = refusal(path, n_experts=3, start=more)
    assert text == (
        f"checkpoint must be a file that this fit can use; got {str(path)!r}, which is of another "
        "problem: n_experts is 2, not 3. Choose another path, or remove the file to begin again."
    )
    softmax = Architecture("softmax", "full", "tanh", 1)
    other = draw_truth(softmax, 2, seed=0)
    assert "architecture is" in refusal(path, architecture=softmax, start=other)
    assert "bounds is" in refusal(path, bounds=Bounds(c=(-19, 19)))
    assert "ridge is 0.0, not 0.1" in refusal(path, ridge=0.1)
    assert "start is" in refusal(path, start=TRUTH)
    assert "start is" in refusal(path, start="random", n_starts=1)
    assert "number of rows is 300, not 299" in refusal(path, x=X[1:], y=Y[1:])
    for row in (0, -1):
        changed = Y.clone()
        changed[row] += 1e-6
        assert "hash of the first and last rows is" in refusal(path, y=changed)
    # A refusal leaves the file alone.
    assert path.read_bytes() == before


def test_other_random_starts_are_another_problem(path: Path) -> None:
    fit_until(1, checkpoint=path, **RANDOM)
    for change in (
        {"seed": 2},
        {"seed": np.random.SeedSequence(0)},
        {"n_starts": 3},
        {"start_rows": 99},
    ):
        text = refusal(path, **(RANDOM | change))
        assert "start is 'random, 2 starts on 100 rows, seed 3', not" in text


def test_rows_that_changed_in_the_middle_are_noticed(path: Path) -> None:
    fit_until(2, checkpoint=path)
    changed = Y.clone()
    changed[150] += 1e-3
    assert "which holds an objective that these rows do not have: they have changed" in refusal(
        path, y=changed
    )


@pytest.mark.parametrize("content", [b"", b"no checkpoint at all"])
def test_other_files_are_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert "which could not be read (" in refusal(path)
    assert path.read_bytes() == content


def test_a_saved_measure_is_no_checkpoint(path: Path) -> None:
    TRUTH.save(path)
    assert "which is no checkpoint" in refusal(path)


def test_a_folder_that_is_missing_is_said_so_before_the_fit(tmp_path: Path) -> None:
    text = refusal(tmp_path / "missing" / "file")
    assert "which could not be written (No such file or directory)" in text
    assert "which could not be read" in refusal(tmp_path)


# Writing

THERE = torch.ones(1, 2, dtype=torch.float64)
# Both parts of it are one tensor, as for a start that is given.
BEGINNING = Beginning(THERE, THERE, 0.1 + 0.2, (1.0, float("inf")))


def state(value: float) -> State:
    theta = torch.tensor([value, 1 / 3], dtype=torch.float64)
    # A view of something larger, as gradients of blocks are.
    gradient = torch.arange(9, dtype=torch.float64)[3:5] / 7
    return State(Point(theta, value / 3, gradient), theta.square(), 1e-3 / 3, 1, (0.1, 0.2))


def test_what_is_written_is_read_to_the_last_bit(path: Path) -> None:
    store = Checkpoint(path, {"n": 1}, 0.0)
    assert store.load() is None
    for expected in (None, state(0.7)):
        store.keep(BEGINNING, expected)
        beginning, found = Checkpoint(path, {"n": 1}, 0.0).load()
        assert torch.equal(beginning.coordinates, BEGINNING.coordinates)
        assert torch.equal(beginning.reached, BEGINNING.reached)
        assert beginning.objective == BEGINNING.objective
        assert beginning.objectives == BEGINNING.objectives
    assert torch.equal(found.point.theta, expected.point.theta)
    assert torch.equal(found.point.gradient, expected.point.gradient)
    assert torch.equal(found.scale, expected.scale)
    for name in ("damping", "small", "history"):
        assert getattr(found, name) == getattr(expected, name)
    assert found.point.objective == expected.point.objective


def test_it_is_written_at_most_once_in_a_while(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, written = 0.0, []
    monkeypatch.setattr("sigmoe.estimation.blocks._checkpoint.time.monotonic", lambda: now)
    monkeypatch.setattr(
        "sigmoe.estimation.blocks._checkpoint.write_atomically", lambda *_: written.append(now)
    )
    store = Checkpoint(path, {}, 60.0)
    with store.kept_at_the_end():
        for now in (0.0, 1.0, 59.0, 61.0, 62.0, 130.0, 131.0):
            store.keep(BEGINNING, state(now))
        assert written == [0.0, 61.0, 130.0]
    # The latest state is written at the end, and only if it is not yet.
    assert written == [0.0, 61.0, 130.0, 131.0]
    with store.kept_at_the_end():
        pass
    assert len(written) == 4


def test_a_failed_writing_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomically(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match=r"could not be written \(No space left on device\)"):
        Checkpoint(path, {}, 0.0).keep(BEGINNING, None)
    assert path.read_bytes() == b"old"
    assert [file.name for file in path.parent.iterdir()] == [path.name]
