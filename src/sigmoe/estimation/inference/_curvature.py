"""The second derivatives of the prediction, weighted by residuals: what Gauss-Newton drops.

The Hessian of half the sum of squared residuals is J'J + sum_k r_k d2 f_k. The second term has
the expectation zero where the model is right and stays where it is wrong.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sigmoe._base.registry import Registry
from sigmoe._base.safe import sigmoid_slope
from sigmoe.estimation.inference._jacobian import Derivatives, chunks, derivatives
from sigmoe.moe import Architecture, MixingMeasure
from sigmoe.moe._experts import get_expert

#: (weights, experts, prediction, residual) to sum_k r_k d2 f_k / d s_i d s_j, shape (N, N, n).
ScoreCurvature = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def _sigmoid_scores(weights: Tensor, experts: Tensor, prediction: Tensor, r: Tensor) -> Tensor:
    del prediction
    own = sigmoid_slope(weights) * (1.0 - 2.0 * weights) * (experts * r).sum(1)
    return torch.diag_embed(own.T).movedim(0, -1)


def _softmax_scores(weights: Tensor, experts: Tensor, prediction: Tensor, r: Tensor) -> Tensor:
    # With e_i = sum_k r_k (E_ik - f_k): delta_ij w_i e_i - w_i w_j (e_i + e_j).
    centred = ((experts - prediction) * r).sum(1)
    own = torch.diag_embed((weights * centred).T).movedim(0, -1)
    pairs = weights.unsqueeze(1) * weights
    return own - pairs * (centred.unsqueeze(1) + centred)


def _sigmoid_slopes(weights: Tensor) -> Tensor:
    return torch.diag_embed(sigmoid_slope(weights).T).movedim(0, -1)


def _softmax_slopes(weights: Tensor) -> Tensor:
    return torch.diag_embed(weights.T).movedim(0, -1) - weights.unsqueeze(1) * weights


#: By gate: the curvature in the scores, and d weight_j / d score_i of shape (N, N, n).
CURVATURES = Registry[tuple[ScoreCurvature, Callable[[Tensor], Tensor]]]("gate with curvature")
CURVATURES.register("sigmoid", (_sigmoid_scores, _sigmoid_slopes))
CURVATURES.register("softmax", (_softmax_scores, _softmax_slopes))


def residual_curvature(measure: MixingMeasure, X: Tensor, residual: Tensor) -> Tensor:
    """Return the sum over rows and columns of r d2 f, shape (p, p).

    Parameters
    ----------
    measure : MixingMeasure
        A single measure.
    X : Tensor of shape (n, d)
    residual : Tensor of shape (n, m)
        f - y, with any weight of the row multiplied in.

    Notes
    -----
    Exact where phi is twice differentiable; at a kink phi'' lacks its point mass.
    """
    architecture, theta = measure.architecture, measure.coordinates.to(X.device)
    N, n_atom = theta.shape
    total = theta.new_zeros((N, n_atom, N, n_atom))
    for rows in chunks(len(X), N * theta.numel()):
        parts = derivatives(architecture, theta, X[rows].T.contiguous())
        _add_chunk(total, architecture, parts, residual[rows].T)
    return total.view(theta.numel(), theta.numel())


def _add_chunk(total: Tensor, a: Architecture, parts: Derivatives, r: Tensor) -> None:
    """Add one chunk, residuals of shape (m, n), to the matrix of shape (N, g + m q, twice)."""
    in_scores, slopes = CURVATURES.get(a.gate)
    weights, activations, experts, prediction = parts.forward
    g, q, width = a.n_score_coefficients, a.n_expert_parameters, a.dim + 1
    expert = get_expert(a.expert)
    total[:, :g, :, :g] += _moments(
        parts.features, in_scores(weights, experts, prediction, r), parts.features
    )
    weight_slopes = slopes(weights)
    atoms = torch.arange(len(weights))
    for k in range(a.n_columns):
        place = slice(g + k * q, g + k * q + width)
        slope, value = expert.slope(activations[:, k]), expert.value(activations[:, k])
        scale = parts.scale[:, k]
        # d2 f / d score_i d z_j, z = alpha'x + beta: the weight of j moves with the score of i.
        cross = _moments(parts.features, weight_slopes * (r[k] * scale * slope), parts.inputs)
        total[:, :g, :, place] += cross
        total[:, place, :, :g] += cross.permute(2, 3, 0, 1)
        bend = weights * r[k] * scale * expert.curvature(activations[:, k])
        own = torch.einsum("an,in,bn->iab", parts.inputs, bend, parts.inputs)
        total[atoms, place, atoms, place] += own
        if expert.scaled:
            _add_scale(total, parts, weight_slopes * (r[k] * value), weights * r[k] * slope, place)


def _add_scale(
    total: Tensor, parts: Derivatives, by_score: Tensor, by_ridge: Tensor, place: slice
) -> None:
    """Add the second derivatives in which lambda takes part; it has none with itself."""
    g, last = len(parts.features), place.stop
    cross = torch.einsum("an,ijn->iaj", parts.features, by_score)
    total[:, :g, :, last] += cross
    total[:, last, :, :g] += cross.permute(2, 0, 1)
    own = by_ridge @ parts.inputs.T
    atoms = torch.arange(len(own))
    total[atoms, place, atoms, last] += own
    total[atoms, last, atoms, place] += own


def _moments(left: Tensor, weight: Tensor, right: Tensor) -> Tensor:
    """Return sum_n left_a weight_ij right_b of shape (N, a, N, b), samples last."""
    N = len(weight)
    weighted = (weight.unsqueeze(2) * left).flatten(0, 2)
    return (weighted @ right.T).view(N, N, len(left), len(right)).transpose(1, 2)
