"""Least squares of a prediction plus an intercept, which is solved for at every point."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sigmoe.estimation.engine._arrow import Curvature, minus_squares
from sigmoe.estimation.engine._least_squares import LeastSquares


@dataclass(frozen=True)
class FreeIntercept:
    """The least squares problem of f(x) + k over theta, the best k taken at every theta.

    The problem is linear in k, so that k is the mean of the responses minus that of the
    predictions, and what remains is the problem of centred responses with a centred Jacobian
    (variable projection: Golub and Pereyra 1973, SIAM J. Numer. Anal. 10). The coordinates stay
    those of the mixture. A pass that needs k costs a pass without derivatives more.
    """

    problem: LeastSquares

    def intercept(self, theta: Tensor) -> Tensor:
        """Return the best intercept, shape (m,)."""
        return -self.problem.mean_residual(theta)

    def objective(self, theta: Tensor) -> float:
        """Return the mean squared residual, summed over columns."""
        return self.problem.objective(theta, self.intercept(theta))

    def gradient(self, theta: Tensor) -> tuple[float, Tensor]:
        """Return the objective and its gradient of shape (p,)."""
        return self.problem.gradient(theta, self.intercept(theta))

    def curvature(self, theta: Tensor) -> Curvature:
        """Return J'J / n with J centred, from the rows that the bare problem takes."""
        return minus_squares(self.problem.curvature(theta), self._slopes(theta))

    def bend(self, theta: Tensor, step: Tensor) -> Tensor | None:
        """Return J' f'' / n with J centred, from the rows that the matrix comes from."""
        part = self.problem.chosen_part()
        if part is self.problem:
            return None
        bend, mean = part.mean_bend(theta, step)
        return bend - mean @ self._slopes(theta)

    def _slopes(self, theta: Tensor) -> Tensor:
        return mean_slopes(self.problem.chosen_part(), theta)


def mean_slopes(problem: LeastSquares, theta: Tensor) -> Tensor:
    """Return the mean derivative of the prediction of each column, shape (m, p).

    The gradient is linear in an intercept, with twice this as its slope.
    """
    units = torch.eye(problem.layout.architecture.n_columns, dtype=theta.dtype, device=theta.device)
    # Around centred residuals next to nothing cancels.
    base = -problem.mean_residual(theta)
    ahead = [problem.gradient(theta, base + unit)[1] for unit in units]
    return (torch.stack(ahead) - problem.gradient(theta, base)[1]) * 0.5
