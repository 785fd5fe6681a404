"""Least squares at quadrature nodes by MINPACK.

Near a singular point the information has eigenvalues that differ by many powers of ten, and normal
equations square that. MINPACK factors the Jacobian itself, which a few hundred rows allow.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sigmoe.estimation import Bounds
from sigmoe.estimation._bounds import coordinate_limits
from sigmoe.estimation.inference._jacobian import jacobian
from sigmoe.moe import MixingMeasure
from sigmoe.moe._forward import forward
from sigmoe.theory._boxed import Vector, least_squares_in_box
from sigmoe.theory._quadrature import Quadrature

#: The words of `sigmoe.estimation` for MINPACK's ways to end.
_STATUS = {0: "iterations", 1: "gradient", 2: "decrease", 3: "step", 4: "decrease"}


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
        A finite box.
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

    def theta(x: Vector) -> Tensor:
        return torch.from_numpy(x.reshape(shape))

    def residual(x: Vector) -> Vector:
        value: Vector = ((forward(architecture, theta(x), Xt).prediction[0] - y) * root).numpy()
        return value

    def slopes(x: Vector) -> Vector:
        rows = (jacobian(architecture, theta(x), Xt) * root).transpose(1, 2).flatten(0, 1)
        value: Vector = rows.numpy()
        return value

    found = least_squares_in_box(
        residual,
        slopes,
        start.coordinates.numpy().ravel(),
        *(side.numpy() for side in sides),
        tolerance=tolerance,
        evaluations=max_evaluations,
    )
    return NodeFit(
        measure=MixingMeasure.from_coordinates(architecture, theta(found.x)),
        objective=found.norm**2,
        start_objective=found.start_norm**2,
        evaluations=found.evaluations,
        status=_STATUS[found.status],
    )
