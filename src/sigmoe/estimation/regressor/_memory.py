"""What a stream remembers of its earlier batches: their sum of squares to second order."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sigmoe.estimation._sample import Sample
from sigmoe.estimation.engine._arrow import Arrow, Curvature, minus_squares, plus, plus_multiple
from sigmoe.estimation.engine._intercept import mean_slopes
from sigmoe.estimation.engine._layout import layout
from sigmoe.moe import Architecture, MixingMeasure


@dataclass(frozen=True)
class Memory:
    """A sum of squared residuals as a quadratic function of the parameters.

    With d = parameters - centre it is value + gradient'd + d' matrix d, the sum of squares of the
    residuals linearised where each batch was last fitted. It never is negative. The parameters
    are the p coordinates of a mixture and k intercepts: one for each column, or none.

    Attributes
    ----------
    centre : Tensor of shape (p + k,)
    matrix : Tensor of shape (p + k, p + k)
        J'J, summed over weighted rows.
    gradient : Tensor of shape (p + k,)
        At the centre.
    value : float
        Sum of squared residuals, there.
    weight : float
        Sum of the rows' weights.
    n_intercepts : int
        k.
    """

    centre: Tensor
    matrix: Tensor
    gradient: Tensor
    value: float
    weight: float
    n_intercepts: int

    @classmethod
    def of(cls, sample: Sample, measure: MixingMeasure, intercept: Tensor) -> Memory:
        """Return the memory of a sample, linearised at a measure and an intercept, () or (m,)."""
        columns, k = measure.architecture.n_columns, sample.n_intercepts
        constant, theta = intercept.expand(columns), measure.coordinates
        problem = sample.least_squares(measure.architecture, measure.n_experts)
        objective, gradient = problem.gradient(theta, constant)
        slopes = mean_slopes(problem, theta) if k else theta.new_zeros((0, theta.numel()))
        residual = (problem.mean_residual(theta) + constant)[:k]
        upper = torch.cat([problem.matrix(theta), slopes.T], 1)
        lower = torch.cat([slopes, torch.eye(k, dtype=theta.dtype)], 1)
        total = sample.total_weight
        return cls(
            torch.cat([theta.flatten(), constant[:k]]),
            torch.cat([upper, lower]) * total,
            torch.cat([gradient, 2.0 * residual]) * total,
            objective * total,
            total,
            k,
        )

    @property
    def coordinates(self) -> Tensor:
        """Return the coordinates of the centre, shape (p,)."""
        return self.centre[: self.n_coordinates]

    @property
    def n_coordinates(self) -> int:
        """Return p."""
        return len(self.centre) - self.n_intercepts

    @property
    def slopes(self) -> Tensor:
        """Return the mixed part of the matrix, shape (k, p)."""
        return self.matrix[self.n_coordinates :, : self.n_coordinates]

    @property
    def coordinate_matrix(self) -> Tensor:
        """Return J'J of the coordinates, shape (p, p)."""
        return self.matrix[: self.n_coordinates, : self.n_coordinates]

    def centred_matrix(self) -> Tensor:
        """Return J'J of the coordinates with the best intercepts, shape (p, p): J is centred."""
        return self.coordinate_matrix - self.slopes.T @ self.slopes / self.weight

    def without_intercept(self) -> Memory:
        """Return the memory of responses from which the centre's intercept was taken off."""
        return replace(self, centre=torch.cat([self.coordinates, torch.zeros(self.n_intercepts)]))

    def at(self, parameters: Tensor) -> tuple[float, Tensor]:
        """Return value and gradient at parameters of shape (p + k,)."""
        step = parameters - self.centre
        pull = self.matrix @ step
        return self.value + float(step @ (self.gradient + pull)), self.gradient + 2.0 * pull

    def moved(self, centre: Tensor) -> Memory:
        """Return the same function written around another centre."""
        value, gradient = self.at(centre)
        return replace(self, centre=centre, gradient=gradient, value=value)

    def faded(self, share: float) -> Memory:
        """Return the memory with every row counting for a share of what it did."""
        return replace(
            self,
            matrix=self.matrix * share,
            gradient=self.gradient * share,
            value=self.value * share,
            weight=self.weight * share,
        )

    def __add__(self, other: Memory) -> Memory:
        near = self.moved(other.centre)
        return Memory(
            other.centre,
            near.matrix + other.matrix,
            near.gradient + other.gradient,
            near.value + other.value,
            near.weight + other.weight,
            self.n_intercepts,
        )


class Remembered:
    """The least squares problem of a new batch and all that is remembered of the earlier ones.

    What is minimised is the mean over all rows, the new ones exactly and the old ones as the
    memory has them, with a ridge penalty added to the sum of squares; over intercepts, if there are
    any, at every point.

    Parameters
    ----------
    batch : Sample
    architecture : Architecture
    n_experts : int
    memory : Memory
    ridge : float
    """

    def __init__(
        self,
        batch: Sample,
        architecture: Architecture,
        n_experts: int,
        memory: Memory,
        ridge: float,
    ) -> None:
        self._batch = batch.least_squares(architecture, n_experts)
        self._memory = memory
        self._new = batch.total_weight
        self._all = self._new + memory.weight
        self._ridge = ridge / self._all
        shape = layout(architecture, n_experts).arrow
        remembered = memory.coordinate_matrix / self._all
        # Columns of the response share nothing but the gates in the earlier batches either.
        self._remembered: Curvature = (
            remembered if shape is None else Arrow.from_dense(shape, remembered)
        )

    def objective(self, theta: Tensor) -> float:
        """Return what is minimised."""
        return self.gradient(theta)[0]

    def gradient(self, theta: Tensor) -> tuple[float, Tensor]:
        """Return what is minimised and its gradient of shape (p,)."""
        flat, intercept = theta.flatten(), self.intercept(theta)
        objective, gradient = self._batch.gradient(theta, intercept if len(intercept) else None)
        value, slope = self._memory.at(torch.cat([flat, intercept]))
        penalty = self._ridge * float(flat.square().sum())
        total = (objective * self._new + value) / self._all + penalty
        slope = slope[: len(flat)]
        return total, (gradient * self._new + slope) / self._all + 2.0 * self._ridge * flat

    def intercept(self, theta: Tensor) -> Tensor:
        """Return the best intercepts, shape (k,)."""
        none = theta.new_zeros(self._memory.n_intercepts)
        if not len(none):
            return none
        pull = self._memory.at(torch.cat([theta.flatten(), none]))[1][-len(none) :]
        return -(self._batch.mean_residual(theta) * self._new + 0.5 * pull) / self._all

    def curvature(self, theta: Tensor) -> Curvature:
        """Return J'J over all rows, divided by their number, with the ridge on its diagonal."""
        batch = self._batch.curvature(theta) * (self._new / self._all)
        matrix = plus_multiple(plus(batch, self._remembered), self._ridge)
        return minus_squares(matrix, self._slopes(theta)) if self._memory.n_intercepts else matrix

    def bend(self, theta: Tensor, step: Tensor) -> Tensor | None:
        """Return the batch's share; what is remembered of earlier ones is linear, as the ridge."""
        part = self._batch.chosen_part()
        if part is self._batch:
            return None
        bend, mean = part.mean_bend(theta, step)
        if self._memory.n_intercepts:
            bend = bend - mean @ self._slopes(theta)
        return bend * (self._new / self._all)

    def _slopes(self, theta: Tensor) -> Tensor:
        """Return the mean derivatives over all rows, shape (m, p)."""
        batch = mean_slopes(self._batch.chosen_part(), theta)
        return (batch * self._new + self._memory.slopes) / self._all
