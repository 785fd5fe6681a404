"""Sums over chunks of rows: the derivatives' factors, J' residual, and the products of J'J."""

from __future__ import annotations

import torch
from torch import Tensor

from sigmoe.estimation.engine._bend import ForwardPass
from sigmoe.estimation.engine._layout import Layout


class Adjoint:
    """Accumulates J' residual over chunks."""

    def __init__(self, design: Layout, theta: Tensor) -> None:
        n_experts, columns = len(theta), design.architecture.n_columns
        self.score = theta.new_zeros((n_experts, design.forward_rows))
        self.ridge = theta.new_zeros((n_experts * columns, design.architecture.dim + 1))
        self.scale = theta.new_zeros((n_experts, columns, 1))
        self.scaled = design.expert.scaled

    def add(self, factors: dict[str, Tensor], powers: Tensor, residual: Tensor) -> None:
        """Add one chunk; residual has shape (m, chunk)."""
        self.score.addmm_((factors["u"] * residual).sum(1), powers[: self.score.shape[1]].T)
        slope = (factors["v"] * residual).flatten(0, 1)
        self.ridge.addmm_(slope, powers[: self.ridge.shape[1]].T)
        if self.scaled:
            self.scale += (factors["l"] * residual).sum(-1, keepdim=True)

    def collect(self, score_rows: Tensor, ridge_rows: Tensor) -> Tensor:
        """Return the sums in the order of the coordinates, shape (p,)."""
        n_experts, columns = self.scale.shape[:2]
        expert = self.ridge[:, ridge_rows].view(n_experts, columns, -1)
        if self.scaled:
            expert = torch.cat([expert, self.scale], -1)
        return torch.cat([self.score[:, score_rows], expert.flatten(1)], 1).flatten()


def derivative_factors(
    design: Layout, forward: ForwardPass, scale: Tensor, root: Tensor | None
) -> dict[str, Tensor]:
    """Return the factors u, v and l of the derivatives, each of shape (*batch, N, m, chunk).

    Parameters
    ----------
    design : Layout
    forward : ForwardPass
    scale : Tensor of shape (*batch, N, m, 1)
        The scales lambda; not used by experts without.
    root : Tensor, or None
        Roots of the rows' weights, which each factor carries; alike along N and m.
    """
    weights = forward.weights.unsqueeze(-2)
    u = design.gate.sensitivity(forward.weights, forward.values, forward.prediction)
    if root is not None:
        weights, u = weights * root, u * root
    if design.expert.constant_slope:
        slope = weights.expand_as(u)
    else:
        slope = weights * design.expert.slope(forward.ridge)
    if not design.expert.scaled:
        return {"u": u, "v": slope}
    return {"u": u, "v": slope * scale, "l": weights * design.expert.value(forward.ridge)}


def unordered_products(factor: Tensor, out: Tensor) -> None:
    """Write sum_k factor_ik factor_jk for i <= j; factor (N, m, chunk), out (pairs, chunk)."""
    n_experts, columns = factor.shape[:2]
    row = 0
    for i in range(n_experts):
        block = out[row : row + n_experts - i]
        torch.mul(factor[i:, 0], factor[i, 0], out=block)
        for k in range(1, columns):
            block.addcmul_(factor[i:, k], factor[i, k])
        row += n_experts - i


def ordered_products(left: Tensor, right: Tensor, out: Tensor) -> None:
    """Write left_i right_j for all i, j; factors (N, 1, chunk), out (N^2, chunk)."""
    shape = (len(left), len(right), out.shape[-1])
    torch.mul(
        left,
        right.squeeze(1),
        out=out.view(shape) if out.is_contiguous() else out.unflatten(0, shape[:2]),
    )
