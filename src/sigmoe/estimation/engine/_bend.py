"""Curved steps: the second derivative of the prediction along a step, and what it adds to it.

Gauss-Newton steps are straight. Along a curved valley a straight step has to be short, so that
fits of little determined parameters crawl. With the second derivative f'' of the prediction along
the step v, the curve v t + a t^2 / 2 with (J'J + damping scale) a = -J' f'' stays in the valley
to second order: the "geodesic acceleration" of Transtrum and Sethna (2012, arXiv:1201.5885).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from sigmoe.estimation.engine._box import System
from sigmoe.estimation.engine._layout import Layout

#: A step is refused if its acceleration is longer than this share of it, in units of the scale:
#: it ends where the second order means nothing (the reference has the same share).
MOST_BEND = 0.75

#: J' f'' / n of shape (p,) at coordinates along a step, both (p,); None for straight steps.
Bend = Callable[[Tensor, Tensor], Tensor | None]


class ForwardPass(Protocol):
    """What a pass knows of some rows; weights (*batch, N, n), the others (*batch, N, m, n)."""

    @property
    def weights(self) -> Tensor:
        """Return the gates."""

    @property
    def ridge(self) -> Tensor:
        """Return alpha'x + beta."""

    @property
    def values(self) -> Tensor:
        """Return the experts."""

    @property
    def prediction(self) -> Tensor:
        """Return the prediction (*batch, m, n)."""


def second_derivative(
    design: Layout,
    forward: ForwardPass,
    scores: Tensor,
    ridge: Tensor,
    scale: Tensor,
    by_scale: Tensor,
) -> Tensor:
    """Return the second derivative of the prediction as its parts move at constant speeds.

    Parameters
    ----------
    design : Layout
    forward : ForwardPass
    scores : Tensor of shape (*batch, N, n)
        Speeds of the scores.
    ridge : Tensor of shape (*batch, N, m, n)
        Speeds of alpha'x + beta.
    scale, by_scale : Tensor of shape (*batch, N, m, 1)
        The scales lambda and their speeds; not used by experts without.

    Returns
    -------
    Tensor of shape (*batch, m, n)
        At a kink of the experts without its point mass.
    """
    expert = design.expert
    first, second = (part.unsqueeze(-2) for part in design.gate.motion(forward.weights, scores))
    speed = ridge * expert.slope(forward.ridge)
    bend = ridge.square() * expert.curvature(forward.ridge)
    if expert.scaled:
        bend = scale * bend + 2.0 * by_scale * speed
        speed = scale * speed + by_scale * expert.value(forward.ridge)
    moved = second * forward.values + 2.0 * first * speed + forward.weights.unsqueeze(-2) * bend
    return moved.sum(-3)


def bent(
    taken: tuple[Tensor, System],
    bend: Bend,
    theta: Tensor,
    scale: Tensor,
    lower: Tensor,
    upper: Tensor,
) -> tuple[Tensor, System] | None:
    """Return a damped step with half its acceleration, inside the box; None if it bends too much.

    The step stays straight where the second derivative is not known or not finite.

    Parameters
    ----------
    taken : (Tensor of shape (p,), System)
        A step from theta that stays in the box, and the system that gave it.
    bend : callable
    theta, scale, lower, upper : Tensor of shape (p,)
    """
    step, system = taken
    force = bend(theta, step)
    if force is None or not bool(torch.isfinite(force).all()):
        return taken
    acceleration, root = -system.solve(force), scale.sqrt()
    if not float((acceleration * root).norm()) <= MOST_BEND * float((step * root).norm()):
        return None
    ahead = theta + step + 0.5 * acceleration
    return torch.minimum(torch.maximum(ahead, lower), upper) - theta, system
