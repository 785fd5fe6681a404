"""Curved steps of many problems: the batched twin of ``engine._bend.bent``."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sigmoe.estimation.batch._box import Box, DampedSystems
from sigmoe.estimation.engine._bend import MOST_BEND

#: J' f'' / n (b, p) at coordinates along steps, both (b, p), of some problems (b,); None for
#: straight steps.
Bend = Callable[[Tensor, Tensor, Tensor], Tensor | None]


def bent_steps(
    force: Tensor,
    theta: Tensor,
    step: Tensor,
    systems: DampedSystems,
    scale: Tensor,
    box: Box,
) -> tuple[Tensor, Tensor]:
    """Return damped steps with half their acceleration (b, p), and which do not bend too much.

    The steps come from usable systems and stay in their boxes, and so do the curved ones. They
    stay straight where ``force``, what ``Bend`` returns, is not finite.
    """
    known = torch.isfinite(force).all(1, keepdim=True)
    acceleration, root = -systems.solve(torch.where(known, force, 0.0)), scale.sqrt()
    within = (acceleration * root).norm(dim=1) <= MOST_BEND * (step * root).norm(dim=1)
    return box.nearest(theta + step + 0.5 * acceleration) - theta, within
