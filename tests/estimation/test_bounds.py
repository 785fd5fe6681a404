"""The box: its limits in coordinates, its names, its defaults, and what it refuses."""

from __future__ import annotations

import math

import pytest
import torch

from sigmoe._base.errors import InputError
from sigmoe.estimation import Bounds, default_bounds
from sigmoe.estimation._bounds import coordinate_limits, coordinate_name, describe_active
from sigmoe.moe import Architecture, MixingMeasure

ARCHITECTURES = [
    Architecture(gate, score, expert, dim, n_outputs)
    for gate, score, expert, dim, n_outputs in [
        ("sigmoid", "full", "relu", 3, None),
        ("softmax", "partial", "scaled-relu", 2, 2),
        ("sigmoid", "linear", "tanh", 1, 1),
    ]
]


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.score)
def test_limits_are_the_coordinates_of_the_corners(architecture: Architecture) -> None:
    a, d, n = architecture, architecture.dim, 2
    columns = () if a.n_outputs is None else (a.n_outputs,)
    bounds = Bounds(A=(-1, 2), b=(-3, 4), c=(-5, 6), eta=(-7, 8))
    for side, limit in enumerate(coordinate_limits(bounds, a, n)):
        corner = MixingMeasure(
            a,
            None if a.score == "linear" else torch.full((n, d, d), float(bounds.A[side])),
            None if a.score == "partial" else torch.full((n, d), float(bounds.b[side])),
            torch.full((n,), float(bounds.c[side])),
            torch.full((n, *columns, a.n_expert_parameters), float(bounds.eta[side])),
        )
        assert torch.equal(limit, corner.coordinates.flatten())


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.score)
def test_every_coordinate_is_named_after_the_entry_that_moves_it(
    architecture: Architecture,
) -> None:
    a, n = architecture, 2
    for position in range(a.n_parameters(n)):
        name, factor, block = coordinate_name(a, position)
        flat = torch.zeros(a.n_parameters(n), dtype=torch.float64)
        flat[position] = factor * 1.5
        measure = MixingMeasure.from_coordinates(a, flat.view(n, -1))
        index = tuple(int(k) for k in name[len(block) + 1 : -1].split(","))
        assert float(getattr(measure, block)[index]) == 1.5
    names = [coordinate_name(a, position)[0] for position in range(a.n_parameters(n))]
    assert len(set(names)) == len(names)


def test_active_bounds_are_described_in_order() -> None:
    architecture = Architecture(dim=2)
    lower, upper = coordinate_limits(Bounds(A=(-1, 2)), architecture, 1)
    theta = torch.zeros(9, dtype=torch.float64)
    theta[4], theta[0], theta[8] = 4.0, -20.0, 10.0
    assert describe_active(architecture, theta, lower, upper) == (
        "c[0] at lower bound -20",
        "A[0,0,1] at upper bound 2",
        "eta[0,2] at upper bound 10",
    )


def test_the_paper_s_data_get_the_plain_defaults() -> None:
    torch.manual_seed(0)
    X, y = 2 * torch.rand(200, 8, dtype=torch.float64) - 1, torch.randn(200, dtype=torch.float64)
    assert default_bounds(X, y) == Bounds()


def test_small_inputs_and_large_responses_widen_the_defaults() -> None:
    X, y = torch.full((4, 1), 0.125).double(), torch.full((4,), 16.0).double()
    wide = default_bounds(X, y)
    assert (wide.A, wide.b, wide.c) == ((-640.0, 640.0), (-80.0, 80.0), (-20.0, 20.0))
    assert wide.eta == (-1280.0, 1280.0)
    assert default_bounds(torch.zeros(3, 1).double(), torch.zeros(3).double()) == Bounds()


@pytest.mark.parametrize("block", ["A", "b", "c", "eta"])
@pytest.mark.parametrize(
    "limits", [(1, 1), (2, -2), (math.nan, 1), (0,), "ab", None, 3, ("a", 1)], ids=repr
)
def test_bad_limits_are_refused(block: str, limits: object) -> None:
    with pytest.raises(InputError) as error:
        Bounds(**{block: limits})
    assert str(error.value) == (
        f"bounds.{block} must be a pair (lower, upper) of numbers with lower < upper; "
        f"got {limits!r}. Use -inf and inf for no bound."
    )


def test_one_sided_bounds_are_allowed() -> None:
    assert Bounds(c=(-math.inf, 0)).c == (-math.inf, 0.0)
