"""Levenberg-Marquardt in boxes for many problems: the batched twin of the single engine's.

Each problem has its own damping, active set and end, by the rules and with the words of
``engine._levenberg_marquardt``. Finished problems leave the batch, waiting ones take their place.
All decisions are masks: the host reads how many problems are left, never what one of them did.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from typing import Protocol

import torch
from torch import Tensor

from sigmoe.estimation.batch._box import Box, DampedSystems
from sigmoe.estimation.batch._descend import Local, descend
from sigmoe.estimation.batch._records import insert, select, where_true
from sigmoe.estimation.batch._refine import Evaluate, Points, refine
from sigmoe.estimation.engine._levenberg_marquardt import (
    ROUNDING,
    SCALE_FLOOR,
    SMALL_IN_A_ROW,
    Settings,
)

#: Called after each round with the number of rounds so far and all objectives, shape (B,).
Callback = Callable[[int, Tensor], object]

#: What the codes of a state stand for; a running problem has code -1.
STATUSES = ("gradient", "decrease", "step", "iterations", "stalled")
_GRADIENT, _DECREASE, _STEP, _ITERATIONS, _STALLED = range(5)
_RUNNING = -1

#: Most numbers in the matrices of the problems that run at a time; a GPU has more memory.
_MATRIX_NUMBERS, _MATRIX_NUMBERS_GPU = 2**24, 2**28


class Problems(Protocol):
    """What the solver asks of a batch of problems; ``which`` names some of them, ascending."""

    def gradient(self, theta: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        """Return objectives (b,) and gradients (b, p) at coordinates (b, p)."""

    def curvature(self, theta: Tensor, which: Tensor) -> Tensor:
        """Return J'J / n of shape (b, p, p), or an estimate, symmetric and not negative."""

    def bend(self, theta: Tensor, step: Tensor, which: Tensor) -> Tensor | None:
        """Return J' f'' / n of shape (b, p), or an estimate; None for straight steps.

        f'' is the second derivative of the residuals along steps of shape (b, p).
        """


@dataclass(frozen=True)
class State:
    """Where each problem stands.

    Attributes
    ----------
    point : Points
    scale : Tensor of shape (b, p)
        Running maximum of the diagonal of J'J / n.
    damping : Tensor of shape (b,)
        Of the next step.
    small, n_iterations, status : Tensor of shape (b,), int64
        Small decreases in a row, matrices formed, and a position in ``STATUSES`` or -1.
    """

    point: Points
    scale: Tensor
    damping: Tensor
    small: Tensor
    n_iterations: Tensor
    status: Tensor


def minimise(
    problems: Problems,
    start: Tensor,
    box: Box,
    response_scale: Tensor,
    settings: Settings,
    callback: Callback | None = None,
    at_a_time: int | None = None,
) -> tuple[State, Tensor]:
    """Minimise every problem over its box.

    Parameters
    ----------
    problems : Problems
    start : Tensor of shape (B, p)
        Inside the box.
    box : Box
    response_scale : Tensor of shape (B,)
        Root mean square of the responses; residuals below 1e-14 of it count as zero.
    settings : Settings
    callback : callable, optional
    at_a_time : int, optional
        How many problems run at a time; default as many as memory for their matrices allows.

    Returns
    -------
    State
        All problems at their end.
    Tensor of shape (B,)
        Gradient norms there, see ``scaled_gradient``; infinite if the start has no objective.
    """
    width = at_a_time or _width(start)
    state = _first_state(problems.gradient, start, settings)
    without = state.status == _STALLED
    rounds = 0
    while len(active := where_true(state.status == _RUNNING)[:width]):
        part = _iterate(
            problems,
            active,
            select(state, active),
            select(box, active),
            select(response_scale, active),
            settings,
        )
        state = insert(state, active, part)
        rounds += 1
        if callback is not None:
            callback(rounds, state.point.objective)
    norm = scaled_gradient(state.point, state.scale, box, response_scale)
    return state, torch.where(without, inf, norm)


