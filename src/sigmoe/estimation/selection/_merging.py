"""The number of experts without a sweep: one fit with too many, its atoms merged pair by pair."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sigmoe._base.arrays import ArrayLike, as_inputs, as_weights
from sigmoe._base.constraints import Choice, Flag, Interval, check
from sigmoe._base.errors import invalid
from sigmoe.estimation._bounds import UNBOUNDED, Bounds, coordinate_limits, resolve_bounds
from sigmoe.estimation._fit import fit_least_squares
from sigmoe.estimation._result import FitResult
from sigmoe.estimation._sample import Sample
from sigmoe.estimation.selection._criteria import judged
from sigmoe.estimation.selection._merging_pairs import Merge, ranked_merges
from sigmoe.estimation.selection._merging_path import CRITERIA, MergeLevel, MergePath, chosen_path
from sigmoe.moe import MixingMeasure

#: Rows on which merges are judged; refits use all.
_ROWS = 4096


def merge_atoms(
    measure: MixingMeasure,
    X: ArrayLike,
    y: ArrayLike | None = None,
    *,
    criterion: str = "bic",
    n_candidates: int = 10,
    bounds: Bounds | str | None = "default",
    sample_weight: ArrayLike | None = None,
    max_iterations: int = 50,
    intercept: bool = False,
) -> MergePath:
    """Merge the atoms of a fit with too many of them, and choose how many to keep.

    Fit once with more experts than needed; at each level the pair goes whose merge changes the
    prediction least, and with responses the measure is fitted again from there. This takes fits
    from good starts only, against a sweep over N from random ones.

    Parameters
    ----------
    measure : MixingMeasure
        A single measure, the over-specified fit.
    X : array_like of shape (n, d)
    y : array_like of shape (n,) or (n, m), optional
        Without responses nothing is refitted and nothing chosen.
    criterion : {"bic", "aic", "dsc"}
        What is least at the chosen level. "dsc" is the criterion of dendrograms of mixing
        measures, -(height + log(n) * average log-likelihood), with the height on the scale of the
        average log-likelihood: m / 2 * log(1 + cost / objective), the cost being that of the next
        merge. Like the original it cannot choose a single expert.
    n_candidates : int
        How many of the cheapest merges are refitted at a level; the best one stays.
    bounds : Bounds, "default" or None
        The bounds of the fit.
    sample_weight : array_like of shape (n,), optional
        The weights of the fit.
    max_iterations : int
        Of each refit.
    intercept : bool
        Whether an intercept was fitted beside the measure, and is in each refit.

    Returns
    -------
    MergePath

    Raises
    ------
    InputError
        For bad data, a batch of measures, numbers out of range or a measure outside the bounds.

    Notes
    -----
    Dendrograms of mixing measures (arXiv 2403.01684; 2510.12744 for softmax gates) compare atoms
    by w_i w_j / (w_i + w_j) ||theta_i - theta_j||^2 and merge them by averages. That suits
    densities, which see every atom's parameters. Least squares sees the regression function
    alone: atoms with one gate and different linear experts are one atom, a light atom may be far
    away in parameters and a heavy one near, and parameters have units. So the dissimilarity is
    the mean squared change of the prediction under the best closed form for the pair; module
    ``_merging_pairs`` lists when it is zero. For near duplicates with softmax gates it is, to
    first order, the same rule: exp(c) adds and the rest is averaged.

    How often each criterion finds the true number is in the docs, under "How many experts, and how
    sure": of 20 tables BIC along the path found it for 11 to 20, a BIC sweep from random starts for
    14 to 20 and DSC for 1 to 16.

    Examples
    --------
    >>> from sigmoe.moe import Architecture
    >>> shape = Architecture(gate="softmax", score="linear", expert="linear", dim=1)
    >>> b, eta = [[3.0], [0.0], [0.0]], [[1.0, 1.0], [0.0, 2.0], [0.0, 2.0]]
    >>> twice = MixingMeasure(shape, None, b, [0.0, 0.0, 1.0], eta)
    >>> path = merge_atoms(twice, [[-1.0], [0.0], [1.0], [2.0]])
    >>> path.n_experts, path.levels[1].members, path.levels[1].cost < 1e-20
    ((3, 2, 1), ((0,), (1, 2)), True)
    >>> print(path.reason)
    no responses were given, so that there is nothing to weigh the number of experts by
    """
    check("criterion", criterion, Choice(CRITERIA), "Choose one of these.")
    check("intercept", intercept, Flag(), "Say whether the fit had one.")
    check("n_candidates", n_candidates, Interval("integer", 1), "Try at least one merge.")
    if measure.batch_shape:
        found = f"a batch {measure.batch_shape}"
        raise invalid("measure", "a single measure", found, "Take one with measure[k].")
    members = tuple((k,) for k in range(measure.n_experts))
    first = MergeLevel(measure.to("cpu"), members)
    if y is None:
        X, weight = _rows(measure, X, sample_weight)
        return chosen_path(_levels(first, X, weight, UNBOUNDED, None), criterion, 0)
    checked = Sample.checked(X, y, measure.architecture, sample_weight)
    sample = replace(checked, intercept=intercept)
    box = resolve_bounds(bounds, sample)
    _require_inside(measure, box)
    refits = Refits(sample, box, n_candidates, max_iterations)
    weight = torch.ones_like(sample.X[:, 0]) if sample.weight is None else sample.weight
    levels = _levels(refits.judged(first, None), sample.X, weight, box, refits)
    return chosen_path(levels, criterion, len(sample))


@dataclass(frozen=True)
class Refits:
    """How merged measures are fitted again and judged."""

    sample: Sample
    box: Bounds
    n_candidates: int
    max_iterations: int

    @property
    def tolerance(self) -> float:
        """Return the relative decrease at which n log(objective) moves by a hundredth."""
        return min(1e-5, 0.01 / len(self.sample))

    def best(self, level: MergeLevel, merges: Sequence[Merge]) -> tuple[Merge, FitResult]:
        """Return the merge whose refit ends lowest, and that refit."""
        a, sample = level.measure.architecture, self.sample
        refitted = [
            fit_least_squares(
                sample.X,
                sample.y,
                a,
                level.n_experts - 1,
                start=merge.apply(level.measure),
                bounds=self.box,
                sample_weight=sample.weight,
                max_iterations=self.max_iterations,
                relative_tolerance=self.tolerance,
                intercept=sample.intercept,
            )
            for merge in merges[: self.n_candidates]
        ]
        # Several merges may end in one optimum: of those the cheapest names the pair.
        enough = min(fit.objective for fit in refitted) * (1.0 + 10.0 * self.tolerance)
        found = next(k for k, fit in enumerate(refitted) if fit.objective <= enough)
        return merges[found], refitted[found]

    def judged(self, level: MergeLevel, fit: FitResult | None) -> MergeLevel:
        """Return the level with its objective and its criteria."""
        a = level.measure.architecture
        if fit is None:
            problem = self.sample.problem(a, level.n_experts)
            objective = problem.objective(level.measure.coordinates.to(self.sample.device))
        else:
            objective = fit.objective
        criteria = judged(objective, self.sample, a, level.n_experts)
        return replace(level, objective=objective, criteria=criteria, fit=fit)


def _levels(
    first: MergeLevel, X: Tensor, weight: Tensor, box: Bounds, refits: Refits | None
) -> tuple[MergeLevel, ...]:
    rows = torch.arange(0, len(X), max(1, math.ceil(len(X) / _ROWS)))
    X, weight = X.cpu()[rows], weight.cpu()[rows]
    lower, upper = coordinate_limits(box, first.measure.architecture, 1)
    levels = [first]
    while levels[-1].n_experts > 1:
        level = levels[-1]
        merges = ranked_merges(level.measure, X, weight, lower, upper)
        if refits is None:
            levels.append(_merged(level, merges[0], merges[0].apply(level.measure)))
            continue
        merge, fit = refits.best(level, merges)
        levels.append(refits.judged(_merged(level, merge, fit.measure), fit))
    return tuple(levels)


def _merged(level: MergeLevel, merge: Merge, measure: MixingMeasure) -> MergeLevel:
    i, j = merge.pair
    kept = [group for k, group in enumerate(level.members) if k not in merge.pair]
    together = tuple(sorted(level.members[i] + level.members[j]))
    height = max(level.height, math.sqrt(merge.cost))
    return MergeLevel(measure, (*kept, together), merge.pair, merge.cost, height)


def _rows(
    measure: MixingMeasure, X: ArrayLike, sample_weight: ArrayLike | None
) -> tuple[Tensor, Tensor]:
    rows = as_inputs(X, measure.architecture.dim)
    if sample_weight is None:
        return rows, torch.ones_like(rows[:, 0])
    return rows, as_weights(sample_weight, len(rows))


def _require_inside(measure: MixingMeasure, box: Bounds) -> None:
    lower, upper = coordinate_limits(box, measure.architecture, measure.n_experts)
    theta = measure.coordinates.flatten().cpu()
    if bool(((theta < lower) | (theta > upper)).any()):
        raise invalid("measure", "inside the bounds", "one outside", "Pass the bounds= of the fit.")
