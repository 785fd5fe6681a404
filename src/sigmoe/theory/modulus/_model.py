"""What the search for a local modulus needs to know of a model."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


class LocalModel(Protocol):
    """A model near a truth, in coordinates of which some vanish at the truth.

    Attributes
    ----------
    names : tuple of str
        Of the p coordinates.
    lower, upper : arrays of shape (p,)
        The box in which the coordinates stay.
    local : bool array of shape (p,)
        Which coordinates are deviations: zero at the truth. The others, such as how a weight is
        shared, take any value in the box without moving the function at the truth.
    """

    names: tuple[str, ...]
    lower: Vector
    upper: Vector
    local: NDArray[np.bool_]

    def residual(self, x: Vector) -> Vector:
        """Return sqrt(w_i) (f(x) - f*) at the nodes, shape (m,): its norm is the distance."""

    def jacobian(self, x: Vector) -> Vector:
        """Return the derivative of ``residual``, shape (m, p)."""
