"""Graded monomials of the inputs, samples last, and where their products lie.

The list of degree D holds 1, then x_u, then x_u x_v (u <= v), ... up to degree D, each degree in
lexicographic order. A score is linear in the list of degree 2, and every entry of the normal
equations of least squares is a weighted sum over one monomial of degree at most 4.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations_with_replacement
from math import comb

import torch
from torch import Tensor


def count_monomials(dim: int, degree: int) -> int:
    """Return the number of monomials of at most this degree, C(dim + degree, degree).

    Examples
    --------
    >>> count_monomials(8, 4)
    495
    """
    return comb(dim + degree, degree)


@lru_cache(maxsize=64)
def exponents(dim: int, degree: int) -> tuple[tuple[int, ...], ...]:
    """Return the graded list as sorted tuples of feature indices; () stands for the constant."""
    return tuple(
        indices
        for order in range(degree + 1)
        for indices in combinations_with_replacement(range(dim), order)
    )


def monomials(Xt: Tensor, degree: int, out: Tensor | None = None) -> Tensor:
    """Return the graded monomials of the samples.

    Parameters
    ----------
    Xt : Tensor of shape (*batch, d, n)
        Inputs, one sample a column, so that every product below runs over contiguous memory.
    degree : int
        Highest degree, >= 0.
    out : Tensor of shape (*batch, C(d + degree, degree), n), optional
        Memory to write to.

    Returns
    -------
    Tensor of shape (*batch, C(d + degree, degree), n)
        Row k holds the product of the features named by ``exponents(d, degree)[k]``.
    """
    dim, n = Xt.shape[-2:]
    if out is None:
        out = Xt.new_empty((*Xt.shape[:-2], count_monomials(dim, degree), n))
    out[..., 0, :] = 1.0
    if degree == 0:
        return out
    out[..., 1 : dim + 1, :] = Xt
    for order in range(2, degree + 1):
        row = count_monomials(dim, order - 1)
        for feature in range(dim):
            # Monomials of the degree below whose smallest index is >= feature: a contiguous tail.
            size = comb(dim - feature + order - 2, order - 1)
            end = count_monomials(dim, order - 1)
            torch.mul(
                out[..., end - size : end, :],
                Xt[..., feature : feature + 1, :],
                out=out[..., row : row + size, :],
            )
            row += size
    return out


@lru_cache(maxsize=64)
def product_table(dim: int, left: int, right: int) -> Tensor:
    """Return where the product of two monomials lies.

    Parameters
    ----------
    dim : int
        Number of features.
    left, right : int
        Degrees of the two graded lists.

    Returns
    -------
    Tensor of shape (n_left, n_right), int64
        Entry (a, b) is the position of ``left_list[a] * right_list[b]`` in the graded list of
        degree ``left + right``.
    """
    position = {indices: k for k, indices in enumerate(exponents(dim, left + right))}
    rows = [
        [position[tuple(sorted(a + b))] for b in exponents(dim, right)]
        for a in exponents(dim, left)
    ]
    return torch.tensor(rows, dtype=torch.int64)
