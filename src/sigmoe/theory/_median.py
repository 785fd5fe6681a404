"""Weighted mixtures of distances and squared distances, minimised over one common point.

For fixed cells the translation of a softmax loss splits into one such problem a block: the point
T that minimises sum_i w_i ||T - z_i||^p_i with p_i = 1 or 2, which is convex. With p = 1 alone it
is the geometric median. All problems of a batch are solved together.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Newton iterations; each is a descent step, and the last ones converge quadratically.
_ITERATIONS = 60
#: Fractions of the Newton step that are tried in every iteration.
_FRACTIONS = (1.0, 0.5, 0.25, 0.1, 0.01)
#: A problem stops when its objective falls by less than this share.
_TOLERANCE = 1e-15
#: Relative difference below which two points are equally good to start from.
_TIE = 1e-12


def weighted_centre(points: Tensor, weights: Tensor, squared: Tensor) -> Tensor:
    """Return the minimiser of the weighted sum of distances and squared distances.

    Parameters
    ----------
    points : Tensor of shape (K, N, D)
        The points z_i of K problems.
    weights : Tensor of shape (K, N)
        Non-negative weights w_i.
    squared : Tensor of shape (K, N), bool
        Whether the distance to z_i enters squared.

    Returns
    -------
    Tensor of shape (K, D)
        A minimiser; if a point z_i is one, then exactly that point.

    Notes
    -----
    The objective has a kink at every point with p_i = 1. The method starts from the best point,
    decides by the subgradient there whether it is the minimum, else steps off it downhill (Vardi
    and Zhang's step), and goes on with safeguarded Newton steps, which can then meet no kink.
    """
    if points.shape[-1] > points.shape[-2]:
        # All that matters happens in the span of the points: N coordinates instead of D.
        basis, triangle = torch.linalg.qr(points.mT)
        inner = _centre(triangle.mT.contiguous(), weights, squared)
        # Going through the basis would blur a minimum at a point by rounding: copy the point.
        centre = (basis @ inner.unsqueeze(-1)).squeeze(-1)
        hits = (triangle.mT == inner.unsqueeze(-2)).all(dim=-1)
        first = hits.to(torch.int8).argmax(dim=-1)
        exact = torch.take_along_dim(points, first[:, None, None], dim=1).squeeze(1)
        return torch.where(hits.any(dim=-1, keepdim=True), exact, centre)
    return _centre(points, weights, squared)


def objective(centre: Tensor, points: Tensor, weights: Tensor, squared: Tensor) -> Tensor:
    """Return sum_i w_i ||T - z_i||^p_i for trial points T of shape (K, M, D), shape (K, M)."""
    distance = torch.linalg.vector_norm(centre.unsqueeze(-2) - points.unsqueeze(-3), dim=-1)
    terms = torch.where(squared.unsqueeze(-2), distance**2, distance)
    return (weights.unsqueeze(-2) * terms).sum(dim=-1)


def _centre(points: Tensor, weights: Tensor, squared: Tensor) -> Tensor:
    centre, settled = _start(points, weights, squared)
    value = objective(centre.unsqueeze(1), points, weights, squared).squeeze(1)
    for _ in range(_ITERATIONS):
        if bool(settled.all()):
            break
        trials = _trials(centre, points, weights, squared)
        values = objective(trials, points, weights, squared)
        best, which = values.min(dim=1)
        better = (best < value) & ~settled
        settled = settled | (value - best <= _TOLERANCE * value)
        chosen = torch.take_along_dim(trials, which[:, None, None], dim=1).squeeze(1)
        centre = torch.where(better.unsqueeze(-1), chosen, centre)
        value = torch.where(better, best, value)
    return centre


def _start(points: Tensor, weights: Tensor, squared: Tensor) -> tuple[Tensor, Tensor]:
    """Return the best of the points, or a better place beside it, and where it is the minimum."""
    values = objective(points, points, weights, squared)
    # Points that tie up to rounding are told apart by their order, not by the rounding.
    lowest = values.amin(dim=-1, keepdim=True)
    which = (values <= lowest * (1.0 + _TIE)).to(torch.int8).argmax(dim=-1)
    start = torch.take_along_dim(points, which[:, None, None], dim=1).squeeze(1)
    offset = start.unsqueeze(1) - points
    distance = torch.linalg.vector_norm(offset, dim=-1)
    here = distance == 0
    pull = torch.where(squared, 2.0, 1.0 / torch.where(here, 1.0, distance))
    pull = torch.where(here & ~squared, 0.0, weights * pull)
    gradient = (pull.unsqueeze(-1) * offset).sum(dim=1)
    slope = torch.linalg.vector_norm(gradient, dim=-1)
    kink = torch.where(here & ~squared, weights, 0.0).sum(dim=-1)
    settled = slope <= kink
    share = (1.0 - kink / torch.where(slope > 0, slope, 1.0)).clamp_min(0.0)
    total = pull.sum(dim=-1)
    step = share / torch.where(total > 0, total, 1.0)
    beside = start - step.unsqueeze(-1) * gradient
    return torch.where(settled.unsqueeze(-1), start, beside), settled


def _trials(centre: Tensor, points: Tensor, weights: Tensor, squared: Tensor) -> Tensor:
    """Return fractions of the Newton step and the reweighted mean, shape (K, M, D)."""
    offset = centre.unsqueeze(1) - points
    distance = torch.linalg.vector_norm(offset, dim=-1).clamp_min(torch.finfo(points.dtype).tiny)
    pull = weights * torch.where(squared, 2.0, 1.0 / distance)
    gradient = (pull.unsqueeze(-1) * offset).sum(dim=1)
    total = pull.sum(dim=-1).clamp_min(torch.finfo(points.dtype).tiny)
    # Along its own direction a distance has no curvature; a squared distance has it everywhere.
    across = torch.where(squared, 0.0, pull).sqrt() / distance
    scaled = across.unsqueeze(-1) * offset
    hessian = -scaled.mT @ scaled
    # A small part of the majorising curvature keeps the matrix positive definite.
    hessian.diagonal(dim1=-2, dim2=-1).add_((total * (1.0 + 1e-10)).unsqueeze(-1))
    step = torch.linalg.solve_ex(hessian, gradient)[0]
    step = torch.nan_to_num(step, nan=0.0, posinf=0.0, neginf=0.0)
    fractions = centre.new_tensor(_FRACTIONS)
    newton = centre.unsqueeze(1) - fractions[:, None] * step.unsqueeze(1)
    mean = centre - gradient / total.unsqueeze(-1)
    return torch.cat([newton, mean.unsqueeze(1)], dim=1)
