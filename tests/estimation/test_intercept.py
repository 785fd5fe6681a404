"""An intercept beside a mixture: solved for at every point, against autograd, scipy and limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from sigmoe._base.errors import InputError
from sigmoe.estimation import fit_least_squares, merge_atoms
from sigmoe.estimation._sample import Sample
from sigmoe.estimation.engine._arrow import Arrow, Curvature
from sigmoe.estimation.engine._intercept import FreeIntercept, mean_slopes
from sigmoe.estimation.engine._least_squares import LeastSquares
from sigmoe.estimation.engine._rows import Rows
from sigmoe.estimation.inference._checks import _bend
from sigmoe.estimation.inference._sandwich import gather
from sigmoe.moe import Architecture, MixingMeasure, draw_sample, draw_truth
from sigmoe.moe._forward import forward

MODELS = [
    Architecture("sigmoid", "full", "linear", 2),
    Architecture("sigmoid", "linear", "tanh", 2, n_outputs=3),
    Architecture("softmax", "partial", "relu", 3),
    Architecture("softmax", "linear", "scaled-gelu", 1, n_outputs=2),
]


def table(architecture: Architecture, n: int = 200, weighted: bool = False) -> Sample:
    truth = draw_truth(architecture, 3, seed=1)
    X, y = draw_sample(truth, n, noise_variance=0.01, seed=2)
    weight = torch.linspace(0.1, 2.0, n, dtype=torch.float64) if weighted else None
    return Sample(X, y + 2.5, weight, intercept=True)


def near(architecture: Architecture) -> torch.Tensor:
    theta = draw_truth(architecture, 3, seed=1).coordinates
    return theta + 0.1 * torch.randn(theta.shape, generator=torch.manual_seed(0)).double()


def weights(sample: Sample) -> torch.Tensor:
    weight = torch.ones(len(sample)).double() if sample.weight is None else sample.weight
    return weight / weight.sum()


def predictions(architecture: Architecture, rows: Sample, theta: torch.Tensor) -> torch.Tensor:
    return forward(architecture, theta, rows.X.T.contiguous()).prediction.T


def centred(architecture: Architecture, sample: Sample, theta: torch.Tensor) -> torch.Tensor:
    """Return the residuals less their mean, times the roots of the weights."""
    share = weights(sample)
    residual = predictions(architecture, sample, theta) - sample.y.view(len(sample), -1)
    return (residual - share @ residual) * share.sqrt()[:, None]


def dense(matrix: Curvature) -> torch.Tensor:
    return matrix.dense() if isinstance(matrix, Arrow) else matrix


# Against autograd


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("architecture", MODELS, ids=str)
def test_objective_gradient_and_matrix_are_those_of_centred_residuals(
    architecture: Architecture, weighted: bool
) -> None:
    sample, theta = table(architecture, weighted=weighted), near(architecture)
    problem = sample.problem(architecture, 3)

    def objective(values: torch.Tensor) -> torch.Tensor:
        return centred(architecture, sample, values).square().sum()

    value, gradient = problem.gradient(theta)
    assert value == problem.objective(theta)
    assert value == pytest.approx(float(objective(theta)), rel=1e-13)
    expected = torch.autograd.functional.jacobian(objective, theta).flatten()
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-12)
    J = torch.autograd.functional.jacobian(
        lambda values: centred(architecture, sample, values).flatten(), theta
    ).flatten(1)
    torch.testing.assert_close(dense(problem.curvature(theta)), J.T @ J, rtol=1e-10, atol=1e-12)


def test_an_arrow_stays_one() -> None:
    architecture = Architecture("softmax", "full", "linear", 2, n_outputs=40)
    sample, theta = table(architecture, 60), near(architecture)
    matrix = sample.problem(architecture, 3).curvature(theta)
    assert isinstance(matrix, Arrow)
    J = torch.autograd.functional.jacobian(
        lambda values: centred(architecture, sample, values).flatten(), theta
    ).flatten(1)
    torch.testing.assert_close(matrix.dense(), J.T @ J, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("native", [True, False])
def test_means_are_those_of_residuals_and_of_the_jacobian(native: bool) -> None:
    architecture = MODELS[1]
    sample, theta = table(architecture, 1000, weighted=True), near(architecture)
    bare = LeastSquares(Rows.of(sample.X, sample.y, sample.weight), architecture, 3, chunk=70)
    if not native:
        bare.passes = bare._torch
    share, prediction = weights(sample), predictions(architecture, sample, theta)
    torch.testing.assert_close(bare.mean_residual(theta), share @ (prediction - sample.y))
    J = torch.autograd.functional.jacobian(
        lambda values: share @ predictions(architecture, sample, values), theta
    )
    torch.testing.assert_close(mean_slopes(bare, theta), J.flatten(1), rtol=1e-9, atol=1e-12)
    problem = FreeIntercept(bare)
    best = sample.best_intercept(MixingMeasure.from_coordinates(architecture, theta))
    torch.testing.assert_close(problem.intercept(theta), best)


@pytest.mark.parametrize("architecture", MODELS[:2], ids=str)
def test_steps_bend_with_the_centred_jacobian(architecture: Architecture) -> None:
    sample, theta = table(architecture, 20_000, weighted=True), near(architecture)
    problem = sample.problem(architecture, 3)
    assert isinstance(problem, FreeIntercept)
    rows = problem.problem.chosen_part().rows
    assert isinstance(rows, Rows)
    assert 3000 < len(rows) < 20_000
    part = Sample(rows.inputs.T, rows.responses.T, rows.weight)
    step = torch.linspace(-1.0, 1.0, theta.numel()).double()

    def along(t: torch.Tensor) -> torch.Tensor:
        return centred(architecture, part, theta + t * step.view_as(theta)).flatten()

    h = torch.tensor(1e-4, dtype=torch.float64)
    second = (along(h) - 2.0 * along(0.0 * h) + along(-h)) / h**2
    _, expected = torch.autograd.functional.vjp(
        lambda values: centred(architecture, part, values).flatten(), theta, second
    )
    found = problem.bend(theta, step)
    assert found is not None
    torch.testing.assert_close(found, expected.flatten(), rtol=1e-5, atol=1e-7)
    few = replace(sample, X=sample.X[:100], y=sample.y[:100], weight=None)
    assert few.problem(architecture, 3).bend(theta, step) is None


def test_a_constant_change_of_the_prediction_is_no_bend() -> None:
    architecture = MODELS[1]
    sample, theta = table(architecture, 300, weighted=True), near(architecture)
    evidence = gather(MixingMeasure.from_coordinates(architecture, theta), sample)
    steps = 0.1 * torch.randn((theta.numel(), 2), generator=torch.manual_seed(1)).double()
    share = weights(sample)

    def size(values: torch.Tensor) -> torch.Tensor:
        return ((values - share @ values) * share.sqrt()[:, None]).norm()

    base = predictions(architecture, sample, theta)
    expected = []
    for step in steps.T:
        _, linear = torch.autograd.functional.jvp(
            lambda values: predictions(architecture, sample, values), theta, step.view_as(theta)
        )
        sides = [
            predictions(architecture, sample, theta + sign * step.view_as(theta))
            - base
            - sign * linear
            for sign in (1.0, -1.0)
        ]
        expected.append(max(map(size, sides)) / size(linear))
    torch.testing.assert_close(_bend(evidence, steps), torch.stack(expected))


# Fits


@pytest.mark.parametrize("architecture", MODELS[:2], ids=str)
def test_it_ends_where_scipy_does_with_a_parameter_for_the_intercept(
    architecture: Architecture,
) -> None:
    sample = table(architecture, 400)
    truth = draw_truth(architecture, 3, seed=1)
    columns = architecture.n_columns

    def residuals(values: np.ndarray) -> np.ndarray:
        theta = torch.from_numpy(values[:-columns]).view_as(truth.coordinates)
        rest = predictions(architecture, sample, theta) - sample.y.view(len(sample), -1)
        return (rest.numpy() + values[-columns:]).ravel()

    fit = fit_least_squares(
        sample.X,
        sample.y,
        architecture,
        3,
        start=truth,
        bounds=None,
        intercept=True,
        relative_tolerance=1e-12,
    )
    # Not from the same start: several optima lie a little apart.
    end = np.r_[fit.measure.coordinates.flatten().numpy(), fit.intercept.numpy().ravel()]
    near = end + np.random.default_rng(0).normal(0, 1e-3, len(end))
    peer = least_squares(residuals, near, xtol=1e-14, ftol=1e-14, gtol=1e-14)
    assert fit.objective == pytest.approx(2.0 * peer.cost / len(sample), rel=1e-8)
    assert fit.intercept.shape == sample.y.shape[1:]
    np.testing.assert_allclose(fit.intercept.numpy().ravel(), peer.x[-columns:], atol=1e-3)


def test_a_constant_on_top_moves_the_intercept_alone() -> None:
    architecture = MODELS[0]
    sample = table(architecture, 300)
    one, other = (
        fit_least_squares(
            sample.X,
            sample.y + shift,
            architecture,
            3,
            bounds="default",
            seed=0,
            n_starts=2,
            start=draw_truth(architecture, 3, seed=1),
            intercept=True,
        )
        for shift in (0.0, 1e4)
    )
    assert float(other.intercept - one.intercept) == pytest.approx(1e4, rel=1e-9)
    torch.testing.assert_close(
        other.measure.coordinates, one.measure.coordinates, rtol=1e-4, atol=1e-4
    )


def test_an_exact_fit_far_from_zero_is_found() -> None:
    architecture = Architecture("sigmoid", "linear", "tanh", 1)
    truth = draw_truth(architecture, 2, seed=3)
    X, y = draw_sample(truth, 200, noise_variance=0.0, seed=0)
    start = MixingMeasure.from_coordinates(architecture, truth.coordinates + 0.05)
    fit = fit_least_squares(X, y - 1000.0, architecture, 2, start=start, intercept=True)
    assert fit.converged
    # Residuals of 1e-12 of the responses.
    assert fit.objective < 1e-18
    assert float(fit.intercept) == pytest.approx(-1000.0, abs=1e-3)


def test_without_one_it_is_zero() -> None:
    sample = table(MODELS[0])
    fit = fit_least_squares(sample.X, sample.y, MODELS[0], 2, n_starts=1, max_iterations=3)
    assert float(fit.intercept) == 0.0


def test_random_starts_and_penalties_know_it() -> None:
    architecture = Architecture("sigmoid", "linear", "linear", 2)
    sample = table(architecture, 1000)
    fit = fit_least_squares(sample.X, sample.y, architecture, 3, ridge=1e-6, intercept=True)
    assert fit.objective < 0.0105
    residual = sample.y - fit.measure.predict(sample.X) - fit.intercept
    assert fit.objective == pytest.approx(float(residual.square().mean()), rel=1e-10)
    assert abs(float(residual.mean())) < 1e-12


def test_merged_atoms_are_refitted_with_it() -> None:
    architecture = Architecture("sigmoid", "linear", "linear", 2)
    sample = table(architecture, 1000)
    fit = fit_least_squares(sample.X, sample.y, architecture, 3, intercept=True)
    path = merge_atoms(fit.measure, sample.X, sample.y, intercept=True)
    assert path.levels[0].objective == pytest.approx(fit.objective, rel=1e-10)
    for level in path.levels[1:]:
        assert level.fit is not None
        residual = sample.y - level.measure.predict(sample.X) - level.fit.intercept
        assert level.objective == pytest.approx(float(residual.square().mean()), rel=1e-10)
        assert abs(float(residual.mean())) < 1e-12
    free = [level.criteria.n_parameters for level in path.levels if level.criteria is not None]
    assert free == [3 * 6 + 1, 2 * 6 + 1, 6 + 1]


@pytest.mark.parametrize("value", [2.5, "yes", None])
def test_it_is_asked_for_or_not(value: object) -> None:
    sample = table(MODELS[0])
    measure = draw_truth(MODELS[0], 3, seed=1)
    for ask, remedy in (
        (
            lambda: fit_least_squares(sample.X, sample.y, MODELS[0], 2, intercept=value),
            "It is fitted, and needs no start.",
        ),
        (lambda: merge_atoms(measure, sample.X, intercept=value), "Say whether the fit had one."),
    ):
        with pytest.raises(InputError) as error:
            ask()
        assert str(error.value) == f"intercept must be True or False; got {value!r}. {remedy}"
