"""Starts near a truth fill every cell; random starts know the scale of the data only."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sigmoe._base.errors import InputError
from sigmoe.estimation import Bounds, near_truth_start, random_start
from sigmoe.moe import Architecture, MixingMeasure, draw_sample, draw_truth, voronoi_cells

MODELS = [
    Architecture(gate, score, expert, 3, n_outputs)
    for (gate, score), (expert, n_outputs) in zip(
        itertools.product(("sigmoid", "softmax"), ("full", "partial", "linear")),
        itertools.cycle([("relu", None), ("scaled-gelu", 2), ("tanh", 1)]),
        strict=False,
    )
]


@pytest.mark.parametrize("architecture", MODELS, ids=lambda a: f"{a.gate}-{a.score}")
@given(extra=st.integers(0, 4), seed=st.integers(0, 100))
def test_every_cell_of_the_truth_is_filled(
    architecture: Architecture, extra: int, seed: int
) -> None:
    truth = draw_truth(architecture, 3, seed=1)
    start = near_truth_start(truth, 3 + extra, scale=0.01, seed=seed)
    assert start.n_experts == 3 + extra
    assert bool(voronoi_cells(start, truth).any(-1).all())


@pytest.mark.parametrize(("gate", "weight"), [("softmax", torch.exp), ("sigmoid", torch.sigmoid)])
def test_atoms_of_one_cell_share_its_weight(gate: str, weight: object) -> None:
    truth = draw_truth(Architecture(gate, "full", "relu", 2), 3, seed=1)
    start = near_truth_start(truth, 8, scale=0.0, seed=4)
    cells = voronoi_cells(start, truth).double()
    assert int(cells.sum()) == 8
    torch.testing.assert_close(cells @ weight(start.c), weight(truth.c))


def test_a_softmax_start_without_noise_is_the_truth_as_a_function() -> None:
    truth = draw_truth(Architecture("softmax", "full", "gelu", 2), 3, seed=1)
    start = near_truth_start(truth, 7, scale=0.0, seed=4)
    X, _ = draw_sample(truth, 100, seed=1)
    torch.testing.assert_close(start.predict(X), truth.predict(X))


def test_the_noise_has_its_scale_in_every_block() -> None:
    truth = draw_truth(Architecture(dim=20), 20, seed=1)
    start = near_truth_start(truth, 20, scale=0.3, seed=2)
    rows, columns = torch.triu_indices(20, 20, 1)
    off = (start.A - truth.A)[:, rows, columns]
    on = (start.A - truth.A).diagonal(dim1=1, dim2=2)
    for noise in (off, on, start.b - truth.b, start.eta - truth.eta):
        assert float(noise.std()) == pytest.approx(0.3, rel=0.1)
    assert float((start.c - truth.c).std()) == pytest.approx(0.3, rel=0.5)


def test_starts_depend_on_their_seed() -> None:
    truth = draw_truth(Architecture(dim=2), 2, seed=1)
    starts = [near_truth_start(truth, 5, scale=0.1, seed=seed) for seed in (1, 1, 2)]
    assert starts[0] == starts[1] != starts[2]
    sequence = np.random.SeedSequence(1)
    first = near_truth_start(truth, 5, scale=0.1, seed=sequence)
    assert first == near_truth_start(truth, 5, scale=0.1, seed=sequence)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"n_experts": 2},
            "n_experts must be an integer >= 3; got 2. Every true atom needs a fitted one; fit at "
            "least as many experts as the truth has.",
        ),
        (
            {"scale": -0.1},
            "scale must be a number >= 0; got -0.1. Use 0 for a start at the truth.",
        ),
    ],
)
def test_bad_numbers_are_refused(changed: dict[str, object], message: str) -> None:
    arguments = {"n_experts": 3, "scale": 0.1, "seed": 0, **changed}
    with pytest.raises(InputError) as error:
        near_truth_start(draw_truth(Architecture(dim=2), 3), **arguments)
    assert str(error.value) == message


def test_a_batch_of_truths_is_refused() -> None:
    truth = draw_truth(Architecture(dim=2), 3)
    with pytest.raises(InputError, match=r"^truth must be a single measure; got .*truth\[k\]\.$"):
        near_truth_start(MixingMeasure.stack([truth, truth]), 3, scale=0.1, seed=0)


@pytest.mark.parametrize("architecture", MODELS, ids=lambda a: f"{a.gate}-{a.score}")
def test_random_starts_do_not_depend_on_the_units_of_the_data(architecture: Architecture) -> None:
    X, y = draw_sample(draw_truth(architecture, 3, seed=1), 200, seed=1)
    # A partial score cannot take up a shift of the inputs, so they stay centred.
    X -= X.mean(0)
    # A bounded expert cannot follow the units of the responses.
    y_scale = 1.0 if architecture.expert == "tanh" else 1000.0
    shift = 0.0 if architecture.score == "partial" else 7.0
    one = random_start(X, y, architecture, 4, seed=3, bounds=None)
    other = random_start(X * 50 + shift, y * y_scale, architecture, 4, seed=3, bounds=None)
    gates = other.gates(X * 50 + shift)
    torch.testing.assert_close(gates, one.gates(X))
    if architecture.expert == "scaled-gelu":
        # Its scale lambda follows the responses, its inner parameters do not.
        experts = other.experts(X * 50 + shift)
        torch.testing.assert_close(experts, one.experts(X) * y_scale)


def test_random_starts_obey_the_bounds() -> None:
    architecture = Architecture(dim=2)
    X, y = draw_sample(draw_truth(architecture, 3, seed=1), 100, seed=1)
    bounds = Bounds(A=(-0.1, 0.2), b=(-0.1, 0.1), c=(0.5, 0.6), eta=(-0.3, 0.3))
    start = random_start(X, y, architecture, 20, seed=0, bounds=bounds)
    for block in ("A", "b", "c", "eta"):
        low, high = getattr(bounds, block)
        values = getattr(start, block)
        assert low - 1e-15 <= float(values.min()) <= float(values.max()) <= high + 1e-15


def test_random_starts_differ_by_seed_and_not_by_the_responses_order() -> None:
    architecture = Architecture(dim=2)
    X, y = draw_sample(draw_truth(architecture, 3, seed=1), 100, seed=1)
    starts = [random_start(X, y, architecture, 3, seed=seed) for seed in (0, 0, 1)]
    assert starts[0] == starts[1] != starts[2]
    # Only the scale of the responses is used.
    torch.testing.assert_close(
        random_start(X, y.flip(0), architecture, 3, seed=0).coordinates, starts[0].coordinates
    )


def test_constant_columns_and_zero_responses_give_finite_starts() -> None:
    start = random_start(np.ones((5, 2)), np.zeros(5), Architecture(dim=2), 2, seed=0)
    assert bool(torch.isfinite(start.coordinates).all())
