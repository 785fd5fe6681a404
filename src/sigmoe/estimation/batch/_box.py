"""Damped steps inside boxes for many problems: the batched twin of ``engine._box``.

Active sets differ between problems; a fixed coordinate keeps nothing but its damping in its row and
column, so that all systems have one size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sigmoe.estimation.batch._records import dot, insert, select, where_true
from sigmoe.estimation.engine._box import PASSES, free_coordinates


@dataclass(frozen=True)
class Box:
    """Limits of the coordinates, each of shape (b, p); may be infinite."""

    lower: Tensor
    upper: Tensor

    def nearest(self, theta: Tensor) -> Tensor:
        """Return the nearest points inside."""
        return torch.minimum(torch.maximum(theta, self.lower), self.upper)

    def strictly_inside(self, theta: Tensor) -> Tensor:
        """Return which coordinates lie between their limits and not at one."""
        return (theta > self.lower) & (theta < self.upper)

    def free(self, theta: Tensor, gradient: Tensor) -> Tensor:
        """Return which coordinates may move, see ``engine._box.free_coordinates``."""
        return free_coordinates(theta, gradient, self.lower, self.upper)


@dataclass(frozen=True)
class DampedSystems:
    """The factored systems (H + damping * scale) s = r on the free coordinates.

    Attributes
    ----------
    factor : Tensor of shape (b, p, p)
    free : Tensor of shape (b, p), bool
    usable : Tensor of shape (b,), bool
        False where the damped matrix is not positive definite in float64; what ``solve`` returns
        there means nothing.
    """

    factor: Tensor
    free: Tensor
    usable: Tensor

    @classmethod
    def none(cls, matrix: Tensor) -> DampedSystems:
        """Return systems that are not usable, in place of those to come."""
        coordinates = torch.ones_like(matrix[:, 0], dtype=torch.bool)
        return cls(matrix, coordinates, torch.zeros_like(coordinates[:, 0]))

    @classmethod
    def factored(
        cls, matrix: Tensor, damping: Tensor, scale: Tensor, free: Tensor
    ) -> DampedSystems:
        """Return the systems of H (b, p, p), damping (b,) and positive scales (b, p)."""
        damped = matrix * free.unsqueeze(1)
        damped *= free.unsqueeze(2)
        damped.diagonal(dim1=1, dim2=2).add_(damping.unsqueeze(1) * scale)
        factor, info = torch.linalg.cholesky_ex(damped)
        finite = torch.isfinite(factor.diagonal(dim1=1, dim2=2)).all(1)
        return cls(factor, free, (info == 0) & finite)

    def solve(self, right: Tensor) -> Tensor:
        """Return s with zeros outside the free coordinates; ``right`` has shape (b, p)."""
        right = torch.where(self.free, right, 0.0)
        return torch.cholesky_solve(right.unsqueeze(-1), self.factor).squeeze(-1)


def box_steps(
    matrix: Tensor, gradient: Tensor, damping: Tensor, scale: Tensor, theta: Tensor, box: Box
) -> tuple[Tensor, DampedSystems]:
    """Return steps that stay in the boxes, shape (b, p), and the systems of their last free sets.

    As ``engine._box.box_step``; only the problems whose steps leave their box are solved again.
    A step means something where its system is usable.
    """
    free = box.free(theta, gradient)
    fixed = torch.zeros_like(theta)
    systems = DampedSystems.factored(matrix, damping, scale, free)
    step = systems.solve(-0.5 * gradient)
    for remaining in reversed(range(PASSES)):
        moved = box.nearest(theta + step)
        outside = (moved != theta + step) & free & systems.usable.unsqueeze(1)
        index = where_true(outside.any(1))
        if remaining == 0 or len(index) == 0:
            break
        fixed = torch.where(outside, moved - theta, fixed)
        free = free & ~outside
        H, held, slope = (select(part, index) for part in (matrix, fixed, gradient))
        part = DampedSystems.factored(H, damping[index], scale[index], free[index])
        # Coordinates already set to their bound move the right-hand side of the others.
        again = held + part.solve(-0.5 * slope - multiply(H, held))
        step, systems = insert(step, index, again), insert(systems, index, part)
    return box.nearest(theta + step) - theta, systems


def multiply(matrix: Tensor, vectors: Tensor) -> Tensor:
    """Return matrix times vector, problem by problem; shapes (b, p, p), (b, p) to (b, p)."""
    return torch.bmm(matrix, vectors.unsqueeze(-1)).squeeze(-1)


def predicted_decrease(matrix: Tensor, gradient: Tensor, step: Tensor) -> Tensor:
    """Return what the linearised models promise for the steps as taken, shape (b,)."""
    return -dot(step, gradient + multiply(matrix, step))
