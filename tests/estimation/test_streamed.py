"""Block by block the same problem as in memory, and the same fit, to the last bit."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from torch import Tensor

from sigmoe._base.errors import InputError, SigmoeWarning
from sigmoe.estimation import Bounds, FitResult, fit_least_squares, near_truth_start
from sigmoe.estimation._sample import Sample
from sigmoe.estimation.blocks import _streamed
from sigmoe.estimation.blocks._data import Model, Summary, drawn_rows, summarise
from sigmoe.estimation.blocks._fit import CONSTRAINTS, fit_blocks
from sigmoe.estimation.blocks._sources import ArrayBlocks, ChunkBlocks, ParquetBlocks
from sigmoe.estimation.blocks._streamed import Streamed
from sigmoe.estimation.engine import _chunks, _rows
from sigmoe.estimation.engine._least_squares import LeastSquares
from sigmoe.estimation.engine._rows import Rows, recut
from sigmoe.moe import Architecture, MixingMeasure, draw_sample, draw_truth

MODELS = [
    pytest.param(Architecture("sigmoid", "full", "tanh", 2), id="sigmoid-full-tanh"),
    pytest.param(Architecture("softmax", "linear", "relu", 2), id="softmax-linear-relu"),
    pytest.param(
        Architecture("sigmoid", "partial", "scaled-gelu", 2, n_outputs=2), id="two-columns"
    ),
]
SMALL = Architecture("sigmoid", "linear", "tanh", 1)


def nothing(_: int) -> None:
    pass


def problem(
    architecture: Architecture, n: int = 150, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor, MixingMeasure]:
    """Return X, y, weights of which some are zero, and a start."""
    truth = draw_truth(architecture, 2, seed=seed)
    X, y = draw_sample(truth, n, seed=seed)
    weight = torch.from_numpy(np.random.default_rng(seed).integers(0, 4, n)).double()
    return X, y, weight, near_truth_start(truth, 2, scale=0.1, seed=seed)


def summary_of(blocks: ArrayBlocks, architecture: Architecture) -> Summary:
    return Streamed(blocks).survey(Model(architecture, 2), nothing)


def streamed_problem(blocks: ArrayBlocks, architecture: Architecture) -> LeastSquares:
    summary = summary_of(blocks, architecture)
    return Streamed(blocks).problem(Model(architecture, 2), summary, nothing)


def assert_identical(found: FitResult, expected: FitResult) -> None:
    assert torch.equal(found.measure.coordinates, expected.measure.coordinates)
    assert replace(found, seconds=0.0) == replace(expected, seconds=0.0)


@pytest.fixture
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut few rows into many chunks of either kind, none of which ends with a block."""
    monkeypatch.setattr(_chunks, "_LIGHT_MOST", 29)
    monkeypatch.setattr(_chunks, "_MOST_NUMBERS", 1)
    for module in (_rows, _streamed):
        monkeypatch.setattr(module, "PIECE", 31)


# The problem


@given(lengths=st.lists(st.integers(1, 12)), length=st.integers(1, 9), data=st.data())
def test_parts_are_cut_anew(lengths: list[int], length: int, data: st.DataObject) -> None:
    n = sum(lengths)
    X, y = torch.arange(2.0 * n).double().view(n, 2), torch.arange(1.0 * n).double()
    weighted = [data.draw(st.booleans()) for _ in lengths]
    parts, ends = [], np.cumsum([0, *lengths])
    for k, with_weight in enumerate(weighted):
        rows = slice(ends[k], ends[k + 1])
        parts.append(Rows.of(X[rows], y[rows], y[rows] + 2 if with_weight else None))
    chunks = list(recut(iter(parts), length))
    assert [len(chunk) for chunk in chunks] == [min(length, n - k) for k in range(0, n, length)]
    if n > 0:
        assert torch.equal(torch.cat([chunk.inputs for chunk in chunks], 1), X.T)
        assert torch.equal(torch.cat([chunk.responses for chunk in chunks], 1), y.unsqueeze(0))
    # A row without a weight counts 1.
    counts = np.repeat(np.array(weighted, dtype=bool), lengths)
    found = [np.ones(len(c)) if c.weight is None else c.weight.numpy() for c in chunks]
    assert np.array_equal(np.concatenate([[], *found]), np.where(counts, y + 2, 1.0))


