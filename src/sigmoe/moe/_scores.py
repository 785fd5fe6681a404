"""Affinity scores: which degrees of the input each one sees (paper, Section 3 and Appendix C).

A score is linear in the graded monomials of its degrees; the coefficients are the canonical
coordinates of an atom's gate: c, then b, then A_uu and 2 A_uv (u < v), since x'Ax sees only the
symmetric part of A.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from sigmoe._base.registry import Registry
from sigmoe.moe._monomials import count_monomials


@dataclass(frozen=True)
class Score:
    """A score by the blocks that it has; the constant c belongs to every score."""

    name: str
    has_quadratic: bool
    has_linear: bool

    @property
    def degree(self) -> int:
        """Return the highest degree of the score as a polynomial in x."""
        return 2 if self.has_quadratic else 1

    def n_coefficients(self, dim: int) -> int:
        """Return the number of visible coefficients of one atom's score."""
        return 1 + self.has_linear * dim + self.has_quadratic * (dim * (dim + 1) // 2)


SCORES = Registry[Score]("score")
SCORES.register("full", Score("full", has_quadratic=True, has_linear=True))
SCORES.register("partial", Score("partial", has_quadratic=True, has_linear=False))
SCORES.register("linear", Score("linear", has_quadratic=False, has_linear=True))


@lru_cache(maxsize=64)
def monomial_rows(score: str, dim: int) -> Tensor:
    """Return the positions of the score's monomials in the graded list of the score's degree."""
    piece = SCORES.get(score)
    rows = [torch.zeros(1, dtype=torch.int64)]
    if piece.has_linear:
        rows.append(torch.arange(1, dim + 1))
    if piece.has_quadratic:
        rows.append(torch.arange(dim + 1, count_monomials(dim, 2)))
    return torch.cat(rows)


@lru_cache(maxsize=64)
def _upper_triangle(dim: int) -> tuple[Tensor, Tensor, Tensor]:
    rows, columns = torch.triu_indices(dim, dim)
    factor = torch.where(rows == columns, 1.0, 2.0).to(torch.float64)
    return rows, columns, factor


def pack_score(score: str, A: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return the score's coefficients of shape (*batch, N, g) from A, b and c.

    A has shape (*batch, N, d, d) and is symmetric, b (*batch, N, d), c (*batch, N).
    """
    piece = SCORES.get(score)
    parts = [c.unsqueeze(-1)]
    if piece.has_linear:
        parts.append(b)
    if piece.has_quadratic:
        rows, columns, factor = (t.to(A.device) for t in _upper_triangle(A.shape[-1]))
        parts.append(A[..., rows, columns] * factor)
    return torch.cat(parts, dim=-1)


def unpack_score(score: str, dim: int, coefficients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return A, b and c from the score's coefficients; blocks that the score lacks are zero."""
    piece = SCORES.get(score)
    lead = coefficients.shape[:-1]
    A = coefficients.new_zeros((*lead, dim, dim))
    b = coefficients.new_zeros((*lead, dim))
    c = coefficients[..., 0].clone()
    start = 1
    if piece.has_linear:
        b = coefficients[..., 1 : dim + 1].clone()
        start += dim
    if piece.has_quadratic:
        rows, columns, factor = (t.to(A.device) for t in _upper_triangle(dim))
        entries = coefficients[..., start:] / factor
        A[..., rows, columns] = entries
        A[..., columns, rows] = entries
    return A, b, c
