"""The minimum of a loss over the translations that keep given cells, which form a polyhedron.

Fitted atom i stays in the cell of its true atom j while it is no nearer to another one, l. Squared
distances differ by something linear in the translation, so each such pair is a half-space. The
loss is convex inside; a logarithmic barrier leads to its minimum there, from a point inside.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.linalg import vector_norm

from sigmoe.theory._blocks import AtomBlocks

#: Weights of the barrier, as shares of the loss; each is a few Newton steps from the one before.
_BARRIERS = tuple(10.0 ** (-k) for k in range(1, 11))
_STEPS = 8
#: Fractions of the Newton step that are tried.
_FRACTIONS = tuple(0.5**k for k in range(12))
#: Distances are rounded off below this multiple of the barrier's weight, so that kinks are smooth.
_SMOOTH = 1.0


@dataclass(frozen=True)
class _Problem:
    """Points z (K, N, D) of the two blocks side by side, and half-spaces a T <= beta."""

    points: Tensor
    split: int
    weights: Tensor
    squared: Tensor
    normals: Tensor
    offsets: Tensor

    def slack(self, x: Tensor) -> Tensor:
        """Return beta - a T for trials (K, M, D), shape (K, M, constraints)."""
        return self.offsets.unsqueeze(1) - x @ self.normals.mT

    def value(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return the smoothed loss plus the barrier of trials (K, M, D); infinite outside."""
        slack = self.slack(x)
        inside = (slack > 0).all(dim=-1)
        barrier = -slack.clamp_min(1e-300).log().sum(dim=-1)
        total = weight[:, None] * barrier
        for cut in (slice(0, self.split), slice(self.split, None)):
            offset = x[..., cut].unsqueeze(2) - self.points[:, None, :, cut]
            total = total + (self.weights[:, None] * self._terms(offset, weight)).sum(dim=-1)
        return torch.where(inside, total, torch.inf)

    def _terms(self, offset: Tensor, weight: Tensor) -> Tensor:
        square = offset.square().sum(dim=-1)
        smooth = (square + self.rounding(weight)[:, None, None] ** 2).sqrt()
        return torch.where(self.squared[:, None], square, smooth)

    def rounding(self, weight: Tensor) -> Tensor:
        """Return the length below which distances are rounded off, shape (K,)."""
        return _SMOOTH * weight

    def newton(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return the Newton step at x (K, D)."""
        size = x.shape[-1]
        inverse = 1.0 / self.slack(x.unsqueeze(1)).squeeze(1)
        gradient = weight[:, None] * (inverse.unsqueeze(1) @ self.normals).squeeze(1)
        scaled = (weight.sqrt()[:, None] * inverse).unsqueeze(-1) * self.normals
        hessian = scaled.mT @ scaled
        for cut in (slice(0, self.split), slice(self.split, size)):
            offset = x[:, None, cut] - self.points[..., cut]
            smooth = (offset.square().sum(dim=-1) + self.rounding(weight)[:, None] ** 2).sqrt()
            pull = self.weights * torch.where(self.squared, 2.0, 1.0 / smooth)
            gradient[:, cut] += (pull.unsqueeze(-1) * offset).sum(dim=1)
            across = torch.where(self.squared, 0.0, pull).sqrt() / smooth
            along = across.unsqueeze(-1) * offset
            hessian[:, cut, cut] -= along.mT @ along
            hessian[:, cut, cut].diagonal(dim1=-2, dim2=-1).add_(
                (pull.sum(dim=-1) * (1.0 + 1e-10)).unsqueeze(-1)
            )
        step = torch.linalg.solve_ex(hessian, gradient)[0]
        return torch.nan_to_num(step, nan=0.0, posinf=0.0, neginf=0.0)


def lowest_within_cells(
    fitted: AtomBlocks,
    truth: AtomBlocks,
    owner: Tensor,
    weights: Tensor,
    squared: Tensor,
    start: tuple[Tensor, Tensor],
) -> tuple[Tensor, Tensor]:
    """Return translations (T_A, T_b) near the minimum of the loss within fixed cells.

    Parameters
    ----------
    fitted, truth : AtomBlocks
        K problems: (K, N, .) and (K, N*, .).
    owner : Tensor of shape (K, N)
        The cell of each fitted atom.
    weights, squared : Tensor of shape (K, N)
        Weights of the fitted atoms' distances, and whether these enter squared.
    start : tuple of Tensor, (K, d^2) and (K, d)
        Translations inside these cells.

    Returns
    -------
    tuple of Tensor
        As ``start``; the start itself where it lies on a boundary.
    """
    problem = _assemble(fitted, truth, owner, weights, squared)
    x = torch.cat(start, dim=-1)
    slack = problem.slack(x.unsqueeze(1)).squeeze(1)
    inside = (slack > 0).all(dim=-1)
    # Problems that begin at a boundary are worked on with wide open constraints, and dropped.
    problem.offsets[~inside] += 1.0 - slack[~inside].amin(dim=-1, keepdim=True)
    scale = problem.value(x.unsqueeze(1), torch.zeros_like(weights[:, 0])).squeeze(1)
    first = x
    for share in _BARRIERS:
        weight = share * scale / weights.shape[-1]
        for _ in range(_STEPS):
            step = problem.newton(x, weight)
            fractions = x.new_tensor((0.0, *_FRACTIONS))
            trials = x.unsqueeze(1) - fractions[:, None] * step.unsqueeze(1)
            which = problem.value(trials, weight).argmin(dim=1)
            x = torch.take_along_dim(trials, which[:, None, None], dim=1).squeeze(1)
    x = torch.where(inside.unsqueeze(-1), x, first)
    return x[:, : problem.split], x[:, problem.split :]


def _assemble(
    fitted: AtomBlocks, truth: AtomBlocks, owner: Tensor, weights: Tensor, squared: Tensor
) -> _Problem:
    ours = torch.cat([fitted.A, fitted.b], dim=-1)
    theirs = torch.cat([truth.A, truth.b], dim=-1)
    own = torch.take_along_dim(theirs, owner.unsqueeze(-1), dim=1)
    whole = torch.cat([ours, fitted.eta], dim=-1)
    whole_true = torch.cat([theirs, truth.eta], dim=-1)
    distance = vector_norm(whole.unsqueeze(2) - whole_true.unsqueeze(1), dim=-1).square()
    mine = torch.take_along_dim(distance, owner.unsqueeze(-1), dim=2)
    normals = 2.0 * (theirs.unsqueeze(1) - own.unsqueeze(2))
    # The own cell is no constraint: 0 T <= 1.
    itself = torch.zeros_like(distance).scatter(2, owner.unsqueeze(-1), 1.0)
    return _Problem(
        points=own - ours,
        split=fitted.A.shape[-1],
        weights=weights,
        squared=squared,
        normals=normals.flatten(1, 2),
        offsets=(distance - mine + itself).flatten(1, 2),
    )
