"""Cheap steps between two Levenberg-Marquardt iterations, for many problems at once.

The batched twin of ``engine._refine``: L-BFGS seeded by the damped matrices. A problem whose
refinement ends leaves; the others go on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sigmoe.estimation.batch._box import Box, DampedSystems
from sigmoe.estimation.batch._records import choose, dot, insert, select, where_true
from sigmoe.estimation.engine._refine import BACKTRACK, SUFFICIENT, TRIALS, WORTHWHILE

#: Objectives (k,) and gradients (k, p) at coordinates (k, p) of the problems at positions (k,).
Evaluate = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Points:
    """Coordinates (b, p) with their objectives (b,) and gradients (b, p)."""

    theta: Tensor
    objective: Tensor
    gradient: Tensor


@dataclass(frozen=True)
class CurvaturePairs:
    """Differences of points and gradients (b, k, p), and weights (b, k).

    A pair that does not show positive curvature would break descent; it has weight zero.
    """

    steps: Tensor
    changes: Tensor
    weights: Tensor

    @classmethod
    def none(cls, theta: Tensor) -> CurvaturePairs:
        """Return no pairs for the problems of ``theta``."""
        b, p = theta.shape
        empty = theta.new_zeros((b, 0, p))
        return cls(empty, empty, theta.new_zeros((b, 0)))

    def add(self, step: Tensor, change: Tensor) -> CurvaturePairs:
        """Return the pairs with one more for each problem; shapes (b, p)."""
        product = dot(step, change)
        positive = product > 1e-10 * step.norm(dim=1) * change.norm(dim=1)
        weight = torch.where(positive, 1.0 / product, 0.0)
        return CurvaturePairs(
            torch.cat([self.steps, step.unsqueeze(1)], 1),
            torch.cat([self.changes, change.unsqueeze(1)], 1),
            torch.cat([self.weights, weight.unsqueeze(1)], 1),
        )

    def direction(self, gradient: Tensor, inverse: Callable[[Tensor], Tensor]) -> Tensor:
        """Return minus the inverse Hessians times the gradients (two-loop recursion)."""
        # Factors of shape (k, b, 1) and (k, b, p): one iteration of the loops is two calls.
        steps, changes = self.steps.unbind(1), self.changes.unbind(1)
        weights = self.weights.unbind(1)
        q = gradient
        coefficients = []
        for step, change, weight in reversed(list(zip(steps, changes, weights, strict=True))):
            coefficients.append(weight * dot(step, q))
            q = torch.addcmul(q, coefficients[-1].unsqueeze(1), change, value=-1)
        z = inverse(q)
        for step, change, weight in zip(steps, changes, weights, strict=True):
            share = coefficients.pop() - weight * dot(change, z)
            z = torch.addcmul(z, share.unsqueeze(1), step)
        return -z


@dataclass(frozen=True)
class _Going:
    """The problems whose refinement goes on.

    ``index`` says which of those that were handed in, ``which`` which of the whole batch.
    """

    index: Tensor
    which: Tensor
    point: Points
    first_objective: Tensor
    inside: Tensor
    box: Box
    pairs: CurvaturePairs
    systems: DampedSystems


def refine(
    evaluate: Evaluate,
    which: Tensor,
    before: Points,
    point: Points,
    systems: DampedSystems,
    box: Box,
    steps: int,
) -> Points:
    """Return points at least as good as ``point``, after at most ``steps`` quasi-Newton steps.

    Parameters
    ----------
    evaluate : callable
        Objectives and gradients.
    which : Tensor of shape (b,), int64
        Positions of the problems in the whole batch.
    before, point : Points
        The last two iterates; they give the first curvature pair.
    systems : DampedSystems
        On the coordinates that are strictly inside the box at ``point``; the others stay where
        they are. Where one is not usable, the point stays.
    box : Box
    steps : int
    """
    inside = box.strictly_inside(point.theta)
    moved, change = point.theta - before.theta, point.gradient - before.gradient
    pairs = CurvaturePairs.none(moved).add(moved * inside, change * inside)
    index = torch.arange(len(which), device=which.device)
    going = _Going(index, which, point, before.objective, inside, box, pairs, systems)
    going = select(going, where_true(systems.usable))
    for taken in range(1, steps + 1):
        if len(going.index) == 0:
            break
        going, ends = _one_step(evaluate, going, taken)
        point = insert(point, going.index, going.point)
        going = select(going, where_true(~ends))
    return point


def _one_step(evaluate: Evaluate, going: _Going, taken: int) -> tuple[_Going, Tensor]:
    """Return the problems after one step each, and for which of them it is the last (k,)."""
    old, inside, systems = going.point, going.inside, going.systems
    direction = going.pairs.direction(
        old.gradient * inside, lambda right: systems.solve(0.5 * right)
    )
    new, found = _line_search(evaluate, going, direction * inside)
    pairs = going.pairs.add(
        (new.theta - old.theta) * inside, (new.gradient - old.gradient) * inside
    )
    gained, total = old.objective - new.objective, going.first_objective - new.objective
    at_bound = (inside & ~going.box.strictly_inside(new.theta)).any(1)
    ends = ~found | (gained < WORTHWHILE * total / (taken + 1)) | at_bound
    return replace(going, point=new, pairs=pairs), ends


def _line_search(evaluate: Evaluate, going: _Going, direction: Tensor) -> tuple[Points, Tensor]:
    """Return the points after the first of a few shortened steps with sufficient decrease.

    Where none has it the point stays; the second value (k,) says where one was found.
    """
    point, new = going.point, going.point
    found = torch.zeros_like(going.index, dtype=torch.bool)
    descends = torch.isfinite(direction).all(1) & (dot(point.gradient, direction) < 0)
    index = where_true(descends)
    for _ in range(TRIALS):
        if len(index) == 0:
            break
        old, box = select(point, index), select(going.box, index)
        theta = box.nearest(old.theta + select(direction, index))
        trial = Points(theta, *evaluate(theta, select(going.which, index)))
        wanted = -SUFFICIENT * dot(old.gradient, theta - old.theta)
        good = torch.isfinite(trial.objective) & (wanted > 0)
        good &= old.objective - trial.objective >= wanted
        new = insert(new, index, choose(good, trial, old))
        found = insert(found, index, good)
        index = index[where_true(~good)]
        direction = direction * BACKTRACK
    return new, found
