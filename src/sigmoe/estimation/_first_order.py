"""The paper's way of fitting: a fixed budget of full-batch Adam steps, not run to convergence."""

from __future__ import annotations

import time
from math import isfinite

import torch
from torch import Tensor

from sigmoe._base.arrays import ArrayLike
from sigmoe._base.constraints import Interval, check
from sigmoe.estimation._bounds import (
    Bounds,
    coordinate_limits,
    describe_active,
    require_inside,
    resolve_bounds,
)
from sigmoe.estimation._result import FitResult, message_for
from sigmoe.estimation._sample import Sample
from sigmoe.estimation.engine._levenberg_marquardt import Problem, scaled_gradient
from sigmoe.estimation.engine._refine import Point
from sigmoe.moe import MixingMeasure

_DECAY = (0.9, 0.999)
_EPSILON = 1e-8


def first_order_fit(
    X: ArrayLike,
    y: ArrayLike,
    start: MixingMeasure,
    *,
    steps: int = 300,
    learning_rate: float = 0.01,
    bounds: Bounds | str | None = "default",
    sample_weight: ArrayLike | None = None,
) -> FitResult:
    """Take a fixed number of Adam steps on the mean squared residual.

    This is what published experiments do; it is not a least squares estimate, and how far it is
    from one depends on the budget. The gradient is analytic; a step that leaves the box is
    projected on it.

    Parameters
    ----------
    X : array_like of shape (n, d)
    y : array_like of shape (n,) or (n, m)
    start : MixingMeasure
        Brings the architecture and the number of experts.
    steps : int
        Number of full-batch steps, >= 1.
    learning_rate : float
        Step size > 0 of Adam, the same for all canonical coordinates.
    bounds : Bounds, "default" or None
        Box of the parameters.
    sample_weight : array_like of shape (n,), optional
        Non-negative weights of the rows, not all zero.

    Returns
    -------
    FitResult
        With status "budget" (never ``converged``), or "stalled" if the objective left the range
        of float64; then ``measure`` is the last finite iterate.

    Raises
    ------
    InputError
        For bad data, numbers out of range, or a start outside the bounds.

    Examples
    --------
    >>> from sigmoe.moe import Architecture, draw_sample, draw_truth
    >>> truth = draw_truth(Architecture(dim=2), 2, seed=0)
    >>> X, y = draw_sample(truth, 200, seed=0)
    >>> fit = first_order_fit(X, y, truth, steps=20)
    >>> fit.status, len(fit.history)
    ('budget', 21)
    """
    began = time.perf_counter()
    check("steps", steps, Interval("integer", 1), "Allow at least one step.")
    positive = Interval("number", 0.0, closed="neither")
    check("learning_rate", learning_rate, positive, "Try 0.01.")
    architecture = start.architecture
    sample = Sample.checked(X, y, architecture, sample_weight)
    box = resolve_bounds(bounds, sample)
    require_inside(start, box)
    problem = sample.problem(architecture, start.n_experts)
    limits = coordinate_limits(box, architecture, start.n_experts)
    lower, upper = (side.to(sample.device) for side in limits)
    theta = start.coordinates.to(sample.device)
    theta, history = _adam(problem, theta, lower, upper, steps, learning_rate)
    point = Point(theta.flatten(), *problem.gradient(theta))
    scale = problem.curvature(theta).diagonal()
    finished = len(history) == steps + 1
    active = describe_active(architecture, theta, lower, upper)
    status = "budget" if finished else "stalled"
    return FitResult(
        measure=MixingMeasure.from_coordinates(architecture, theta.cpu()),
        objective=history[-1],
        status=status,
        message=message_for(status, active),
        n_iterations=len(history) - 1,
        gradient_norm=scaled_gradient(point, scale, lower, upper, sample.response_scale),
        history=tuple(history),
        active_bounds=active,
        start=start,
        start_objective=history[0],
        seconds=time.perf_counter() - began,
    )


def _adam(
    problem: Problem,
    theta: Tensor,
    lower: Tensor,
    upper: Tensor,
    steps: int,
    learning_rate: float,
) -> tuple[Tensor, list[float]]:
    """Return the last finite iterate, and the objectives from the start on."""
    objective, gradient = problem.gradient(theta)
    history = [objective]
    mean, square = torch.zeros_like(gradient), torch.zeros_like(gradient)
    for step in range(1, steps + 1):
        mean = _DECAY[0] * mean + (1 - _DECAY[0]) * gradient
        square = _DECAY[1] * square + (1 - _DECAY[1]) * gradient.square()
        unbiased_mean = mean / (1 - _DECAY[0] ** step)
        unbiased_square = square / (1 - _DECAY[1] ** step)
        moved = theta.flatten() - learning_rate * unbiased_mean / (
            unbiased_square.sqrt() + _EPSILON
        )
        new = torch.minimum(torch.maximum(moved, lower), upper).view_as(theta)
        objective, new_gradient = problem.gradient(new)
        if not (isfinite(objective) and bool(torch.isfinite(new_gradient).all())):
            break
        theta, gradient = new, new_gradient
        history.append(objective)
    return theta, history
