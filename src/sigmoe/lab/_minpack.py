"""Least squares at quadrature nodes by MINPACK.

Near a singular point the information has eigenvalues that differ by many powers of ten, and normal
equations square that. MINPACK factors the Jacobian itself, which a few hundred rows allow.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import least_squares
from torch import Tensor

from sigmoe.estimation import Bounds
from sigmoe.estimation._bounds import coordinate_limits
from sigmoe.estimation.inference._jacobian import jacobian
from sigmoe.moe import MixingMeasure
from sigmoe.moe._forward import forward
from sigmoe.theory._quadrature import Quadrature

_Vector = NDArray[np.float64]
#: The words of `sigmoe.estimation` for MINPACK's ways to end.
_STATUS = {0: "iterations", 1: "gradient", 2: "decrease", 3: "step", 4: "decrease"}
#: Starts are drawn back from the box's faces, where the sine below has no slope, to this share.
_INSIDE = 1.0 - 1e-6


class NodeFit(NamedTuple):
    """A fit at nodes: the estimate, weighted mean squared residuals, evaluations, ending."""

    measure: MixingMeasure
    objective: float
    start_objective: float
    evaluations: int
    status: str


def fit_at_nodes(
    rule: Quadrature,
    y: Tensor,
    start: MixingMeasure,
    bounds: Bounds,
    *,
    max_evaluations: int,
    tolerance: float,
) -> NodeFit:
    """Return the local least squares estimate from a start.

    Parameters
    ----------
    rule : Quadrature
        With m nodes.
    y : Tensor of shape (m,), float64
    start : MixingMeasure
        A single measure with one response column.
    bounds : Bounds
        A finite box, which is folded into the coordinates, x = middle + half sin(z), since MINPACK
        knows no bounds.
    max_evaluations : int
    tolerance : float
        Relative, of objective and step.

    Returns
    -------
    NodeFit
    """
    architecture, shape = start.architecture, start.coordinates.shape
    Xt, root = rule.nodes.T.contiguous(), rule.weights.sqrt()
    sides = coordinate_limits(bounds, architecture, start.n_experts)
    lower, upper = (side.numpy() for side in sides)
    middle, half = (lower + upper) / 2.0, (upper - lower) / 2.0

    def theta(z: _Vector) -> Tensor:
        return torch.from_numpy((middle + half * np.sin(z)).reshape(shape))

    def weighted(z: _Vector) -> _Vector:
        value: _Vector = ((forward(architecture, theta(z), Xt).prediction[0] - y) * root).numpy()
        return value

    def residual(z: _Vector) -> _Vector:
        return weighted(z) / size

    def slopes(z: _Vector) -> _Vector:
        rows = (jacobian(architecture, theta(z), Xt) * root).transpose(1, 2).flatten(0, 1)
        value: _Vector = rows.numpy() * (half * np.cos(z) / size)
        return value

    inner = (start.coordinates.numpy().ravel() - middle) / half
    z = np.arcsin(np.clip(inner, -_INSIDE, _INSIDE))
    first = weighted(z)
    # Residuals of size 1 make the tolerances relative.
    size = float(np.linalg.norm(first)) or 1.0
    found = least_squares(
        residual,
        z,
        jac=slopes,
        method="lm",
        ftol=tolerance,
        xtol=tolerance,
        gtol=1e-15,
        max_nfev=max_evaluations,
    )
    return NodeFit(
        measure=MixingMeasure.from_coordinates(architecture, theta(found.x)),
        objective=float(2.0 * found.cost * size**2),
        start_objective=float(first @ first),
        evaluations=int(found.nfev),
        status=_STATUS[int(found.status)],
    )
