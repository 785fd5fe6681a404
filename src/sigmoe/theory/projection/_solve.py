"""One constrained minimum of the distance: coordinates held, the others free in a box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sigmoe.theory._boxed import least_squares_in_box
from sigmoe.theory.modulus._model import LocalModel, Vector

_TOLERANCE = 1e-11


class Found(NamedTuple):
    """A point and its distance to the truth's function."""

    distance: float
    x: Vector


def distance(model: LocalModel, x: Vector) -> float:
    """Return ||f(x) - f*||."""
    return float(np.linalg.norm(model.residual(x)))


def solve(model: LocalModel, start: Vector, held: int | Sequence[int], evaluations: int) -> Found:
    """Return the local minimum of the distance with one or more coordinates held, from a start."""
    free = ~np.isin(np.arange(len(start)), held)

    def full(moved: Vector) -> Vector:
        x = start.copy()
        x[free] = moved
        return x

    found = least_squares_in_box(
        lambda moved: model.residual(full(moved)),
        lambda moved: model.jacobian(full(moved))[:, free],
        start[free],
        model.lower[free],
        model.upper[free],
        tolerance=_TOLERANCE,
        evaluations=evaluations,
        by_size=model.local[free],
    )
    end = full(found.x)
    return Found(distance(model, end), end)
