"""Local moduli against exponents that are known, and their parts against naive references."""

import re
from math import inf

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from sigmoe._base.errors import InputError
from sigmoe.moe import Architecture, MixingMeasure, draw_truth
from sigmoe.theory import local_modulus
from sigmoe.theory._quadrature import box_quadrature
from sigmoe.theory.modulus._mixture import Limits, MixtureModel


def constant_gate(score, expert, weight=0.2):
    architecture = Architecture(score=score, expert=expert, dim=1)
    b = None if score == "partial" else [[0.0]]
    c = np.log(weight / (1.0 - weight))
    return MixingMeasure(architecture, [[[0.0]]], b, [c], [[0.8, 0.4]])


def two_atoms():
    """Return a truth whose first gate is constant."""
    line = Architecture(score="partial", expert="tanh", dim=1)
    return MixingMeasure(line, [[[0.0]], [[1.0]]], None, [-1.4, 0.3], [[0.8, 0.4], [-1.1, 0.7]])


@pytest.fixture(scope="module")
def full_tanh():
    return local_modulus(
        constant_gate("full", "tanh"), 2, blocks=("A", "b"), decades=2.5, n_starts=2
    )


@pytest.fixture(scope="module")
def partial_linear():
    return local_modulus(constant_gate("partial", "linear"), 2, decades=2.0, n_starts=3, seed=1)


@pytest.fixture(scope="module", params=["sigmoid", "softmax"])
def regular(request):
    architecture = Architecture(gate=request.param, score="partial", expert="tanh", dim=1)
    return local_modulus(draw_truth(architecture, 2, seed=1), 2, decades=2.0, n_starts=1)


# Two atoms at one


def test_full_score_two_gates_with_opposite_b_are_of_fourth_order(full_tanh):
    found = full_tanh["b"]
    assert 3.9 < found.low <= found.exponent <= found.high < 4.1
    assert found.rate == pytest.approx(1 / 8, rel=0.03)
    # The sequence behind it: b in first order of t, what belongs to it in second.
    assert found.direction.startswith("weights 0.")
    assert re.search(r"b\[0,0\] = [+-]1 t\^1\.0", found.direction)
    assert re.search(r"A\[0,0,0\] = -\S+ t\^2\.0", found.direction)
    assert found.error[found.distance > 10.0 * found.floor].max() < 1e-3
    assert 1e6 < found.asymptotic_from(0.01) < inf


def test_the_worst_measures_are_the_sequence_in_which_curvature_in_b_is_slope_in_a(full_tanh):
    found = full_tanh["b"]
    # Above the floor, and where second order is all that counts.
    worst = found.worst[int(np.flatnonzero(found.distance > 1e3 * found.floor)[-1])]
    weight, A, b = torch.sigmoid(worst.c), worst.A[:, 0, 0], worst.b[:, 0]
    slope, curvature = weight * (1 - weight), weight * (1 - weight) * (1 - 2 * weight)
    assert float(weight.sum()) == pytest.approx(0.2, rel=1e-3)
    assert abs(float((slope * b).sum())) < 0.02 * float((slope * b.abs()).sum())
    balance = float((slope * A).sum() / (curvature * b**2).sum())
    assert balance == pytest.approx(-0.5, rel=0.05)


def test_the_worst_measures_have_the_distances_of_the_curve(full_tanh):
    found = full_tanh["A"]
    rule = box_quadrature(1, 3.0)
    difference = found.worst.predict(rule.nodes) - constant_gate("full", "tanh").predict(rule.nodes)
    np.testing.assert_allclose(rule.norm(difference.squeeze()), found.distance, rtol=1e-4)


def test_full_score_a_moves_with_the_expert_in_second_order(full_tanh):
    found = full_tanh["A"]
    assert 1.95 < found.low <= found.exponent <= found.high < 2.05


@pytest.mark.parametrize(
    ("expert", "block", "exponent", "within"),
    [("gelu", "eta", 2.0, 0.05), ("relu", "eta", 1.5, 0.1)],
)
def test_partial_score(expert, block, exponent, within):
    truth = constant_gate("partial", expert)
    found = local_modulus(truth, 2, blocks=(block,), decades=2.0, n_starts=2)[block]
    assert found.exponent == pytest.approx(exponent, abs=within)


