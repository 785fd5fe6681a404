"""The local search that draws one atom anew at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sigmoe.estimation import fit_least_squares
from sigmoe.estimation._bounds import UNBOUNDED, Bounds, coordinate_limits
from sigmoe.estimation._sample import Sample
from sigmoe.estimation.engine._levenberg_marquardt import Settings
from sigmoe.estimation.starts._exchange import Search, exchange_atoms, with_fresh_atom
from sigmoe.moe import Architecture, MixingMeasure, draw_sample, draw_truth

SETTINGS = Settings(relative_tolerance=1e-5)


def searching(
    architecture: Architecture, n_experts: int, seed: int
) -> tuple[Search, MixingMeasure]:
    truth = draw_truth(architecture, n_experts, seed=seed)
    sample = Sample(*draw_sample(truth, 1500, noise_variance=0.01, seed=seed))
    judge = sample.problem(architecture, n_experts)
    return Search(judge, sample, Bounds(), SETTINGS, 0.0), truth


@pytest.mark.parametrize("gate", ["sigmoid", "softmax"])
def test_an_atom_in_the_wrong_place_finds_the_right_one(gate: str) -> None:
    search, truth = searching(Architecture(gate, "linear", "relu", 2), 3, seed=3)
    _, floor = search.run(truth, 100)
    # A copy of atom 0 in place of atom 1 is a saddle that fits do not leave by themselves.
    theta = truth.coordinates
    theta[1] = theta[0]
    stuck, before = search.run(MixingMeasure.from_coordinates(truth.architecture, theta), 100)
    assert before > 1.1 * floor
    found, after = exchange_atoms(search, stuck, before, np.random.default_rng(0))
    assert after < 1.01 * floor
    assert search.judge.objective(found.coordinates) == pytest.approx(after, rel=1e-12)


def test_what_is_found_is_never_worse() -> None:
    search, truth = searching(Architecture("sigmoid", "linear", "linear", 1), 2, seed=0)
    best, floor = search.run(truth, 100)
    found, after = exchange_atoms(search, best, floor, np.random.default_rng(1))
    assert after <= floor
    assert search.judge.objective(found.coordinates) <= floor


def test_a_single_atom_is_left_alone() -> None:
    search, truth = searching(Architecture("sigmoid", "linear", "linear", 1), 1, seed=0)
    assert exchange_atoms(search, truth, 7.0, np.random.default_rng(1)) == (truth, 7.0)


def test_a_fresh_softmax_atom_moves_with_the_translation_of_the_others() -> None:
    search, truth = searching(Architecture("softmax", "full", "linear", 2), 3, seed=0)
    search = Search(search.judge, search.part, UNBOUNDED, SETTINGS, 0.0)
    g = truth.architecture.n_score_coefficients
    theta = truth.coordinates
    theta[:, :g] += torch.arange(1.0, g + 1).double()
    moved = MixingMeasure.from_coordinates(truth.architecture, theta)
    here = with_fresh_atom(search, truth, 1, np.random.default_rng(3))
    there = with_fresh_atom(search, moved, 1, np.random.default_rng(3))
    X = search.part.X[:20]
    torch.testing.assert_close(here.gates(X), there.gates(X))


def test_fresh_atoms_obey_the_bounds() -> None:
    search, truth = searching(Architecture("softmax", "full", "linear", 2), 3, seed=0)
    tight = Bounds(A=(-0.1, 0.1), b=(-0.1, 0.1), c=(-0.2, 0.2), eta=(-0.1, 0.1))
    search = Search(search.judge, search.part, tight, SETTINGS, 0.0)
    lower, upper = coordinate_limits(tight, truth.architecture, 3)
    changed = with_fresh_atom(search, truth, 0, np.random.default_rng(3)).coordinates.flatten()
    assert bool(((changed >= lower) & (changed <= upper)).all())


def test_a_fit_says_how_many_starts_agreed() -> None:
    architecture = Architecture("sigmoid", "linear", "tanh", 1)
    X, y = draw_sample(draw_truth(architecture, 1, seed=3), 300, noise_variance=0.01, seed=3)
    fit = fit_least_squares(X, y, architecture, 1, n_starts=10)
    assert fit.n_agreed == 3
    assert fit_least_squares(X, y, architecture, 1, fit.measure).n_agreed == 0
