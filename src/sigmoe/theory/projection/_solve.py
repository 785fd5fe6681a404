"""One constrained minimum of the distance: coordinates held, the others free in a box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import least_squares

from sigmoe.theory.modulus._model import LocalModel, Vector

#: Tolerances of the solver, relative: residuals are brought to size 1 first.
_TOLERANCE = 1e-11
#: Coordinates below this move as if they had this size.
_SMALLEST = 1e-10
#: Starts are drawn back from the box's faces, where the sine below has no slope, to this share.
_INSIDE = 1.0 - 1e-6


class Found(NamedTuple):
    """A point and its distance to the truth's function."""

    distance: float
    x: Vector


def distance(model: LocalModel, x: Vector) -> float:
    """Return ||f(x) - f*||."""
    return float(np.linalg.norm(model.residual(x)))


def solve(model: LocalModel, start: Vector, held: int | Sequence[int], evaluations: int) -> Found:
    """Return the local minimum of the distance with one or more coordinates held, from a start.

    MINPACK's Levenberg-Marquardt walks along the curved valleys near a singular point in a
    fraction of the steps that bounded methods of SciPy need, but knows no bounds. So the box is
    folded into the coordinates, x = middle + half sin(z), and z is free.
    """
    free = ~np.isin(np.arange(len(start)), held)
    middle = (model.lower[free] + model.upper[free]) / 2.0
    half = (model.upper[free] - model.lower[free]) / 2.0
    inner = np.clip((start[free] - middle) / half, -_INSIDE, _INSIDE)
    z0 = np.arcsin(inner)
    x = start.copy()

    def full(z: Vector) -> Vector:
        y = x.copy()
        y[free] = middle + half * np.sin(z)
        return y

    def residual(z: Vector) -> Vector:
        return model.residual(full(z)) / size

    def jacobian(z: Vector) -> Vector:
        chained: Vector = model.jacobian(full(z))[:, free] * (half * np.cos(z) / size)
        return chained

    # Residuals of size 1 make the tolerances relative, however small the distance.
    size = distance(model, full(z0))
    if size == 0.0:
        return Found(0.0, full(z0))
    scale = np.where(model.local[free], np.maximum(np.abs(z0), _SMALLEST), 1.0)
    found = least_squares(
        residual,
        z0,
        jac=jacobian,
        method="lm",
        x_scale=scale,
        ftol=_TOLERANCE,
        xtol=_TOLERANCE,
        gtol=1e-15,
        max_nfev=evaluations,
    )
    end = full(found.x)
    return Found(distance(model, end), end)
