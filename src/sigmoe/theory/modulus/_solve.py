"""Constrained minima of the distance, many at once: a coordinate held, the others free in a box."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sigmoe.theory.modulus._levenberg_marquardt import minimise
from sigmoe.theory.modulus._model import LocalModel, Vector

#: Coordinates below this move as if they had this size.
_SMALLEST = 1e-10
#: Numbers of the derivatives that are held at once (64 MiB); several copies are.
_NUMBERS = 2**23
#: Starts are drawn back from the box's faces, where the sine below has no slope, to this share.
_INSIDE = 1.0 - 1e-6


class Found(NamedTuple):
    """Distances (B,) to the truth's function, and the points (B, p) that have them."""

    distance: Vector
    points: Vector


def distance(model: LocalModel, points: Vector) -> Vector:
    """Return ||f(x) - f*||, shape (*batch,), of points (*batch, p)."""
    return np.asarray(np.linalg.norm(model.residual(points), axis=-1))


def solve(model: LocalModel, starts: Vector, held: NDArray[np.intp], iterations: int) -> Found:
    """Return local minima of the distance, each with one coordinate held, from starts.

    The box is folded into the coordinates, x = middle + half sin(z), so that z is free. Where the
    start is not improved, it is returned.

    Parameters
    ----------
    model : LocalModel
    starts : array of shape (B, p)
    held : int array of shape (B,)
        Which coordinate keeps the value of the start.
    iterations : int

    Returns
    -------
    Found
    """
    # Random starts may lie outside the box, where a model need not exist.
    inside = np.clip(starts[:1], model.lower, model.upper)
    size = model.residual(inside).size * starts.shape[1]
    parts = -(-len(starts) * size // _NUMBERS)
    if parts > 1:
        groups = np.array_split(np.arange(len(starts)), min(parts, len(starts)))
        found = [_solve(model, starts[part], held[part], iterations) for part in groups]
        return Found(*(np.concatenate(column) for column in zip(*found, strict=True)))
    return _solve(model, starts, held, iterations)


def _solve(model: LocalModel, starts: Vector, held: NDArray[np.intp], iterations: int) -> Found:
    rows = np.arange(len(starts))
    middle, half = (model.lower + model.upper) / 2.0, (model.upper - model.lower) / 2.0
    z0 = np.arcsin(np.clip((starts - middle) / half, -_INSIDE, _INSIDE))

    def points(z: Vector, which: NDArray[np.intp]) -> Vector:
        x = middle + half * np.sin(z)
        x[np.arange(len(z)), held[which]] = starts[which, held[which]]
        return x

    def residual(z: Vector, which: NDArray[np.intp]) -> Vector:
        return model.residual(points(z, which))

    def jacobian(z: Vector, which: NDArray[np.intp]) -> Vector:
        J = model.jacobian(points(z, which)) * (half * np.cos(z))[:, None, :]
        J[np.arange(len(z)), :, held[which]] = 0.0
        return J

    scale = np.where(model.local, np.maximum(np.abs(z0), _SMALLEST), 1.0)
    end = points(minimise(residual, jacobian, z0, scale, iterations), rows)
    return Found(distance(model, end), end)
