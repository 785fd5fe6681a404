"""Cheap steps between two Levenberg-Marquardt iterations: L-BFGS seeded by the damped matrix.

The normal equations cost about ten gradients. Once they are factored, quasi-Newton steps whose
first Hessian is 2 (J'J/n + damping * scale) follow curved valleys and learn the curvature of the
residuals, which Gauss-Newton ignores, for the price of a gradient each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import isfinite

import torch
from torch import Tensor

from sigmoe.estimation.engine._box import System

#: Objective and gradient at coordinates of shape (p,).
ValueAndGradient = Callable[[Tensor], tuple[float, Tensor]]

SUFFICIENT = 1e-4
BACKTRACK = 0.3
TRIALS = 2
#: A step that brings less than this share of the average decrease so far ends the refinement.
WORTHWHILE = 0.02


@dataclass
class Point:
    """Coordinates with their objective and gradient; tensors of shape (p,)."""

    theta: Tensor
    objective: float
    gradient: Tensor

    def to(self, device: torch.device) -> Point:
        """Return the point on a device."""
        return Point(self.theta.to(device), self.objective, self.gradient.to(device))


@dataclass
class CurvaturePairs:
    """Differences of points and gradients, and the inverse Hessian they imply."""

    pairs: list[tuple[Tensor, Tensor, float]] = field(default_factory=list)

    def add(self, step: Tensor, change: Tensor) -> None:
        """Keep a pair if it shows positive curvature; others would break descent."""
        product = float(step @ change)
        if product > 1e-10 * float(step.norm() * change.norm()):
            self.pairs.append((step, change, 1.0 / product))

    def direction(self, gradient: Tensor, inverse: Callable[[Tensor], Tensor]) -> Tensor:
        """Return minus the inverse Hessian times the gradient (two-loop recursion)."""
        q = gradient.clone()
        coefficients = []
        for step, change, weight in reversed(self.pairs):
            coefficient = weight * float(step @ q)
            coefficients.append(coefficient)
            q -= coefficient * change
        z = inverse(q)
        for (step, change, weight), coefficient in zip(
            self.pairs, reversed(coefficients), strict=True
        ):
            z += (coefficient - weight * float(change @ z)) * step
        return -z


def refine(
    evaluate: ValueAndGradient,
    before: Point,
    point: Point,
    system: System,
    lower: Tensor,
    upper: Tensor,
    steps: int,
) -> Point:
    """Return a point at least as good as ``point``, after at most ``steps`` quasi-Newton steps.

    Parameters
    ----------
    evaluate : callable
        Objective and gradient.
    before, point : Point
        The last two iterates; they give the first curvature pair.
    system : System
        The factored H + damping * scale on the coordinates that are strictly inside the box at
        ``point``; the others stay where they are.
    lower, upper : Tensor of shape (p,)
    steps : int
    """
    inside = ((point.theta > lower) & (point.theta < upper)).to(point.theta.dtype)
    curvature = CurvaturePairs()
    curvature.add(
        (point.theta - before.theta) * inside, (point.gradient - before.gradient) * inside
    )
    for taken in range(1, steps + 1):
        direction = curvature.direction(
            point.gradient * inside, lambda right: system.solve(0.5 * right)
        )
        new = _line_search(evaluate, point, direction * inside, lower, upper)
        if new is None:
            break
        curvature.add((new.theta - point.theta) * inside, (new.gradient - point.gradient) * inside)
        gained, total = point.objective - new.objective, before.objective - new.objective
        point = new
        at_bound = ((point.theta <= lower) | (point.theta >= upper)) & inside.bool()
        if gained < WORTHWHILE * total / (taken + 1) or bool(at_bound.any()):
            break
    return point


def _line_search(
    evaluate: ValueAndGradient, point: Point, direction: Tensor, lower: Tensor, upper: Tensor
) -> Point | None:
    """Return the first of a few shortened steps with sufficient decrease, else None."""
    if not bool(torch.isfinite(direction).all()) or float(point.gradient @ direction) >= 0:
        return None
    for _ in range(TRIALS):
        theta = torch.minimum(torch.maximum(point.theta + direction, lower), upper)
        objective, gradient = evaluate(theta)
        wanted = -SUFFICIENT * float(point.gradient @ (theta - point.theta))
        if isfinite(objective) and wanted > 0 and point.objective - objective >= wanted:
            return Point(theta, objective, gradient)
        direction = direction * BACKTRACK
    return None
