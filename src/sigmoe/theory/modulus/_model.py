"""What the search for a local modulus needs to know of a model."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


class LocalModel(Protocol):
    """A model near a truth, in coordinates of which some vanish at the truth."""

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the p coordinates."""

    @property
    def lower(self) -> Vector:
        """Return the lower limits of the box in which the coordinates stay, shape (p,)."""

    @property
    def upper(self) -> Vector:
        """Return its upper limits, shape (p,)."""

    @property
    def local(self) -> NDArray[np.bool_]:
        """Return which coordinates are deviations: zero at the truth, shape (p,).

        The others, such as how a weight is shared, take any value in the box without moving the
        function at the truth.
        """

    def residual(self, x: Vector) -> Vector:
        """Return sqrt(w_i) (f(x) - f*) at the nodes, shape (m,): its norm is the distance."""

    def jacobian(self, x: Vector) -> Vector:
        """Return the derivative of ``residual``, shape (m, p)."""
