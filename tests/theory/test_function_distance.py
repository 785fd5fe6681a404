import math

import numpy as np
import pytest
import torch

from sigmoe._base.errors import InputError
from sigmoe.moe import Architecture, MixingMeasure, draw_truth
from sigmoe.theory import function_distance
from sigmoe.theory._points import integration_points

LINE = Architecture(score="linear", expert="linear", dim=1)


def line(slope, intercept=0.0):
    """Return f(x) = slope x + intercept, by one atom with the constant gate 1/2."""
    return MixingMeasure(LINE, None, [[0.0]], [0.0], [[2 * slope, 2 * intercept]])


def test_distance_of_two_lines():
    # E x^2 = 1/3 on [-1, 1]
    distance = function_distance(line(3.0, 1.0), line(1.0), n_points=2**12)
    assert float(distance) == pytest.approx(math.sqrt(4 / 3 + 1), rel=1e-4)


def test_another_distribution_of_the_inputs():
    def sampler(rng, n):
        return rng.choice([-2.0, 2.0], size=(n, 1))

    distance = function_distance(line(3.0), line(1.0), n_points=100, sampler=sampler)
    assert float(distance) == pytest.approx(4.0, rel=1e-14)


def test_different_architectures_and_batches():
    truth = draw_truth(Architecture(gate="softmax", dim=3, n_outputs=2), 2, seed=1)
    fit = draw_truth(Architecture(gate="sigmoid", dim=3, n_outputs=2, expert="gelu"), 4, seed=2)
    fits = MixingMeasure.stack([fit, fit.permute([3, 2, 1, 0])])
    distance = function_distance(fits, truth)
    rng = np.random.default_rng(0)
    X = torch.from_numpy(rng.uniform(-1, 1, size=(100_000, 3)))
    sample = (fit.predict(X) - truth.predict(X)).square().sum(dim=1).mean().sqrt()
    assert distance.shape == (2,)
    assert distance.tolist() == pytest.approx([float(sample)] * 2, rel=0.01)
    assert float(function_distance(truth, truth)) == 0.0


def test_the_same_seed_gives_the_same_points():
    points = integration_points(2, 100, seed=3)
    assert points.shape == (128, 2)
    assert torch.equal(points, integration_points(2, 128, seed=3))
    assert not torch.equal(points, integration_points(2, 128, seed=4))
    assert float(points.abs().max()) <= 1.0
    assert points.mean(dim=0).tolist() == pytest.approx([0.0, 0.0], abs=0.01)
    assert integration_points(1, 1, seed=0).shape == (1, 1)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            Architecture(dim=2),
            "fitted must be of the target's dim 2; got 1. Compare functions of one kind.",
        ),
        (
            Architecture(dim=1, n_outputs=1),
            "fitted must be of the target's n_outputs 1; got None. Compare functions of one kind.",
        ),
    ],
)
def test_refuses_functions_of_different_kinds(other, message):
    with pytest.raises(InputError) as error:
        function_distance(line(1.0), draw_truth(other, 2))
    assert str(error.value) == message


def test_refuses_no_points():
    with pytest.raises(InputError) as error:
        function_distance(line(1.0), line(2.0), n_points=0)
    assert str(error.value) == (
        "n_points must be an integer >= 1 and <= 1e+07; got 0. Ask for at least one point; a "
        "million is more than enough."
    )