@pytest.mark.usefixtures("short_chunks")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("block_rows", [2, 7, 40, 150])
@pytest.mark.parametrize("architecture", MODELS)
def test_passes_are_those_in_memory(
    architecture: Architecture, block_rows: int, weighted: bool
) -> None:
    X, y, weight, start = problem(architecture)
    sample_weight = weight / 3 if weighted else None
    # With two rows a block, some blocks have no weight at all.
    blocks = ArrayBlocks(X, y, sample_weight, block_rows=block_rows)
    streamed = streamed_problem(blocks, architecture)
    sample = Sample.checked(X, y, architecture, sample_weight)
    memory = sample.problem(architecture, 2)
    assert isinstance(memory, LeastSquares)
    assert memory.light_chunk < 30
    theta = start.coordinates
    assert streamed.objective(theta) == memory.objective(theta)
    found, expected = streamed.gradient(theta), memory.gradient(theta)
    assert found[0] == expected[0]
    assert torch.equal(found[1], expected[1])
    assert torch.equal(streamed.matrix(theta), memory.matrix(theta))
    assert streamed.bend(theta, theta.flatten()) is None
    summary = summary_of(blocks, architecture)
    assert summary.weight == sample.total_weight
    assert summary.response_scale == sample.response_scale


@pytest.mark.parametrize("weighted", [False, True])
def test_a_ridge_penalty_is_that_of_the_fit_in_memory(weighted: bool) -> None:
    architecture = Architecture("sigmoid", "linear", "tanh", 1)
    X, y, weight, start = problem(architecture)
    sample_weight = weight if weighted else None
    expected = fit_least_squares(
        X, y, architecture, 2, start, ridge=0.01, sample_weight=sample_weight
    )
    plain = fit_least_squares(X, y, architecture, 2, start, sample_weight=sample_weight)
    blocks = ArrayBlocks(X, y, sample_weight, block_rows=40)
    found = fit_blocks(blocks, architecture, 2, start, ridge=0.01)
    assert_identical(found, expected)
    assert found.objective > plain.objective * 1.001
    raced = fit_blocks(blocks, architecture, 2, n_starts=2, ridge=0.01)
    assert raced.objective < 1.1 * expected.objective


def test_blocks_are_computed_on_the_device_that_was_asked_for() -> None:
    architecture = Architecture("sigmoid", "linear", "tanh", 1)
    X, y, _, start = problem(architecture)
    chunks = [(X[:70], y[:70]), (X[70:], y[70:])]
    found = fit_blocks(chunks, architecture, 2, start, device="cpu")
    assert found.measure == fit_blocks(chunks, architecture, 2, start).measure
    with pytest.raises(InputError, match="device must be a device that PyTorch can use here"):
        fit_blocks(chunks, architecture, 2, start, device="nothing")


def test_rows_that_change_between_passes_are_refused() -> None:
    X, y, _, start = problem(SMALL)
    length = iter([150, 149])

    def chunks() -> Iterator[tuple[Tensor, Tensor]]:
        n = next(length)
        yield X[:n], y[:n]

    with pytest.raises(InputError) as caught:
        fit_blocks(chunks, SMALL, 2, start)
    assert str(caught.value) == (
        "source must be the same 150 rows in every pass; got 149. Leave the data as they are "
        "during a fit; a function must return a fresh iterator at every call."
    )


def test_a_function_that_returns_a_spent_iterator_is_refused() -> None:
    X, y, _, start = problem(SMALL)
    spent = iter([(X, y)])
    with pytest.raises(InputError, match="the same 150 rows in every pass; got 0"):
        fit_blocks(lambda: spent, SMALL, 2, start)
    with pytest.raises(InputError, match="source must be rows of positive weight; got 'none'"):
        fit_blocks(lambda: spent, SMALL, 2, start)
    with pytest.raises(InputError, match="source must be rows of positive weight"):
        fit_blocks([(X, y, torch.zeros(150))], SMALL, 2, start)


# Rows drawn, and the summary


