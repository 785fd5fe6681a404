"""Intervals by the pairs bootstrap: the remedy where the Gaussian approximation is withheld."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import ndtr, ndtri
from torch import Tensor

from sigmoe._base.arrays import ArrayLike
from sigmoe._base.constraints import Interval, check
from sigmoe._base.errors import invalid
from sigmoe._base.registry import Registry
from sigmoe._base.seeds import Seed, child_seeds
from sigmoe.estimation._bounds import Bounds, resolve_bounds
from sigmoe.estimation._fit import fit_least_squares
from sigmoe.estimation._result import FitResult
from sigmoe.estimation._sample import Sample
from sigmoe.estimation.inference._coordinates import free_positions, names_and_factors, pinned
from sigmoe.estimation.inference._table import LEVEL, LEVEL_REMEDY, ParameterIntervals
from sigmoe.moe import MixingMeasure

#: (draws (B, k), estimate (k,), level) to lower and upper limits, each (k,).
Method = Callable[
    [NDArray[np.float64], NDArray[np.float64], float],
    tuple[NDArray[np.float64], NDArray[np.float64]],
]
Limits = tuple[NDArray[np.float64], NDArray[np.float64]]
METHODS = Registry[Method]("method")


def _percentile(draws: NDArray[np.float64], estimate: NDArray[np.float64], level: float) -> Limits:
    del estimate
    tail = (1.0 - level) / 2.0
    return np.quantile(draws, tail, axis=0), np.quantile(draws, 1.0 - tail, axis=0)


def _bias_corrected(
    draws: NDArray[np.float64], estimate: NDArray[np.float64], level: float
) -> Limits:
    # An estimate outside all draws gives an infinite shift, and both limits at their end.
    bias, reach = ndtri((draws < estimate).mean(0)), float(ndtri(0.5 + level / 2.0))
    sides = [ndtr(2.0 * bias + side * reach) for side in (-1.0, 1.0)]
    low, high = (
        np.array([np.quantile(draws[:, k], share) for k, share in enumerate(side)])
        for side in sides
    )
    return low, high


METHODS.register("percentile", _percentile)
METHODS.register("bias-corrected", _bias_corrected)


@dataclass(frozen=True, eq=False)
class BootstrapIntervals:
    """What refitting to resampled rows says about an estimate.

    Attributes
    ----------
    intervals : ParameterIntervals
        ``standard_error`` is the standard deviation of the refits.
    measures : MixingMeasure
        A batch of all refits, pinned, atoms in the order of the estimate's.
    method : str
    n_unconverged : int
        Refits that ended without passing a convergence test; they are kept.
    """

    intervals: ParameterIntervals
    measures: MixingMeasure
    method: str
    n_unconverged: int

    def prediction_interval(self, X: ArrayLike) -> tuple[Tensor, Tensor]:
        """Return percentile limits of the regression function at the rows of X.

        Each has shape (n,), or (n, m) with ``n_outputs=m``. Functions need no matching of atoms
        and are identified even where parameters are not.
        """
        tail = (1.0 - self.intervals.level) / 2.0
        values = self.measures.predict(X).cpu().numpy()
        low, high = (np.quantile(values, share, axis=0) for share in (tail, 1.0 - tail))
        return torch.from_numpy(low), torch.from_numpy(high)


def bootstrap_intervals(
    measure: MixingMeasure,
    X: ArrayLike,
    y: ArrayLike,
    *,
    n_bootstrap: int = 200,
    level: float = 0.95,
    method: str = "percentile",
    seed: Seed = 0,
    bounds: Bounds | str | None = "default",
    sample_weight: ArrayLike | None = None,
    max_iterations: int = 100,
) -> BootstrapIntervals:
    """Return confidence intervals from refits to rows drawn with replacement.

    Every refit begins at the estimate, so that the intervals speak of this optimum; they do not
    hold the uncertainty about which optimum is the best. Atoms are matched to those of the
    estimate by an assignment that keeps their contributions, gate times expert, closest on X.

    Parameters
    ----------
    measure : MixingMeasure
        The least squares estimate, a single measure inside the bounds.
    X : array_like of shape (n, d)
    y : array_like of shape (n,) or (n, m)
    n_bootstrap : int
        Number of refits, >= 2; limits of 95 % want a few hundred.
    level : float
        Between 0 and 1.
    method : {"percentile", "bias-corrected"}
        Quantiles of the refits, or (Efron) quantiles shifted by how far the estimate is from
        their median.
    seed : int or SeedSequence
    bounds : Bounds, "default" or None
        The bounds of the fit.
    sample_weight : array_like of shape (n,), optional
        The weights of the fit; a row is drawn with its weight.
    max_iterations : int
        Of each refit.

    Returns
    -------
    BootstrapIntervals

    Raises
    ------
    InputError
        For bad data, numbers out of range, an unknown method, or a measure outside the bounds.

    References
    ----------
    Efron, B. and Tibshirani, R. (1993), An introduction to the bootstrap, chapters 13 and 14.

    Examples
    --------
    >>> from sigmoe.moe import Architecture, draw_sample
    >>> shape = Architecture(gate="softmax", score="linear", expert="linear", dim=1)
    >>> truth = MixingMeasure(shape, None, [[4.0], [0.0]], [0.0, 0.0], [[1.0, 1.0], [-1.0, 0.0]])
    >>> X, y = draw_sample(truth, 200, seed=1)
    >>> fit = fit_least_squares(X, y, shape, 2, start=truth)
    >>> found = bootstrap_intervals(fit.measure, X, y, n_bootstrap=20, seed=0)
    >>> found.intervals.names, len(found.measures)
    (('c[0]', 'b[0,0]', 'eta[0,0]', 'eta[0,1]', 'eta[1,0]', 'eta[1,1]'), 20)
    """
    check("n_bootstrap", n_bootstrap, Interval("integer", 2), "Refit at least twice.")
    check("level", level, LEVEL, LEVEL_REMEDY)
    limits_of = METHODS.get(method)
    if measure.batch_shape:
        found = f"a batch {measure.batch_shape}"
        raise invalid("measure", "a single measure", found, "Take one with measure[k].")
    sample = Sample.checked(X, y, measure.architecture, sample_weight)
    # The box comes from the whole sample: that of a resample may leave the estimate outside.
    box = resolve_bounds(bounds, sample)
    measure = measure.to("cpu")
    fits = [
        _refit(measure, sample, box, child, max_iterations)
        for child in child_seeds(seed, "bootstrap", n_bootstrap)
    ]
    matched = [match_atoms(fit.measure, measure, sample.X) for fit in fits]
    measures = pinned(MixingMeasure.stack(matched))
    return BootstrapIntervals(
        intervals=_intervals(pinned(measure), measures, level, limits_of),
        measures=measures,
        method=method,
        n_unconverged=sum(not fit.converged for fit in fits),
    )


def _refit(
    measure: MixingMeasure,
    sample: Sample,
    box: Bounds,
    seed: np.random.SeedSequence,
    max_iterations: int,
) -> FitResult:
    n = len(sample)
    drawn = np.random.default_rng(seed).integers(n, size=n)
    # Counts as weights: a row drawn k times counts k times, without copies.
    counts = torch.from_numpy(np.bincount(drawn, minlength=n)).to(sample.X)
    weight = counts if sample.weight is None else counts * sample.weight
    return fit_least_squares(
        sample.X,
        sample.y,
        measure.architecture,
        measure.n_experts,
        start=measure,
        bounds=box,
        sample_weight=weight,
        max_iterations=max_iterations,
    )


def match_atoms(measure: MixingMeasure, reference: MixingMeasure, X: ArrayLike) -> MixingMeasure:
    """Return the measure with its atoms in the order of those of the reference.

    The assignment minimises the sum of mean squared differences of contributions
    gate_i(x) E(x, eta_i) over the rows of X; these do not depend on softmax's translation, on
    units, or on how parameters trade against each other.

    Parameters
    ----------
    measure, reference : MixingMeasure
        Single measures of one architecture and number of atoms.
    X : array_like of shape (n, d)
    """
    ours, theirs = (contributions(each, X) for each in (measure, reference))
    cost = torch.cdist(theirs, ours, compute_mode="donot_use_mm_for_euclid_dist").square()
    _, order = linear_sum_assignment(cost.cpu().numpy())
    return measure.permute([int(k) for k in order])


def contributions(measure: MixingMeasure, X: ArrayLike) -> Tensor:
    """Return each atom's part of the prediction at the rows, shape (N, n m)."""
    gates = measure.gates(X)
    experts = measure.experts(X).reshape(*gates.shape, -1)
    return (gates.unsqueeze(-1) * experts).movedim(1, 0).flatten(1)


def _intervals(
    estimate: MixingMeasure, draws: MixingMeasure, level: float, limits_of: Method
) -> ParameterIntervals:
    architecture, N = estimate.architecture, estimate.n_experts
    names, factors = names_and_factors(architecture, N)
    free = free_positions(architecture, N)
    centre = estimate.coordinates.cpu().flatten()[free] / factors[free]
    values = draws.coordinates.cpu().flatten(1)[:, free] / factors[free]
    lower, upper = limits_of(values.numpy(), centre.numpy(), level)
    return ParameterIntervals(
        tuple(names[k] for k in free.tolist()),
        centre,
        values.std(0),
        torch.from_numpy(lower),
        torch.from_numpy(upper),
        level,
    )
