"""J'J of several columns as an arrow: the same steps and fits as with the dense matrix."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sigmoe.estimation import Bounds, MoERegressor, fit_blocks, fit_least_squares, near_truth_start
from sigmoe.estimation.engine import _arrow
from sigmoe.estimation.engine._arrow import (
    Arrow,
    ArrowShape,
    Curvature,
    DampedArrow,
    plus_multiple,
)
from sigmoe.estimation.engine._box import DampedSystem, box_step, damped_system
from sigmoe.estimation.engine._layout import layout
from sigmoe.estimation.engine._least_squares import LeastSquares
from sigmoe.estimation.engine._rows import Rows
from sigmoe.estimation.starts._draw import projected
from sigmoe.moe import Architecture, MixingMeasure, draw_sample, draw_truth, expert_names

TOLERANCE = {"gradient_tolerance": 1e-6}
SHAPE = ArrowShape(n_experts=3, n_scores=4, n_columns=5, n_parameters=2)
EXPERTS = tuple(name.replace("polynomial:P", "polynomial:3") for name in expert_names())


def matrix(seed: int = 0, smallest: float = 1.0) -> Tensor:
    """Return J'J of residuals in five columns; ``smallest`` scales one column of each J."""
    generator = torch.Generator().manual_seed(seed)
    coordinates = torch.arange(SHAPE.size).view(SHAPE.n_experts, -1)
    total = torch.zeros(SHAPE.size, SHAPE.size, dtype=torch.float64)
    for column in range(SHAPE.n_columns):
        first = SHAPE.n_scores + column * SHAPE.n_parameters
        experts = coordinates[:, first : first + SHAPE.n_parameters].flatten()
        touched = torch.cat([coordinates[:, : SHAPE.n_scores].flatten(), experts])
        jacobian = torch.zeros(40, SHAPE.size, dtype=torch.float64)
        jacobian[:, touched] = torch.randn(
            40, len(touched), dtype=torch.float64, generator=generator
        )
        jacobian[:, experts[0]] *= smallest
        total += jacobian.T @ jacobian
    return (total + total.T) / 2


def arrow(dense: Tensor) -> Arrow:
    return Arrow.of(SHAPE, dense.flatten()[SHAPE.positions()])


