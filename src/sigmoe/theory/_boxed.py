"""Least squares in a box by MINPACK, whose Levenberg-Marquardt method knows no bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

Vector = NDArray[np.float64]

#: Coordinates below this move as if they had this size.
_SMALLEST = 1e-10
#: Starts are drawn back from the box's faces, where the sine below has no slope, to this share.
_INSIDE = 1.0 - 1e-6


class Boxed(NamedTuple):
    """A local minimum: its point, its norm and the start's, evaluations, MINPACK's status."""

    x: Vector
    norm: float
    start_norm: float
    evaluations: int
    status: int


def least_squares_in_box(
    residual: Callable[[Vector], Vector],
    jacobian: Callable[[Vector], Vector],
    start: Vector,
    lower: Vector,
    upper: Vector,
    *,
    tolerance: float,
    evaluations: int,
    by_size: NDArray[np.bool_] | None = None,
) -> Boxed:
    """Return the local minimum of the norm of the residuals, from a start.

    The method walks along the curved valleys near a singular point in a fraction of the steps that
    SciPy's bounded ones need. The box is folded into the coordinates, x = middle + half sin(z), and
    z is free.

    Parameters
    ----------
    residual, jacobian : callable
        To arrays of shape (m,) and (m, p), of x with shape (p,).
    start, lower, upper : array of shape (p,)
    tolerance : float
        Of norm and step, relative to the start's norm.
    evaluations : int
        The most evaluations of the residuals.
    by_size : bool array of shape (p,), optional
        Which coordinates move by shares of their size; the others move as they are.
    """
    middle, half = (upper + lower) / 2.0, (upper - lower) / 2.0
    z = np.arcsin(np.clip((start - middle) / half, -_INSIDE, _INSIDE))

    def point(z: Vector) -> Vector:
        folded: Vector = middle + half * np.sin(z)
        return folded

    start_norm = float(np.linalg.norm(residual(point(z))))
    # Residuals of size 1 make the tolerances relative, however small they are.
    size = start_norm or 1.0

    def folded(z: Vector) -> Vector:
        return residual(point(z)) / size

    def slopes(z: Vector) -> Vector:
        chained: Vector = jacobian(point(z)) * (half * np.cos(z) / size)
        return chained

    found = least_squares(
        folded,
        z,
        jac=slopes,
        method="lm",
        x_scale=1.0 if by_size is None else np.where(by_size, np.maximum(abs(z), _SMALLEST), 1.0),
        ftol=tolerance,
        xtol=tolerance,
        gtol=1e-15,
        max_nfev=evaluations,
    )
    norm = size * float(np.sqrt(2.0 * found.cost))
    return Boxed(point(found.x), norm, start_norm, int(found.nfev), int(found.status))
