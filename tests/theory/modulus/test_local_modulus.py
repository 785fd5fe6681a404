"""Local moduli against exponents that are known, and their parts against naive references."""

from math import inf

import numpy as np
import pytest
import torch
from scipy.optimize import approx_fprime, least_squares

from sigmoe._base.errors import InputError
from sigmoe.moe import Architecture, MixingMeasure, draw_truth
from sigmoe.theory import local_modulus
from sigmoe.theory._quadrature import box_quadrature, kinks_of
from sigmoe.theory.modulus._mixture import Limits, MixtureModel, shares
from sigmoe.theory.modulus._result import local_slopes
from sigmoe.theory.modulus._trace import follow_all


def constant_gate(score, expert, weight=0.2):
    architecture = Architecture(score=score, expert=expert, dim=1)
    b = None if score == "partial" else [[0.0]]
    c = np.log(weight / (1.0 - weight))
    return MixingMeasure(architecture, [[[0.0]]], b, [c], [[0.8, 0.4]])


# Mixtures of experts


def test_full_score_two_gates_with_opposite_b_are_of_fourth_order():
    found = local_modulus(constant_gate("full", "tanh"), 2, blocks=("b",), n_starts=3)["b"]
    assert 3.9 < found.low <= found.exponent <= found.high < 4.1
    assert found.rate == pytest.approx(1 / 8, rel=0.03)
    # The sequence behind it: b in first order of t, what belongs to it in second.
    assert "b[0,0] = " in found.direction
    assert "t^2.0" in found.direction
    assert found.error.max() < 1e-3
    assert 1e6 < found.asymptotic_from(0.01) < inf


@pytest.mark.parametrize(
    ("expert", "block", "low", "high"),
    [("gelu", "eta", 1.9, 2.1), ("linear", "A", 1.85, 2.05), ("relu", "eta", 1.3, 1.6)],
)
def test_partial_score(expert, block, low, high):
    truth = constant_gate("partial", expert)
    found = local_modulus(truth, 2, blocks=(block,), n_starts=3)[block]
    assert low < found.exponent < high


@pytest.mark.parametrize("block", ["scale", "eta", "weight"])
def test_a_linear_expert_behind_a_constant_gate_has_no_rate(block):
    truth = constant_gate("partial", "linear")
    found = local_modulus(truth, 2, blocks=(block,), decades=1.0, n_starts=2)[block]
    assert (found.exponent, found.rate, found.asymptotic_from(0.01)) == (inf, 0.0, inf)


@pytest.mark.parametrize("gate", ["sigmoid", "softmax"])
def test_a_regular_model_has_exponent_one_in_every_block(gate):
    truth = draw_truth(Architecture(gate=gate, score="partial", expert="tanh", dim=1), 2, seed=1)
    found = local_modulus(truth, 2, decades=2.5, n_starts=2)
    assert found.over_specified is None
    assert [block.exponent for block in found.blocks] == pytest.approx(
        [1.0] * len(found.blocks), abs=0.1
    )
    assert found.summary.count("rate n^-0.5") == len(found.blocks)


def test_the_size_of_the_responses_scales_the_curve_and_not_the_exponent():
    truth = constant_gate("partial", "linear")
    doubled = MixingMeasure(truth.architecture, truth.A, None, truth.c, 2.0 * truth.eta)
    one, two = (
        local_modulus(t, 2, blocks=("A",), n_starts=3, seed=1)["A"] for t in (truth, doubled)
    )
    np.testing.assert_allclose(two.distance[-4:], 2.0 * one.distance[-4:], rtol=0.05)


def model_of(truth, sizes, pinned=None):
    rule = box_quadrature(1, 3.0, kinks=kinks_of(truth))
    return MixtureModel(truth, sizes, rule, Limits(), pinned)


