"""J'J, gradient and objective against the dense Jacobian that autograd forms."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from dense_problem import second_derivative
from sigmoe._base.errors import InputError
from sigmoe.estimation import normal_equations
from sigmoe.estimation.engine._chunks import curvature_rows, refinements
from sigmoe.estimation.engine._layout import layout
from sigmoe.estimation.engine._least_squares import LeastSquares
from sigmoe.estimation.engine._rows import Rows
from sigmoe.moe import Architecture, MixingMeasure, draw_sample, draw_truth, expert_names
from sigmoe.moe._forward import forward

GATES = ("sigmoid", "softmax")
SCORES = ("full", "partial", "linear")
#: Every registered expert, so that a new one is tested by registering.
EXPERTS = tuple(name.replace("polynomial:P", "polynomial:3") for name in expert_names())
OUTPUTS = (None, 1, 3)
CASES = [
    pytest.param(Architecture(gate, score, expert, 3, m), id=f"{gate}-{score}-{expert}-{m}")
    for gate, score, expert, m in itertools.product(GATES, SCORES, EXPERTS, OUTPUTS)
]


def naive_jacobian(measure: MixingMeasure, X: Tensor) -> Tensor:
    """Return d prediction / d coordinates of shape (n * m, p) by autograd through ``predict``."""
    architecture, coordinates = measure.architecture, measure.coordinates

    def predict(theta: Tensor) -> Tensor:
        return forward(architecture, theta.view_as(coordinates), X.T).prediction.T.flatten()

    return torch.autograd.functional.jacobian(predict, coordinates.flatten())


@pytest.mark.parametrize("architecture", CASES)
def test_agrees_with_autograd(architecture: Architecture) -> None:
    n = 37
    X, y = draw_sample(draw_truth(architecture, 3, seed=1), n, noise_variance=1.0, seed=2)
    measure = draw_truth(architecture, 4, seed=3)
    jacobian = naive_jacobian(measure, X)
    residual = (measure.predict(X) - y).flatten()
    found = normal_equations(measure, X, y)
    torch.testing.assert_close(found.matrix, jacobian.T @ jacobian / n)
    torch.testing.assert_close(found.gradient, 2 * jacobian.T @ residual / n)
    assert found.objective == pytest.approx(float(residual.square().sum()) / n, rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("architecture", CASES)
def test_the_bend_along_a_step_agrees_with_autograd(
    architecture: Architecture, weighted: bool
) -> None:
    n = 37
    X, y = draw_sample(draw_truth(architecture, 3, seed=1), n, seed=2)
    measure, step = (draw_truth(architecture, 4, seed=seed) for seed in (3, 4))
    theta = measure.coordinates

    def predict(flat: Tensor) -> Tensor:
        return forward(architecture, flat.view_as(theta), X.T).prediction.T.flatten()

    second = second_derivative(predict, theta.flatten(), step.coordinates.flatten()).view(n, -1)
    weight = torch.linspace(0.0, 2.0, n).double() if weighted else None
    rows = torch.ones(n).double() if weight is None else weight
    expected = naive_jacobian(measure, X).T @ (second * rows.unsqueeze(1)).flatten() / rows.sum()
    problem = LeastSquares(Rows.of(X, y, weight), architecture, 4, chunk=20)
    torch.testing.assert_close(problem.mean_bend(theta, step.coordinates.flatten())[0], expected)


def test_steps_bend_where_their_matrix_comes_from_a_part_of_the_rows() -> None:
    architecture = Architecture(expert="tanh", dim=1)
    X, y = draw_sample(draw_truth(architecture, 2, seed=1), 20_000, seed=2)
    theta, step = (draw_truth(architecture, 2, seed=seed).coordinates for seed in (3, 4))
    chosen = curvature_rows(20_000, layout(architecture, 2))
    assert chosen is not None
    part = LeastSquares(Rows.of(X[chosen], y[chosen]), architecture, 2)
    bend = LeastSquares(Rows.of(X, y), architecture, 2).bend(theta, step.flatten())
    assert bend is not None
    torch.testing.assert_close(bend, part.mean_bend(theta, step.flatten())[0])
    assert part.bend(theta, step.flatten()) is None


@pytest.mark.parametrize("architecture", CASES[:: len(OUTPUTS) + 1])
def test_the_cheap_passes_agree_with_the_normal_equations(architecture: Architecture) -> None:
    X, y = draw_sample(draw_truth(architecture, 3, seed=1), 50, seed=2)
    measure = draw_truth(architecture, 4, seed=3)
    problem = LeastSquares(Rows.of(X, y), architecture, 4, chunk=20)
    full = problem.normal_equations(measure.coordinates)
    objective, gradient = problem.gradient(measure.coordinates)
    assert objective == pytest.approx(full.objective, rel=1e-13)
    torch.testing.assert_close(gradient, full.gradient)


def test_linear_experts_share_their_moments_between_columns() -> None:
    # d = 2, N = 2: 15 monomials x 3 pairs for the gates; 10 x 4 and 6 x 3 for each column.
    assert layout(Architecture(expert="relu", dim=2, n_outputs=5), 2).n_moments == 336
    assert layout(Architecture(expert="linear", dim=2, n_outputs=5), 2).n_moments == 264


@pytest.mark.parametrize("chunk", [1, 7, 50, 51, 1000])
def test_results_do_not_depend_on_the_chunk(chunk: int) -> None:
    architecture = Architecture(gate="softmax", expert="scaled-gelu", dim=2, n_outputs=2)
    X, y = draw_sample(draw_truth(architecture, 3, seed=1), 51, seed=2)
    theta = draw_truth(architecture, 3, seed=3).coordinates
    whole = LeastSquares(Rows.of(X, y), architecture, 3, chunk=51).normal_equations(theta)
    parts = LeastSquares(Rows.of(X, y), architecture, 3, chunk=chunk).normal_equations(theta)
    torch.testing.assert_close(parts.matrix, whole.matrix, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(parts.gradient, whole.gradient, rtol=1e-12, atol=1e-14)


def test_without_responses_the_measure_predicts_them() -> None:
    architecture = Architecture(expert="tanh", dim=2)
    measure = draw_truth(architecture, 2, seed=1)
    X, y = draw_sample(measure, 30, seed=2)
    bare, full = normal_equations(measure, X), normal_equations(measure, X, y)
    assert bare.objective < 1e-30
    assert float(bare.gradient.abs().max()) < 1e-15
    torch.testing.assert_close(bare.matrix, full.matrix)


def test_softmax_has_the_null_directions_of_its_translation() -> None:
    # One common (A, b, c) added to all atoms changes nothing: 1 + d + d (d + 1) / 2 directions.
    architecture = Architecture(gate="softmax", expert="tanh", dim=3)
    measure = draw_truth(architecture, 3, seed=1)
    X, _ = draw_sample(measure, 4000, seed=2)
    matrix = normal_equations(measure, X).matrix
    eigenvalues = torch.linalg.eigvalsh(matrix)
    assert int((eigenvalues < 1e-14).sum()) == architecture.n_score_coefficients == 10


def test_a_batch_is_refused() -> None:
    measure = draw_truth(Architecture(dim=2), 2, seed=1)
    batch = MixingMeasure.stack([measure, measure])
    with pytest.raises(InputError) as error:
        normal_equations(batch, [[0.0, 0.0]])
    assert str(error.value) == (
        "measure must be a single measure; got 'batch shape (2,)'. Take one with measure[k]."
    )


@pytest.mark.parametrize("architecture", CASES[:: len(OUTPUTS) + 1])
def test_a_weight_of_k_counts_a_row_k_times(architecture: Architecture) -> None:
    X, y = draw_sample(draw_truth(architecture, 3, seed=1), 40, noise_variance=1.0, seed=2)
    weight = torch.arange(40) % 4
    measure = draw_truth(architecture, 3, seed=3)
    weighted = normal_equations(measure, X, y, sample_weight=weight)
    repeated = normal_equations(
        measure, X.repeat_interleave(weight, dim=0), y.repeat_interleave(weight, dim=0)
    )
    torch.testing.assert_close(weighted.matrix, repeated.matrix)
    torch.testing.assert_close(weighted.gradient, repeated.gradient)
    assert weighted.objective == pytest.approx(repeated.objective, rel=1e-12)
    problem = LeastSquares(Rows.of(X, y, weight.double()), architecture, 3, chunk=7)
    theta = measure.coordinates
    assert problem.objective(theta) == pytest.approx(repeated.objective, rel=1e-12)
    torch.testing.assert_close(problem.gradient(theta)[1], repeated.gradient)


@pytest.mark.parametrize("weighted", [False, True])
def test_steps_take_their_matrix_from_a_random_part(
    monkeypatch: pytest.MonkeyPatch, weighted: bool
) -> None:
    monkeypatch.setattr("sigmoe.estimation.engine._chunks.CURVATURE_LEAST", 0)
    monkeypatch.setattr("sigmoe.estimation.engine._chunks.CURVATURE_ROWS", 100)
    architecture = Architecture("softmax", "linear", "tanh", 1)
    truth = draw_truth(architecture, 3, seed=1)
    X, y = draw_sample(truth, 20_000, seed=2)
    # Sorted rows: a part that is no random one would see a corner of the inputs only.
    X, order = X.sort(dim=0)
    weight = 1.0 + X[:, 0].abs() if weighted else None
    problem = LeastSquares(Rows.of(X, y[order[:, 0]], weight), architecture, 3)
    exact, estimate = problem.matrix(truth.coordinates), problem.curvature(truth.coordinates)
    values, vectors = torch.linalg.eigh(exact)
    scaled = vectors[:, architecture.n_invisible :] / values[architecture.n_invisible :].sqrt()
    seen = torch.linalg.eigvalsh(scaled.T @ estimate @ scaled)
    assert not torch.equal(estimate, exact)
    assert 0.6 < float(seen.min()) < float(seen.max()) < 1.6


def test_a_sample_with_few_rows_a_parameter_gives_all_of_them() -> None:
    architecture = Architecture("softmax", "linear", "tanh", 1)
    truth = draw_truth(architecture, 3, seed=1)
    problem = LeastSquares(Rows.of(*draw_sample(truth, 16_384, seed=2)), architecture, 3)
    theta = truth.coordinates
    assert torch.equal(problem.curvature(theta), problem.matrix(theta))


@pytest.mark.parametrize(
    ("dim", "n_experts", "n", "n_outputs", "rows"),
    [
        (8, 8, 100_000, None, 25_000),  # a quarter
        (20, 4, 100_000, None, 16_128),  # 16 a parameter: a matrix costs many gradients here
        (8, 8, 10_000, 16, 2048),  # 16 residuals a row
        (2, 3, 1_000_000, None, 27_000),  # 1000 residuals a parameter
        (8, 8, 10_000_000, None, 2**18),  # no more than stay in memory
        (2, 3, 16_384, None, None),
    ],
)
def test_how_many_rows_the_matrix_of_a_step_is_taken_from(
    dim: int, n_experts: int, n: int, n_outputs: int | None, rows: int | None
) -> None:
    chosen = curvature_rows(n, layout(Architecture(dim=dim, n_outputs=n_outputs), n_experts))
    if rows is None:
        assert chosen is None
    else:
        assert chosen is not None
        assert len(chosen) == rows
        assert bool((chosen.diff() > 0).all())
        assert 0.49 < float(chosen.double().mean()) / n < 0.51


@pytest.mark.parametrize(
    ("dim", "n_experts", "n", "steps"),
    [
        (2, 3, 10_000, 12),  # a small sample
        (8, 8, 100_000, 12),  # a matrix costs nine gradients
        (4, 4, 50_000, 2),  # a matrix of a quarter of the rows costs two
        (2, 3, 1_000_000, 0),  # the matrix is no dearer than a gradient
        (2, 3, 100_000_000, 0),
    ],
)
def test_cheap_steps_are_taken_where_the_matrix_costs_many_gradients(
    dim: int, n_experts: int, n: int, steps: int
) -> None:
    assert refinements(12, n, layout(Architecture(dim=dim), n_experts)) == steps
