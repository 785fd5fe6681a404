"""The damped step of an iteration, for many problems: the batched twin of ``engine._descend``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, nan

import torch
from torch import Tensor

from sigmoe.estimation.batch._bend import Bend, bent_steps
from sigmoe.estimation.batch._box import Box, DampedSystems, box_steps, predicted_decrease
from sigmoe.estimation.batch._records import choose, insert, select, where_true
from sigmoe.estimation.batch._refine import Evaluate, Points
from sigmoe.estimation.engine._descend import (
    BOLD_FALL,
    BOLD_GAIN,
    BOLD_PROMISE,
    DAMPING_RANGE,
    DEEPEST_FALL,
    LEAST_GAIN,
)


@dataclass(frozen=True)
class Local:
    """What an iteration knows at the points of some problems, all with one leading axis (b, ...).

    ``which`` are their positions in the batch; ``scale`` (b, p) is positive.
    """

    which: Tensor
    point: Points
    matrix: Tensor
    scale: Tensor
    box: Box


@dataclass(frozen=True)
class Descent:
    """What damped steps brought: new points where one was accepted.

    ``systems``, ``damping``, ``promised`` and ``gain`` are those of the last steps, ``change`` is
    what the last step tried did to the objective. ``descend`` returns the dampings of the next.
    """

    point: Points
    systems: DampedSystems
    damping: Tensor
    promised: Tensor
    gain: Tensor
    change: Tensor
    accepted: Tensor


def descend(evaluate: Evaluate, bend: Bend, local: Local, damping: Tensor) -> Descent:
    """Return the problems after a damped step that lowers the objective as promised.

    As ``engine._descend.descend``: each refused step multiplies the problem's damping by 2, 4, 8,
    ... and the problems that have their step wait for the others.
    """
    nothing = torch.zeros_like(damping)
    found = Descent(
        local.point,
        DampedSystems.none(local.matrix),
        damping,
        nothing,
        torch.full_like(damping, nan),
        torch.full_like(damping, inf),
        torch.zeros_like(damping, dtype=torch.bool),
    )
    index, growth = torch.arange(len(damping), device=damping.device), 2.0
    while len(index):
        here, before = select(local, index), select(found, index)
        trial = _try_steps(evaluate, bend, here, before, before.damping, select(nothing, index))
        grown = torch.where(trial.accepted, trial.damping, trial.damping * growth)
        found = insert(found, index, replace(trial, damping=grown))
        index = index[where_true(~trial.accepted & (grown <= DAMPING_RANGE[1]))]
        growth *= 2.0
    found = _bolder(evaluate, bend, local, found)
    fall = (1.0 - (2.0 * found.gain - 1.0) ** 3).clamp_min(DEEPEST_FALL)
    fallen = (found.damping * fall).clamp_min(DAMPING_RANGE[0])
    return replace(found, damping=torch.where(found.accepted, fallen, found.damping))


def _bolder(evaluate: Evaluate, bend: Bend, local: Local, found: Descent) -> Descent:
    """Return good steps, or those with less damping that are better, see ``engine._descend``."""
    index = where_true(_held_back(found))
    while len(index):
        here, before = select(local, index), select(found, index)
        least = BOLD_PROMISE * before.promised
        trial = _try_steps(evaluate, bend, here, before, before.damping * BOLD_FALL, least)
        better = trial.accepted & (trial.point.objective < before.point.objective)
        found = insert(found, index, choose(better, trial, before))
        index = index[where_true(better & _held_back(trial))]
    return found


def _held_back(found: Descent) -> Tensor:
    """Return which steps may be worth less damping, shape (b,)."""
    return found.accepted & (found.gain > BOLD_GAIN) & (found.damping > DAMPING_RANGE[0])


def _try_steps(
    evaluate: Evaluate, bend: Bend, local: Local, before: Descent, damping: Tensor, least: Tensor
) -> Descent:
    """Return the problems after one trial each, where it promises more than ``least`` (b,)."""
    point, box = local.point, local.box
    step, systems = box_steps(local.matrix, point.gradient, damping, local.scale, point.theta, box)
    promised = predicted_decrease(local.matrix, point.gradient, step)
    index = where_true(systems.usable & (promised > least))
    new, change = point, before.change
    if len(index):
        index, theta = _ends(bend, local, index, step, systems)
    if len(index):
        new = insert(point, index, Points(theta, *evaluate(theta, select(local.which, index))))
        change = insert(change, index, select(new.objective - point.objective, index))
    # Where nothing was tried the point is the old one and the gain not above zero.
    gain = (point.objective - new.objective) / promised
    good = torch.isfinite(gain) & (gain > LEAST_GAIN) & torch.isfinite(new.gradient).all(1)
    return Descent(choose(good, new, point), systems, damping, promised, gain, change, good)


def _ends(
    bend: Bend, local: Local, index: Tensor, step: Tensor, systems: DampedSystems
) -> tuple[Tensor, Tensor]:
    """Return which steps, of those named by ``index``, do not bend too much, and where they end."""
    theta, step = select(local.point.theta, index), select(step, index)
    force = bend(theta, step, select(local.which, index))
    if force is None:
        return index, theta + step
    inner = select(systems, index), select(local.scale, index), select(local.box, index)
    curve, within = bent_steps(force, theta, step, *inner)
    kept = where_true(within)
    return select(index, kept), select(theta + curve, kept)
