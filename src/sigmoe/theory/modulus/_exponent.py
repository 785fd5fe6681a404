"""The exponent of a curve: local slopes, what they settle at, and how far they still move."""

from __future__ import annotations

from math import inf, nan
from typing import NamedTuple

import numpy as np

from sigmoe.theory.modulus._model import Vector

#: Local slopes that an exponent is taken from, and the fewest.
_STEPS, _FEWEST = 4, 2
#: A fall to the floor that is steeper than this power is no power.
STEEPEST = 10.0


class Exponent(NamedTuple):
    """An exponent k with the interval in which the last local slopes lie.

    Infinity stands for a distance that is zero to rounding, nan for too few slopes.
    """

    value: float
    low: float
    high: float


def count_above(distance: Vector, floor: float) -> int:
    """Return how many distances come before the first one that is not above the floor."""
    below = np.flatnonzero(distance <= floor)
    return int(below[0]) if len(below) else len(distance)


def local_slopes(t: Vector, distance: Vector, floor: float) -> Vector:
    """Return log-log slopes between neighbours whose distances are above the floor."""
    above = count_above(distance, floor)
    slopes: Vector = np.diff(np.log(distance[:above])) / np.diff(np.log(t[:above]))
    return slopes


def exponent_of(t: Vector, distance: Vector, floor: float) -> Exponent:
    """Return the exponent of a curve.

    Parameters
    ----------
    t : array of shape (T,)
        Decreasing.
    distance : array of shape (T,)
        >= 0.
    floor : float
        Distances up to this are rounding.

    Returns
    -------
    Exponent
        The median of the last four local slopes above the floor. The interval has them all, and
        the value that is reached if they move on as far as they did over these four.

    Examples
    --------
    >>> t = np.array([1.0, 0.5, 0.25, 0.125])
    >>> round(exponent_of(t, 3.0 * t**2, 0.0).value, 9)
    2.0
    """
    above = count_above(distance, floor)
    if above == 0:
        return Exponent(inf, inf, inf)
    if above < len(t):
        fall = np.log(distance[above - 1] / max(distance[above], np.finfo(float).tiny))
        if fall / np.log(t[above - 1] / t[above]) > STEEPEST:
            return Exponent(inf, inf, inf)
    last = local_slopes(t, distance, floor)[-_STEPS:]
    if len(last) < _FEWEST:
        return Exponent(nan, nan, nan)
    onward = 2.0 * last[-1] - last[0]
    low, high = min(last.min(), onward), max(last.max(), onward)
    return Exponent(float(np.median(last)), float(low), float(high))
