"""Sums over the rows of many problems: J' residual, and the moments that make up J'J."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sigmoe.estimation.batch._tiles import Tile
from sigmoe.estimation.engine._layout import Layout


@dataclass(frozen=True)
class Parameters:
    """The coordinates of T = R S problems as a pass uses them.

    Shapes: ``score`` (R, S N, monomials of the score's degree), ``ridge`` (R, S N m, 1 + d),
    ``scale`` (T, N, m, 1).
    """

    score: Tensor
    ridge: Tensor
    scale: Tensor


class Adjoint:
    """Accumulates J' residual over chunks."""

    def __init__(self, parameters: Parameters) -> None:
        self.score = torch.zeros_like(parameters.score)
        self.ridge = torch.zeros_like(parameters.ridge)
        self.scale = torch.zeros_like(parameters.scale)

    def add(self, factors: dict[str, Tensor], powers: Tensor, residual: Tensor) -> None:
        """Add one chunk; residual has shape (T, m, chunk)."""
        residual = residual.unsqueeze(1)
        samples, length = len(powers), powers.shape[-1]
        u = _sum_columns(factors["u"] * residual).view(samples, -1, length)
        self.score.baddbmm_(u, powers[:, : self.score.shape[-1]].mT)
        v = (factors["v"] * residual).view(samples, -1, length)
        self.ridge.baddbmm_(v, powers[:, : self.ridge.shape[-1]].mT)
        if "l" in factors:
            self.scale += (factors["l"] * residual).sum(-1, keepdim=True)

    def collect(self, score_rows: Tensor, ridge_rows: Tensor) -> Tensor:
        """Return the sums in the order of the coordinates, shape (T, p)."""
        n_problems, n_experts, columns, _ = self.scale.shape
        expert = self.ridge[..., ridge_rows].view(n_problems, n_experts, columns, -1)
        if self.scale.shape[-1]:
            expert = torch.cat([expert, self.scale], -1)
        score = self.score[..., score_rows].view(n_problems, n_experts, -1)
        return torch.cat([score, expert.flatten(2)], 2).flatten(1)


class Moments:
    """Accumulates the moments that make up J'J over chunks, see ``engine._layout``."""

    def __init__(self, design: Layout, theta: Tensor, tile: Tile) -> None:
        self.layout = design
        self.tile = tile
        self.blocks = [
            theta.new_zeros((tile.n_samples, segment.monomials, tile.n_each * segment.pairs))
            for segment in design.segments
        ]

    def add(self, factors: dict[str, Tensor], powers: Tensor) -> None:
        """Add one chunk; factors have shape (T, N, m, chunk)."""
        length = powers.shape[-1]
        memory = powers.new_empty(factors["u"].shape[0] * self.layout.n_experts**2 * length)
        for segment, block in zip(self.layout.segments, self.blocks, strict=True):
            left = factors[segment.left][:, :, segment.summed]
            right = factors[segment.right][:, :, segment.summed]
            count = len(left) * segment.pairs * length
            products = memory[:count].view(len(left), segment.pairs, length)
            if segment.left == segment.right:
                _unordered_products(left, products)
            else:
                _ordered_products(left, right, products)
            flat = products.view(len(powers), -1, length)
            block.baddbmm_(powers[:, : segment.monomials], flat.mT)

    def collect(self) -> Tensor:
        """Return the flat moments with a trailing zero, shape (T, n_moments)."""
        n_problems = self.tile.n_samples * self.tile.n_each
        parts = []
        for segment, block in zip(self.layout.segments, self.blocks, strict=True):
            shape = (self.tile.n_samples, segment.monomials, self.tile.n_each, segment.pairs)
            parts.append(block.view(shape).transpose(1, 2).reshape(n_problems, -1))
        parts.append(parts[0].new_zeros((n_problems, 1)))
        return torch.cat(parts, 1)


def _sum_columns(values: Tensor) -> Tensor:
    """Return the sum over the columns of the response; (T, N, m, chunk) to (T, N, chunk)."""
    return values.squeeze(2) if values.shape[2] == 1 else values.sum(2)


def _unordered_products(factor: Tensor, out: Tensor) -> None:
    """Write sum_k factor_ik factor_jk for i <= j; (T, N, m, chunk) to (T, pairs, chunk)."""
    n_experts, columns = factor.shape[1:3]
    row = 0
    for i in range(n_experts):
        block = out[:, row : row + n_experts - i]
        torch.mul(factor[:, i:, 0], factor[:, i : i + 1, 0], out=block)
        for k in range(1, columns):
            block.addcmul_(factor[:, i:, k], factor[:, i : i + 1, k])
        row += n_experts - i


def _ordered_products(left: Tensor, right: Tensor, out: Tensor) -> None:
    """Write left_i right_j for all i, j; factors (T, N, 1, chunk), out (T, N^2, chunk)."""
    shape = (len(left), left.shape[1], right.shape[1], out.shape[-1])
    torch.mul(left, right.transpose(1, 2), out=out.view(shape))
