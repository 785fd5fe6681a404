import json

import numpy as np
import pytest
import torch

from sigmoe._base.errors import InputError
from sigmoe._base.seeds import seed_sequence
from sigmoe.estimation import Bounds
from sigmoe.moe import Architecture, MixingMeasure, draw_truth
from sigmoe.theory import attainment, function_distance, project, set_loss, voronoi_loss

SOFTMAX = Architecture(gate="softmax", score="linear", expert="tanh", dim=1)
SIGMOID = Architecture(gate="sigmoid", score="linear", expert="tanh", dim=1)
TRUTH = draw_truth(SOFTMAX, 2, seed=1)


@pytest.fixture(scope="module")
def found():
    torch.set_num_threads(1)
    return project(TRUTH, SIGMOID, 2, n_starts=6, n_points=512, seed=3)


def test_distances_are_those_of_the_functions(found):
    assert found.n_starts == 6
    assert 1 <= len(found.members) <= 6
    assert sum(found.counts) <= 6
    assert list(found.distances) == sorted(found.distances)
    for member, distance, error in zip(
        found.members, found.distances, found.distance_errors, strict=True
    ):
        assert member.architecture == SIGMOID
        fresh = float(function_distance(member, TRUTH, n_points=2**15, seed=11))
        assert abs(fresh - distance) < 5 * error + 1e-3 * distance


def test_members_are_distinct_and_within_reach_of_the_best(found):
    assert max(found.distances) <= 1.25 * found.distances[0] + 1e-6
    for k, member in enumerate(found.members):
        others = [other for j, other in enumerate(found.members) if j != k]
        if others:
            assert float(set_loss(member, others)) > 0.0


def test_the_best_is_a_stationary_point_of_the_distance(found):
    # No small step in a random direction comes closer on the same integral.
    best = found.members[0]
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(60, *best.coordinates.shape, generator=generator, dtype=torch.float64)
    steps = MixingMeasure.from_coordinates(SIGMOID, best.coordinates + 1e-2 * noise)
    moved = function_distance(steps, TRUTH, n_points=2**12)
    assert float(moved.min()) > 0.999 * float(function_distance(best, TRUTH, n_points=2**12))


@pytest.mark.parametrize(("seed", "counts"), [(21, [1, 2, 1]), (19, [1, 1, 1])])
def test_several_optima_are_told_apart_and_counted(seed, counts):
    # Found by search, and other ones once the solver takes other paths: seed 21 reaches its second
    # optimum twice, seed 19 finds three.
    truth = draw_truth(Architecture(gate="softmax", expert="relu", dim=2), 4, seed=1)
    model = Architecture(gate="sigmoid", expert="relu", dim=2)
    found = project(truth, model, 2, n_starts=6, n_points=512, seed=seed)
    assert list(found.counts) == counts
    assert list(found.distances) == sorted(found.distances)
    assert found.distances[-1] < 1.25 * found.distances[0]
    assert min(found.fitted_distances) > 0.5 * found.distances[0]
    assert float(set_loss(found.members[0], found.members[1:])) > 1.0
    best = project(truth, model, 2, n_starts=6, n_points=512, seed=seed, within=0.0)
    assert best.members == found.members[:1]


def test_deterministic_given_the_seed(found):
    again = project(TRUTH, SIGMOID, 2, n_starts=6, n_points=512, seed=3)
    assert again.members == found.members
    assert again.distances == found.distances
    sequences = [seed_sequence(3, role="x"), seed_sequence(3, role="x")]
    one, two = (project(TRUTH, SIGMOID, 1, n_starts=2, n_points=256, seed=s) for s in sequences)
    assert one.members == two.members
    # the caller's sequence is not used up
    three = project(TRUTH, SIGMOID, 1, n_starts=2, n_points=256, seed=sequences[0])
    assert three.members == one.members


def test_a_truth_inside_the_model_is_found_exactly_and_once():
    truth = draw_truth(Architecture(score="linear", expert="tanh", dim=1), 1, seed=2)
    found = project(truth, truth.architecture, 1, n_starts=4, n_points=512)
    assert found.distances[0] < 1e-6
    assert len(found.members) == 1
    assert found.counts[0] >= 2
    assert float(set_loss(found.members[0], [truth])) < 1e-3