@settings(max_examples=50)
@given(n=st.integers(1, 60), size=st.integers(0, 80), seed=st.integers(0, 5))
def test_rows_are_drawn_without_replacement(n: int, size: int, seed: int) -> None:
    positions = drawn_rows(n, size, seed)
    assert positions.tolist() == sorted(set(positions.tolist()))
    assert len(positions) == min(size, n)
    assert set(positions.tolist()) <= set(range(n))
    assert np.array_equal(positions, drawn_rows(n, size, seed))


def test_every_row_is_drawn_as_often_as_any_other() -> None:
    counts = np.zeros(20)
    for seed in range(2000):
        counts[drawn_rows(20, 5, seed)] += 1
    # Binomial with mean 500 and deviation 19.4.
    assert counts.min() > 500 - 4 * 19.4
    assert counts.max() < 500 + 4 * 19.4
    assert counts.sum() == 2000 * 5


@pytest.mark.parametrize("architecture", MODELS)
@pytest.mark.parametrize("positions", [[], [0], [3, 4, 20, 55], range(60)])
def test_rows_are_found_whatever_the_blocks(
    architecture: Architecture, positions: Sequence[int]
) -> None:
    X, y, weight, _ = problem(architecture)
    whole = Sample.checked(X, y, architecture, weight)
    for block_rows in (2, 7, 150):
        data = Streamed(ArrayBlocks(X, y, weight, block_rows=block_rows))
        wanted = np.array(positions, dtype=np.int64)
        found = data.rows(wanted, Model(architecture, 2), nothing)
        expected = whole.rows(torch.from_numpy(wanted))
        assert torch.equal(found.X, expected.X)
        assert torch.equal(found.y, expected.y)
        assert found.weight is None or torch.equal(found.weight, expected.weight)
        assert (found.weight is None) == bool((expected.weight == 1).all())


@pytest.mark.parametrize("architecture", MODELS)
def test_a_summary_is_that_of_the_whole_sample(architecture: Architecture) -> None:
    X, y, weight, _ = problem(architecture)
    whole = Sample.checked(X, y, architecture, weight)
    expected = summarise(Rows.of(whole.X, whole.y, whole.weight))
    for block_rows in (2, 7, 33, 150):
        found = summary_of(ArrayBlocks(X, y, weight, block_rows=block_rows), architecture)
        assert found.rows == expected.rows == len(whole)
        assert found.reach == expected.reach == float(whole.X.abs().max())
        assert found.digest == expected.digest
        assert found.weight == float(weight.sum())
        assert found.response_scale == whole.response_scale


@pytest.mark.parametrize("row", [0, 149])
@pytest.mark.parametrize("column", ["X", "y", "weight"])
def test_the_hash_sees_the_first_and_the_last_row(row: int, column: str) -> None:
    X, y, _, _ = problem(SMALL)
    arrays = {"X": X, "y": y, "weight": torch.ones(150, dtype=torch.float64)}
    before = summary_of(ArrayBlocks(*arrays.values()), SMALL)
    arrays[column] = arrays[column].clone()
    arrays[column][row] += 1e-9
    after = summary_of(ArrayBlocks(*arrays.values()), SMALL)
    assert before.digest != after.digest


# The fit


@pytest.mark.usefixtures("short_chunks")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("architecture", MODELS)
def test_a_fit_is_that_in_memory(architecture: Architecture, weighted: bool) -> None:
    X, y, weight, start = problem(architecture, 500, seed=5)
    sample_weight = weight if weighted else None
    memory = fit_least_squares(X, y, architecture, 2, start, sample_weight=sample_weight)
    for block_rows in (3, 130):
        blocks = ArrayBlocks(X, y, sample_weight, block_rows=block_rows)
        assert_identical(fit_blocks(blocks, architecture, 2, start), memory)


def test_an_ill_determined_fit_is_that_in_memory_too() -> None:
    # Five experts for two: here a fit in memory moves by 1e-6 if its sums are added otherwise.
    architecture = Architecture("softmax", "full", "relu", 2)
    truth = draw_truth(architecture, 2, seed=1)
    X, y = draw_sample(truth, 5000, noise_variance=0.01, seed=1)
    start = near_truth_start(truth, 5, scale=0.3, seed=1)
    memory = fit_least_squares(X, y, architecture, 5, start, max_iterations=60)
    found = fit_blocks(ArrayBlocks(X, y, block_rows=700), architecture, 5, start, max_iterations=60)
    assert_identical(found, memory)


