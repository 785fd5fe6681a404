"""Merging atoms: exact merges, costs by brute force, the path, the choice and its picture."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from problems_estimation import (
    TWO,
    inputs,
    noisy,
    split,
    three_lines,
)
from problems_moe import ARCHITECTURES, name
from sigmoe._base.errors import InputError
from sigmoe.estimation import Bounds, fit_least_squares, near_truth_start
from sigmoe.estimation._bounds import coordinate_limits
from sigmoe.estimation.selection._merging import merge_atoms
from sigmoe.estimation.selection._merging_pairs import View, _candidates, ranked_merges
from sigmoe.estimation.selection._merging_path import MergePath, chosen_path
from sigmoe.estimation.selection._merging_plot import plot_merging
from sigmoe.moe import Architecture, MixingMeasure, draw_sample, draw_truth

HOMOGENEOUS = ("linear", "polynomial:1", "relu")
#: Architectures in which one atom can be written as two that share its gate.
SPLITTABLE = [
    a
    for a in ARCHITECTURES
    if a.gate == "softmax" or a.expert in HOMOGENEOUS or a.expert.startswith("scaled")
]
BOX = Bounds(b=(-20.0, 20.0))


def merged_cost(measure: MixingMeasure, X: Tensor) -> float:
    return merge_atoms(measure, X).levels[1].cost


# Exact merges


@pytest.mark.parametrize("architecture", SPLITTABLE, ids=name)
def test_what_was_split_merges_at_height_zero(architecture: Architecture) -> None:
    truth = draw_truth(architecture, 3, seed=2)
    X = inputs(truth)
    twice = split(truth, 1)
    torch.testing.assert_close(twice.predict(X), truth.predict(X))
    path = merge_atoms(twice, X)
    level = path.levels[1]
    assert level.merged == (1, 3)
    assert level.members == ((0,), (2,), (1, 3))
    assert level.height < 1e-14
    assert path.levels[2].height > 1e-4
    torch.testing.assert_close(level.measure.predict(X), truth.predict(X))


@pytest.mark.parametrize("gate", ["softmax", "sigmoid"])
def test_linear_experts_on_one_gate_are_one_expert(gate: str) -> None:
    architecture = Architecture(gate, "full", "linear", 2)
    truth = draw_truth(architecture, 3, seed=2)
    theta = truth.coordinates
    g = architecture.n_score_coefficients
    # Softmax needs the same A and b only; the constants weigh the two experts.
    start = 1 if gate == "softmax" else 0
    theta[2, start:g] = theta[0, start:g]
    same = MixingMeasure.from_coordinates(architecture, theta)
    assert merged_cost(same, inputs(same)) < 1e-28
    theta[2, 1] += 0.5
    assert merged_cost(MixingMeasure.from_coordinates(architecture, theta), inputs(same)) > 1e-6


def test_duplicates_of_a_tanh_are_no_single_atom_of_a_sigmoid_gate() -> None:
    truth = draw_truth(Architecture("sigmoid", "linear", "tanh", 1), 1, seed=1)
    twice = MixingMeasure.from_coordinates(truth.architecture, truth.coordinates.repeat(2, 1))
    X = inputs(truth)
    assert merged_cost(twice, X) > 1e-6
    # ... but twice a relu is a relu.
    architecture = Architecture("sigmoid", "linear", "relu", 1)
    twice = MixingMeasure.from_coordinates(architecture, truth.coordinates.repeat(2, 1))
    assert merged_cost(twice, X) < 1e-28


def test_constant_sigmoid_gates_add_below_one_only() -> None:
    architecture = Architecture("sigmoid", "linear", "tanh", 1)

    def pair(first: float, second: float) -> MixingMeasure:
        c = torch.logit(torch.tensor([first, second]).double())
        return MixingMeasure(architecture, None, torch.zeros(2, 1), c, [[1.0, 0.5]] * 2)

    X = inputs(pair(0.3, 0.4))
    path = merge_atoms(pair(0.3, 0.4), X)
    assert path.levels[1].cost < 1e-25
    assert float(torch.sigmoid(path.levels[1].measure.c[0])) == pytest.approx(0.7)
    assert merged_cost(pair(0.7, 0.6), X) > 1e-3


def test_an_expert_of_zero_goes_at_no_cost_from_a_sigmoid_gate() -> None:
    architecture = Architecture("sigmoid", "linear", "tanh", 1)
    measure = draw_truth(architecture, 3, seed=4)
    eta = measure.eta
    eta[1] = 0.0
    measure = MixingMeasure(architecture, None, measure.b, measure.c, eta)
    X = inputs(measure)
    path = merge_atoms(measure, X)
    assert path.levels[1].cost < 1e-30
    assert 1 in path.levels[1].members[-1]


# Costs


@pytest.mark.parametrize("architecture", ARCHITECTURES[::5], ids=name)
def test_a_cost_is_what_the_merge_does_to_the_prediction(architecture: Architecture) -> None:
    measure = draw_truth(architecture, 3, seed=3)
    X = inputs(measure)
    weight = 1.0 + torch.arange(len(X)).double() % 3
    g = architecture.n_atom_parameters
    low, high = torch.full((g,), -math.inf).double(), torch.full((g,), math.inf).double()
    merges = ranked_merges(measure, X, weight, low, high)
    assert sorted(merge.pair for merge in merges) == [(0, 1), (0, 2), (1, 2)]
    costs = [merge.cost for merge in merges]
    assert costs == sorted(costs)
    view = View.of(measure, X, weight)
    for merge in merges:
        change = (merge.apply(measure).predict(X) - measure.predict(X)).reshape(len(X), -1)
        expected = float(weight @ change.square().sum(1)) / float(weight.sum())
        assert merge.cost == pytest.approx(expected, rel=1e-9, abs=1e-25)
        rivals = [other.cost for other in _candidates(view, *merge.pair, low, high)]
        assert merge.cost == min(rivals)
        assert len(rivals) >= 4


def test_a_merge_of_linear_experts_beats_any_other_expert_on_its_gate() -> None:
    architecture = Architecture("sigmoid", "linear", "linear", 1)
    measure = draw_truth(architecture, 3, seed=5)
    X, ones = inputs(measure), torch.ones(80).double()
    far = torch.full((4,), math.inf).double()
    merge = ranked_merges(measure, X, ones, -far, far)[0]
    for step in itertools.product((-0.01, 0.0, 0.01), repeat=2):
        atom = merge.atom.clone()
        atom[2:] += torch.tensor(step).double()
        theta = merge.apply(measure).coordinates
        theta[-1] = atom
        moved = MixingMeasure.from_coordinates(architecture, theta)
        change = float((moved.predict(X) - measure.predict(X)).square().mean())
        assert change >= merge.cost * (1 - 1e-12)


def test_the_merged_atom_stays_in_the_box() -> None:
    measure = draw_truth(Architecture("sigmoid", "linear", "linear", 1), 3, seed=5)
    high = torch.full((4,), 0.3).double()
    for merge in ranked_merges(measure, inputs(measure), torch.ones(80).double(), -high, high):
        assert float(merge.atom.abs().max()) <= float(high[0])


# The path


@pytest.fixture(scope="module")
def path() -> MergePath:
    truth = three_lines()
    X, y = noisy(truth)
    start = near_truth_start(truth, 5, scale=0.3, seed=0)
    fit = fit_least_squares(X, y, TWO, 5, start, max_iterations=20)
    return merge_atoms(fit.measure, X, y, n_candidates=3, max_iterations=20)


def test_levels_are_nested_and_heights_never_fall(path: MergePath) -> None:
    assert path.n_experts == (5, 4, 3, 2, 1)
    assert path.heights == tuple(sorted(path.heights))
    for before, level in itertools.pairwise(path.levels):
        assert sorted(itertools.chain(*level.members)) == [0, 1, 2, 3, 4]
        i, j = level.merged
        joined = tuple(sorted(before.members[i] + before.members[j]))
        kept = [m for k, m in enumerate(before.members) if k not in (i, j)]
        assert level.members == (*kept, joined)
        assert level.height == max(before.height, math.sqrt(level.cost))


def test_levels_are_least_squares_fits(path: MergePath) -> None:
    X, y = noisy(three_lines())
    assert path.levels[0].fit is None
    for level in path.levels:
        objective = float((level.measure.predict(X) - y).square().mean())
        assert level.objective == pytest.approx(objective, rel=1e-9)
    for level in path.levels[1:]:
        assert level.fit.measure == level.measure
        assert level.fit.objective <= level.fit.start_objective


def test_refits_end_at_their_limit_of_iterations(path: MergePath) -> None:
    X, y = noisy(three_lines())
    short = merge_atoms(path.levels[0].measure, X, y, n_candidates=1, max_iterations=1)
    assert [level.fit.n_iterations for level in short.levels[1:]] == [1, 1, 1, 1]
    assert max(level.fit.n_iterations for level in path.levels[1:]) > 1


def test_the_choice_is_the_least_of_the_criterion(path: MergePath) -> None:
    assert path.chosen == 3
    assert path.measure == path.levels[2].measure
    assert path.level(3) is path.levels[2]
    n, deviance = 400, {}
    for level in path.levels:
        deviance[level.n_experts] = n * (math.log(2 * math.pi * level.objective) + 1)
    free = {k: 4 * k - 2 for k in deviance}
    bic = {k: d + (free[k] + 1) * math.log(n) for k, d in deviance.items()}
    assert path.values == pytest.approx(bic)
    gap, other = sorted((bic[k] - bic[3], k) for k in bic if k != 3)[0]
    assert path.reason.startswith(f"BIC is least with 3 experts: {gap:.3g} below that of {other}, ")


def test_the_dendrogram_criterion(path: MergePath) -> None:
    found = chosen_path(path.levels, "dsc", 400)
    levels = {level.n_experts: level for level in path.levels}
    expected = {
        k: -(
            0.5 * math.log(1 + levels[k - 1].cost / levels[k].objective)
            - math.log(400) * 0.5 * (math.log(2 * math.pi * levels[k].objective) + 1)
        )
        for k in (2, 3, 4, 5)
    }
    assert found.values == pytest.approx(expected)
    assert found.chosen == min(expected, key=expected.get)
    assert found.reason.startswith("DSC is least with")
    assert chosen_path(path.levels, "aic", 400).values[2] == levels[2].criteria.aic


def test_of_equal_values_the_fewest_experts_stay() -> None:
    # Without noise every level of two or more experts is exact.
    truth = MixingMeasure(TWO, None, [[6.0], [0.0]], [0.0, 0.0], [[1.0, 0.0], [-1.0, 0.0]])
    X = inputs(truth)
    path = merge_atoms(split(split(truth, 0), 1), X, truth.predict(X))
    assert path.values[2] == path.values[3] == path.values[4] == -math.inf
    assert path.chosen == 2


def test_weights_count_rows(path: MergePath) -> None:
    X, y = noisy(three_lines(), 60)
    start = path.levels[2].measure
    weight = torch.arange(60) % 3
    weighted = merge_atoms(start, X, y, sample_weight=weight)
    rows = torch.arange(60).repeat_interleave(weight)
    repeated = merge_atoms(start, X[rows], y[rows])
    for one, other in zip(weighted.levels, repeated.levels, strict=True):
        assert one.objective == pytest.approx(other.objective, rel=1e-5)
    assert weighted.levels[1].cost == pytest.approx(repeated.levels[1].cost)
    bare = merge_atoms(start, X, sample_weight=weight)
    assert bare.levels[1].cost == pytest.approx(merge_atoms(start, X[rows]).levels[1].cost)


def test_without_responses_nothing_is_fitted_or_chosen() -> None:
    truth = three_lines()
    found = merge_atoms(truth, inputs(truth))
    assert (found.chosen, found.values) == (None, {})
    assert found.reason == (
        "no responses were given, so that there is nothing to weigh the number of experts by"
    )
    assert all(level.fit is None and level.objective is None for level in found.levels)
    with pytest.raises(InputError) as error:
        _ = found.measure
    assert str(error.value) == (
        "path must be one with a choice; got 'none'. Pass y to merge_atoms."
    )


def test_a_single_atom_is_a_path_of_one_level() -> None:
    one = MixingMeasure(TWO, None, [[0.0]], [0.0], [[1.0, 0.0]])
    X, y = noisy(one)
    assert merge_atoms(one, X, y).chosen == 1
    found = merge_atoms(one, X, y, criterion="dsc")
    assert (found.chosen, found.reason) == (None, "DSC compares two or more experts")


def test_several_columns() -> None:
    architecture = Architecture("softmax", "linear", "linear", 1, 2)
    eta = [[[1.0, 0.0], [0.0, 1.0]], [[-1.0, 0.0], [0.0, -1.0]]]
    truth = MixingMeasure(architecture, None, [[5.0], [0.0]], [0.0, 0.0], eta)
    X, y = noisy(truth)
    fit = fit_least_squares(X, y, architecture, 3, near_truth_start(truth, 3, scale=0.3, seed=1))
    assert merge_atoms(fit.measure, X, y).chosen == 2


# Recovery of the number of experts


def well_apart(gate: str, n_experts: int, dim: int, seed: int) -> MixingMeasure:
    """Return a dense random truth whose gates and experts are three times those of the paper."""
    rng = np.random.default_rng([seed, n_experts, dim])
    return MixingMeasure(
        Architecture(gate, "linear", "linear", dim),
        None,
        3.0 * rng.standard_normal((n_experts, dim)),
        rng.standard_normal(n_experts),
        1.5 * rng.standard_normal((n_experts, dim + 1)),
    )


def test_the_merge_whose_refit_ends_lowest_stays() -> None:
    truth = well_apart("sigmoid", 3, 2, 1)
    X, y = draw_sample(truth, 300, 0.01, 1)
    low, high = coordinate_limits(BOX, truth.architecture, 1)
    merges = ranked_merges(truth, X, torch.ones(300).double(), low, high)
    ends = [
        fit_least_squares(X, y, truth.architecture, 2, merge.apply(truth), bounds=BOX).objective
        for merge in merges
    ]
    # The cheapest merge leads to a poor optimum, the two others to one better one.
    assert ends[1] == pytest.approx(ends[2], rel=1e-3)
    assert ends[1] < 0.95 * ends[0]
    for count, kept in ((1, 0), (2, 1), (3, 1)):
        level = merge_atoms(truth, X, y, bounds=BOX, n_candidates=count).levels[1]
        assert level.merged == merges[kept].pair
        assert level.cost == merges[kept].cost
        assert level.objective == pytest.approx(ends[kept], rel=1e-3)


@pytest.mark.parametrize(("gate", "n_experts", "least"), [("softmax", 3, 7), ("sigmoid", 2, 7)])
def test_five_fitted_atoms_come_down_to_the_true_number(
    gate: str, n_experts: int, least: int
) -> None:
    recovered = 0
    for seed in range(10):
        truth = well_apart(gate, n_experts, 2, seed)
        X, y = draw_sample(truth, 2000, 0.01, seed)
        start = near_truth_start(truth, 5, scale=0.3, seed=seed)
        fit = fit_least_squares(X, y, truth.architecture, 5, start, bounds=BOX, max_iterations=15)
        path = merge_atoms(fit.measure, X, y, bounds=BOX, n_candidates=2, max_iterations=12)
        recovered += path.chosen == n_experts
    assert recovered >= least


# Bad input


def test_bad_input_is_refused() -> None:
    truth = three_lines()
    X, y = noisy(truth, 50)
    one = MixingMeasure(TWO, None, [[0.0]], [0.0], [[1.0, 0.0]])
    for call, message in [
        (
            lambda: merge_atoms(truth, X, y, criterion="icl"),
            "criterion must be one of 'bic', 'aic', 'dsc'; got 'icl'. Choose one of these.",
        ),
        (
            lambda: merge_atoms(truth, X, y, n_candidates=0),
            "n_candidates must be an integer >= 1; got 0. Try at least one merge.",
        ),
        (
            lambda: merge_atoms(MixingMeasure.stack([truth]), X, y),
            "measure must be a single measure; got 'a batch (1,)'. Take one with measure[k].",
        ),
        (
            lambda: merge_atoms(truth, X, y, bounds=Bounds(b=(-1, 1))),
            "measure must be inside the bounds; got 'one outside'. Pass the bounds= of the fit.",
        ),
        (
            lambda: merge_atoms(truth, X).level(4),
            "n_experts must be an integer >= 1 and <= 3; got 4. The path begins with the atoms "
            "that it was given.",
        ),
        (
            lambda: plot_merging(merge_atoms(one, X)),
            "path must be of at least two atoms; got 1. There is nothing to merge.",
        ),
    ]:
        with pytest.raises(InputError) as error:
            call()
        assert str(error.value) == message
