"""Samples at quadrature nodes: they say as much as n observations, and fits there are as good."""

import numpy as np
import pytest
import torch

from sigmoe.estimation import Bounds, fit_least_squares
from sigmoe.estimation.inference._jacobian import jacobian
from sigmoe.lab._minpack import fit_at_nodes
from sigmoe.lab._nodes import draw_at_nodes, node_rule, per_observation
from sigmoe.lab._reference import local_start, reference, splits_weight
from sigmoe.lab._study_inputs import Nodes
from sigmoe.moe import Architecture, MixingMeasure, draw_sample
from sigmoe.theory import voronoi_loss

NOISE = 0.01
LINE = Architecture(score="partial", expert="gelu", dim=1)
#: One atom, fitted with one: a regular model.
REGULAR = MixingMeasure(LINE, [[[-0.5]]], None, [0.3], [[2.0, 0.5]])
RULE = node_rule(REGULAR, Nodes(3.0))


def fit_of(y, start=REGULAR, tolerance=1e-10):
    return fit_at_nodes(RULE, y, start, Bounds(), max_evaluations=100, tolerance=tolerance)


def node_fits(n, count):
    samples = [draw_at_nodes(REGULAR, RULE, n, NOISE, seed) for seed in range(count)]
    return [fit_of(y) for y in samples]


def test_the_error_of_a_regular_model_is_fishers():
    n, count = 10**6, 120
    J = jacobian(LINE, REGULAR.coordinates, RULE.nodes.T.contiguous())[0]
    information = (J * RULE.weights) @ J.T * n / NOISE
    errors = torch.stack(
        [(fit.measure.coordinates - REGULAR.coordinates).flatten() for fit in node_fits(n, count)]
    )
    # Chi squared with p degrees of freedom: mean p, variance 2 p.
    squares = torch.einsum("kp,pq,kq->k", errors, information, errors)
    p = errors.shape[1]
    assert abs(float(squares.mean()) - p) < 3 * (2 * p / count) ** 0.5
    # And each coordinate on its own.
    predicted = torch.linalg.inv(information).diagonal()
    ratio = errors.square().mean(0) / predicted
    assert bool(((ratio - 1).abs() < 4 * (2 / count) ** 0.5).all())


def test_nodes_and_ordinary_draws_have_the_same_losses():
    n, count = 10_000, 50

    def loss(measure):
        return float(voronoi_loss(measure, REGULAR, "L5"))

    at_nodes = [loss(fit.measure) for fit in node_fits(n, count)]
    drawn = []
    for seed in range(count):
        X, y = draw_sample(
            REGULAR, n, NOISE, seed=seed, sampler=lambda rng, size: rng.uniform(-3, 3, (size, 1))
        )
        drawn.append(loss(fit_least_squares(X, y, LINE, 1, REGULAR).measure))
    error = np.hypot(*(np.std(values) / count**0.5 for values in (at_nodes, drawn)))
    assert abs(np.mean(at_nodes) - np.mean(drawn)) < 2.5 * error


def test_residuals_come_in_the_units_of_one_observation():
    n = 10**8
    values = []
    for seed in range(40):
        residual = draw_at_nodes(REGULAR, RULE, n, NOISE, seed) - REGULAR.predict(RULE.nodes)
        values.append(per_observation(float(RULE.mean(residual.square())), RULE, n))
    spread = NOISE * (2 / (40 * len(RULE.weights))) ** 0.5
    assert abs(np.mean(values) - NOISE) < 3 * spread


def test_one_seed_is_one_sample():
    first, again, other = (draw_at_nodes(REGULAR, RULE, 100, NOISE, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_minpack_finds_the_truth_without_noise_and_says_how_it_ended():
    start = MixingMeasure.from_coordinates(LINE, REGULAR.coordinates + 0.1)
    fit = fit_of(REGULAR.predict(RULE.nodes), start)
    assert fit.status in ("decrease", "step", "gradient")
    assert fit.objective < 1e-20 < fit.start_objective
    torch.testing.assert_close(fit.measure.coordinates, REGULAR.coordinates)


def test_minpack_agrees_with_the_other_solver():
    y = draw_at_nodes(REGULAR, RULE, 1000, NOISE, 3)
    other = fit_least_squares(
        RULE.nodes, y, LINE, 1, REGULAR, sample_weight=RULE.weights, relative_tolerance=1e-12
    )
    fit = fit_of(y)
    assert fit.objective == pytest.approx(other.objective, rel=1e-8)
    torch.testing.assert_close(
        fit.measure.coordinates, other.measure.coordinates, rtol=1e-4, atol=1e-6
    )


def test_minpack_is_as_quick_near_a_face_of_the_box():
    # The fold has little slope there, which the Jacobian must know.
    eta = [[9.5, 9.6]]
    truth = MixingMeasure(LINE, [[[-0.5]]], None, [0.3], eta)
    start = MixingMeasure(LINE, [[[-0.5]]], None, [0.3], [[9.9, 9.9]])
    fit = fit_of(truth.predict(RULE.nodes), start)
    assert fit.evaluations <= 10
    torch.testing.assert_close(fit.measure.eta, truth.eta)


def test_minpack_stays_inside_the_bounds():
    y = 1000.0 * REGULAR.predict(RULE.nodes)
    fit = fit_of(y, tolerance=1e-6)
    assert float(fit.measure.eta.abs().max()) <= 10.0


@pytest.mark.parametrize("regime", ["dense", "sparse"])
@pytest.mark.parametrize("expert", ["relu", "gelu", "linear", "polynomial:2"])
@pytest.mark.parametrize("score", ["full", "partial"])
@pytest.mark.parametrize("gate", ["sigmoid", "softmax"])
def test_the_reference_has_the_truths_function(gate, score, expert, regime):
    shape = Architecture(gate=gate, score=score, expert=expert, dim=1)
    last = 0.0 if regime == "sparse" else -0.7
    b = [[1.0], [last]] if score == "full" else None
    eta = [[-2.0, 1.0], [1.5, 0.5]]
    truth = MixingMeasure(shape, [[[0.4]], [[last]]], b, [0.2, -1.0], eta)
    x = torch.linspace(-3.0, 3.0, 50, dtype=torch.float64)[:, None]
    for n_experts in (3, 4):
        found = reference(truth, n_experts)
        assert found.n_experts == n_experts
        torch.testing.assert_close(found.predict(x), truth.predict(x))
    assert splits_weight(truth) == (gate == "softmax" or regime == "sparse")


def test_a_local_start_is_the_reference_and_noise():
    noise = torch.ones(2, LINE.n_atom_parameters, dtype=torch.float64)
    start = local_start(REGULAR, 2, 0.25, noise)
    difference = start.coordinates - reference(REGULAR, 2).coordinates
    torch.testing.assert_close(difference, 0.25 * noise)
