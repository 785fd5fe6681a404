"""Damped steps inside a box: which coordinates are free, and the step that the model prefers."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from sigmoe.estimation.engine._arrow import Arrow, Curvature, DampedArrow

#: Passes of the working set; each one fixes the coordinates whose step leaves the box.
PASSES = 5


def free_coordinates(theta: Tensor, gradient: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Return which coordinates may move: all but those at a bound that descent would cross.

    Parameters
    ----------
    theta, gradient, lower, upper : Tensor of shape (p,)

    Returns
    -------
    Tensor of shape (p,), bool
    """
    return ~(((theta <= lower) & (gradient > 0)) | ((theta >= upper) & (gradient < 0)))


class System(Protocol):
    """A factored system (H + damping * scale) s = r on the free coordinates.

    Attributes
    ----------
    free : Tensor of shape (p,), bool
    usable : bool
        False if the damped matrix is not positive definite in float64; then ``solve`` must not be
        called and the damping has to grow.
    """

    free: Tensor
    usable: bool

    def solve(self, right: Tensor) -> Tensor:
        """Return s with zeros outside the free coordinates; ``right`` has shape (p,)."""


class DampedSystem:
    """The system of a dense H, see ``System``.

    Parameters
    ----------
    matrix : Tensor of shape (p, p)
        H, positive semidefinite.
    damping : float
    scale : Tensor of shape (p,)
        Positive.
    free : Tensor of shape (p,), bool
    """

    def __init__(self, matrix: Tensor, damping: float, scale: Tensor, free: Tensor) -> None:
        self.free = free
        # None stands for all coordinates: the usual case, without copies of rows and columns.
        self._rows = None if bool(free.all()) else free.nonzero()[:, 0]
        if self._rows is None:
            damped = matrix.clone()
            damped.diagonal().add_(scale, alpha=damping)
        else:
            damped = matrix[self._rows][:, self._rows]
            damped.diagonal().add_(scale[self._rows], alpha=damping)
        self._factor, info = torch.linalg.cholesky_ex(damped)
        self.usable = int(info) == 0 and bool(torch.isfinite(self._factor.diagonal()).all())

    def solve(self, right: Tensor) -> Tensor:
        """Return s with zeros outside the free coordinates; ``right`` has shape (p,)."""
        if self._rows is None:
            return torch.cholesky_solve(right.unsqueeze(1), self._factor).squeeze(1)
        step = torch.zeros_like(right)
        part = right[self._rows].unsqueeze(1)
        step[self._rows] = torch.cholesky_solve(part, self._factor).squeeze(1)
        return step


def damped_system(matrix: Curvature, damping: float, scale: Tensor, free: Tensor) -> System:
    """Return the factored system of a matrix of either kind."""
    if isinstance(matrix, Arrow):
        return DampedArrow(matrix, damping, scale, free)
    return DampedSystem(matrix, damping, scale, free)


def box_step(
    matrix: Curvature,
    gradient: Tensor,
    damping: float,
    scale: Tensor,
    theta: Tensor,
    lower: Tensor,
    upper: Tensor,
) -> tuple[Tensor, System] | None:
    """Return a step that lowers g's + s'(H + damping scale)s and keeps theta + s in the box.

    The coordinates whose step leaves the box are set to their bound and the others are solved for
    again, a few times: an active set method that only ever adds. What still leaves the box after
    that is projected.

    Returns
    -------
    (Tensor of shape (p,), System), or None
        The step and the system of its last free coordinates; None if the damped matrix is not
        positive definite in float64.
    """
    free = free_coordinates(theta, gradient, lower, upper)
    fixed = torch.zeros_like(theta)
    step = fixed
    for _ in range(PASSES):
        system = damped_system(matrix, damping, scale, free)
        if not system.usable:
            return None
        # Coordinates already set to their bound move the right-hand side of the others.
        step = fixed + system.solve(-0.5 * gradient - matrix @ fixed)
        moved = torch.minimum(torch.maximum(theta + step, lower), upper)
        outside = (moved != theta + step) & free
        if not bool(outside.any()):
            break
        fixed = torch.where(outside, moved - theta, fixed)
        free = free & ~outside
    return torch.minimum(torch.maximum(theta + step, lower), upper) - theta, system


def predicted_decrease(matrix: Curvature, gradient: Tensor, step: Tensor) -> float:
    """Return what the linearised model promises for the step as taken: -(g's + s'Hs)."""
    return -float(gradient @ step + step @ (matrix @ step))
