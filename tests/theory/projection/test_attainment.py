import json
import math

import numpy as np
import pytest
import torch

from sigmoe._base.errors import InputError
from sigmoe.moe import Architecture, MixingMeasure, draw_truth
from sigmoe.theory import attainment, function_distance, project
from sigmoe.theory.projection._growth import Box
from sigmoe.theory.projection._verdict import judge


def line(gate, expert):
    return Architecture(gate=gate, score="linear", expert=expert, dim=1)


def atom(architecture, b, c, eta):
    return MixingMeasure(architecture, None, b, c, eta)


#: f = tanh(1.5 x + 0.5): the gate of a single softmax atom is 1, that of a sigmoid atom is not.
ALONE = atom(line("softmax", "tanh"), [[0.0]], [0.0], [[1.5, 0.5]])
ALONE_START = atom(line("sigmoid", "tanh"), [[0.0]], [1.0], [[1.0, 0.0]])
SLOPE, SHIFT = 5.0, 0.3
#: f = 2 sigmoid'(s) (x + 0.7): softmax with experts 0, x + 0.7, 0 and scores 0, s + log 2, 2 s.
BELL = atom(
    line("softmax", "linear"),
    [[0.0], [SLOPE], [2 * SLOPE]],
    [0.0, SHIFT + math.log(2.0), 2 * SHIFT],
    [[0.0, 0.0], [1.0, 0.7], [0.0, 0.0]],
)
BELL_START = atom(line("sigmoid", "linear"), [[5.0], [5.0]], [0.6, 0.0], [[3.0, 2.0], [-3.0, -2.0]])


@pytest.fixture(scope="module")
def bell():
    torch.set_num_threads(1)
    return attainment(BELL_START, BELL)


@pytest.fixture(scope="module")
def alone():
    torch.set_num_threads(1)
    return attainment(ALONE_START, ALONE)


def test_the_bell_is_the_derivative_of_a_gate():
    x = torch.linspace(-1, 1, 9).double()[:, None]
    gate = torch.sigmoid(SLOPE * x[:, 0] + SHIFT)
    expected = 2 * gate * (1 - gate) * (x[:, 0] + 0.7)
    torch.testing.assert_close(BELL.predict(x), expected)


def test_a_derivative_is_approached_by_two_atoms_against_each_other(bell):
    assert bell.verdict == "by degenerate atoms"
    assert bell.reason.startswith("atoms grow against each other: their contributions add up to ")
    # A difference quotient with experts of size R has steps of size 1/R, and an error of R^-2.
    assert bell.slopes[-2:] == pytest.approx([-2.0, -2.0], abs=0.02)
    growth = np.array(bell.cancellations[-2:]) / np.array(bell.cancellations[-3:-1])
    assert growth == pytest.approx([2.0, 2.0], abs=0.05)
    assert bell.norms[-3:] == pytest.approx(bell.radii[-3:])
    first, second = bell.measure.eta
    torch.testing.assert_close(first, -second, rtol=1e-2, atol=0.0)


def test_the_distances_are_those_of_the_functions(bell):
    # The measure's own distance, on other points than those of the sequence.
    fresh = float(function_distance(bell.measure, BELL, n_points=2**12, seed=5))
    assert fresh == pytest.approx(bell.distances[-1], rel=0.2)


def test_a_gate_that_has_to_be_one_opens_without_end(alone):
    assert alone.verdict == "at infinity"
    assert "constant to rounding" in alone.reason
    size = float(ALONE.predict(np.linspace(-1, 1, 4001)[:, None]).square().mean().sqrt())
    # c = 2 R and the true expert are in the box of radius R from 2.5 on.
    for radius, distance in zip(alone.radii[1:4], alone.distances[1:4], strict=True):
        assert 0 < distance <= 1.01 * size / (1 + math.exp(2 * radius))
    assert list(alone.distances) == sorted(alone.distances, reverse=True)


def test_an_optimum_inside_stays_where_it_is():
    truth = draw_truth(line("softmax", "tanh"), 3, seed=1)
    start = project(truth, line("sigmoid", "tanh"), 2, n_starts=3, n_points=256).members[0]
    found = attainment(start, truth)
    assert found.verdict == "attained"
    assert found.reason == "the same minimum in every box from radius 2.5 on"
    assert found.norms[2:] == pytest.approx([found.norms[1]] * 5, rel=1e-4)
    pushed = [value for value in found.outward if value is not None]
    assert len(pushed) == 6
    assert min(pushed) > 2 * found.distances[-1]


def test_a_linear_function_is_one_sigmoid_atom():
    # x + 1 = sigmoid(c) eta(x) for every c, exactly: no limit is needed.
    truth = atom(line("softmax", "linear"), [[0.0]], [0.0], [[1.0, 1.0]])
    start = atom(line("sigmoid", "linear"), [[0.3]], [1.0], [[0.5, 0.5]])
    found = attainment(start, truth)
    assert found.verdict == "attained"
    assert found.distances[-1] < 1e-12


