"""Objective, gradient and J'J of many problems against autograd and the single engine."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from sigmoe.estimation import normal_equations
from sigmoe.estimation.batch import _least_squares, _tiles
from sigmoe.estimation.batch._least_squares import BatchLeastSquares
from sigmoe.estimation.batch._samples import Samples
from sigmoe.estimation.engine._chunks import curvature_rows
from sigmoe.estimation.engine._layout import layout
from sigmoe.estimation.engine._least_squares import LeastSquares
from sigmoe.estimation.engine._rows import Rows
from sigmoe.moe import Architecture, MixingMeasure, draw_sample, draw_truth, expert_names
from sigmoe.moe._forward import forward
from sigmoe.moe._monomials import monomials

GATES = ("sigmoid", "softmax")
SCORES = ("full", "partial", "linear")
EXPERTS = tuple(name.replace("polynomial:P", "polynomial:3") for name in expert_names())
CASES = [
    pytest.param(Architecture(gate, score, expert, 3, m), id=f"{gate}-{score}-{expert}-{m}")
    for gate, score, expert, m in itertools.product(GATES, SCORES, EXPERTS, (None, 2))
]
#: Every third of these still has each gate, score, expert and number of outputs.
FEWER = CASES[::3]


def measures(architecture: Architecture, count: int, n_experts: int = 3) -> MixingMeasure:
    return MixingMeasure.stack([draw_truth(architecture, n_experts, seed=k) for k in range(count)])


def sample(architecture: Architecture, n: int = 37, seed: int = 2) -> tuple[Tensor, Tensor]:
    return draw_sample(draw_truth(architecture, 3, seed=40), n, noise_variance=1.0, seed=seed)


def stacked(architecture: Architecture, count: int) -> tuple[Tensor, Tensor]:
    pairs = [sample(architecture, seed=seed) for seed in range(count)]
    X, y = (torch.stack(parts) for parts in zip(*pairs, strict=True))
    return X, y


def batch(
    X: Tensor, y: Tensor, theta: MixingMeasure, weight: Tensor | None = None, ridge: float = 0.0
) -> BatchLeastSquares:
    samples = Samples.checked(X, y, weight, theta.architecture, theta.batch_shape, None)
    return BatchLeastSquares(samples, theta.architecture, theta.n_experts, ridge)


def flat(theta: MixingMeasure) -> Tensor:
    return theta.coordinates.flatten(-2).flatten(0, -2)


def everything(theta: MixingMeasure) -> Tensor:
    return torch.arange(len(flat(theta)))


@pytest.mark.parametrize("architecture", CASES)
def test_agrees_with_the_single_engine(architecture: Architecture) -> None:
    X, y = sample(architecture)
    theta = measures(architecture, 4)
    problems = batch(X, y, theta)
    objective, gradient = problems.gradient(flat(theta), everything(theta))
    matrix = problems.curvature(flat(theta), everything(theta))
    for k, measure in enumerate(theta):
        single = normal_equations(measure, X, y)
        assert float(objective[k]) == pytest.approx(single.objective, rel=1e-13)
        torch.testing.assert_close(gradient[k], single.gradient, rtol=1e-11, atol=1e-13)
        torch.testing.assert_close(matrix[k], single.matrix, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("architecture", CASES)
def test_bends_agree_with_the_single_engine(architecture: Architecture, weighted: bool) -> None:
    X, y = stacked(architecture, 2)
    theta = MixingMeasure.stack([measures(architecture, 3)] * 2)
    weight = torch.linspace(0.5, 2.0, 37).double() if weighted else None
    step = flat(theta).flip(0)
    found = batch(X, y, theta, weight).mean_bend(flat(theta), step, everything(theta))
    for k, row in enumerate(flat(theta)):
        single = LeastSquares(Rows.of(X[k // 3], y[k // 3], weight), architecture, 3)
        expected = single.mean_bend(row.view(3, -1), step[k])[0]
        torch.testing.assert_close(found[k], expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("architecture", FEWER)
def test_gradients_agree_with_autograd(architecture: Architecture) -> None:
    X, y = stacked(architecture, 2)
    theta = MixingMeasure.stack([measures(architecture, 3)] * 2)
    weight, ridge = torch.linspace(0.5, 2.0, 37).double(), 0.1
    objective, gradient = batch(X, y, theta, weight, ridge).gradient(flat(theta), everything(theta))
    coordinates = theta.coordinates.requires_grad_()
    prediction = forward(architecture, coordinates, X.mT.unsqueeze(1)).prediction
    target = y.reshape(2, 1, 37, -1).mT
    squares = ((prediction - target).square() * weight).sum((-2, -1)) / weight.sum()
    expected = squares + ridge * coordinates.square().sum((-2, -1))
    expected.sum().backward()
    torch.testing.assert_close(objective, expected.detach().flatten())
    assert coordinates.grad is not None
    torch.testing.assert_close(gradient, coordinates.grad.flatten(-2).flatten(0, 1))


@pytest.mark.parametrize("architecture", FEWER)
def test_each_problem_meets_its_own_sample_and_weight(architecture: Architecture) -> None:
    X, y = stacked(architecture, 2)
    theta = MixingMeasure.stack([measures(architecture, 3)] * 2)
    weight = torch.arange(6 * 37).view(2, 3, 37) % 4
    problems = batch(X, y, theta, weight)
    objective, gradient = problems.gradient(flat(theta), everything(theta))
    matrix = problems.curvature(flat(theta), everything(theta))
    for r, s in itertools.product(range(2), range(3)):
        single = normal_equations(theta[r][s], X[r], y[r], weight[r, s])
        assert float(objective[3 * r + s]) == pytest.approx(single.objective, rel=1e-13)
        torch.testing.assert_close(gradient[3 * r + s], single.gradient)
        torch.testing.assert_close(matrix[3 * r + s], single.matrix)


def test_a_fixed_design_has_one_X_and_many_y() -> None:
    architecture = Architecture(dim=2)
    X, _ = sample(architecture)
    y = torch.randn(2, 37, generator=torch.Generator().manual_seed(0)).double()
    theta = MixingMeasure.stack([measures(architecture, 2)] * 2)
    problems = batch(X, y, theta)
    assert problems.samples.Xt.shape == (1, 2, 37)
    objective, _ = problems.gradient(flat(theta), everything(theta))
    for r, s in itertools.product(range(2), range(2)):
        residual = theta[r][s].predict(X) - y[r]
        assert float(objective[2 * r + s]) == pytest.approx(float(residual.square().mean()))


@pytest.mark.parametrize("numbers", [1, 3_000, 30_000])
@pytest.mark.parametrize("kept", [[0], [1, 2, 5], [0, 1, 2, 3, 4, 6, 9, 10, 11], list(range(12))])
def test_subsets_tiles_and_chunks_change_nothing(
    kept: list[int], numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    architecture = Architecture("softmax", "full", "scaled-gelu", 2, 2)
    X, y = (torch.cat([part] * 8, 1) for part in stacked(architecture, 4))
    theta = MixingMeasure.stack([measures(architecture, 3)] * 4)
    which = torch.tensor(kept)
    monkeypatch.setattr(_tiles, "CHUNK_NUMBERS", 2**30)
    whole = batch(X, y, theta)
    objective, gradient = whole.gradient(flat(theta), everything(theta))
    matrix = whole.curvature(flat(theta), everything(theta))
    monkeypatch.setattr(_tiles, "CHUNK_NUMBERS", numbers)
    parts = batch(X, y, theta)
    part_objective, part_gradient = parts.gradient(flat(theta)[which], which)
    torch.testing.assert_close(part_objective, objective[which])
    torch.testing.assert_close(part_gradient, gradient[which])
    torch.testing.assert_close(parts.curvature(flat(theta)[which], which), matrix[which])


@pytest.mark.parametrize("most", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("n_samples", [1, 2, 6, 12])
def test_tiles_cover_every_problem_once_with_its_sample(n_samples: int, most: int) -> None:
    per_sample = 12 // n_samples
    for which in (torch.arange(12), torch.tensor([0, 3, 4, 5, 7, 11]), torch.tensor([10])):
        seen: list[int] = []
        for tile in _tiles.tiles(which, per_sample, n_samples, most):
            rows = torch.arange(len(which)) if tile.rows is None else tile.rows
            assert len(rows) == tile.n_samples * tile.n_each <= most
            if tile.samples is not None:
                owners = tile.samples.repeat_interleave(tile.n_each)
                assert torch.equal(which[rows] // per_sample, owners)
            seen += rows.tolist()
        assert sorted(seen) == list(range(len(which)))


def test_memory_is_limited_by_shorter_chunks_and_smaller_tiles() -> None:
    cpu = torch.device("cpu")
    pieces = list(_tiles.chunks(100_000, 1_000, cpu))
    assert pieces[0].start == 0
    assert pieces[-1].stop == 100_000
    assert all(a.stop == b.start for a, b in itertools.pairwise(pieces))
    assert max(piece.stop - piece.start for piece in pieces) * 1_000 <= _tiles.CHUNK_NUMBERS
    assert 1 < _tiles.most_problems(10**6, 100, cpu) * 100 * 64 <= _tiles.CHUNK_NUMBERS
    assert _tiles.most_problems(10**6, 10**9, cpu) == 1
    # Short samples leave room for more problems, and so does a GPU.
    few = _tiles.most_problems(10**6, 100, cpu)
    assert _tiles.most_problems(100, 100, cpu) > few
    assert _tiles.most_problems(10**6, 100, torch.device("meta")) > few


def test_the_monomials_of_many_samples_stay_within_a_chunk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []

    def watched(Xt: Tensor, degree: int) -> Tensor:
        powers = monomials(Xt, degree)
        sizes.append(powers.numel())
        return powers

    monkeypatch.setattr(_least_squares, "monomials", watched)
    monkeypatch.setattr(_tiles, "CHUNK_NUMBERS", 2**16)
    architecture = Architecture(dim=4)
    X, y = torch.randn(30, 200, 4).double(), torch.randn(30, 200).double()
    theta = measures(architecture, 30, n_experts=2)
    problems = batch(X, y, theta)
    problems.curvature(flat(theta), everything(theta))
    problems.gradient(flat(theta), everything(theta))
    assert 2**14 < max(sizes) <= 2**16


def test_large_samples_take_the_matrix_from_the_rows_of_a_single_fit() -> None:
    architecture = Architecture("sigmoid", "linear", "linear", 1)
    X, y = sample(architecture, n=70_000)
    theta = measures(architecture, 2, n_experts=2)
    matrix = batch(X, y, theta, ridge=0.5).curvature(flat(theta), everything(theta))
    single = LeastSquares(Rows.of(X, y), architecture, 2)
    for k, measure in enumerate(theta):
        expected = single.curvature(measure.coordinates)
        assert not torch.allclose(expected, single.matrix(measure.coordinates), rtol=1e-6)
        torch.testing.assert_close(matrix[k], expected + 0.5 * torch.eye(len(expected)).double())


def test_padded_samples_take_the_matrix_from_all_rows() -> None:
    architecture = Architecture("sigmoid", "linear", "linear", 1)
    theta = measures(architecture, 2, n_experts=2)
    X, y = sample(architecture, n=20_000)
    both = torch.stack([X, X]), torch.stack([y, y])
    weight = torch.ones(2, 20_000).double()
    chosen = curvature_rows(20_000, layout(architecture, 2))
    assert chosen is not None
    # The second sample has no weight where steps would take their matrix from.
    weight[1, chosen] = 0.0
    matrix = batch(*both, theta, weight).curvature(flat(theta), everything(theta))
    for k, measure in enumerate(theta):
        single = LeastSquares(Rows.of(X, y, weight[k]), architecture, 2)
        torch.testing.assert_close(matrix[k], single.matrix(measure.coordinates))


def test_large_samples_take_the_bend_from_the_rows_of_a_single_fit() -> None:
    architecture = Architecture("sigmoid", "linear", "tanh", 1)
    theta = measures(architecture, 2, n_experts=2)
    step, which = flat(theta).flip(0), everything(theta)
    X, y = sample(architecture, n=70_000)
    found = batch(X, y, theta).bend(flat(theta), step, which)
    assert found is not None
    single = LeastSquares(Rows.of(X, y), architecture, 2)
    for k, measure in enumerate(theta):
        expected = single.bend(measure.coordinates, step[k])
        assert expected is not None
        torch.testing.assert_close(found[k], expected)
    small = batch(X[:500], y[:500], theta)
    assert small.bend(flat(theta), step, which) is None


def test_a_problem_that_overflows_leaves_the_others_as_they_are() -> None:
    architecture = Architecture("sigmoid", "linear", "polynomial:3", 2)
    X, y = sample(architecture)
    theta = flat(measures(architecture, 3))
    problems = batch(X, y, measures(architecture, 3))
    which = torch.arange(3)
    objective, gradient = problems.gradient(theta, which)
    matrix = problems.curvature(theta, which)
    theta[1] = 1e200
    bad_objective, bad_gradient = problems.gradient(theta, which)
    bad_matrix = problems.curvature(theta, which)
    assert not torch.isfinite(bad_objective[1])
    others = torch.tensor([0, 2])
    torch.testing.assert_close(bad_objective[others], objective[others], rtol=0, atol=0)
    torch.testing.assert_close(bad_gradient[others], gradient[others], rtol=0, atol=0)
    torch.testing.assert_close(bad_matrix[others], matrix[others], rtol=0, atol=0)
