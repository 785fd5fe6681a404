"""What a stream remembers of its earlier batches: their sum of squares to second order."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sigmoe.estimation._sample import Sample
from sigmoe.estimation.engine._arrow import Arrow, Curvature, plus, plus_multiple
from sigmoe.estimation.engine._layout import layout
from sigmoe.estimation.engine._normal_equations import normal_equations
from sigmoe.moe import Architecture, MixingMeasure


@dataclass(frozen=True)
class Memory:
    """A sum of squared residuals as a quadratic function of the coordinates.

    With d = theta - centre it is value + gradient'd + d' matrix d, the sum of squares of the
    residuals linearised where each batch was last fitted. It never is negative.

    Attributes
    ----------
    centre : Tensor of shape (p,)
    matrix : Tensor of shape (p, p)
        J'J, summed over weighted rows.
    gradient : Tensor of shape (p,)
        At the centre.
    value : float
        Sum of squared residuals, there.
    weight : float
        Sum of the rows' weights.
    """

    centre: Tensor
    matrix: Tensor
    gradient: Tensor
    value: float
    weight: float

    @classmethod
    def of(cls, sample: Sample, measure: MixingMeasure) -> Memory:
        """Return the memory of a sample, linearised at a measure."""
        equations = normal_equations(measure, sample.X, sample.y, sample.weight)
        total = sample.total_weight
        return cls(
            measure.coordinates.flatten(),
            equations.matrix * total,
            equations.gradient * total,
            equations.objective * total,
            total,
        )

    def at(self, theta: Tensor) -> tuple[float, Tensor]:
        """Return value and gradient at coordinates of shape (p,)."""
        step = theta - self.centre
        pull = self.matrix @ step
        return self.value + float(step @ (self.gradient + pull)), self.gradient + 2.0 * pull

    def moved(self, centre: Tensor) -> Memory:
        """Return the same function written around another centre."""
        value, gradient = self.at(centre)
        return Memory(centre, self.matrix, gradient, value, self.weight)

    def faded(self, share: float) -> Memory:
        """Return the memory with every row counting for a share of what it did."""
        return Memory(
            self.centre,
            self.matrix * share,
            self.gradient * share,
            self.value * share,
            self.weight * share,
        )

    def __add__(self, other: Memory) -> Memory:
        near = self.moved(other.centre)
        return Memory(
            other.centre,
            near.matrix + other.matrix,
            near.gradient + other.gradient,
            near.value + other.value,
            near.weight + other.weight,
        )


class Remembered:
    """The least squares problem of a new batch and all that is remembered of the earlier ones.

    What is minimised is the mean over all rows, the new ones exactly and the old ones as the
    memory has them, with a ridge penalty added to the sum of squares.

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
        self._batch = batch.problem(architecture, n_experts)
        self._memory = memory
        self._new = batch.total_weight
        self._all = self._new + memory.weight
        self._ridge = ridge / self._all
        shape, remembered = layout(architecture, n_experts).arrow, memory.matrix / self._all
        # Columns of the response share nothing but the gates in the earlier batches either.
        self._remembered: Curvature = (
            remembered if shape is None else Arrow.from_dense(shape, remembered)
        )

    def objective(self, theta: Tensor) -> float:
        """Return what is minimised."""
        return self.gradient(theta)[0]

    def gradient(self, theta: Tensor) -> tuple[float, Tensor]:
        """Return what is minimised and its gradient of shape (p,)."""
        objective, gradient = self._batch.gradient(theta)
        return self._joined(objective, gradient, theta)

    def curvature(self, theta: Tensor) -> Curvature:
        """Return J'J over all rows, divided by their number, with the ridge on its diagonal."""
        batch = self._batch.curvature(theta) * (self._new / self._all)
        return plus_multiple(plus(batch, self._remembered), self._ridge)

    def bend(self, theta: Tensor, step: Tensor) -> Tensor | None:
        """Return the batch's share; what is remembered of earlier ones is linear, as the ridge."""
        bend = self._batch.bend(theta, step)
        return None if bend is None else bend * (self._new / self._all)

    def _joined(self, objective: float, gradient: Tensor, theta: Tensor) -> tuple[float, Tensor]:
        flat = theta.flatten()
        value, slope = self._memory.at(flat)
        penalty = self._ridge * float(flat.square().sum())
        total = (objective * self._new + value) / self._all + penalty
        joined = (gradient * self._new + slope) / self._all + 2.0 * self._ridge * flat
        return total, joined
