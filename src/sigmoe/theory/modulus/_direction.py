"""The worst direction in words: how a minimiser moves with t."""

from __future__ import annotations

import numpy as np

from sigmoe.theory.modulus._exponent import STEEPEST
from sigmoe.theory.modulus._mixture import MixtureModel
from sigmoe.theory.modulus._model import Vector

#: Powers of t are written with coefficients from this size on ...
_COEFFICIENT = 0.02
#: ... up to this power, beyond which coefficients are lost in rounding.
_HIGHEST = 3.5
#: Deviations without a power are written from this share of the largest one on.
_SHARE = 1e-3


def describe(model: MixtureModel, t: Vector, points: Vector, cell: int, at: int) -> str:
    """Return the minimiser at one t: the cell's weights, and deviations as powers of t.

    Parameters
    ----------
    model : MixtureModel
    t : array of shape (T,)
        Decreasing.
    points : array of shape (T, p)
    cell : int
        The true atom whose weights are written, if it has several fitted atoms.
    at : int
        Which t. Powers are taken from it and the one before.

    Examples
    --------
    ``"weights 0.1, 0.1; b[0,0] = +1 t^1.0, b[1,0] = -1 t^1.0, A[0,0,0] = -0.4 t^2.0"``
    """
    x, before = points[at], points[max(at - 1, 0)]
    largest = float(np.abs(np.where(model.local, x, 0.0)).max())
    parts = []
    for k in np.flatnonzero(model.local & (x != 0.0)):
        power = None
        if at > 0 and before[k] * x[k] > 0:
            power = float(np.log(x[k] / before[k]) / np.log(t[at] / t[at - 1]))
        if power is not None and 0.2 <= power <= _HIGHEST:
            coefficient = x[k] / t[at] ** power
            if abs(coefficient) >= _COEFFICIENT:
                parts.append(f"{model.names[k]} = {coefficient:+.2g} t^{power:.1f}")
        elif abs(x[k]) >= _SHARE * largest and (power is None or power <= STEEPEST):
            # It stays, or changed from one minimiser to the next, and has no power.
            parts.append(f"{model.names[k]} = {x[k]:+.2g}")
    text = ", ".join(parts)
    if model.sizes[cell] > 1:
        weights = ", ".join(f"{w:.2g}" for w in model.cell_weights(x, cell))
        text = f"weights {weights}; {text}"
    return text