def random_vector(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(SHAPE.size, dtype=torch.float64, generator=generator)


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.fixture
def use_arrows(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Give a function after which fits of any size use arrows."""

    def use() -> None:
        monkeypatch.setattr(ArrowShape, "pays", True)
        layout.cache_clear()

    yield use
    layout.cache_clear()


# The matrix


def test_the_blocks_are_all_that_is_not_zero() -> None:
    dense = matrix()
    assert torch.equal(arrow(dense).dense(), dense)


def test_diagonals_and_products_are_those_of_the_matrix() -> None:
    dense, vector = matrix(), random_vector(1)
    assert torch.equal(arrow(dense).diagonal(), dense.diagonal())
    torch.testing.assert_close(arrow(dense) @ vector, dense @ vector)


def test_a_vector_is_split_and_joined() -> None:
    gate, expert = SHAPE.split(random_vector(1))
    assert (gate.shape, expert.shape) == ((12,), (5, 6))
    assert torch.equal(SHAPE.join(gate, expert), random_vector(1))


def test_a_multiple_of_the_identity_is_added_to_both_kinds() -> None:
    dense = matrix()
    added = plus_multiple(dense, 0.3)
    assert torch.equal(added, dense + 0.3 * torch.eye(SHAPE.size).double())
    more = plus_multiple(arrow(dense), 0.3)
    assert isinstance(more, Arrow)
    assert torch.equal(more.dense(), added)
    assert torch.equal(arrow(dense).dense(), dense)


@pytest.mark.parametrize("gate", ["sigmoid", "softmax"])
@pytest.mark.parametrize("score", ["full", "partial", "linear"])
@pytest.mark.parametrize("expert", EXPERTS)
def test_moments_fill_the_arrow_as_they_fill_the_matrix(
    gate: str, score: str, expert: str, use_arrows: Callable[[], None]
) -> None:
    use_arrows()
    architecture = Architecture(gate, score, expert, 2, n_outputs=3)
    X, y = draw_sample(draw_truth(architecture, 2, seed=1), 30, seed=2)
    problem = LeastSquares(Rows.of(X, y), architecture, 2)
    theta = draw_truth(architecture, 2, seed=3).coordinates
    found = problem.curvature(theta)
    assert isinstance(found, Arrow)
    assert torch.equal(found.dense(), problem.matrix(theta))


@pytest.mark.parametrize(
    ("n_experts", "n_scores", "n_parameters", "fewest"),
    [
        pytest.param(8, 45, 9, 4, id="d=8, full score"),
        pytest.param(8, 9, 9, 5, id="d=8, linear score"),
        pytest.param(8, 21, 21, 3, id="d=20, linear score"),
        pytest.param(3, 6, 3, 32, id="d=2"),
    ],
)
def test_arrows_are_for_responses_with_many_columns(
    n_experts: int, n_scores: int, n_parameters: int, fewest: int
) -> None:
    paying = [m for m in range(1, 40) if ArrowShape(n_experts, n_scores, m, n_parameters).pays]
    assert paying == list(range(fewest, 40))


# The factorisation


@pytest.mark.parametrize("panel", [5, 128])
@pytest.mark.parametrize("share", [1.0, 0.8, 0.3, 0.0], ids="free {:.0%}".format)
@pytest.mark.parametrize("damping", [10.0, 1e-9])
def test_solves_what_the_dense_system_solves(
    damping: float, share: float, panel: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_arrow, "_PANEL", panel)
    dense, right = matrix(), random_vector(1)
    scale = dense.diagonal() * (1.0 + random_vector(2).abs())
    free = torch.rand(SHAPE.size, generator=torch.Generator().manual_seed(3)) < share
    peer = DampedSystem(dense, damping, scale, free)
    system = damped_system(arrow(dense), damping, scale, free)
    assert isinstance(system, DampedArrow)
    assert system.usable
    assert torch.equal(system.free, free)
    torch.testing.assert_close(system.solve(right), peer.solve(right), rtol=1e-12, atol=1e-13)
    assert not system.solve(right)[~free].any()


@pytest.mark.parametrize("smallest", [1e-3, 1e-6])
def test_is_as_exact_as_the_dense_system(smallest: float) -> None:
    dense, step = matrix(smallest=smallest), random_vector(1)
    scale, free = torch.ones(SHAPE.size).double(), torch.ones(SHAPE.size, dtype=torch.bool)
    right = (dense + 1e-14 * scale.diag()) @ step
    errors = [
        relative(dense @ damped_system(kind, 1e-14, scale, free).solve(right), right)
        for kind in (arrow(dense), dense)
    ]
    assert errors[0] < 2 * errors[1] + 1e-15


@pytest.mark.parametrize("strength", [0.0, 0.1])
@pytest.mark.parametrize("seed", range(4))
def test_steps_in_a_box_are_those_of_the_dense_matrix(seed: int, strength: float) -> None:
    dense, gradient = matrix(seed), 100.0 * random_vector(seed)
    low, high = torch.full((SHAPE.size,), -0.4).double(), torch.full((SHAPE.size,), 0.2).double()
    kinds: tuple[Curvature, ...] = arrow(dense), dense
    found, expected = (
        box_step(
            plus_multiple(kind, strength),
            gradient,
            0.01,
            dense.diagonal(),
            torch.zeros_like(low),
            low,
            high,
        )
        for kind in kinds
    )
    assert found is not None
    assert expected is not None
    torch.testing.assert_close(found[0], expected[0], rtol=1e-11, atol=1e-13)
    assert torch.equal(found[1].free, expected[1].free)
    assert 0 < int((~expected[1].free).sum()) < SHAPE.size


def expert_block_not_definite(dense: Tensor) -> None:
    # Without coupling to the gates, whose Schur complement stays definite.
    dense[4], dense[:, 4] = 0.0, 0.0
    dense[4, 4] = -1.0


def schur_complement_not_definite(dense: Tensor) -> None:
    dense[0, 0] = 1e-3


def not_a_number(dense: Tensor) -> None:
    dense[-1, -1] = float("nan")


@pytest.mark.parametrize(
    "spoil", [expert_block_not_definite, schur_complement_not_definite, not_a_number]
)
def test_a_matrix_that_is_not_definite_asks_for_more_damping(
    spoil: Callable[[Tensor], None],
) -> None:
    dense = matrix()
    spoil(dense)
    scale, zero = torch.ones(SHAPE.size).double(), torch.zeros(SHAPE.size).double()
    everything = torch.ones(SHAPE.size, dtype=torch.bool)
    for damping in (1e-3, 1e4):
        usable = damped_system(arrow(dense), damping, scale, everything).usable
        assert usable == DampedSystem(dense, damping, scale, everything).usable
        assert usable == (damping > 1 and spoil is not not_a_number)
    limits = zero - 9.0, zero + 9.0
    assert box_step(arrow(dense), zero + 1.0, 1e-3, scale, zero, *limits) is None


# Whole fits


def problem(gate: str = "sigmoid", expert: str = "tanh") -> tuple[Tensor, Tensor, MixingMeasure]:
    """Return a well determined problem: elsewhere rounding alone moves a fit by 1e-8 or more."""
    architecture = Architecture(gate, "linear", expert, 2, n_outputs=4)
    truth = draw_truth(architecture, 2, seed=0)
    X, y = draw_sample(truth, 300, noise_variance=0.01, seed=0)
    return X, y, near_truth_start(truth, 2, scale=0.1, seed=0)


@pytest.mark.parametrize(
    ("gate", "expert", "options"),
    [
        pytest.param("sigmoid", "tanh", {}, id="sigmoid-tanh"),
        pytest.param("sigmoid", "linear", {}, id="sigmoid-linear"),
        pytest.param("softmax", "tanh", {}, id="softmax-tanh"),
        pytest.param("softmax", "scaled-gelu", {"ridge": 1e-3}, id="ridge"),
        pytest.param("sigmoid", "tanh", {"bounds": Bounds(eta=(-0.3, 0.4))}, id="bounds"),
        pytest.param("sigmoid", "linear", {"sample_weight": torch.arange(300) % 3}, id="weights"),
    ],
)
def test_fits_agree_with_the_dense_ones(
    gate: str, expert: str, options: dict[str, Any], use_arrows: Callable[[], None]
) -> None:
    X, y, start = problem(gate, expert)
    start = projected(start, options.get("bounds", Bounds()))
    expected = fit_least_squares(X, y, start.architecture, 2, start, **TOLERANCE, **options)
    use_arrows()
    found = fit_least_squares(X, y, start.architecture, 2, start, **TOLERANCE, **options)
    assert (found.status, found.n_iterations) == (expected.status, expected.n_iterations)
    assert found.objective == pytest.approx(expected.objective, rel=1e-12)
    assert relative(found.measure.coordinates, expected.measure.coordinates) < 1e-8
    assert found.active_bounds == expected.active_bounds
    assert bool(found.active_bounds) == ("bounds" in options)


def test_fits_of_blocks_agree_with_those_in_memory(use_arrows: Callable[[], None]) -> None:
    X, y, start = problem()
    use_arrows()
    expected = fit_least_squares(X, y, start.architecture, 2, start, **TOLERANCE)
    chunks = [(X[:150], y[:150]), (X[150:], y[150:])]
    found = fit_blocks(chunks, start.architecture, 2, start, **TOLERANCE)
    assert found.objective == pytest.approx(expected.objective, rel=1e-12)
    assert relative(found.measure.coordinates, expected.measure.coordinates) < 1e-8


def test_a_later_batch_is_taken_in_as_with_the_dense_matrix(use_arrows: Callable[[], None]) -> None:
    X, y, _ = problem()
    first, later = (X[:200].numpy(), y[:200].numpy()), (X[200:].numpy(), y[200:].numpy())
    model = MoERegressor(
        n_experts=2, gate="sigmoid", score="linear", expert="tanh", n_starts=1, max_iterations=5
    ).partial_fit(*first)
    begun = copy.deepcopy(model)
    expected = begun.partial_fit(*later).predict(X.numpy())
    use_arrows()
    found = model.partial_fit(*later).predict(X.numpy())
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)