def _width(start: Tensor) -> int:
    numbers = _MATRIX_NUMBERS if start.device.type == "cpu" else _MATRIX_NUMBERS_GPU
    return max(1, numbers // start.shape[1] ** 2)


def _first_state(evaluate: Evaluate, theta: Tensor, settings: Settings) -> State:
    everything = torch.arange(len(theta), device=theta.device)
    point = Points(theta, *evaluate(theta, everything))
    finite = torch.isfinite(point.objective) & torch.isfinite(point.gradient).all(1)
    zero = torch.zeros_like(everything)
    return State(
        point,
        torch.zeros_like(theta),
        torch.full_like(point.objective, settings.damping),
        zero,
        zero,
        torch.where(finite, _RUNNING, _STALLED),
    )


def _iterate(
    problems: Problems,
    which: Tensor,
    state: State,
    box: Box,
    response_scale: Tensor,
    settings: Settings,
) -> State:
    """Return the running problems after one matrix each, and the steps that it is good for."""
    matrix = problems.curvature(state.point.theta, which)
    scale = torch.maximum(state.scale, matrix.diagonal(dim1=1, dim2=2))
    state = replace(state, scale=scale, n_iterations=state.n_iterations + 1)
    norm = scaled_gradient(state.point, scale, box, response_scale)
    stationary = norm <= settings.gradient_tolerance
    state = replace(state, status=torch.where(stationary, _GRADIENT, state.status))
    index = where_true(~stationary)
    moving = select(state, index)
    moved = _advance(
        problems,
        select(which, index),
        moving,
        select(matrix, index),
        select(box, index),
        settings,
    )
    return insert(state, index, moved)


def _advance(
    problems: Problems, which: Tensor, state: State, matrix: Tensor, box: Box, settings: Settings
) -> State:
    """Return the problems after a damped step and its refinement, with their new status."""
    scale = floored(state.scale)
    local = Local(which, state.point, matrix, scale, box)
    found = descend(problems.gradient, problems.bend, local, state.damping)
    point = found.point
    index = where_true(found.accepted)
    if settings.refinements and len(index):
        new, inner = select(point, index), select(box, index)
        systems = _inside_systems(
            select(found.systems, index),
            inner.strictly_inside(new.theta),
            select(matrix, index),
            select(found.damping, index),
            select(scale, index),
        )
        before, refined = select(state.point, index), select(which, index)
        steps = settings.refinements
        new = refine(problems.gradient, refined, before, new, systems, inner, steps)
        point = insert(point, index, new)
    small, status = _progress(state, point, settings)
    # No step descends. If the last one left the objective as it was, this is a minimum at the
    # resolution of the tolerance (kinked experts have minima without zero gradient).
    flat = found.change.abs() <= settings.relative_tolerance * state.point.objective
    ended = torch.where(flat, _DECREASE, _STALLED)
    status = torch.where(found.accepted, status, ended)
    return replace(state, point=point, damping=found.damping, small=small, status=status)


def _inside_systems(
    systems: DampedSystems, inside: Tensor, matrix: Tensor, damping: Tensor, scale: Tensor
) -> DampedSystems:
    """Return the systems on the coordinates inside the box; those that are so are kept."""
    index = where_true((inside != systems.free).any(1))
    if len(index) == 0:
        return systems
    again = DampedSystems.factored(matrix[index], damping[index], scale[index], inside[index])
    return insert(systems, index, again)


def scaled_gradient(point: Points, scale: Tensor, box: Box, response_scale: Tensor) -> Tensor:
    """Return the largest cosines between the residuals and free columns of the Jacobians (b,).

    See ``engine._levenberg_marquardt.scaled_gradient``.
    """
    size = point.objective.sqrt()
    cosine = 0.5 * point.gradient.abs() / floored(scale).sqrt() / size.unsqueeze(1)
    largest = (cosine * box.free(point.theta, point.gradient)).amax(1)
    # An exact fit: what is left of the residual is rounding, and so is its direction.
    return torch.where(size <= ROUNDING * response_scale, 0.0, largest)


def _progress(old: State, new: Points, settings: Settings) -> tuple[Tensor, Tensor]:
    """Return how many small decreases came in a row, and the status."""
    decrease = old.point.objective - new.objective
    is_small = decrease <= settings.relative_tolerance * old.point.objective
    small = torch.where(is_small, old.small + 1, 0)
    root = floored(old.scale).sqrt()
    moved = ((new.theta - old.point.theta) * root).norm(dim=1)
    still = moved <= settings.step_tolerance * (old.point.theta * root).norm(dim=1)
    status = torch.where(old.n_iterations >= settings.max_iterations, _ITERATIONS, _RUNNING)
    status = torch.where(still, _STEP, status)
    # One small decrease may only mean that the damping was large.
    return small, torch.where(small >= SMALL_IN_A_ROW, _DECREASE, status)


def floored(scale: Tensor) -> Tensor:
    """Return the scales (b, p) with their small entries raised, positive everywhere."""
    largest = scale.amax(1, keepdim=True)
    return torch.maximum(scale, torch.where(largest > 0, SCALE_FLOOR * largest, 1.0))
