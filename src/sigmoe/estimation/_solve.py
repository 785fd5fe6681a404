"""One least squares fit on checked tensors: measure and bounds in, coordinates out."""

from __future__ import annotations

from torch import Tensor

from sigmoe.estimation._bounds import Bounds, coordinate_limits
from sigmoe.estimation._levenberg_marquardt import Callback, Outcome, Settings, minimise
from sigmoe.estimation._normal_equations import LeastSquares
from sigmoe.moe import MixingMeasure


def solve(
    X: Tensor,
    y: Tensor,
    start: MixingMeasure,
    bounds: Bounds,
    settings: Settings,
    callback: Callback | None = None,
) -> Outcome:
    """Return the outcome of Levenberg-Marquardt from a start inside the bounds, on X's device."""
    problem = LeastSquares(X, y, start.architecture, start.n_experts)
    lower, upper = (
        side.to(X.device) for side in coordinate_limits(bounds, start.architecture, start.n_experts)
    )
    theta = start.coordinates.to(X.device)
    response_scale = float(y.square().mean().sqrt())
    return minimise(problem, theta, lower, upper, response_scale, settings, callback)
