"""The search for local moduli: on models with classical exponents, and part by part."""

from math import inf, isnan

import numpy as np
import pytest
import torch
from scipy.optimize import approx_fprime, least_squares

from problems_modulus import GaussianMixture
from sigmoe.moe import Architecture, draw_truth
from sigmoe.theory._quadrature import box_quadrature, kinks_of
from sigmoe.theory.modulus import _solve
from sigmoe.theory.modulus._exponent import exponent_of
from sigmoe.theory.modulus._levenberg_marquardt import minimise
from sigmoe.theory.modulus._mixture import Limits, MixtureModel
from sigmoe.theory.modulus._parts import completed, shares
from sigmoe.theory.modulus._solve import solve
from sigmoe.theory.modulus._trace import follow_all


def model_of(truth, sizes, pinned=None):
    rule = box_quadrature(1, 3.0, kinks=kinks_of(truth))
    return MixtureModel(truth, sizes, rule, Limits(), pinned)


# Finite Gaussian mixtures near one Gaussian: Ho and Nguyen (2016), "Convergence rates of parameter
# estimation for some weakly identifiable finite mixtures", have 4 and 6 for location and scale


@pytest.mark.parametrize(
    ("size", "free_variance", "block", "exponent"),
    [
        (2, False, "mean", 2.0),
        (2, True, "mean", 4.0),
        (2, True, "variance", 2.0),
        (3, True, "mean", 6.0),
        (3, True, "variance", 3.0),
    ],
)
def test_gaussians_near_one(size, free_variance, block, exponent):
    model = GaussianMixture(size, free_variance)
    held, top = (size - 1, 0.8) if block == "mean" else (2 * size - 1, 0.4)
    t = np.geomspace(top, top / 10.0, 9)
    traces = follow_all(model, [held], [t], n_starts=4, seed=0)
    found = exponent_of(t, traces.distance.min(0), 1e-14)
    assert found.value == pytest.approx(exponent, rel=0.05)
    assert found.low - 0.02 < exponent < found.high


# Levenberg-Marquardt


def rosenbrock(z, which):
    return np.stack([10.0 * (z[:, 1] - z[:, 0] ** 2), 1.0 - z[:, 0]], axis=1)


def rosenbrock_slope(z, which):
    zero = np.zeros(len(z))
    rows = [[-20.0 * z[:, 0], zero + 10.0], [zero - 1.0, zero]]
    return np.moveaxis(np.array(rows), -1, 0)


def test_many_problems_at_once_end_where_each_ends_alone():
    starts = np.array([[-1.2, 1.0], [3.0, -2.0], [0.5, 4.0]])
    together = minimise(rosenbrock, rosenbrock_slope, starts, np.ones_like(starts), 100)
    np.testing.assert_allclose(together, 1.0, atol=1e-7)
    for start, end in zip(starts, together, strict=True):
        alone = minimise(rosenbrock, rosenbrock_slope, start[None], np.ones((1, 2)), 100)
        np.testing.assert_allclose(alone[0], end, atol=1e-9)


