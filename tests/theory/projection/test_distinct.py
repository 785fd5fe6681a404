import numpy as np
import torch

from sigmoe.moe import Architecture, MixingMeasure, draw_truth
from sigmoe.theory.projection._distinct import group_measures, label_functions

X = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, size=(200, 1)))


def line(gate, expert):
    return Architecture(gate=gate, score="linear", expert=expert, dim=1)


def test_order_and_translation_make_no_other_measure():
    measure = draw_truth(line("softmax", "tanh"), 3, seed=0)
    shifted = measure.coordinates
    shifted[:, :2] += torch.tensor([0.7, -1.3])
    moved = MixingMeasure.from_coordinates(measure.architecture, shifted).permute([2, 0, 1])
    other = draw_truth(line("softmax", "tanh"), 3, seed=1)
    assert group_measures([measure, other, moved]) == [[0, 2], [1]]


def labels(measures, distance=0.1):
    return label_functions(measures, [distance] * len(measures), 1e-9, X)


def test_the_sign_of_an_even_expert_makes_another_measure_of_the_same_function():
    square = line("sigmoid", "polynomial:2")
    one = MixingMeasure(square, None, [[1.0]], [0.2], [[1.0, 0.5]])
    two = MixingMeasure(square, None, [[1.0]], [0.2], [[-1.0, -0.5]])
    assert group_measures([one, two]) == [[0], [1]]
    assert labels([one, two]) == (0, 0)


def test_complementary_gates_make_another_measure_of_the_same_function():
    # sigmoid(s) E + sigmoid(0) E' = sigmoid(-s) (-E) + sigmoid(0) (E' + 2 E)
    linear = line("sigmoid", "linear")
    one = MixingMeasure(linear, None, [[1.0], [0.0]], [0.2, 0.0], [[1.0, 0.5], [0.3, 0.0]])
    two = MixingMeasure(linear, None, [[-1.0], [0.0]], [-0.2, 0.0], [[-1.0, -0.5], [2.3, 1.0]])
    other = MixingMeasure(linear, None, [[1.0], [0.0]], [0.2, 0.0], [[1.0, 0.5], [0.4, 0.0]])
    assert group_measures([one, two]) == [[0], [1]]
    assert labels([other, one, two]) == (0, 1, 1)


def test_functions_are_told_apart_at_the_scale_of_their_distances():
    linear = line("sigmoid", "linear")
    near = [MixingMeasure(linear, None, [[0.0]], [0.0], [[value, 0.0]]) for value in (1.0, 1.01)]
    assert labels(near, distance=0.1) == (0, 0)
    assert labels(near, distance=0.01) == (0, 1)