def test_of_many_rows_steps_use_the_same_part_as_in_memory() -> None:
    architecture = Architecture("sigmoid", "full", "tanh", 2)
    X, y, weight, start = problem(architecture, 17_000, seed=5)
    theta = start.coordinates
    for sample_weight in (weight + 1, None):
        memory = LeastSquares(Rows.of(X, y, sample_weight), architecture, 2)
        blocks = ArrayBlocks(X, y, sample_weight, block_rows=5000)
        streamed = streamed_problem(blocks, architecture)
        found, expected = (problem.curvature(theta) for problem in (streamed, memory))
        assert isinstance(found, Tensor)
        assert isinstance(expected, Tensor)
        assert not torch.allclose(expected, memory.matrix(theta), rtol=1e-4)
        assert torch.equal(found, expected)
        bends = [a.bend(theta, theta.flatten().flip(0)) for a in (streamed, memory)]
        assert bends[0] is not None
        assert bends[1] is not None
        assert torch.equal(bends[0], bends[1])
    found = fit_blocks(blocks, architecture, 2, start)
    assert_identical(found, fit_least_squares(X, y, architecture, 2, start))


def test_random_starts_on_all_rows_are_those_in_memory() -> None:
    X, y, _, _ = problem(SMALL, 600)
    memory = fit_least_squares(X, y, SMALL, 2, n_starts=2, seed=5)
    blocks = ArrayBlocks(X, y, block_rows=200)
    found = fit_blocks(blocks, SMALL, 2, n_starts=2, seed=5)
    assert found.start == memory.start
    assert len(found.start_objectives) == 2
    assert found.n_agreed == memory.n_agreed > 0
    assert torch.equal(found.measure.coordinates, memory.measure.coordinates)


def test_random_starts_see_drawn_rows_only_and_the_seed_decides() -> None:
    X, y, _, _ = problem(SMALL, 800)

    def fit(block_rows: int, seed: int) -> FitResult:
        blocks = ArrayBlocks(X, y, block_rows=block_rows)
        few = {"max_iterations": 20, "n_starts": 2, "start_rows": 200}
        return fit_blocks(blocks, SMALL, 2, seed=seed, **few)

    one, same, other = fit(300, 1), fit(800, 1), fit(300, 2)
    assert one.start == same.start
    assert one.start_objectives == same.start_objectives
    assert one.start != other.start
    assert one.objective == pytest.approx(0.01, rel=0.1)
    # On 200 rows the objective is another one.
    assert abs(min(one.start_objectives) / one.objective - 1) > 1e-3
    # Where the best start began, over all rows.
    whole = LeastSquares(Rows.of(X, y), SMALL, 2).objective(one.start.coordinates)
    assert one.start_objective == whole