def test_a_constant_expert_that_has_to_saturate():
    # Two softmax tanh experts approximate two sigmoid ones best if one is -1 everywhere.
    truth = draw_truth(line("sigmoid", "tanh"), 2, seed=1)
    start = atom(
        line("softmax", "tanh"), [[0.0], [-4.4]], [0.0, -4.9], [[-0.8, -5.0], [-5.0, -4.0]]
    )
    found = attainment(start, truth)
    assert found.verdict == "at infinity"
    assert found.reason.startswith("parameters grow until a gate or an expert is constant")
    assert found.distances[-1] > 0.1
    values = found.measure.experts(np.linspace(-1, 1, 9)[:, None])
    assert float(values.abs().amin(dim=0).max()) > 1 - 1e-9


def boxes(distances, norms=None, outward=None, cancel=None, gate=None, saturated=False):
    radii = [2.0**k for k in range(len(distances))]
    n = len(radii)
    rows = zip(
        radii,
        norms or radii,
        distances,
        outward or [None] * n,
        cancel or [1.0] * n,
        gate or [0.5] * n,
        strict=True,
    )
    return [Box(r, np.zeros(1), m, d, o, k, g, saturated) for r, m, d, o, k, g in rows]


LAW = [2.0 ** (-k) for k in range(7)]
FLAT = [1.0, 0.6, 0.5, 0.5, 0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("sequence", "word"),
    [
        (boxes(LAW), "at infinity"),
        (boxes([0.3 + value for value in LAW]), "at infinity"),
        (boxes(LAW, cancel=[2.0**k for k in range(7)]), "by degenerate atoms"),
        (boxes(LAW, gate=[0.4**k for k in range(7)]), "by degenerate atoms"),
        (boxes(LAW, norms=[1, 2, 3, 3.1, 3.2, 3.2, 3.2]), "undecided"),
        (boxes(FLAT, norms=[1, 2, 3, 3, 3, 3, 3]), "attained"),
        (boxes(FLAT, norms=[1, 2, 4, 4, 4, 4, 4], outward=[None] * 3 + [0.7] * 4), "attained"),
        (boxes(FLAT, norms=[1, 2, 3, 3, 3, 3, 3], saturated=True), "at infinity"),
        (boxes([1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5], saturated=True), "undecided"),
        (boxes([1.0, 1.0, 1.0, 1.0, 1.0, 0.9, 0.8]), "undecided"),
        (boxes([0.5] * 7, norms=[0.1] * 7), "attained"),
        (boxes([1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]), "attained"),
    ],
)
def test_the_rule(sequence, word):
    assert judge(sequence, 1.0).word == word


def test_results_can_be_read_and_stored(alone):
    stored = json.loads(json.dumps(alone.as_dict()))
    assert stored["verdict"] == "at infinity"
    assert stored["distances"] == list(alone.distances)
    lines = alone.summary.splitlines()
    assert lines[0].startswith("at infinity: parameters grow until a gate or an expert")
    assert len(lines) == 2 + len(alone.radii)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"radii": (1.0, 2.0, 4.0)},
            "radii must be at least 4 increasing positive numbers; got (1.0, 2.0, 4.0). "
            "Each step should double the box; the default box of a fit has radius 10.",
        ),
        (
            {"radii": (1.0, 2.0, 2.0, 4.0)},
            "radii must be at least 4 increasing positive numbers; got (1.0, 2.0, 2.0, 4.0). "
            "Each step should double the box; the default box of a fit has radius 10.",
        ),
        (
            {"radii": "abcd"},
            "radii must be at least 4 increasing positive numbers; got 'abcd'. "
            "Each step should double the box; the default box of a fit has radius 10.",
        ),
        (
            {"radii": None},
            "radii must be at least 4 increasing positive numbers; got None. "
            "Each step should double the box; the default box of a fit has radius 10.",
        ),
        (
            {"member": "best"},
            "member must be a MixingMeasure; got 'best'. Write MixingMeasure(...), or take "
            "draw_truth(architecture, n_experts).",
        ),
        (
            {"n_points": 3},
            "n_points must be an integer >= 4 and <= 1e+07; got 3. "
            "4 parameters need more points; ten times as many are a good choice.",
        ),
        (
            {"evaluations": 49},
            "evaluations must be an integer >= 50; got 49. "
            "An optimum that has not moved would look attained; 300 is the default.",
        ),
        (
            {"truth": draw_truth(Architecture(dim=2), 1)},
            "member must be of the truth's dim 2; got 1. Pass a member of project.",
        ),
        (
            {"member": MixingMeasure.stack([ALONE_START, ALONE_START])},
            "member must be a single measure; got 'a batch (2,)'. Use member[k].",
        ),
    ],
)
def test_refusals(change, message):
    arguments = {"member": ALONE_START, "truth": ALONE, **change}
    with pytest.raises(InputError) as error:
        attainment(**arguments)
    assert str(error.value) == message
