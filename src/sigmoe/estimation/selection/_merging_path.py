"""What merging leaves behind: the levels, their heights, and the number of experts they show."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from sigmoe._base.constraints import Interval, check
from sigmoe._base.errors import invalid
from sigmoe.estimation._result import FitResult
from sigmoe.estimation.selection._criteria import InformationCriteria, comparison
from sigmoe.moe import MixingMeasure

CRITERIA = ("bic", "aic", "dsc")


@dataclass(frozen=True, eq=False)
class MergeLevel:
    """One level of a merging path.

    Attributes
    ----------
    measure : MixingMeasure
    members : tuple of tuple of int
        Which atoms of the first level went into each atom.
    merged : tuple of two int, or None
        The atoms of the level before that became the last atom of this one.
    cost : float
        Mean squared change of the prediction by that merge, before any refit; 0 at the first.
    height : float
        Square root of the largest cost so far, in units of the response.
    objective : float or None
        Mean squared residual; None without responses.
    criteria : InformationCriteria or None
    fit : FitResult or None
        The refit; None at the first level and without responses.
    """

    measure: MixingMeasure = field(repr=False)
    members: tuple[tuple[int, ...], ...]
    merged: tuple[int, int] | None = None
    cost: float = 0.0
    height: float = 0.0
    objective: float | None = None
    criteria: InformationCriteria | None = None
    fit: FitResult | None = field(default=None, repr=False)

    @property
    def n_experts(self) -> int:
        """Return the number of atoms."""
        return self.measure.n_experts


@dataclass(frozen=True, eq=False)
class MergePath:
    """The levels of a merging path, from all atoms to one, and the one that was chosen.

    Attributes
    ----------
    levels : tuple of MergeLevel
        With N, N - 1, ..., 1 atoms.
    criterion : {"bic", "aic", "dsc"}
    values : dict of int to float
        The criterion by number of experts; empty without responses.
    chosen : int or None
        The number of experts with the least value; None without responses.
    reason : str
        How clear the choice is, or why there is none.
    """

    levels: tuple[MergeLevel, ...]
    criterion: str
    values: dict[int, float]
    chosen: int | None
    reason: str

    @property
    def n_experts(self) -> tuple[int, ...]:
        """Return the numbers of atoms of the levels: N, N - 1, ..., 1."""
        return tuple(level.n_experts for level in self.levels)

    @property
    def heights(self) -> tuple[float, ...]:
        """Return the height of each level; it never decreases."""
        return tuple(level.height for level in self.levels)

    def level(self, n_experts: int) -> MergeLevel:
        """Return the level with that number of atoms."""
        rule = Interval("integer", 1, len(self.levels))
        check("n_experts", n_experts, rule, "The path begins with the atoms that it was given.")
        return self.levels[len(self.levels) - n_experts]

    @property
    def measure(self) -> MixingMeasure:
        """Return the chosen measure."""
        if self.chosen is None:
            raise invalid("path", "one with a choice", "none", "Pass y to merge_atoms.")
        return self.level(self.chosen).measure


def chosen_path(levels: tuple[MergeLevel, ...], criterion: str, n: int) -> MergePath:
    """Return the path with its choice.

    Parameters
    ----------
    levels : tuple of MergeLevel
    criterion : {"bic", "aic", "dsc"}
    n : int
        Number of rows.
    """
    values = _criterion_values(levels, criterion, n)
    if levels[0].criteria is None:
        reason = "no responses were given, so that there is nothing to weigh the number of experts"
        return MergePath(levels, criterion, values, None, f"{reason} by")
    if not values:
        return MergePath(levels, criterion, values, None, "DSC compares two or more experts")
    # Of equal values the fewest experts are kept.
    chosen = min(values, key=lambda k: (values[k], k))
    return MergePath(levels, criterion, values, chosen, comparison(criterion, chosen, values))


def _criterion_values(levels: tuple[MergeLevel, ...], criterion: str, n: int) -> dict[int, float]:
    judged = [(k, level.criteria) for k, level in enumerate(levels) if level.criteria is not None]
    if criterion != "dsc":
        return {levels[k].n_experts: found.value(criterion) for k, found in judged}
    values = {}
    for k, found in judged[:-1]:
        cost, objective = levels[k + 1].cost, levels[k].objective or math.inf
        half_columns = levels[k].measure.architecture.n_columns / 2.0
        height = half_columns * math.log1p(cost / objective)
        values[levels[k].n_experts] = -(height + math.log(n) * found.log_likelihood / n)
    return values
