"""Which optima are one and the same: as measures, and as functions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from sigmoe.moe import MixingMeasure
from sigmoe.theory._function_distance import root_mean_square
from sigmoe.theory._voronoi import voronoi_loss

#: L3 per atom below which two optima are one; repeated fits of one optimum agree far better.
_SAME = 0.02
#: Functions of optima that are nearer to each other than this share of their distance are one.
_SAME_FUNCTION = 0.05


def group_measures(measures: Sequence[MixingMeasure]) -> list[list[int]]:
    """Return groups of positions whose measures agree, first members in the order given.

    Measures are compared modulo the order of atoms and the translation of softmax gates.
    """
    groups: list[list[int]] = []
    for position, measure in enumerate(measures):
        for group in groups:
            if _same(measure, measures[group[0]]):
                group.append(position)
                break
        else:
            groups.append([position])
    return groups


def label_functions(
    measures: Sequence[MixingMeasure], distances: Sequence[float], zero: float, X: Tensor
) -> tuple[int, ...]:
    """Return a label for each measure's function, 0, 1, ... in the order of first occurrence.

    Every identity that leaves the function alone is covered: order, translation, signs of experts,
    sigmoid(s) + sigmoid(-s) = 1.

    Parameters
    ----------
    measures : sequence of MixingMeasure
    distances : sequence of float
        Of these measures to the truth: two functions are one if they are nearer to each other than
        a twentieth of the smaller distance.
    zero : float
        Differences below this are none.
    X : Tensor of shape (n, d)
        Inputs at which the functions are compared.
    """
    firsts: list[int] = []
    labels: list[int] = []
    for position, measure in enumerate(measures):
        for label, first in enumerate(firsts):
            apart = float(root_mean_square(measure, measures[first], X))
            reach = _SAME_FUNCTION * min(distances[position], distances[first]) + 2.0 * zero
            if apart <= reach:
                labels.append(label)
                break
        else:
            labels.append(len(firsts))
            firsts.append(position)
    return tuple(labels)


def _same(one: MixingMeasure, other: MixingMeasure) -> bool:
    """Return whether two measures are one up to order: each has atoms near all of the other's."""
    apart = max(float(voronoi_loss(one, other, "L3")), float(voronoi_loss(other, one, "L3")))
    return apart <= _SAME * one.n_experts
