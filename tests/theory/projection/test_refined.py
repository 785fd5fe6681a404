"""Better optima that growing boxes meet are members of the refined approximations."""

import pytest
import torch

from sigmoe.estimation import Bounds
from sigmoe.moe import Architecture, draw_truth
from sigmoe.theory import function_distance, project

TRUTH = draw_truth(Architecture(gate="softmax", expert="relu", dim=1), 3, seed=1)
MODEL = Architecture(gate="sigmoid", expert="relu", dim=1)


@pytest.fixture(scope="module")
def short():
    """Return a projection whose only fit stops long before its optimum."""
    torch.set_num_threads(1)
    return project(TRUTH, MODEL, 1, n_starts=1, n_points=256, max_iterations=2)


def test_the_better_optimum_is_the_first_member(short):
    refined = short.refined
    assert refined.distances[0] < 0.9 * short.distances[0]
    best = refined.members[0]
    fresh = float(function_distance(best, TRUTH, n_points=2**13, seed=5))
    assert fresh == pytest.approx(refined.distances[0], rel=0.02)
    assert list(refined.distances) == sorted(refined.distances)
    assert refined.distances[-1] <= 1.25 * refined.distances[0]
    # It was found by no start; the one start's own end stays only within reach of it.
    assert refined.counts[0] == 0
    assert sum(refined.counts) <= refined.n_starts == 1
    assert float(refined.set_loss(best)) == 0.0


def test_what_is_refined_stays_as_it_was(short):
    before = short.members, short.distances, short.counts
    assert short.refined is short.refined
    assert (short.members, short.distances, short.counts) == before
    assert "growing boxes found a better optimum than a member: see refined" in short.summary


def test_nothing_better_is_nothing_new():
    found = project(TRUTH, MODEL, 1, n_starts=4, n_points=256)
    assert found.refined is found
    assert "see refined" not in found.summary


def test_the_parameter_space_of_the_fits_holds_for_what_boxes_find():
    # The single gate of the truth is 1, so that c grows in every larger box.
    softmax = Architecture(gate="softmax", score="linear", expert="tanh", dim=1)
    truth = draw_truth(softmax, 1, seed=3)
    model = Architecture(gate="sigmoid", score="linear", expert="tanh", dim=1)
    tight = Bounds(c=(-3.0, 3.0))
    found = project(truth, model, 1, n_starts=2, n_points=256, bounds=tight)
    assert found.attainments[0].measure.c.abs().max() > 3.0
    for member in found.refined.members:
        assert member.c.abs().max() <= 3.0
    assert found.refined.distances[0] <= found.distances[0]