def test_partial_score_linear_expert(partial_linear):
    found = partial_linear["A"]
    assert found.low < 2.0 < found.high
    assert found.exponent == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("block", ["scale", "eta", "weight"])
def test_a_linear_expert_behind_a_constant_gate_has_no_rate(partial_linear, block):
    found = partial_linear[block]
    assert (found.exponent, found.rate, found.asymptotic_from(0.01)) == (inf, 0.0, inf)
    assert f"{block} (over): no rate" in partial_linear.summary
    assert partial_linear.exponent == inf


def test_an_atom_with_one_fitted_atom_is_reported_beside_the_over_specified_one():
    found = local_modulus(two_atoms(), 3, blocks=("A",), over_specified=0, decades=1.0, n_starts=1)
    assert [(b.block, b.specified) for b in found.blocks] == [("A", "over"), ("A", "exact")]
    assert found["A"] is found["A", "over"]
    # They tend to 2 and 1; a short curve tells them apart.
    assert found["A"].exponent > found["A", "exact"].exponent + 0.25
    assert found.fisher is None
    with pytest.raises(KeyError):
        found["b"]


# Regular models


def test_a_regular_model_has_exponent_one_in_every_block(regular):
    assert regular.over_specified is None
    assert regular.fisher.regular
    assert [block.exponent for block in regular.blocks] == pytest.approx(
        [1.0] * len(regular.blocks), abs=0.05
    )
    assert regular.summary.count("rate n^-0.5") == len(regular.blocks)
    assert regular.summary.count("Fisher error") == len(regular.blocks)


def test_the_curves_of_a_regular_model_tend_to_the_fisher_information(regular):
    # Minimising x'Ix with x_j = t gives t^2 / (I^-1)_jj; the points of the two integrals differ.
    for block in regular.blocks:
        limit = block.t[-1] / block.worst_standard_error
        assert block.distance[-1] == pytest.approx(limit, rel=0.03)
        assert block.worst_standard_error <= block.standard_error


def test_in_three_dimensions_the_curves_tend_to_the_fisher_information_too():
    # Both integrals are quasi-Monte Carlo there.
    architecture = Architecture(score="partial", expert="tanh", dim=3)
    truth = draw_truth(architecture, 1, seed=1)
    found = local_modulus(truth, 1, blocks=("weight", "eta"), decades=1.5, n_starts=1)
    assert found.fisher.regular
    assert [block.block for block in found.blocks] == ["weight", "eta"]
    for block in found.blocks:
        assert block.exponent == pytest.approx(1.0, abs=0.05)
        limit = block.t[-1] / block.worst_standard_error
        assert block.distance[-1] == pytest.approx(limit, rel=0.03)


def test_a_model_that_is_not_regular_has_no_fisher_error_and_says_why():
    # The gate's weight trades against the size of the expert.
    truth = constant_gate("partial", "linear")
    found = local_modulus(truth, 1, blocks=("A",), decades=1.0, n_starts=1)
    assert found["A"].specified == "exact"
    assert found["A"].standard_error is None
    assert not found.fisher.regular
    assert found.fisher.reasons


def test_distances_and_their_rounding_are_in_units_of_the_responses():
    truth = constant_gate("partial", "linear")
    smaller = MixingMeasure(truth.architecture, truth.A, None, truth.c, 1e-3 * truth.eta)
    one, two = (MixtureModel(g, [2], box_quadrature(1, 3.0), Limits()) for g in (truth, smaller))
    assert two.size == pytest.approx(1e-3 * one.size, rel=1e-6)
    x = 0.3 * one.upper
    y = np.where([c.block in ("eta", "scale") for c in one.coordinates], 1e-3 * x, x)
    np.testing.assert_allclose(two.residual(y), 1e-3 * one.residual(x), atol=1e-15)


# The minimiser


def test_no_other_search_finds_a_lower_distance():
    truth = constant_gate("partial", "gelu")
    found = local_modulus(truth, 2, blocks=("eta",), decades=1.0, n_starts=4)["eta"]
    model = MixtureModel(truth, [2], box_quadrature(1, 3.0), Limits())
    held = next(k for k, c in enumerate(model.coordinates) if c.block == "eta")
    free = np.arange(len(model.lower)) != held
    rng = np.random.default_rng(0)
    best = inf
    for sign in (1.0, -1.0):
        for _ in range(3):
            x = rng.uniform(model.lower, model.upper)

            def residual(z, x=x, sign=sign):
                x[held], x[free] = sign * found.t[3], z
                return model.residual(x)

            bounds = (model.lower[free], model.upper[free])
            end = least_squares(residual, x[free].copy(), bounds=bounds, xtol=1e-12, max_nfev=150)
            best = min(best, float(np.linalg.norm(end.fun)))
    assert found.distance[3] <= 1.02 * best


