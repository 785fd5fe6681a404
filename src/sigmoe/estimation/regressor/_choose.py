"""How many experts a table needs: a sweep over information criteria, or merging atoms."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sigmoe._base.registry import Registry
from sigmoe.estimation._result import FitResult
from sigmoe.estimation.regressor._parameters import fits_into_memory
from sigmoe.estimation.regressor._problem import Problem
from sigmoe.estimation.regressor._weigh import follow, penalised, settle, with_starts_of
from sigmoe.estimation.selection._criteria import comparison
from sigmoe.estimation.selection._merging import merge_atoms
from sigmoe.estimation.selection._merging_path import MergeLevel, MergePath, chosen_path
from sigmoe.estimation.selection._starts import grown_starts
from sigmoe.moe import MixingMeasure
from sigmoe.moe._gates import get_gate

#: Starts grown from the next smaller fit, and the iterations in which they show their worth.
_GROWN, _TRIAL = 4, 15
#: Iterations of plain least squares after a fit with ridge, before fits are compared.
_POLISH = 50
#: Responses a parameter below which BIC and AIC, which assume many, are not asked.
_RESPONSES = 2


@dataclass(frozen=True)
class Selection:
    """How a number of experts was chosen.

    Attributes
    ----------
    n_experts : tuple of int
        The numbers compared.
    values : tuple of float
        Their criteria.
    objectives : tuple of float
        Mean squared residuals of plain least squares in standardised units, summed over responses.
    without_gate : float
        Criterion of one expert without a gate; NaN if the gate of one expert is 1 anyway.
    reason : str
    first : MixingMeasure or None
        What merging began with, in standardised units.
    """

    n_experts: tuple[int, ...]
    values: tuple[float, ...]
    objectives: tuple[float, ...]
    without_gate: float
    reason: str
    first: MixingMeasure | None = None

    def arrays(self) -> dict[str, Any]:
        """Return what any file format can hold; nothing if nothing was compared."""
        if not self.n_experts:
            return {}
        found = {
            "n_experts": np.array(self.n_experts),
            "criterion": np.array(self.values),
            "objective": np.array(self.objectives),
            "without_gate": self.without_gate,
        }
        first = {} if self.first is None else {"coordinates": self.first.coordinates.numpy()}
        return {**found, **first}


#: By the name that stands for the number of experts.
CHOICES = Registry[Callable[[Problem], tuple[Problem, FitResult, Selection]]]("n_experts")


def choose(problem: Problem) -> tuple[Problem, FitResult, Selection]:
    """Fit the number of experts that was asked for, or choose one.

    The problem that is returned has the penalty of the fit.
    """
    asked = problem.parameters["n_experts"]
    if asked in CHOICES:
        return CHOICES.get(asked)(problem)
    return *settle(problem, asked), Selection((), (), (), math.nan, "n_experts was given")


def _sweep(problem: Problem) -> tuple[Problem, FitResult, Selection]:
    """Fit every number of experts and keep the one with the least criterion."""
    sizes, left_out = sizes_for(problem)
    fits: list[tuple[Problem, FitResult]] = []
    for size in sizes:
        fits.append(_fitted(problem, size, fits[-1][1] if fits else None))
    objectives = [_objective(problem, fit) for _, fit in fits]
    selection = _selected(problem, sizes, objectives, left_out)
    return *fits[sizes.index(_chosen(selection))], selection


def _merge(problem: Problem) -> tuple[Problem, FitResult, Selection]:
    """Fit once with the most experts, and merge atoms while that does no harm."""
    sizes, left_out = sizes_for(problem)
    settled, fit = settle(problem, sizes[-1])
    first, path = fit.measure, merging_path(problem, fit.measure)
    objectives = [_known(path.level(size)) for size in sizes]
    selection = replace(_selected(problem, sizes, objectives, left_out), first=first)
    chosen = _chosen(selection)
    if chosen < sizes[-1]:
        settled, fit = settle(settled, chosen, path.level(chosen).measure)
    return settled, fit, selection


CHOICES.register("auto", _sweep)
CHOICES.register("merge", _merge)


def merging_path(problem: Problem, measure: MixingMeasure) -> MergePath:
    """Return the path that merges the atoms of a fit, its rows counted by their weights."""
    criterion = problem.parameters["criterion"]
    start = problem.without_ridge(measure, _POLISH).measure
    path = merge_atoms(
        start,
        problem.sample.X,
        problem.sample.y,
        criterion=criterion,
        bounds=problem.box,
        sample_weight=problem.sample.weight,
        intercept=problem.sample.intercept,
    )
    levels = tuple(
        replace(
            level,
            criteria=problem.criteria(_known(level), level.n_experts),
        )
        for level in path.levels
    )
    return chosen_path(levels, criterion, max(1, round(problem.n_rows)))


def _known(level: MergeLevel) -> float:
    """Return the objective of a level; every level of a path over responses has one."""
    assert level.objective is not None
    return level.objective


def sizes_for(problem: Problem) -> tuple[list[int], str]:
    """Return the numbers of experts that a table can carry, and why larger ones are left out."""
    a, most = problem.architecture, problem.parameters["max_experts"]
    responses = min(float(problem.sample.y.numel()), problem.n_rows * a.n_columns)
    sizes = [1]
    while sizes[-1] < most:
        free = problem.n_parameters(sizes[-1] + 1)
        noun = f"{sizes[-1] + 1} experts"
        if _RESPONSES * free > responses:
            return sizes, (
                f"{noun} have {free} parameters, too many to be weighed by {responses:g} responses"
            )
        if not fits_into_memory(a, sizes[-1] + 1):
            return sizes, f"{noun} have {free} parameters, too many for memory"
        sizes.append(sizes[-1] + 1)
    return sizes, ""


def _fitted(problem: Problem, size: int, below: FitResult | None) -> tuple[Problem, FitResult]:
    """Return the better of the fits from random starts and from ones grown from a smaller fit."""
    settled, random = settle(problem, size)
    if below is None:
        return settled, random
    seed = np.random.SeedSequence(problem.seed) if isinstance(problem.seed, int) else problem.seed
    sample = replace(problem.sample, y=problem.sample.y - below.intercept)
    starts = grown_starts(below.measure, sample, problem.box, _GROWN, seed)
    trials = [settled.fit(size, start, _TRIAL) for start in starts]
    best = min(trials, key=penalised)
    grown = settled.fit(size, best.measure)
    if penalised(random) <= penalised(grown):
        return settled, random
    return follow(settled, with_starts_of(random, grown))


def _objective(problem: Problem, fit: FitResult) -> float:
    """Return the objective that is compared: that of plain least squares.

    Each number of experts carries the ridge penalty in its own way, and on a table with next to no
    noise it would decide.
    """
    return min(fit.objective, problem.without_ridge(fit.measure, _POLISH).objective)


def _selected(
    problem: Problem, sizes: list[int], objectives: list[float], left_out: str
) -> Selection:
    criterion = problem.parameters["criterion"]
    values = [
        problem.criteria(objective, size).value(criterion)
        for size, objective in zip(sizes, objectives, strict=True)
    ]
    bare = _without_gate(problem) if len(sizes) > 1 else math.nan
    found = Selection(tuple(sizes), tuple(values), tuple(objectives), bare, "")
    return replace(found, reason=_reason(found, criterion, left_out))


def _without_gate(problem: Problem) -> float:
    if get_gate(problem.architecture.gate).invariant:
        return math.nan
    bare, fit = settle(problem.without_gate(), 1)
    return bare.criteria(_objective(bare, fit), 1).value(problem.parameters["criterion"])


def _chosen(selection: Selection) -> int:
    """Return the number of experts: of equal values the fewest, and one where no gate helps."""
    pairs = zip(selection.values, selection.n_experts, strict=True)
    value, size = min(pairs)
    return 1 if selection.without_gate <= value else size


def _reason(selection: Selection, criterion: str, left_out: str) -> str:
    values = dict(zip(selection.n_experts, selection.values, strict=True))
    least, name = min(selection.values), criterion.upper()
    if len(values) == 1:
        return f"one expert was fitted: {left_out or 'max_experts is 1'}"
    if selection.without_gate <= least:
        gap = 0.0 if selection.without_gate == least else least - selection.without_gate
        text = (
            f"{name} is least with one expert without a gate: {gap:.3g} below the best with "
            "gates; a mixture does not help here"
        )
    else:
        text = comparison(criterion, _chosen(selection), values)
        text += "; a mixture does not help here" if _chosen(selection) == 1 else ""
    return f"{text}; {left_out}" if left_out else text
