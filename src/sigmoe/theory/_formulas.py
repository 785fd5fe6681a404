"""The Voronoi losses as the paper writes them, one pure function a formula.

Each returns the contributions (*batch, N*) of the true atoms by block of parameters; their sum is
the loss. An empty cell contributes zero, as the paper says.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sigmoe.theory._blocks import PairNorms

#: Contributions of the true atoms, each (*batch, N*), by block: "A", "b", "c", "eta".
Parts = dict[str, Tensor]


@dataclass(frozen=True)
class Comparison:
    """A fitted measure beside a true one: all that a formula reads.

    Attributes
    ----------
    norms : PairNorms
        Norms of the differences of all pairs, each (*batch, N*, N).
    cells : Tensor of shape (*batch, N*, N), bool
        The allocation of eqs. (9), (51).
    over : Tensor of shape (*batch, N*), bool
        Which true atoms are over-specified (j <= Nbar in the paper).
    fitted_weights : Tensor of shape (*batch, N)
        Weights of the fitted atoms: sigmoid(c), or exp(c) scaled to the sum 1 for softmax gates.
    true_weights : Tensor of shape (*batch, N*)
        Weights of the true atoms.
    exponent : float
        r of eq. (11).
    """

    norms: PairNorms
    cells: Tensor
    over: Tensor
    fitted_weights: Tensor
    true_weights: Tensor
    exponent: float = 1.0

    def cell_sum(self, terms: Tensor) -> Tensor:
        """Return the sum over i in A_j of the terms (*batch, N*, N)."""
        return torch.where(self.cells, terms, 0.0).sum(dim=-1)

    def weight_gap(self) -> Tensor:
        """Return |sum over i in A_j of w_i - w_j*|, zero where the cell is empty."""
        inside = self.cell_sum(self.fitted_weights.unsqueeze(-2).expand(self.cells.shape))
        return torch.where(self.cells.any(dim=-1), (inside - self.true_weights).abs(), 0.0)

    def squared_if_over(self, norms: Tensor) -> Tensor:
        """Return the norms (*batch, N*, N), squared for over-specified atoms."""
        return torch.where(self.over.unsqueeze(-1), norms**2, norms)


def l1(at: Comparison) -> Parts:
    """Return L1, Section 4.1.1.

    Over-specified atoms: the gap of the weights, and squared norms of A, b, eta. The others: the
    norms of A, b, c, eta.
    """
    return {
        "A": at.cell_sum(at.squared_if_over(at.norms.A)),
        "b": at.cell_sum(at.squared_if_over(at.norms.b)),
        "c": torch.where(at.over, at.weight_gap(), at.cell_sum(at.norms.c)),
        "eta": at.cell_sum(at.squared_if_over(at.norms.eta)),
    }


def l2(at: Comparison) -> Parts:
    """Return L_{2,r}, eq. (11): exponent r on every norm, alpha and beta apart.

    Over-specified and other atoms differ in the term of the weights only: the gap of the weights
    without an exponent, or |c_i - c_j*|^r. Scaled experts, which eq. (11) does not treat, add the
    norm of lambda.
    """
    r = at.exponent
    eta_parts = [at.cell_sum(part**r) for part in at.norms.eta_parts]
    return {
        "A": at.cell_sum(at.norms.A**r),
        "b": at.cell_sum(at.norms.b**r),
        "c": torch.where(at.over, at.weight_gap(), at.cell_sum(at.norms.c**r)),
        "eta": torch.stack(eta_parts).sum(dim=0),
    }


def l3(at: Comparison) -> Parts:
    """Return L3, Section 4.2: the norms of A, b, c, eta in the cells of Gbar's atoms.

    The paper writes Abar_i where the cell's own atom, Abar_j, is meant; so in eq. (53).
    """
    return {
        "A": at.cell_sum(at.norms.A),
        "b": at.cell_sum(at.norms.b),
        "c": at.cell_sum(at.norms.c),
        "eta": at.cell_sum(at.norms.eta),
    }


def l4(at: Comparison) -> Parts:
    """Return L4, eq. (52), for the partial score: L1 without its terms in b."""
    parts = l1(at)
    return {**parts, "b": torch.zeros_like(parts["b"])}


def l5(at: Comparison) -> Parts:
    """Return L5, eq. (53), for the partial score: L3 without its term in b."""
    parts = l3(at)
    return {**parts, "b": torch.zeros_like(parts["b"])}


def softmax_loss(at: Comparison) -> Parts:
    """Return the loss of the softmax quadratic-gating literature, for one translation.

    The gap of the weights for every cell, and exp(c_i)-weighted norms of A, b, eta, squared for
    over-specified atoms; exp(c) is scaled to the sum 1 on both sides.
    """

    def weighted(norms: Tensor) -> Tensor:
        return at.cell_sum(at.fitted_weights.unsqueeze(-2) * at.squared_if_over(norms))

    return {
        "A": weighted(at.norms.A),
        "b": weighted(at.norms.b),
        "c": at.weight_gap(),
        "eta": weighted(at.norms.eta),
    }