def test_each_problem_is_told_which_it_is_and_a_zero_column_stays():
    # The first problem has steps refused while the others move; the last coordinate is a number.
    start = np.array([[-1.2, 1.0, 0.0], [0.9, 0.9, 1.0], [0.5, 4.0, 2.0]])

    def slope(z, which):
        np.testing.assert_array_equal(z[:, 2], which)
        return np.concatenate([rosenbrock_slope(z, which), np.zeros((len(z), 2, 1))], axis=-1)

    end = minimise(rosenbrock, slope, start, np.ones((3, 3)), 100)
    np.testing.assert_allclose(end, [[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [1.0, 1.0, 2.0]], atol=1e-6)


def test_a_start_at_zero_moves():
    # It has no size that the trust region could be taken from.
    end = minimise(rosenbrock, rosenbrock_slope, np.zeros((1, 2)), np.ones((1, 2)), 100)
    np.testing.assert_allclose(end, 1.0, atol=1e-6)


def test_a_curved_fit_ends_where_scipy_ends():
    x = np.linspace(0.0, 3.0, 20)
    y = 2.0 * np.exp(-0.7 * x) + 0.05 * np.cos(9.0 * x)

    def residual(z, which):
        return z[:, :1] * np.exp(-z[:, 1:] * x) - y

    def slope(z, which):
        wave = np.exp(-z[:, 1:] * x)
        return np.stack([wave, -z[:, :1] * x * wave], axis=-1)

    start = np.array([[0.5, 3.0]])
    end = minimise(residual, slope, start, np.ones((1, 2)), 60)
    peer = least_squares(lambda z: residual(z[None], None)[0], start[0], xtol=1e-12)
    np.testing.assert_allclose(end[0], peer.x, rtol=1e-5)


# Exponents of curves


def test_the_interval_reaches_as_far_as_slopes_still_move():
    t = np.geomspace(1.0, 0.1, 7)
    found = exponent_of(t, t**2 * (1.0 + t), 0.0)
    assert found.low < 2.0 < found.value < found.high


@pytest.mark.parametrize(
    ("distance", "value"),
    [
        ([1e-17] * 5, inf),
        # A fall by twelve decades between neighbours is no power; one by two, into rounding, is.
        ([1e-4, 1e-5, 1e-17, 1e-17, 1e-17], inf),
        ([1e-8, 1e-10, 1e-12, 1e-13, 2e-15], np.log2(1e2)),
    ],
)
def test_distances_at_the_floor(distance, value):
    t = 0.5 ** np.arange(5.0)
    assert exponent_of(t, np.array(distance), 1e-14).value == pytest.approx(value)


def test_a_curve_with_one_point_above_the_floor_is_not_resolved():
    t = 0.5 ** np.arange(3.0)
    assert isnan(exponent_of(t, np.array([1.5e-14, 9e-15, 1e-15]), 1e-14).value)


# Parts of the model of mixtures


@pytest.mark.parametrize("gate", ["sigmoid", "softmax"])
@pytest.mark.parametrize("expert", ["tanh", "relu", "scaled-gelu"])
def test_the_jacobian_is_that_of_the_residual(gate, expert):
    truth = draw_truth(Architecture(gate=gate, expert=expert, dim=1), 2, seed=3)
    model = model_of(truth, [1, 3], pinned=0 if gate == "softmax" else None)
    rng = np.random.default_rng(1)
    x = 0.3 * rng.uniform(model.lower, model.upper) + 0.35 * (model.lower + model.upper)
    numeric = approx_fprime(x, model.residual, 1e-7)
    np.testing.assert_allclose(model.jacobian(x), numeric, atol=2e-6)


def test_coordinates_that_are_deviations_vanish_at_the_truth():
    truth = draw_truth(Architecture(score="partial", expert="linear", dim=1), 2, seed=0)
    x = np.where(model_of(truth, [1, 1]).local, 0.0, 0.5)
    assert np.abs(model_of(truth, [1, 1]).residual(x)).max() < 1e-15


def test_shares_add_up_and_keep_their_floor():
    share, slope = shares(np.array([0.3, 1.0]), 0.3)
    assert share.sum() == pytest.approx(1.0)
    assert share.min() == pytest.approx(0.1)
    numeric = approx_fprime(np.array([0.3, 0.6]), lambda cuts: shares(cuts, 0.3)[0], 1e-7)
    np.testing.assert_allclose(shares(np.array([0.3, 0.6]), 0.3)[1], numeric, atol=1e-6)
    assert slope.shape == (3, 2)


# Quadrature


def test_quadrature_integrates_polynomials_and_kinks():
    rule = box_quadrature(1, 3.0)
    assert float(rule.weights.sum()) == pytest.approx(1.0)
    assert float(rule.mean(rule.nodes[:, 0] ** 6)) == pytest.approx(3.0**6 / 7)
    kinked = box_quadrature(1, 3.0, kinks=[([2.0], 1.0)])
    # E relu(2x + 1)^2 over U[-3, 3] = 7^3 / 36.
    value = kinked.mean(torch.relu(2.0 * kinked.nodes[:, 0] + 1.0).square())
    assert float(value) == pytest.approx(7.0**3 / 36, rel=1e-13)
    square = box_quadrature(2, 1.0)
    x, y = square.nodes.T
    assert float(square.mean(x**2 * y**4)) == pytest.approx(1 / 15, rel=1e-12)


def test_an_orthogonal_frame_begins_with_the_unit_vector():
    unit = np.array([0.6, 0.0, -0.8])
    Q = completed(unit)
    np.testing.assert_allclose(Q[:, 0], unit, atol=1e-15)
    np.testing.assert_allclose(Q.T @ Q, np.eye(3), atol=1e-15)


def test_groups_of_problems_that_fit_in_memory_end_as_all_at_once(monkeypatch):
    model = GaussianMixture(2, True)
    starts = 0.4 * np.random.default_rng(0).uniform(model.lower, model.upper, (5, 5))
    held = np.array([1, 2, 3, 4, 1])
    whole = solve(model, starts, held, 30)
    monkeypatch.setattr(_solve, "_NUMBERS", 2 * 200 * 5)
    parts = solve(model, starts, held, 30)
    np.testing.assert_allclose(parts.distance, whole.distance, rtol=1e-6)
    np.testing.assert_array_equal(parts.points[range(5), held], starts[range(5), held])
