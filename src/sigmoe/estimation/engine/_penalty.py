"""A least squares problem with a ridge penalty on the canonical coordinates."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sigmoe.estimation.engine._arrow import Curvature, plus_multiple
from sigmoe.estimation.engine._levenberg_marquardt import Problem


@dataclass(frozen=True)
class Ridge:
    """The mean squared residual plus ``strength`` times the sum of squared coordinates.

    It is a least squares problem again, with sqrt(strength) theta as further residuals, so that
    its normal equations gain a multiple of the identity.
    """

    problem: Problem
    strength: float

    def objective(self, theta: Tensor) -> float:
        """Return the penalised objective."""
        return self.problem.objective(theta) + self.penalty(theta)

    def gradient(self, theta: Tensor) -> tuple[float, Tensor]:
        """Return the penalised objective and its gradient of shape (p,)."""
        objective, gradient = self.problem.gradient(theta)
        gradient = gradient + 2.0 * self.strength * theta.flatten()
        return objective + self.penalty(theta), gradient

    def curvature(self, theta: Tensor) -> Curvature:
        """Return J'J / n + strength I."""
        return plus_multiple(self.problem.curvature(theta), self.strength)

    def bend(self, theta: Tensor, step: Tensor) -> Tensor | None:
        """Return the problem's own: the penalty's residuals are linear."""
        return self.problem.bend(theta, step)

    def penalty(self, theta: Tensor) -> float:
        """Return what the penalty adds to the mean squared residual."""
        return self.strength * float(theta.square().sum())
