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
    #: Whether steps are curved.
    curved: bool = False

    def objective(self, theta: Tensor) -> float:
        return float(self.residuals(theta).square().mean())

    def gradient(self, theta: Tensor) -> tuple[float, Tensor]:
        residual, jacobian = self.residuals(theta), self.jacobian(theta)
        return self.objective(theta), 2 * jacobian.T @ residual / len(residual)

    def curvature(self, theta: Tensor) -> Tensor:
        jacobian = self.jacobian(theta)
        return jacobian.T @ jacobian / len(jacobian)

    def bend(self, theta: Tensor, step: Tensor) -> Tensor | None:
        if not self.curved:
            return None
        jacobian = self.jacobian(theta)
        return jacobian.T @ second_derivative(self.residuals, theta, step) / len(jacobian)

    def jacobian(self, theta: Tensor) -> Tensor:
        return torch.autograd.functional.jacobian(self.residuals, theta)


def second_derivative(function: Residuals, theta: Tensor, step: Tensor) -> Tensor:
    """Return the second derivative of function(theta + t step) in t, at 0, by autograd.

    As the derivative in w of that of w'function, which takes three passes for any number of values.
    """
    t = torch.zeros((), dtype=theta.dtype, requires_grad=True)
    values = function(theta + t * step)
    # Keeps straight functions in the graph.
    values = values + 0.0 * t**3
    w = torch.zeros_like(values, requires_grad=True)
    (first,) = torch.autograd.grad(values @ w, t, create_graph=True)
    (second,) = torch.autograd.grad(first, t, create_graph=True)
    return torch.autograd.grad(second, w)[0]


def powell_singular(t: Tensor) -> Tensor:
    return torch.stack(
        [
            t[0] + 10 * t[1],
            5**0.5 * (t[2] - t[3]),
            (t[1] - 2 * t[2]) ** 2,
            10**0.5 * (t[0] - t[3]) ** 2,
        ]
    )


def two_exponentials(t: Tensor) -> Tensor:
    x = torch.linspace(0.0, 4.0, 40, dtype=torch.float64)
    truth = torch.exp(-0.5 * x) + 2.0 * torch.exp(-2.0 * x)
    return t[0] * torch.exp(-t[1] * x) + t[2] * torch.exp(-t[3] * x) - truth