def test_no_other_search_finds_a_lower_distance():
    truth = constant_gate("partial", "gelu")
    found = local_modulus(truth, 2, blocks=("eta",), decades=1.0, n_starts=4)["eta"]
    model = model_of(truth, [2])
    held = next(k for k, c in enumerate(model.coordinates) if c.block == "eta")
    free = np.arange(len(model.lower)) != held
    rng = np.random.default_rng(0)
    best = inf
    for sign in (1.0, -1.0):
        for _ in range(6):
            x = rng.uniform(model.lower, model.upper)

            def residual(z, x=x, sign=sign):
                x[held], x[free] = sign * found.t[3], z
                return model.residual(x)

            bounds = (model.lower[free], model.upper[free])
            end = least_squares(residual, x[free].copy(), bounds=bounds, xtol=1e-12, max_nfev=300)
            best = min(best, float(np.linalg.norm(end.fun)))
    assert found.distance[3] <= 1.02 * best


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


# The same search on finite Gaussian mixtures, whose exponents are classical


class GaussianMixture:
    """Two components near N(0, 1): shares in [.2, .8], means, and variances if they are free."""

    def __init__(self, free_variance):
        self.x, weight = np.polynomial.legendre.leggauss(200)
        self.x, self.root = 8.0 * self.x, np.sqrt(8.0 * weight)
        self.free_variance = free_variance
        size = 5 if free_variance else 3
        self.names = ("share", "m0", "m1", "v0", "v1")[:size]
        self.lower = np.array([0.2, -1.0, -1.0, -0.5, -0.5])[:size]
        self.upper = np.array([0.8, 1.0, 1.0, 0.5, 0.5])[:size]
        self.local = np.arange(size) > 0

    def parts(self, x):
        means, variances = x[1:3], 1.0 + (x[3:5] if self.free_variance else np.zeros(2))
        z = self.x - means[:, None]
        v = variances[:, None]
        return np.exp(-(z**2) / (2 * v)) / np.sqrt(2 * np.pi * v), z, v

    def residual(self, x):
        density, _, _ = self.parts(x)
        truth = np.exp(-(self.x**2) / 2) / np.sqrt(2 * np.pi)
        return (np.array([x[0], 1 - x[0]]) @ density - truth) * self.root

    def jacobian(self, x):
        density, z, v = self.parts(x)
        weight = np.array([x[0], 1 - x[0]])[:, None]
        rows = [density[:1] - density[1:], weight * density * z / v]
        if self.free_variance:
            rows.append(weight * density * (z**2 / v**2 - 1 / v) / 2)
        return (np.concatenate(rows) * self.root).T


@pytest.mark.parametrize(
    ("free_variance", "held", "exponent"), [(False, 1, 2.0), (True, 1, 4.0), (True, 3, 2.0)]
)
def test_two_gaussians_near_one(free_variance, held, exponent):
    model = GaussianMixture(free_variance)
    traces = follow_all(
        model, [held], [np.geomspace(0.4, 0.02, 9)], n_starts=6, floor=1e-14, seed=0
    )
    best = np.minimum(*(trace.distance for trace in traces))
    assert local_slopes(traces[0].t, best, 1e-14)[-3:].mean() == pytest.approx(exponent, abs=0.12)


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


# Bad input


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_experts": 0}, "n_experts must be an integer >= 1; got 0."),
        ({"over_specified": 1}, "over_specified must be an integer >= 0 and <= 0; got 1."),
        ({"blocks": ("b",)}, "blocks must be one of 'weight', 'A', 'eta'; got 'b'."),
        ({"decades": 0.5}, "decades must be a number >= 1"),
        ({"half_width": 0.0}, "half_width must be a number > 0"),
        ({"n_starts": 0}, "n_starts must be an integer >= 1; got 0."),
    ],
)
def test_bad_input_is_refused(changes, message):
    arguments = {"n_experts": 2, **changes}
    with pytest.raises(InputError, match=message):
        local_modulus(constant_gate("partial", "gelu"), **arguments)


def test_a_single_softmax_gate_and_a_batch_are_refused():
    truth = draw_truth(Architecture(gate="softmax", dim=1), 1, seed=0)
    with pytest.raises(InputError, match="truth must be of at least two atoms for softmax gates"):
        local_modulus(truth, 2)
    batch = MixingMeasure.stack([truth, truth])
    with pytest.raises(InputError, match="truth must be a single measure"):
        local_modulus(batch, 2)
