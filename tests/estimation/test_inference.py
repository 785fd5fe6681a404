"""Standard errors against dense references, closed forms and simulation."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import binom, linregress
from torch import Tensor

from problems_estimation import (
    LINE,
    REGULAR,
    TWO,
    dense_curvature,
    dense_jacobian,
    fitted,
    ordinary,
    wide,
)
from problems_moe import ARCHITECTURES, name
from sigmoe._base.errors import InputError
from sigmoe.estimation import fit_least_squares, normal_equations
from sigmoe.estimation.inference import _jacobian as jacobian_module
from sigmoe.estimation.inference._coordinates import free_positions, pinned
from sigmoe.estimation.inference._curvature import residual_curvature
from sigmoe.estimation.inference._jacobian import jacobian, score_moments
from sigmoe.estimation.inference._parameters import parameter_covariance, prediction_standard_error
from sigmoe.estimation.inference._sandwich import BREADS
from sigmoe.estimation.inference._table import ParameterIntervals
from sigmoe.moe import Architecture, MixingMeasure, draw_sample, draw_truth

KINDS = ("robust", "robust-gauss-newton", "classical")


# Derivatives


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=name)
def test_derivatives_agree_with_autograd(architecture: Architecture) -> None:
    measure = draw_truth(architecture, 3, seed=3)
    X, y = draw_sample(draw_truth(architecture, 3, seed=1), 40, noise_variance=1.0, seed=2)
    residual = (measure.predict(X) - y).reshape(40, -1)
    dense = dense_jacobian(measure, X)
    theta = measure.coordinates
    torch.testing.assert_close(jacobian(architecture, theta, X.T), dense.permute(1, 2, 0))
    scores = (dense * residual.unsqueeze(-1)).sum(1)
    torch.testing.assert_close(score_moments(measure, X, residual), scores.T @ scores)
    torch.testing.assert_close(
        residual_curvature(measure, X, residual), dense_curvature(measure, X, residual)
    )


def test_scores_of_a_scalar_response_are_weighted_normal_equations() -> None:
    truth = draw_truth(Architecture(expert="tanh", dim=2), 3, seed=1)
    X, y = draw_sample(truth, 60, seed=2)
    residual = truth.predict(X) - y
    weight = residual.square()
    expected = normal_equations(truth, X, y, sample_weight=weight).matrix * weight.sum()
    torch.testing.assert_close(score_moments(truth, X, residual.unsqueeze(1)), expected)


def test_chunks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    measure, X, y = fitted("sigmoid-two-columns")
    whole = parameter_covariance(measure, X, y)
    error = prediction_standard_error(whole, measure, X)
    monkeypatch.setattr(jacobian_module, "_CHUNK_NUMBERS", 1)
    parts = parameter_covariance(measure, X, y)
    torch.testing.assert_close(parts.covariance, whole.covariance)
    torch.testing.assert_close(prediction_standard_error(parts, measure, X), error)


# Covariance against a dense sandwich


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", REGULAR)
def test_agrees_with_a_dense_sandwich(key: str, kind: str, weighted: bool) -> None:
    truth, noise, width = REGULAR[key]
    X, y = draw_sample(truth, 400, noise, 1, wide(width, truth.architecture.dim))
    weight = (
        1.0 + torch.arange(400).double() % 3 if weighted else torch.ones(400, dtype=torch.float64)
    )
    measure = fit_least_squares(
        X, y, truth.architecture, truth.n_experts, truth, sample_weight=weight
    ).measure
    found = parameter_covariance(measure, X, y, kind=kind, sample_weight=weight)
    assert found.available, found.reason
    free = free_positions(truth.architecture, truth.n_experts)
    residual = (measure.predict(X) - y).reshape(400, -1)
    J = dense_jacobian(measure, X)[..., free]
    H = torch.einsum("nmp,n,nmq->pq", J, weight, J)
    scores = torch.einsum("nmp,nm,n->np", J, residual, weight)
    S = scores.T @ scores
    if kind == "classical":
        variance = (weight @ residual.square().sum(1)) / (residual.numel() - len(free))
        expected = variance * torch.linalg.inv(H)
    else:
        if kind == "robust":
            curvature = dense_curvature(measure, X, residual * weight.unsqueeze(1))
            H = H + curvature[free][:, free]
        expected = torch.linalg.inv(H) @ S @ torch.linalg.inv(H)
    torch.testing.assert_close(found.covariance[free][:, free], expected, rtol=1e-6, atol=1e-14)
    pins = [k for k in range(len(found.covariance)) if k not in free.tolist()]
    assert len(pins) == truth.architecture.n_invisible
    assert not found.covariance[pins].any()
    assert not found.covariance[:, pins].any()


@pytest.mark.parametrize("kind", KINDS)
def test_the_unit_of_the_weights_does_not_matter(kind: str) -> None:
    measure, X, y = fitted("softmax")
    one = parameter_covariance(measure, X, y, kind=kind)
    same = parameter_covariance(measure, X, y, kind=kind, sample_weight=torch.full((400,), 7.0))
    torch.testing.assert_close(same.covariance, one.covariance)
    assert same.n_rows == one.n_rows == 400


# One linear expert is ordinary least squares


@pytest.mark.parametrize("kind", KINDS)
def test_one_linear_expert_is_ordinary_least_squares(kind: str) -> None:
    measure, X, y, design = ordinary()
    inverse = torch.linalg.inv(design.T @ design)
    residual = y - design @ measure.eta[0]
    if kind == "classical":
        expected = inverse * residual.square().sum() / (50 - 3)
    else:
        # White's estimator, known as HC0.
        expected = inverse @ (design.T * residual.square()) @ design @ inverse
    found = parameter_covariance(measure, X, y, kind=kind)
    torch.testing.assert_close(found.covariance[3:, 3:], expected, rtol=1e-11, atol=0)
    assert found.intervals().names == ("eta[0,0]", "eta[0,1]", "eta[0,2]")
    error = prediction_standard_error(found, measure, X[:7])
    variance = torch.einsum("np,pq,nq->n", design[:7], expected, design[:7])
    torch.testing.assert_close(error, variance.sqrt(), rtol=1e-11, atol=0)


def test_classical_intervals_of_a_line_are_those_of_linear_regression() -> None:
    _, X, y, _ = ordinary(20)
    peer = linregress(X[:, 0].numpy(), y.numpy())
    line = MixingMeasure(TWO, None, [[0.0]], [0.0], [[peer.slope, peer.intercept]])
    table = parameter_covariance(line, X[:, :1], y, kind="classical").intervals(0.9)
    assert table.standard_error.tolist() == pytest.approx([peer.stderr, peer.intercept_stderr])
    # Student's quantile at 0.95 with 18 degrees of freedom, from a table.
    assert table["eta[0,0]"][1] == pytest.approx(peer.slope + 1.734064 * peer.stderr, rel=1e-6)


# Simulation


def replicate(truth, noise, width, n, repeats, kinds, wrong=None, start=None):
    """Return estimates (repeats, k) and, by kind, tables of intervals over replications."""
    estimates, errors = [], {kind: [] for kind in kinds}
    for seed in range(repeats):
        X, y = draw_sample(truth, n, noise, seed, wide(width, 1))
        y = y if wrong is None else y + wrong(X)
        fit = fit_least_squares(
            X,
            y,
            truth.architecture,
            truth.n_experts,
            truth if start is None else start,
            relative_tolerance=1e-6,
        )
        for kind in kinds:
            found = parameter_covariance(fit.measure, X, y, kind=kind)
            assert found.available, found.reason
            table = found.intervals()
            errors[kind].append(table)
        estimates.append(table.estimate)
    return torch.stack(estimates), errors


def test_intervals_cover_as_often_as_they_say() -> None:
    truth, noise, width = REGULAR["softmax"]
    _, tables = replicate(truth, noise, width, 300, 200, ("robust",))
    free = free_positions(truth.architecture, 2)
    values = pinned(truth).coordinates.flatten()[free]
    covered = torch.stack([table.covers(values) for table in tables["robust"]]).sum(0)
    # Six coordinates: each count lies in here with probability 0.999.
    low, high = binom.interval(0.999, 200, 0.95)
    assert low <= int(covered.min())
    assert int(covered.max()) <= high


def test_the_full_hessian_is_right_where_the_model_is_wrong() -> None:
    truth, noise, width = REGULAR["softmax"]

    def wrong(X: Tensor) -> Tensor:
        return torch.cos(2.5 * X[:, 0])

    X, y = draw_sample(truth, 5000, noise, 99, wide(width, 1))
    near = fit_least_squares(X, y + wrong(X), TWO, 2, truth).measure
    estimates, tables = replicate(truth, noise, width, 300, 100, KINDS[:2], wrong, near)
    spread = estimates.std(0)
    mean = {
        kind: torch.stack([table.standard_error for table in found]).mean(0) / spread
        for kind, found in tables.items()
    }
    # 100 replications know a standard deviation to 7 %.
    assert float((mean["robust"] - 1.0).abs().max()) < 0.2
    assert float((mean["robust-gauss-newton"] - 1.0).abs().max()) > 0.4


# Pinning and names


def test_a_common_translation_changes_nothing() -> None:
    measure, X, y = fitted("softmax-full")
    g = measure.architecture.n_score_coefficients
    theta = measure.coordinates
    theta[:, :g] += torch.linspace(-1.0, 1.0, g).double()
    moved = MixingMeasure.from_coordinates(measure.architecture, theta)
    one, other = (parameter_covariance(each, X, y) for each in (measure, moved))
    torch.testing.assert_close(other.covariance, one.covariance, rtol=1e-7, atol=1e-14)
    torch.testing.assert_close(other.measure.coordinates, one.measure.coordinates)
    torch.testing.assert_close(one.measure.predict(X), measure.predict(X))
    assert not one.measure.A[-1].any()
    assert not one.measure.b[-1].any()
    assert float(one.measure.c[-1]) == 0.0


def test_sigmoid_gates_pin_nothing() -> None:
    measure, X, y = fitted("sigmoid")
    assert parameter_covariance(measure, X, y).measure == measure


def test_the_table_speaks_of_entries() -> None:
    measure, X, y = fitted("softmax-full")
    found = parameter_covariance(measure, X, y)
    table, at = found.intervals(), found.intervals().names.index
    A = found.measure.A
    assert float(table.estimate[at("A[0,0,1]")]) == pytest.approx(float(A[0, 0, 1]))
    assert float(table.estimate[at("A[0,1,1]")]) == pytest.approx(float(A[0, 1, 1]))
    # The coordinate is 2 A_01, so that the standard error of the entry is half of its own.
    error = found.covariance.diagonal().sqrt()
    assert float(table.standard_error[at("A[0,0,1]")]) == pytest.approx(float(error[4]) / 2)
    assert float(table.standard_error[at("A[0,1,1]")]) == pytest.approx(float(error[5]))
    assert table["A[0,1,1]"] == (float(table.lower[5]), float(table.upper[5]))
    assert "A[1,0,0]" not in table.names
    lines = str(table).splitlines()
    assert len(lines) == 1 + len(table.names)
    assert lines[0].split() == ["entry", "estimate", "std.", "error", "lower", "upper"]


def test_an_interval_covers_its_ends_and_not_beyond() -> None:
    zero = torch.zeros(3)
    table = ParameterIntervals(("x", "y", "z"), zero, zero + 1, zero - 1, zero + 1, 0.9)
    assert table.covers(torch.tensor([-1.0, 1.0, 1.1])).tolist() == [True, True, False]


def test_prediction_errors_have_the_shape_of_predictions() -> None:
    measure, X, y = fitted("sigmoid-two-columns")
    found = parameter_covariance(measure, X, y)
    error = prediction_standard_error(found, measure, X[:9])
    J = dense_jacobian(measure, X[:9])
    expected = torch.einsum("nmp,pq,nmq->nm", J, found.covariance, J).sqrt()
    torch.testing.assert_close(error, expected)


# Bad input


def test_unknown_names_and_bad_numbers_are_refused() -> None:
    measure, X, y = ordinary()[:3]
    for call, message in [
        (
            lambda: parameter_covariance(measure, X, y, kind="HC3"),
            "kind must be one of 'robust', 'robust-gauss-newton', 'classical'; got 'HC3'. Choose "
            "one of these names.",
        ),
        (
            lambda: parameter_covariance(MixingMeasure.stack([measure]), X, y),
            "measure must be a single measure; got 'a batch (1,)'. Take one with measure[k].",
        ),
        (
            lambda: parameter_covariance(measure, X, y).intervals(95),
            "level must be a number > 0 and < 1; got 95. Pass 0.95 for 95 % intervals.",
        ),
        (
            lambda: prediction_standard_error(
                parameter_covariance(measure, X, y), draw_truth(LINE, 1), X
            ),
            "measure must be the estimate of the inference; got 'another one'. Pass the measure "
            "that parameter_covariance was given.",
        ),
    ]:
        with pytest.raises(InputError) as error:
            call()
        assert str(error.value) == message


def test_every_kind_is_in_the_table() -> None:
    assert BREADS.names() == KINDS
