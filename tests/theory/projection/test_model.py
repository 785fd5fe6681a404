import numpy as np
import torch

from sigmoe.moe import Architecture, draw_truth
from sigmoe.theory.projection._model import ProjectionModel

X = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, size=(60, 2)))


def model(gate, n_outputs=None):
    architecture = Architecture(gate=gate, expert="tanh", dim=2, n_outputs=n_outputs)
    truth = draw_truth(architecture, 2, seed=1)
    return ProjectionModel.of(truth, architecture, 3, X), draw_truth(architecture, 3, seed=2)


def test_softmax_coordinates_write_the_same_function_with_a_gate_of_zero():
    problem, measure = model("softmax")
    x = problem.coordinates(measure)
    assert np.all(x[problem.gauge] == 0.0)
    torch.testing.assert_close(problem.measure(x).predict(X), measure.predict(X))


def test_sigmoid_coordinates_are_the_measures_own():
    problem, measure = model("sigmoid")
    assert problem.gauge == []
    assert problem.measure(problem.coordinates(measure)) == measure


def test_the_jacobian_is_the_residuals_derivative_for_several_responses():
    problem, measure = model("softmax", n_outputs=2)
    x = problem.coordinates(measure)
    step = 1e-6
    for j in range(0, len(x), 5):
        moved = [x + sign * step * (np.arange(len(x)) == j) for sign in (1, -1)]
        slope = (problem.residual(moved[0]) - problem.residual(moved[1])) / (2 * step)
        np.testing.assert_allclose(problem.jacobian(x)[:, j], slope, rtol=1e-5, atol=1e-9)


def test_a_null_atom_has_no_say_in_the_norm():
    problem, measure = model("sigmoid")
    x = problem.coordinates(measure)
    rows = x.reshape(3, -1)
    rows[1, -3:] = 0.0
    rows[1, 0] = 15.0
    assert problem.relative(x).max() < 7.0
    rows[1, -1] = 0.1
    assert problem.relative(x).max() == 7.5
