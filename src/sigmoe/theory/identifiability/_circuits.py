"""Sparse linear relations in a space of them.

A relation that involves no subset that is dependent by itself is a circuit. Solving for different
sets of dependent functions gives different circuits; the sparsest independent ones are kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Orders of the functions that are tried in each space.
_TRIALS = 60

#: Times that the sizes of functions and relations are balanced in turn.
_BALANCING = 5

#: Pivots below this are left alone, and relations closer than this to others are no news.
_PIVOT = 1e-6

#: Coefficients below this, beside the largest of a relation, are zeros blurred by rounding.
_ZERO = 1e-9


def sparse_supports(
    null: Floats, groups: Sequence[int], rng: np.random.Generator
) -> list[tuple[int, ...]]:
    """Return the supports of a basis of sparse relations, the sparsest first.

    Parameters
    ----------
    null : array of shape (k, m)
        A basis of the relations between m functions, k >= 0.
    groups : sequence of m int
        The atom of each function: relations within one atom are looked for first.
    rng : numpy.random.Generator
        Draws the orders.

    Returns
    -------
    list of k tuples of int
        Positions of the functions of each relation.

    Examples
    --------
    >>> null = np.array([[1.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 1.0]])
    >>> sparse_supports(null, [0, 0, 0, 0], np.random.default_rng(0))
    [(0, 3), (0, 1, 2)]
    """
    if not len(null):
        return []
    null = _balanced(null)
    labels = np.array(groups)
    spaces = [_within(null, labels == label) for label in sorted(set(groups))]
    found: dict[tuple[int, ...], Floats] = {}
    for space in [*spaces, null]:
        for _ in range(_TRIALS if len(space) else 0):
            for row in _solved(space, rng.permutation(null.shape[1])):
                found.setdefault(tuple(np.flatnonzero(row).tolist()), row)
    return _independent(found, len(null))


def _balanced(null: Floats) -> Floats:
    """Return an orthonormal basis of the relations between rescaled functions.

    Rescaling changes no support, and brings the coefficients to one size: then a small pivot is a
    matter of the relations and not of the functions' units.
    """
    for _ in range(_BALANCING):
        sizes = np.linalg.norm(null, axis=0)
        null = np.linalg.qr((null / np.where(sizes > 0, sizes, 1.0)).T)[0].T
        null[:, sizes == 0] = 0.0
    return null


def _within(null: Floats, inside: NDArray[np.bool_]) -> Floats:
    """Return a basis of the relations that involve the functions inside alone."""
    outside = null[:, ~inside]
    if not outside.shape[1]:
        return null
    left, sizes, _ = np.linalg.svd(outside, full_matrices=True)
    rank = int((sizes > _ZERO * max(1.0, float(sizes.max(initial=0.0)))).sum())
    return np.asarray(left[:, rank:].T @ null)


def _solved(space: Floats, order: NDArray[np.int64]) -> Floats:
    """Return the reduced echelon form that meets the functions in this order."""
    rows = space / np.abs(space).max(axis=1, keepdims=True)
    done = 0
    for j in order:
        if done == len(rows):
            break
        best = done + int(np.argmax(np.abs(rows[done:, j])))
        # A small pivot would blow up the rounding of the others; another function will do.
        if abs(rows[best, j]) < _PIVOT:
            continue
        rows[[done, best]] = rows[[best, done]]
        rows[done] /= rows[done, j]
        others = np.arange(len(rows)) != done
        rows[others] -= rows[others, j][:, None] * rows[done]
        done += 1
    rows = rows[:done]
    rows[np.abs(rows) < _ZERO * np.abs(rows).max(axis=1, keepdims=True)] = 0.0
    return np.asarray(rows, np.float64)


def _independent(found: dict[tuple[int, ...], Floats], wanted: int) -> list[tuple[int, ...]]:
    """Return supports of independent relations, chosen greedily from the sparsest on."""
    kept: list[tuple[int, ...]] = []
    basis: list[Floats] = []
    for support in sorted(found, key=lambda s: (len(s), s)):
        row = found[support] / np.linalg.norm(found[support])
        # Twice, since one pass of Gram-Schmidt loses digits.
        for _ in range(2):
            for other in basis:
                row = row - (row @ other) * other
        size = float(np.linalg.norm(row))
        if size > _PIVOT:
            basis.append(row / size)
            kept.append(support)
        if len(kept) == wanted:
            break
    return kept
