"""The cheapest division of a few items into groups: dynamic programming over subsets."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Column:
    """A place that takes one group of items.

    Attributes
    ----------
    groups : list of tuple of int
        The groups it may take; the empty group is allowed if listed.
    costs : ndarray of shape (len(groups),)
        Their costs; infinite where a group is impossible.
    """

    groups: list[tuple[int, ...]]
    costs: NDArray[np.float64]


def subsets(n_items: int, sizes: range) -> list[tuple[int, ...]]:
    """Return the subsets of range(n_items) with these sizes.

    Examples
    --------
    >>> subsets(3, range(1, 3))
    [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)]
    """
    return [group for size in sizes for group in combinations(range(n_items), size)]


def cheapest_grouping(n_items: int, columns: list[Column]) -> list[int] | None:
    """Return for each column the position of its group, all items used once, at the least cost.

    Returns None if no division has a finite cost. Takes 2^n_items memory, and time in proportion
    to that times the number of groups.

    Examples
    --------
    >>> one = Column([(0,), (1,)], np.array([1.0, 5.0]))
    >>> two = Column([(0,), (1,)], np.array([2.0, 1.0]))
    >>> cheapest_grouping(2, [one, two])
    [0, 1]
    """
    masks = np.arange(2**n_items)
    best = np.full(2**n_items, np.inf)
    best[0] = 0.0
    choices = []
    for column in columns:
        following = np.full_like(best, np.inf)
        choice = np.full(len(masks), -1)
        for position, (group, cost) in enumerate(zip(column.groups, column.costs, strict=True)):
            bits = sum(1 << item for item in group)
            before = masks[(masks & bits) == 0]
            total = best[before] + cost
            wins = total < following[before | bits]
            following[(before | bits)[wins]] = total[wins]
            choice[(before | bits)[wins]] = position
        best = following
        choices.append(choice)
    if not np.isfinite(best[-1]):
        return None
    mask, picked = 2**n_items - 1, []
    for column, choice in zip(reversed(columns), reversed(choices), strict=True):
        position = int(choice[mask])
        picked.append(position)
        mask ^= sum(1 << item for item in column.groups[position])
    return picked[::-1]
