"""Parts of the coordinates of mixtures: shares of a weight, directions beside an expert."""

from __future__ import annotations

import numpy as np

from sigmoe.theory.modulus._model import Vector


def shares(cuts: Vector, floor: float) -> tuple[Vector, Vector]:
    """Return how a weight is shared, and the derivative, from numbers in [0, 1].

    Each number is what an atom takes of what the atoms before it left, above a floor of
    ``floor`` over the number of atoms.

    Parameters
    ----------
    cuts : array of shape (*batch, k)
    floor : float

    Returns
    -------
    array of shape (*batch, k + 1)
        Positive, with sum 1.
    array of shape (*batch, k + 1, k)

    Examples
    --------
    >>> shares(np.array([0.5, 0.5]), 0.0)[0].tolist()
    [0.5, 0.25, 0.25]
    """
    k = cuts.shape[-1]
    one = np.ones((*cuts.shape[:-1], 1))
    take = np.concatenate([cuts, one], axis=-1)
    left = np.concatenate([one, np.cumprod(1.0 - cuts, axis=-1)], axis=-1)
    slope = np.zeros((*take.shape, k))
    for j in range(k):
        slope[..., j, j] = left[..., j]
        # Later atoms share what cut j leaves: the product without its factor.
        others = 1.0 - cuts
        others[..., j] = -1.0
        slope[..., j + 1 :, j] = np.cumprod(others, axis=-1)[..., j:] * take[..., j + 1 :]
    return floor / (k + 1) + (1.0 - floor) * left * take, (1.0 - floor) * slope


def completed(unit: Vector) -> Vector:
    """Return an orthogonal matrix whose first column is the unit vector."""
    # Start from the basis vector that is the least parallel, so that QR is well conditioned.
    largest = int(np.abs(unit).argmax())
    frame = np.column_stack([unit, np.delete(np.eye(len(unit)), largest, axis=1)])
    Q, R = np.linalg.qr(frame)
    return np.asarray(Q * np.sign(np.diag(R)))
