"""Levenberg-Marquardt in a box on J'J, with quasi-Newton steps between factorisations.

One iteration forms the normal equations once, finds a damping whose step lowers the objective
(module ``_descend``; each trial costs a factorisation and a gradient, an eighth of the iteration,
and in large samples a second derivative along the step), and then takes cheap steps with the same
matrix (module ``_refine``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf, isfinite
from typing import Protocol

import torch
from torch import Tensor

from sigmoe.estimation.engine._arrow import Curvature
from sigmoe.estimation.engine._box import damped_system, free_coordinates
from sigmoe.estimation.engine._descend import Local, descend
from sigmoe.estimation.engine._refine import Point, refine

#: Called after each iteration with the number of iterations so far and the objective.
Callback = Callable[[int, float], object]

#: Scales below this share of the largest are raised to it: a dead expert has zero columns.
SCALE_FLOOR = 1e-8
#: Residuals below this share of the responses are rounding.
ROUNDING = 1e-14
SMALL_IN_A_ROW = 2


class Problem(Protocol):
    """What fits ask of a least squares problem; theta has the problem's own shape."""

    def objective(self, theta: Tensor) -> float:
        """Return what is minimised."""

    def gradient(self, theta: Tensor) -> tuple[float, Tensor]:
        """Return the objective and its gradient of shape (p,)."""

    def curvature(self, theta: Tensor) -> Curvature:
        """Return J'J / n (p x p), or an estimate of it, symmetric and not negative."""

    def bend(self, theta: Tensor, step: Tensor) -> Tensor | None:
        """Return J' f'' / n of shape (p,), or an estimate of it; None for straight steps.

        f'' is the second derivative of the residuals along a step of shape (p,).
        """


@dataclass(frozen=True)
class Settings:
    """When to stop and how to move."""

    max_iterations: int = 200
    gradient_tolerance: float = 1e-8
    relative_tolerance: float = 1e-8
    step_tolerance: float = 1e-12
    refinements: int = 12
    damping: float = 1e-3


@dataclass(frozen=True)
class State:
    """All that the solver carries from one iteration to the next.

    Attributes
    ----------
    point : Point
    scale : Tensor of shape (p,)
        Running maximum of the diagonal of J'J / n.
    damping : float
        Of the next step.
    small : int
        Small decreases in a row.
    history : tuple of float
        Objective at the start and after each iteration so far.
    """

    point: Point
    scale: Tensor
    damping: float
    small: int = 0
    history: tuple[float, ...] = ()

    def to(self, device: torch.device) -> State:
        """Return the state on a device."""
        return replace(self, point=self.point.to(device), scale=self.scale.to(device))


@dataclass(frozen=True)
class Outcome:
    """What the solver found.

    Attributes
    ----------
    theta : Tensor
        In the shape of the start; finite, inside the box.
    objective : float
    status : {"gradient", "decrease", "step", "iterations", "stalled"}
    n_iterations : int
        Matrices formed.
    gradient_norm : float
        Largest cosine between the residual and a free column of the Jacobian, see
        ``scaled_gradient``.
    history : tuple of float
        Objective at the start and after each iteration; never increases.
    """

    theta: Tensor
    objective: float
    status: str
    n_iterations: int
    gradient_norm: float
    history: tuple[float, ...]


