"""The population least squares problem of a projection, as the bounded solver wants it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sigmoe.estimation import default_bounds
from sigmoe.estimation._bounds import coordinate_limits
from sigmoe.estimation.inference._jacobian import jacobian
from sigmoe.moe import Architecture, MixingMeasure
from sigmoe.moe._gates import get_gate
from sigmoe.theory.modulus._model import Vector

#: Atoms whose share of the truth's size is below this take no part in a measure's norm.
_NULL = 1e-6
#: The default box of a fit has this radius.
DEFAULT_RADIUS = 10.0


@dataclass(frozen=True, eq=False)
class ProjectionModel:
    """Residuals of a model against a truth's function in a box around zero.

    Attributes
    ----------
    architecture : Architecture
    X : Tensor of shape (n, d)
    y : Tensor of shape (n,) or (n, m)
    unit : array of shape (p,)
        Half widths of the box of radius 1: the default box of a fit has radius 10.
    radius : float
    """

    architecture: Architecture
    X: Tensor
    y: Tensor
    unit: Vector
    radius: float

    @classmethod
    def of(
        cls, truth: MixingMeasure, architecture: Architecture, n_experts: int, X: Tensor
    ) -> ProjectionModel:
        """Return the model in the default box."""
        y = truth.predict(X)
        upper = coordinate_limits(default_bounds(X, y), architecture, n_experts)[1]
        return cls(architecture, X, y, upper.numpy() / DEFAULT_RADIUS, DEFAULT_RADIUS)

    def within(self, radius: float) -> ProjectionModel:
        """Return the model in another box."""
        return replace(self, radius=radius)

    @property
    def names(self) -> tuple[str, ...]:
        """Return no names: nothing is printed coordinate by coordinate."""
        return ()

    @property
    def lower(self) -> Vector:
        """Return the lower limits, shape (p,)."""
        return -self.radius * self.unit

    @property
    def upper(self) -> Vector:
        """Return the upper limits, shape (p,)."""
        return self.radius * self.unit

    @property
    def local(self) -> NDArray[np.bool_]:
        """Return that no coordinate is a deviation from a truth, shape (p,)."""
        return np.zeros(len(self.unit), dtype=bool)

    @property
    def gauge(self) -> list[int]:
        """Return the coordinates that are held at zero: the first atom's gate, if softmax."""
        invariant = get_gate(self.architecture.gate).invariant
        return list(range(self.architecture.n_score_coefficients)) if invariant else []

    @property
    def size(self) -> float:
        """Return the root mean square of the truth's function."""
        return float(self.y.reshape(len(self.y), -1).square().sum(dim=1).mean().sqrt())

    def measure(self, x: Vector) -> MixingMeasure:
        """Return the measure with the coordinates x, shape (p,)."""
        rows = torch.from_numpy(x.reshape(-1, self.architecture.n_atom_parameters))
        return MixingMeasure.from_coordinates(self.architecture, rows)

    def coordinates(self, measure: MixingMeasure) -> Vector:
        """Return a measure's coordinates, shape (p,): softmax's heaviest atom first, its gate 0."""
        theta = measure.coordinates
        if self.gauge:
            heaviest = int(measure.gates(self.X).mean(dim=0).argmax())
            theta = theta[[heaviest, *(k for k in range(len(theta)) if k != heaviest)]]
            theta[:, self.gauge] -= theta[0, self.gauge].clone()
        flat: Vector = theta.flatten().numpy()
        return flat

    def residual(self, x: Vector) -> Vector:
        """Return (f(x) - f*) / sqrt(n), shape (n m,): its norm is the distance."""
        difference = (self.measure(x).predict(self.X) - self.y).flatten() / len(self.X) ** 0.5
        values: Vector = difference.numpy()
        return values

    def jacobian(self, x: Vector) -> Vector:
        """Return the derivative of ``residual``, shape (n m, p)."""
        J = jacobian(self.architecture, self.measure(x).coordinates, self.X.T.contiguous())
        rows: Vector = (J.permute(2, 0, 1).flatten(0, 1) / len(self.X) ** 0.5).numpy()
        return rows

    def contributions(self, x: Vector) -> tuple[Vector, Vector]:
        """Return root mean squares of w_i E_i and of w_i, over the truth's size and 1: (N,)."""
        measure = self.measure(x)
        weights = measure.gates(self.X)
        experts = measure.experts(self.X).reshape(*weights.shape, -1)
        parts = (weights.unsqueeze(-1) * experts).square().sum(dim=-1).mean(dim=0).sqrt()
        size = self.size if self.size > 0 else 1.0
        return (parts / size).numpy(), weights.square().mean(dim=0).sqrt().numpy()

    def relative(self, x: Vector) -> Vector:
        """Return |x| in units of the box of radius 1, zero for atoms that contribute nothing."""
        active = self.contributions(x)[0] > _NULL
        entries: Vector = np.abs(x / self.unit) * np.repeat(active, len(x) // len(active))
        return entries
