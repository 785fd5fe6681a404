"""Sides of sigmoid atoms with linear experts, and the search that turns atoms over."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from sigmoe.estimation._bounds import UNBOUNDED
from sigmoe.estimation._sample import Sample
from sigmoe.estimation.engine._levenberg_marquardt import Settings
from sigmoe.estimation.starts import _exchange
from sigmoe.estimation.starts._exchange import Search, exchange_atoms
from sigmoe.estimation.starts._sides import has_sides, on_best_sides, smallest_sum
from sigmoe.moe import Architecture, MixingMeasure, draw_truth

#: The atom that takes up what turned atoms leave over, and those that are turned.
SPARE, TURNED = 1, [0, 3]


def steep_truth(architecture: Architecture) -> MixingMeasure:
    """Return a truth whose gates are far from linear, so that its experts are well determined."""
    theta = draw_truth(architecture, 5, seed=2).coordinates
    theta[:, : architecture.n_score_coefficients] *= 4.0
    return MixingMeasure.from_coordinates(architecture, theta)


def on_wrong_sides(architecture: Architecture, n_rows: int = 3000) -> tuple[MixingMeasure, Sample]:
    """Return a measure that fits its sample exactly with one atom too many, and two turned."""
    truth = steep_truth(architecture)
    X = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (n_rows, architecture.dim)))
    g = architecture.n_score_coefficients
    theta = truth.coordinates
    # Open for every x, with the sum of the turned experts.
    theta[SPARE, :g] = 0.0
    theta[SPARE, 0] = 40.0
    theta[SPARE, g:] = theta[TURNED, g:].sum(dim=0)
    theta[TURNED] *= -1.0
    measure = MixingMeasure.from_coordinates(architecture, theta)
    return measure, Sample(X, measure.predict(X))


ARCHITECTURES = [
    Architecture("sigmoid", "full", "linear", 2),
    Architecture("sigmoid", "partial", "polynomial:1", 3),
    Architecture("sigmoid", "linear", "linear", 3, n_outputs=2),
]


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=repr)
def test_turned_atoms_go_back_and_the_atom_between_them_is_free(architecture: Architecture) -> None:
    measure, sample = on_wrong_sides(architecture)
    others = [0, 2, 3, 4]
    found = on_best_sides(sample, measure, SPARE).coordinates
    truth = steep_truth(architecture).coordinates
    torch.testing.assert_close(found[others], truth[others], rtol=0.0, atol=2e-3)
    assert torch.equal(found[SPARE], measure.coordinates[SPARE])


def test_weights_count_rows() -> None:
    measure, sample = on_wrong_sides(ARCHITECTURES[0])
    y = sample.y + torch.from_numpy(np.random.default_rng(1).normal(size=len(sample)))
    counts = torch.arange(len(sample)) % 3 + 1
    rows = torch.repeat_interleave(torch.arange(len(sample)), counts)
    weighted = on_best_sides(Sample(sample.X, y, counts.double()), measure, SPARE)
    repeated = on_best_sides(Sample(sample.X[rows], y[rows]), measure, SPARE)
    torch.testing.assert_close(weighted.coordinates, repeated.coordinates)


@pytest.mark.parametrize("constant", [0.0, 1.0])
def test_an_input_that_never_moves_is_no_obstacle(constant: float) -> None:
    measure, sample = on_wrong_sides(ARCHITECTURES[0])
    X = sample.X.clone()
    X[:, 0] = constant
    found = on_best_sides(Sample(X, sample.y), measure, SPARE)
    assert bool(torch.isfinite(found.coordinates).all())


def test_what_the_sample_does_not_decide_stays() -> None:
    measure, sample = on_wrong_sides(ARCHITECTURES[0])
    X = sample.X.clone()
    X[:, 0] = 0.0
    found = on_best_sides(Sample(X, measure.predict(X)), measure, SPARE)
    # The slopes in the input that is always 0 keep their size; the sides decide the sign.
    slopes = measure.architecture.n_score_coefficients
    before, after = (m.coordinates[:, slopes].abs() for m in (measure, found))
    torch.testing.assert_close(after, before)


@pytest.mark.parametrize(
    ("gate", "expert", "expected"),
    [
        ("sigmoid", "linear", True),
        ("sigmoid", "polynomial:1", True),
        ("sigmoid", "polynomial:3", False),
        ("sigmoid", "tanh", False),
        ("sigmoid", "scaled-relu", False),
        ("softmax", "linear", False),
    ],
)
def test_which_architectures_have_sides(gate: str, expert: str, expected: bool) -> None:
    assert has_sides(Architecture(gate, "full", expert, 2)) is expected


def overlaps(functions: Tensor) -> Tensor:
    return functions @ functions.mT


def test_the_smallest_sum_is_found_among_all() -> None:
    functions = torch.from_numpy(np.random.default_rng(5).normal(size=(9, 4)))
    sums = {
        choice: float((functions[0] + torch.tensor(choice).double() @ functions[1:]).norm())
        for choice in itertools.product([0, 1], repeat=8)
    }
    best = min(sums, key=lambda choice: sums[choice])
    assert smallest_sum(overlaps(functions)).tolist() == [bool(taken) for taken in best]


def test_a_sum_that_vanishes_is_found_among_many_functions() -> None:
    functions = torch.from_numpy(np.random.default_rng(6).normal(size=(17, 10)))
    taken = torch.arange(16) % 3 == 0
    functions[0] = -functions[1:][taken].sum(dim=0)
    assert torch.equal(smallest_sum(overlaps(functions)), taken)


def turning_search(gate: str) -> tuple[Search, MixingMeasure]:
    architecture = Architecture(gate, "full", "linear", 2)
    measure, sample = on_wrong_sides(architecture, 600)
    settings = Settings(relative_tolerance=1e-5)
    judge = sample.problem(architecture, measure.n_experts)
    return Search(judge, sample, UNBOUNDED, settings, 0.0), measure


@pytest.mark.parametrize(("gate", "calls"), [("sigmoid", True), ("softmax", False)])
def test_the_exchange_turns_the_atoms_that_stay(
    gate: str, calls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    search, measure = turning_search(gate)
    spares = []

    def watched(part: Sample, measure: MixingMeasure, spare: int) -> MixingMeasure:
        spares.append(spare)
        return on_best_sides(part, measure, spare)

    monkeypatch.setattr(_exchange, "on_best_sides", watched)
    start = search.judge.objective(measure.coordinates)
    exchange_atoms(search, measure, start, np.random.default_rng(0))
    assert spares[:5] == ([0, 1, 2, 3, 4] if calls else [])


@pytest.mark.parametrize(("n_experts", "trials"), [(1, 0), (2, 2), (3, 3), (4, 6), (7, 7)])
def test_a_search_without_gain_ends(
    n_experts: int, trials: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    search, _ = turning_search("softmax")
    measure = draw_truth(Architecture("softmax", "full", "linear", 2), n_experts, seed=0)
    tried = []

    def unchanged(
        search: Search, measure: MixingMeasure, atom: int, rng: np.random.Generator
    ) -> MixingMeasure:
        tried.append(atom)
        return measure

    monkeypatch.setattr(_exchange, "with_fresh_atom", unchanged)
    monkeypatch.setattr(Search, "run", lambda _self, start, _iterations: (start, 1.0))
    assert exchange_atoms(search, measure, 1.0, np.random.default_rng(0)) == (measure, 1.0)
    assert tried == [trial % n_experts for trial in range(trials)]


def test_the_same_seed_takes_the_same_way() -> None:
    search, measure = turning_search("sigmoid")
    theta = measure.coordinates
    theta[SPARE] *= 0.5
    start, objective = search.run(MixingMeasure.from_coordinates(measure.architecture, theta), 3)
    first, again = (
        exchange_atoms(search, start, objective, np.random.default_rng(4)) for _ in range(2)
    )
    assert torch.equal(first[0].coordinates, again[0].coordinates)
    assert first[1] == again[1]