def minimise(
    problem: Problem,
    start: Tensor,
    lower: Tensor,
    upper: Tensor,
    response_scale: float,
    settings: Settings,
    callback: Callback | None = None,
    resume: State | None = None,
    record: Callable[[State], object] | None = None,
) -> Outcome:
    """Minimise the mean squared residual over a box.

    Parameters
    ----------
    problem : Problem
    start : Tensor
        Any shape with p elements, inside the box.
    lower, upper : Tensor of shape (p,)
        May be infinite.
    response_scale : float
        Root mean square of the responses; residuals below 1e-14 of it count as zero.
    settings : Settings
    callback : callable, optional
    resume : State, optional
        Go on from here, exactly as the run that recorded it would have; only the shape of
        ``start`` matters then.
    record : callable, optional
        Called with the state after each iteration that another one follows, before ``callback``.
    """

    def evaluate(theta: Tensor) -> tuple[float, Tensor]:
        return problem.gradient(theta.view(start.shape))

    def bend(theta: Tensor, step: Tensor) -> Tensor | None:
        return problem.bend(theta.view(start.shape), step)

    state = first_state(problem, start, settings) if resume is None else resume
    status, norm, iterations = "iterations", inf, len(state.history) - 1
    if not (isfinite(state.point.objective) and bool(torch.isfinite(state.point.gradient).all())):
        return Outcome(start.clone(), state.point.objective, "stalled", 0, norm, state.history)
    while iterations < settings.max_iterations:
        matrix = problem.curvature(state.point.theta.view(start.shape))
        iterations += 1
        state = replace(state, scale=torch.maximum(state.scale, matrix.diagonal()))
        norm = scaled_gradient(state.point, state.scale, lower, upper, response_scale)
        if norm <= settings.gradient_tolerance:
            status = "gradient"
            break
        scale = floored(state.scale)
        local = Local(state.point, matrix, scale, evaluate, bend, lower, upper)
        new = iterate(state, local, settings.refinements)
        if isinstance(new, float):
            # No step descends. If the last one left the objective as it was, this is a minimum at
            # the resolution of the tolerance (kinked experts have minima without zero gradient).
            flat = abs(new) <= settings.relative_tolerance * state.point.objective
            status = "decrease" if flat else "stalled"
            break
        small, status = _progress(state, new, settings)
        state = replace(new, small=small, history=(*state.history, new.point.objective))
        if record is not None and status == "iterations":
            record(state)
        if callback is not None:
            callback(iterations, state.point.objective)
        if status != "iterations":
            break
    norm = scaled_gradient(state.point, state.scale, lower, upper, response_scale)
    theta = state.point.theta.view(start.shape)
    return Outcome(theta, state.point.objective, status, iterations, norm, state.history)


def first_state(problem: Problem, start: Tensor, settings: Settings) -> State:
    """Return the state of a run that begins at ``start``, which has any shape."""
    objective, gradient = problem.gradient(start)
    point = Point(start.flatten(), objective, gradient)
    return State(point, torch.zeros_like(point.theta), settings.damping, history=(objective,))


def iterate(state: State, local: Local, refinements: int) -> State | float:
    """Return the state after one damped step and its refinement, or what ``descend`` says."""
    found = descend(local, state.damping)
    if isinstance(found, float):
        return found
    trial, damping = found
    point, system = trial.point, trial.system
    inside = (point.theta > local.lower) & (point.theta < local.upper)
    if not torch.equal(inside, system.free):
        system = damped_system(local.matrix, damping, local.scale, inside)
    if refinements and system.usable:
        box = local.lower, local.upper
        point = refine(local.evaluate, state.point, point, system, *box, refinements)
    return replace(state, point=point, damping=damping)


def scaled_gradient(
    point: Point, scale: Tensor, lower: Tensor, upper: Tensor, response_scale: float
) -> float:
    """Return the largest cosine between the residual and a free column of the Jacobian.

    Columns are measured by ``scale``, the (running maximum of the) diagonal of J'J / n. The cosine
    does not change with the units of the responses or of a parameter; it is zero at a stationary
    point of the bounded problem.
    """
    free = free_coordinates(point.theta, point.gradient, lower, upper)
    size = point.objective**0.5
    if size <= ROUNDING * response_scale:
        # An exact fit: what is left of the residual is rounding, and so is its direction.
        return 0.0
    cosine = 0.5 * point.gradient.abs() / floored(scale).sqrt() / size
    return float((cosine * free).max())


def floored(scale: Tensor) -> Tensor:
    """Return the scale with its small entries raised, positive everywhere."""
    largest = float(scale.max())
    return scale.clamp_min(SCALE_FLOOR * largest if largest > 0 else 1.0)


def _progress(old: State, new: State, settings: Settings) -> tuple[int, str]:
    """Return how many small decreases came in a row, and the status."""
    decrease = old.point.objective - new.point.objective
    small = old.small + 1 if decrease <= settings.relative_tolerance * old.point.objective else 0
    # One small decrease may only mean that the damping was large.
    if small >= SMALL_IN_A_ROW:
        return small, "decrease"
    scale = floored(new.scale).sqrt()
    moved = float(((new.point.theta - old.point.theta) * scale).norm())
    if moved <= settings.step_tolerance * float((old.point.theta * scale).norm()):
        return small, "step"
    return small, "iterations"
