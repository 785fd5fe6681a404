"""The damped step of an iteration: its damping grows until it descends, and shrinks while it pays.

The damping follows the gain, decrease over predicted decrease of the step as projected on the box,
by Nielsen's rule with a deeper fall. One matrix serves all trials.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite

import torch
from torch import Tensor

from sigmoe.estimation.engine._arrow import Curvature
from sigmoe.estimation.engine._bend import Bend, bent
from sigmoe.estimation.engine._box import System, box_step, predicted_decrease
from sigmoe.estimation.engine._refine import Point, ValueAndGradient

LEAST_GAIN = 1e-4
DAMPING_RANGE = (1e-12, 1e12)
#: A step that gains all it promised multiplies the next damping by this (Nielsen: 1/3).
DEEPEST_FALL = 1 / 100
#: A step with this gain is tried again with so much of its damping if that promises so much more.
BOLD_GAIN, BOLD_FALL, BOLD_PROMISE = 0.75, 1 / 30, 1.5


@dataclass(frozen=True)
class Trial:
    """A step that was tried: where it ends, its system, what it promised, and the share it kept."""

    point: Point
    system: System
    promised: float
    gain: float

    @property
    def is_good(self) -> bool:
        """Return whether the objective went down as promised."""
        finite = isfinite(self.gain) and bool(torch.isfinite(self.point.gradient).all())
        return finite and self.gain > LEAST_GAIN


@dataclass(frozen=True)
class Local:
    """What an iteration knows at its point.

    Attributes
    ----------
    point : Point
    matrix : Tensor of shape (p, p), or Arrow
        J'J / n.
    scale : Tensor of shape (p,)
        Positive.
    evaluate : callable
        Objective and gradient.
    bend : callable
    lower, upper : Tensor of shape (p,)
    """

    point: Point
    matrix: Curvature
    scale: Tensor
    evaluate: ValueAndGradient
    bend: Bend
    lower: Tensor
    upper: Tensor

    def trial(self, damping: float, least: float = 0.0) -> Trial | None:
        """Try the damped step; None if it promises no more than ``least`` or bends too much."""
        theta, gradient = self.point.theta, self.point.gradient
        box = self.lower, self.upper
        taken = box_step(self.matrix, gradient, damping, self.scale, theta, *box)
        if taken is None:
            return None
        promised = predicted_decrease(self.matrix, gradient, taken[0])
        if not promised > least:
            return None
        curve = bent(taken, self.bend, theta, self.scale, *box)
        if curve is None:
            return None
        end = theta + curve[0]
        point = Point(end, *self.evaluate(end))
        gain = (self.point.objective - point.objective) / promised
        return Trial(point, curve[1], promised, gain)


def descend(local: Local, damping: float) -> tuple[Trial, float] | float:
    """Return a step that lowers the objective as promised, and the damping of the next one.

    If there is none, return by how much the last, shortest step changed the objective.

    Each refused step multiplies the damping by 2, 4, 8, ...; one that bends too much is refused
    without being tried. A good step whose damping held it back is tried again with less.
    """
    change, growth = inf, 2.0
    while damping <= DAMPING_RANGE[1]:
        trial = local.trial(damping)
        if trial is not None:
            change = trial.point.objective - local.point.objective
            if trial.is_good:
                trial, damping = _bolder(local, trial, damping)
                fall = max(DEEPEST_FALL, 1 - (2 * trial.gain - 1) ** 3)
                return trial, max(damping * fall, DAMPING_RANGE[0])
        damping *= growth
        growth *= 2.0
    return change


def _bolder(local: Local, trial: Trial, damping: float) -> tuple[Trial, float]:
    """Return the best of a good step and those with 30, 900, ... times less damping, and its own.

    Weak directions, such as the differences of nearly collinear inputs, move once the damping is
    below their share of the matrix: with the rule alone an iteration for each power of 3.
    """
    while trial.gain > BOLD_GAIN and damping > DAMPING_RANGE[0]:
        bolder = local.trial(damping * BOLD_FALL, BOLD_PROMISE * trial.promised)
        if bolder is None or not bolder.is_good:
            break
        if bolder.point.objective >= trial.point.objective:
            break
        trial, damping = bolder, damping * BOLD_FALL
    return trial, damping