def test_the_seed_draws_the_rows_of_the_race(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y, _, _ = problem(SMALL)
    seen: list[Sample] = []

    def see(sample: Sample, *_: object) -> NoReturn:
        seen.append(sample)
        raise KeyboardInterrupt

    monkeypatch.setattr("sigmoe.estimation.blocks._fit.race", see)
    with pytest.raises(KeyboardInterrupt):
        fit_blocks([(X, y)], SMALL, 2, start_rows=50, seed=3)
    assert torch.equal(seen[0].X, X[drawn_rows(150, 50, 3)])


def test_bounds_follow_the_scale_of_all_rows() -> None:
    X, y, _, start = problem(SMALL)
    X = X.clone()
    # The largest response lies in the last block; the smallest inputs widen the bounds.
    large = ArrayBlocks(X / 64, 1000 * y, block_rows=50)
    memory = fit_least_squares(X / 64, 1000 * y, SMALL, 2, start, max_iterations=60)
    found = fit_blocks(large, SMALL, 2, start, max_iterations=60)
    assert_identical(found, memory)
    # All of them tight, so that no atom runs away along what the sample does not determine.
    tight = Bounds(b=(-2.0, 2.0), c=(-2.0, 2.0), eta=(-0.6, 0.6))
    b, c, eta = start.b.clamp(-1.0, 1.0), start.c.clamp(-1.0, 1.0), start.eta.clamp(-0.5, 0.5)
    inside = MixingMeasure(SMALL, None, b, c, eta)
    memory = fit_least_squares(X, y, SMALL, 2, inside, bounds=tight)
    found = fit_blocks(ArrayBlocks(X, y, block_rows=50), SMALL, 2, inside, bounds=tight)
    assert_identical(found, memory)
    assert found.active_bounds != ()
    assert found.active_bounds[0] in found.message
    with pytest.raises(InputError, match="start must be inside the bounds"):
        fit_blocks([(X, y)], SMALL, 2, start, bounds=Bounds(eta=(-0.01, 0.01)))


def test_a_parquet_folder_is_fitted_like_its_rows(tmp_path: Path) -> None:
    X, y, weight, start = problem(SMALL, 1000)
    table = pl.DataFrame({"x": X[:, 0].numpy(), "y": y.numpy(), "w": weight.numpy()})
    for k in range(4):
        table.slice(250 * k, 250).write_parquet(tmp_path / f"part-{k}.parquet")
    source = ParquetBlocks(tmp_path, ["x"], "y", weight="w", block_rows=100)
    memory = fit_least_squares(X, y, SMALL, 2, start, sample_weight=weight)
    assert_identical(fit_blocks(source, SMALL, 2, start), memory)


def test_a_bad_row_stops_the_fit_with_its_place() -> None:
    X, y, _, start = problem(SMALL)
    bad = y.clone()
    bad[3] = torch.nan
    with pytest.raises(InputError, match="y of chunk 2 must be finite; got 'nan in row 3"):
        fit_blocks(ChunkBlocks([(X, y), (X, y), (X, bad)]), SMALL, 2, start)


@pytest.mark.parametrize("name", sorted(CONSTRAINTS))
def test_numbers_out_of_range_are_refused(name: str) -> None:
    X, y, _, _ = problem(SMALL, 20)
    for bad in CONSTRAINTS[name][0].bad_values():
        arguments = {"n_experts": 2} | {name: bad}
        with pytest.raises(InputError, match=f"^{name} must be "):
            fit_blocks([(X, y)], SMALL, **arguments)


def test_a_start_that_does_not_fit_is_refused() -> None:
    X, y, _, start = problem(SMALL)
    with pytest.raises(InputError, match="start must be a single measure of 3 experts with"):
        fit_blocks([(X, y)], SMALL, 3, start)
    with pytest.raises(InputError, match="start must be a MixingMeasure or 'random'; got 'warm'"):
        fit_blocks([(X, y)], SMALL, 2, "warm")
    with pytest.raises(InputError, match="architecture must be an Architecture"):
        fit_blocks([(X, y)], "sigmoid", 2, start)


def test_too_few_rows_are_warned_of() -> None:
    X, y, _, start = problem(SMALL, 6)
    with pytest.warns(SigmoeWarning, match="6 responses are fewer than the 8 free parameters"):
        fit_blocks([(X, y)], SMALL, 2, start)


def test_the_callback_hears_each_iteration() -> None:
    X, y, _, start = problem(SMALL)
    heard: list[tuple[int, float]] = []
    fit = fit_blocks([(X, y)], SMALL, 2, start, callback=lambda *event: heard.append(event))
    expected = list(enumerate(fit.history))[1:]
    assert heard == expected


# Progress


def test_progress_is_silent_unless_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    X, y, _, start = problem(SMALL)
    fit_blocks([(X, y)], SMALL, 2, start)
    assert capsys.readouterr() == ("", "")
    fit_blocks([(X, y)], SMALL, 2, start, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    # The second line would come seconds later.
    assert err.startswith("iteration 1, objective 0.0")
    assert err.count("\n") == 1


@pytest.mark.parametrize("progress", [None, True, False])
def test_a_terminal_is_shown_a_bar(monkeypatch: pytest.MonkeyPatch, progress: bool | None) -> None:
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True)
    monkeypatch.setattr("sigmoe.estimation.blocks._checkpoint.Console", lambda **_: terminal)
    X, y, _, start = problem(SMALL)
    fit_blocks([(X, y)], SMALL, 2, start, progress=progress)
    shown = screen.getvalue()
    if progress is False:
        assert shown == ""
    else:
        assert "iteration" in shown
        assert "━" in shown
