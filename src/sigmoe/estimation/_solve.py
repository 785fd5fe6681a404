"""One least squares fit on a checked sample: measure and bounds in, coordinates out."""

from __future__ import annotations

from dataclasses import replace

from sigmoe.estimation._bounds import Bounds, coordinate_limits
from sigmoe.estimation._sample import Sample
from sigmoe.estimation.engine._chunks import refinements
from sigmoe.estimation.engine._layout import layout
from sigmoe.estimation.engine._levenberg_marquardt import Callback, Outcome, Settings, minimise
from sigmoe.moe import MixingMeasure


def solve(
    sample: Sample,
    start: MixingMeasure,
    bounds: Bounds,
    settings: Settings,
    callback: Callback | None = None,
    ridge: float = 0.0,
) -> Outcome:
    """Return the outcome of Levenberg-Marquardt from a start inside the bounds, on its device."""
    problem = sample.problem(start.architecture, start.n_experts, ridge)
    limits = coordinate_limits(bounds, start.architecture, start.n_experts)
    lower, upper = (side.to(sample.device) for side in limits)
    theta = start.coordinates.to(sample.device)
    design = layout(start.architecture, start.n_experts)
    steps = refinements(settings.refinements, len(sample), design)
    settings = replace(settings, refinements=steps)
    return minimise(problem, theta, lower, upper, sample.response_scale, settings, callback)
