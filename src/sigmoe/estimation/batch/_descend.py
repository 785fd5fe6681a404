"""The damped step of an iteration, for many problems: each raises its damping until it descends."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from sigmoe.estimation.batch._bend import Bend, bent_steps
from sigmoe.estimation.batch._box import Box, DampedSystems, box_steps, predicted_decrease
from sigmoe.estimation.batch._records import choose, insert, select, where_true
from sigmoe.estimation.batch._refine import Evaluate, Points
from sigmoe.estimation.engine._levenberg_marquardt import (
    DAMPING_RANGE,
    DEEPEST_FALL,
    LEAST_GAIN,
)


@dataclass(frozen=True)
class Descent:
    """What damped steps brought: new points where one was accepted.

    ``systems`` are those of the last steps, ``damping`` is that of the next one, ``change`` what
    the last step tried did to the objective.
    """

    point: Points
    systems: DampedSystems
    damping: Tensor
    change: Tensor
    accepted: Tensor


def descend(
    evaluate: Evaluate,
    bend: Bend,
    which: Tensor,
    point: Points,
    damping: Tensor,
    matrix: Tensor,
    scale: Tensor,
    box: Box,
) -> Descent:
    """Return the problems after a damped step that lowers the objective as promised.

    As ``engine._levenberg_marquardt.descend``: each refused step multiplies the problem's damping
    by 2, 4, 8, ... and the problems that have their step wait for the others.
    """
    found = Descent(
        point,
        DampedSystems.none(matrix),
        damping,
        torch.full_like(damping, inf),
        torch.zeros_like(damping, dtype=torch.bool),
    )
    index, growth = torch.arange(len(which), device=which.device), 2.0
    while len(index):
        trial = _try_steps(
            evaluate,
            bend,
            select(which, index),
            select(found, index),
            select(matrix, index),
            select(scale, index),
            select(box, index),
            growth,
        )
        found = insert(found, index, trial)
        index = index[where_true(~trial.accepted & (trial.damping <= DAMPING_RANGE[1]))]
        growth *= 2.0
    return found


def _try_steps(
    evaluate: Evaluate,
    bend: Bend,
    which: Tensor,
    found: Descent,
    matrix: Tensor,
    scale: Tensor,
    box: Box,
    growth: float,
) -> Descent:
    """Return the problems after one trial each; ``growth`` raises the damping of a refused one."""
    point = found.point
    step, systems = box_steps(matrix, point.gradient, found.damping, scale, point.theta, box)
    promised = predicted_decrease(matrix, point.gradient, step)
    index = where_true(systems.usable & (promised > 0))
    new, change = point, found.change
    if len(index):
        index, theta = _ends(bend, which, index, point.theta, step, systems, scale, box)
    if len(index):
        new = insert(point, index, Points(theta, *evaluate(theta, select(which, index))))
        change = insert(change, index, select(new.objective - point.objective, index))
    # Where nothing was tried the point is the old one and the gain not above zero.
    gain = (point.objective - new.objective) / promised
    good = torch.isfinite(gain) & (gain > LEAST_GAIN) & torch.isfinite(new.gradient).all(1)
    shrunk = found.damping * (1.0 - (2.0 * gain - 1.0) ** 3).clamp_min(DEEPEST_FALL)
    shrunk = shrunk.clamp_min(DAMPING_RANGE[0])
    return Descent(
        choose(good, new, point),
        systems,
        torch.where(good, shrunk, found.damping * growth),
        change,
        good,
    )


def _ends(
    bend: Bend,
    which: Tensor,
    index: Tensor,
    theta: Tensor,
    step: Tensor,
    systems: DampedSystems,
    scale: Tensor,
    box: Box,
) -> tuple[Tensor, Tensor]:
    """Return which steps, of those named by ``index``, do not bend too much, and where they end."""
    theta, step = select(theta, index), select(step, index)
    force = bend(theta, step, select(which, index))
    if force is None:
        return index, theta + step
    inner = select(systems, index), select(scale, index), select(box, index)
    curve, within = bent_steps(force, theta, step, *inner)
    kept = where_true(within)
    return select(index, kept), select(theta + curve, kept)