# Bad input


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_experts": 0}, "n_experts must be an integer >= 1; got 0."),
        ({"over_specified": 1}, "over_specified must be an integer >= 0 and <= 0; got 1."),
        ({"blocks": ("b",)}, "blocks must be one of 'weight', 'A', 'eta'; got 'b'."),
        ({"decades": 0.5}, "decades must be a number >= 1 and <= 12; got 0.5."),
        ({"decades": 1e6}, "decades must be a number >= 1 and <= 12; got 1000000.0."),
        ({"half_width": 0.0}, "half_width must be a number >= 0.001 and <= 1000; got 0.0."),
        ({"half_width": 1e200}, "half_width must be a number >= 0.001 and <= 1000; got 1e\\+200."),
        ({"n_experts": 10**6}, "n_experts must be an integer >= 1 and <= 100; got 1000000."),
        ({"blocks": "eta"}, "blocks must be a sequence of one name or more; got 'eta'. Write"),
        ({"blocks": ()}, "blocks must be a sequence of one name or more; got \\(\\). Write"),
        ({"blocks": 3}, "blocks must be a sequence of one name or more; got 3. Write"),
        ({"n_starts": 0}, "n_starts must be an integer >= 1 and <= 10000; got 0."),
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


def test_a_sigmoid_gate_that_depends_on_the_input_is_not_shared():
    message = "truth must be with A = 0 and b = 0 at atom 1, .* got 'entries up to 1'. Name another"
    with pytest.raises(InputError, match=message):
        local_modulus(two_atoms(), 3)


@pytest.mark.parametrize(
    ("c", "eta", "message"),
    [
        (
            -800.0,
            [0.8, 0.4],
            "truth must be of weights with log odds from -230 to 25; got '-800 at atom 0'. Move c: "
            "gates that are closed or open to rounding cannot be followed.",
        ),
        (
            40.0,
            [0.8, 0.4],
            "truth must be of weights with log odds from -230 to 25; got '40 at atom 0'. Move c: "
            "gates that are closed or open to rounding cannot be followed.",
        ),
        (
            0.0,
            [0.0, 0.0],
            "truth must be of experts of sizes from 1e-100 to 1e+100; got 'size 0 at atom 0'. "
            "Leave atoms out that contribute nothing, and divide eta by its size.",
        ),
        (
            0.0,
            [0.0, 1e200],
            "truth must be of experts of sizes from 1e-100 to 1e+100; got 'size 1e+200 at atom 0'. "
            "Leave atoms out that contribute nothing, and divide eta by its size.",
        ),
    ],
)
def test_an_atom_that_contributes_nothing_or_everything_is_refused(c, eta, message):
    line = Architecture(score="partial", expert="linear", dim=1)
    with pytest.raises(InputError) as error:
        local_modulus(MixingMeasure(line, [[[0.0]]], None, [c], [eta]), 2)
    assert str(error.value) == message


def test_a_softmax_weight_of_zero_is_refused():
    architecture = Architecture(gate="softmax", score="partial", expert="tanh", dim=1)
    eta = [[0.8, 0.4], [-1.0, 0.5]]
    truth = MixingMeasure(architecture, [[[0.0]], [[0.0]]], None, [0.0, -900.0], eta)
    with pytest.raises(InputError, match="log odds from -230 to 25; got '900 at atom 0'"):
        local_modulus(truth, 3)


@pytest.mark.parametrize("truth", ["tanh", None, Architecture(dim=1)])
def test_what_is_no_measure_is_refused(truth):
    with pytest.raises(InputError, match=r"truth must be a MixingMeasure; got .* Write Mixing"):
        local_modulus(truth, 2)


@pytest.mark.parametrize("noise_variance", [0.0, -1.0, float("nan"), "1"])
def test_a_noise_that_is_no_variance_is_refused(regular, noise_variance):
    with pytest.raises(InputError, match="noise_variance must be a number > 0; got"):
        regular.blocks[0].asymptotic_from(noise_variance)
