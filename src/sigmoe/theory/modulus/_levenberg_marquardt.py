"""Levenberg-Marquardt for many small least squares problems at once.

The problems are a few dozen coordinates each and nearly singular: their valleys are curved, and
J'J loses the directions that matter. So a step is taken from the singular values of J, as in
MINPACK (More 1978, "The Levenberg-Marquardt algorithm"); and all problems step together, since one
alone would spend its time on overhead.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sigmoe.theory.modulus._model import Vector

#: (z of shape (B, p), which problems they belong to) to an array of leading length B.
Batched = Callable[[Vector, NDArray[np.intp]], Vector]

#: The first trust region, in sizes of the start.
_FACTOR = 100.0
#: A problem ends when a step and its model both gain less than this share of the square ...
_GAIN = 1e-5
#: ... or the trust region is below this share of the point ...
_STEP = 1e-11
#: ... or so many steps together gain less than this share of the square.
_PATIENCE, _SLOW = 10, 3e-3
#: Newton steps for the damping, which bring the step within a tenth of the trust region.
_NEWTON = 8
#: Singular values below this share of the largest are not inverted.
_SINGULAR = 1e-15


def minimise(
    residual: Batched, jacobian: Batched, start: Vector, scale: Vector, iterations: int
) -> Vector:
    """Return points where the sum of squares is smallest, locally, for each problem.

    Parameters
    ----------
    residual : callable
        To arrays of shape (B, m).
    jacobian : callable
        Its derivative by z, shape (B, m, p); columns that are zero stay where they are.
    start : array of shape (B, p)
    scale : array of shape (B, p)
        The size by which a coordinate moves.
    iterations : int
        The most steps of a problem, those that are refused included.

    Returns
    -------
    array of shape (B, p)
    """
    end = start.copy()
    live = np.arange(len(start))
    z, r = start.copy(), residual(start, live)
    square = (r**2).sum(-1)
    length = np.linalg.norm(z / scale, axis=-1)
    radius = _FACTOR * np.where(length > 0.0, length, 1.0)
    past = square.copy()
    factors = _factorise(jacobian(z, live) * scale[:, None, :], r)
    for count in range(1, iterations + 1):
        values, rotated, frame = factors
        damping = _damping(values, rotated, radius)
        shrunk = values * rotated / (values**2 + damping[:, None])
        step = -np.einsum("bkp,bk->bp", frame, shrunk)
        length = np.linalg.norm(step, axis=-1)
        # Twice the fall of the linear model, without cancellation.
        fall = (values * shrunk * (2.0 * rotated - values * shrunk)).sum(-1)
        trial = z + scale[live] * step
        r_trial = residual(trial, live)
        new = (r_trial**2).sum(-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(fall > 0.0, (square - new) / fall, 0.0)
        radius = _radius(radius, length, ratio, damping)
        better = ratio > 1e-4
        done = (fall <= _GAIN * square) & (np.abs(square - new) <= _GAIN * square)
        z[better], square[better], r[better] = trial[better], new[better], r_trial[better]
        if count % _PATIENCE == 0:
            done |= past - square <= _SLOW * square
            past = square.copy()
        done |= (radius <= _STEP * np.linalg.norm(z / scale[live], axis=-1)) | (square == 0.0)
        end[live] = z
        if done.all():
            break
        keep = ~done
        live, z, square, r, radius = live[keep], z[keep], square[keep], r[keep], radius[keep]
        past = past[keep]
        factors, moved = [f[keep] for f in factors], better[keep]
        if moved.any():
            J = jacobian(z[moved], live[moved]) * scale[live[moved], None, :]
            for old, fresh in zip(factors, _factorise(J, r[moved]), strict=True):
                old[moved] = fresh
    return end


def _factorise(J: Vector, r: Vector) -> list[Vector]:
    """Return the singular values of J, U'r and V', of shapes (B, k), (B, k), (B, k, p)."""
    # The triangle of [J r] has all that is needed, and is small.
    R = np.asarray(np.linalg.qr(np.concatenate([J, r[..., None]], axis=-1), mode="r"))
    U, values, frame = np.linalg.svd(R[..., :-1], full_matrices=False)
    rotated = np.einsum("bmk,bm->bk", U, R[..., -1])
    floor = _SINGULAR * values[:, :1]
    rotated = np.where(values > floor, rotated, 0.0)
    return [np.maximum(values, np.maximum(floor, 1e-300)), rotated, frame]


def _damping(values: Vector, rotated: Vector, radius: Vector) -> Vector:
    """Return the damping for which the step is about as long as the trust region, or zero."""
    damping = np.zeros(len(values))
    for _ in range(_NEWTON):
        inverse = 1.0 / (values**2 + damping[:, None])
        parts = (values * rotated * inverse) ** 2
        length = np.sqrt(parts.sum(-1))
        long = length > 1.1 * radius
        if not long.any():
            break
        # Newton on 1 / length, which is nearly linear in the damping: it grows towards the root.
        slope = (parts * inverse).sum(-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            more = (length / radius - 1.0) * length**2 / slope
        damping = np.where(long, damping + more, damping)
    return damping


def _radius(radius: Vector, length: Vector, ratio: Vector, damping: Vector) -> Vector:
    """Return the next trust region: a quarter where the model failed, twice the step where not."""
    grown = np.where((ratio >= 0.75) | (damping == 0.0), 2.0 * length, radius)
    return np.where(ratio < 0.25, 0.25 * np.minimum(radius, 10.0 * length), grown)
