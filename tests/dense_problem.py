"""Least squares problems from a residual function, which the tests of both solvers share."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Residuals = Callable[[Tensor], Tensor]


@dataclass
class Dense:
    """A least squares problem from its residual function, with autograd Jacobians."""

    residuals: Residuals

    def objective(self, theta: Tensor) -> float:
        return float(self.residuals(theta).square().mean())

    def gradient(self, theta: Tensor) -> tuple[float, Tensor]:
        residual, jacobian = self.residuals(theta), self.jacobian(theta)
        return self.objective(theta), 2 * jacobian.T @ residual / len(residual)

    def curvature(self, theta: Tensor) -> Tensor:
        jacobian = self.jacobian(theta)
        return jacobian.T @ jacobian / len(jacobian)

    def jacobian(self, theta: Tensor) -> Tensor:
        return torch.autograd.functional.jacobian(self.residuals, theta)