def test_the_reverse_sigmoid_truth_on_a_softmax_model():
    truth = draw_truth(SIGMOID, 2, seed=4)
    found = project(truth, SOFTMAX, 2, n_starts=4, n_points=512)
    assert found.members[0].architecture == SOFTMAX
    size = float(
        function_distance(truth, MixingMeasure(SIGMOID, None, [[0.0]], [0.0], [[0.0] * 2]))
    )
    assert found.distances[0] < 0.2 * size


def test_the_bounds_hold_and_are_reported():
    # x + 1 is one linear expert with a constant gate; tanh with small parameters stays far away.
    line = Architecture(score="linear", expert="linear", dim=1)
    truth = MixingMeasure(line, None, [[0.0]], [0.0], [[2.0, 2.0]])
    exact = project(truth, line, 1, n_starts=3, n_points=256)
    assert exact.distances[0] < 1e-6
    tight = Bounds(eta=(-0.1, 0.1))
    bounded = project(truth, SIGMOID, 1, n_starts=3, n_points=256, bounds=tight)
    assert bounded.distances[0] > 0.5
    assert any("eta[0,0] at upper bound 0.1" in text for text in bounded.active_bounds[0])


def test_another_distribution_of_the_inputs():
    def far(rng: np.random.Generator, n: int) -> np.ndarray:
        return rng.uniform(3.0, 5.0, size=(n, 1))

    found = project(TRUTH, SIGMOID, 1, n_starts=2, n_points=256, sampler=far)
    distance = float(function_distance(found.members[0], TRUTH, sampler=far, n_points=2**13))
    assert distance == pytest.approx(found.distances[0], rel=0.2, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"architecture": Architecture(dim=2)},
            "architecture must be of the truth's dim 1; got 2. "
            "Only models of the same inputs and responses can approximate the truth.",
        ),
        (
            {"n_points": 7},
            "n_points must be an integer >= 8 and <= 1e+07; got 7. "
            "8 parameters need more points; ten times as many are a good choice.",
        ),
        (
            {"n_starts": 0},
            "n_starts must be an integer >= 1 and <= 10000; got 0. Use at least one start.",
        ),
        (
            {"truth": 3},
            "truth must be a MixingMeasure; got 3. Write MixingMeasure(...), or take "
            "draw_truth(architecture, n_experts).",
        ),
        (
            {"architecture": "sigmoid"},
            "architecture must be an Architecture; got 'sigmoid'. "
            "Write Architecture(gate=..., dim=...).",
        ),
        (
            {"n_experts": 0},
            "n_experts must be an integer >= 1; got 0. Ask for at least one expert.",
        ),
        (
            {"n_experts": 10**9},
            "n_experts must be few enough to be fitted to 10,000,000 points; got 1000000000. "
            "These have 4,000,000,000 parameters.",
        ),
        (
            {"sampler": 3},
            "sampler must be a function of (rng, n) that returns inputs; got 3. "
            "For example lambda rng, n: rng.normal(size=(n, 2)).",
        ),
        (
            {"sampler": lambda _, n: np.zeros((n - 1, 1)), "n_points": 256},
            "sampler(rng, n) must be an array with 256 rows; got 255. Return n rows.",
        ),
        (
            {"within": -0.1},
            "within must be a number >= 0; got -0.1. Use 0 for the best optimum alone.",
        ),
        (
            {"truth": MixingMeasure.stack([TRUTH, TRUTH])},
            "truth must be a single measure; got 'a batch (2,)'. Use truth[k].",
        ),
    ],
)
def test_refusals(change, message):
    arguments = {"truth": TRUTH, "architecture": SIGMOID, "n_experts": 2, **change}
    with pytest.raises(InputError) as error:
        project(**arguments)
    assert str(error.value) == message


def test_a_sampler_that_takes_other_arguments_is_refused():
    with pytest.raises(InputError, match=r"sampler must be a function of \(rng, n\) .* got <func"):
        project(TRUTH, SIGMOID, 1, sampler=lambda n: np.zeros((n, 1)))


