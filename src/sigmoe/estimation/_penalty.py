"""A least squares problem with a ridge penalty on the canonical coordinates."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sigmoe.estimation._normal_equations import LeastSquares, NormalEquations


@dataclass(frozen=True)
class Ridge:
    """The mean squared residual plus ``strength`` times the sum of squared coordinates.

    It is a least squares problem again, with sqrt(strength) theta as further residuals, so that
    its normal equations gain a multiple of the identity.
    """

    problem: LeastSquares
    strength: float

    def objective(self, theta: Tensor) -> float:
        """Return the penalised objective."""
        return self.problem.objective(theta) + self.penalty(theta)

    def gradient(self, theta: Tensor) -> tuple[float, Tensor]:
        """Return the penalised objective and its gradient of shape (p,)."""
        objective, gradient = self.problem.gradient(theta)
        gradient = gradient + 2.0 * self.strength * theta.flatten()
        return objective + self.penalty(theta), gradient

    def normal_equations(self, theta: Tensor) -> NormalEquations:
        """Return J'J / n + strength I, with gradient and objective."""
        bare = self.problem.normal_equations(theta)
        matrix = bare.matrix.clone()
        matrix.diagonal().add_(self.strength)
        gradient = bare.gradient + 2.0 * self.strength * theta.flatten()
        return NormalEquations(matrix, gradient, bare.objective + self.penalty(theta))

    def penalty(self, theta: Tensor) -> float:
        """Return what the penalty adds to the mean squared residual."""
        return self.strength * float(theta.square().sum())