def test_a_function_whose_squares_overflow_is_refused():
    line = Architecture(score="linear", expert="linear", dim=1)
    truth = MixingMeasure(line, None, [[0.0]], [0.0], [[0.0, 2e200]])
    message = (
        "truth must be of a function of size at most 1e+100; got 1e+200. Divide eta by its size."
    )
    for call in (lambda: project(truth, SIGMOID, 1), lambda: attainment(truth, truth)):
        with pytest.raises(InputError) as error:
            call()
        assert str(error.value) == message


PARTIAL = Architecture(score="partial", expert="linear", dim=1)


@pytest.fixture(scope="module")
def padded():
    torch.set_num_threads(1)
    truth = draw_truth(PARTIAL, 1, seed=4)
    return truth, project(truth, PARTIAL, 2, n_starts=3, n_points=256)


@pytest.mark.parametrize("kind", ["L3", "L5"])
def test_the_loss_to_the_set_is_the_smallest_over_what_is_known(padded, kind):
    truth, found = padded
    # A split of the only atom: a best approximation that no search has to find.
    share = truth.coordinates.repeat(2, 1)
    share[0, -2:] *= 0.3
    share[1, -2:] *= 0.7
    split = MixingMeasure.from_coordinates(PARTIAL, share)
    nearest = found.set_loss(split, kind)
    assert float(nearest) < 1e-12
    assert nearest.nearest in ("split", "mixed")
    fit = draw_truth(PARTIAL, 2, seed=9)
    loss = found.set_loss(fit, kind)
    assert {"exact", "0"} <= set(loss.names)
    known = [float(voronoi_loss(fit, member, kind)) for member in (found.exact, found.members[0])]
    assert float(loss) <= min(known)


def test_members_that_are_not_best_stay_out_of_the_set():
    truth = draw_truth(Architecture(gate="softmax", expert="relu", dim=2), 4, seed=1)
    model = Architecture(gate="sigmoid", expert="relu", dim=2)
    found = project(truth, model, 2, n_starts=6, n_points=512, seed=19)
    assert found.exact is None
    assert found.n_optima == len(found.members) == 3
    assert 1.01 * found.distances[0] > found.distances[1] > found.distances[0]
    last = found.members[-1]
    assert {"0", "1"} <= set(found.set_loss(last).names)
    best = found.set_loss(last, within=0.0)
    assert best.names == ("0",)
    assert float(best) == float(voronoi_loss(last, found.members[0], "L3")) > 1.0
    for within in (-0.1, float("nan"), "1"):
        with pytest.raises(InputError, match="within must be a number >= 0; got"):
            found.set_loss(last, within=within)
    with pytest.raises(InputError, match="fitted must be a MixingMeasure; got 3"):
        found.set_loss(3)
    everything = found.set_loss(last, within=0.25)
    assert everything.names == ("0", "1", "2")
    assert float(everything) == 0.0


def test_a_closed_form_decides_that_the_infimum_is_attained(padded, found):
    for result in (padded[1], found):
        assert result.attained == "attained"
        assert float(function_distance(result.exact, result.truth, n_points=2**10)) < 1e-14


def test_the_summary_and_the_dictionary_say_what_was_found():
    truth = draw_truth(SOFTMAX, 3, seed=1)
    found = project(truth, SIGMOID, 1, n_starts=3, n_points=256)
    lines = found.summary.splitlines()
    assert lines[0] == f"infimum: {found.attained}"
    assert lines[1] == (
        f"distinct optima: {found.n_optima} functions, {len(found.members)} measures, from "
        f"{sum(found.counts)} of 3 starts"
    )
    assert "member 0 in growing boxes: " in found.summary
    stored = json.loads(json.dumps(found.as_dict()))
    assert stored["attained"] == found.attained
    assert stored["members"][0]["objective"] == found.fitted_distances[0] ** 2
    assert stored["attainments"][0]["verdict"] == found.attainments[0].verdict
    assert stored["n_optima"] == found.n_optima == len(set(found.functions))
