"""Slopes on log-log axes with intervals over replications.

A slope is the least-squares slope of a statistic of the losses at each size on log n. Every size
counts, none is dropped by hand. The interval speaks of replications: the sizes are fixed, and the
losses of one size are independent of those of another, because every (n, replication) has its own
sample.

The interval is a jackknife-t: leave out one replication at a time within its own size, add the
variances of the sizes, and take Student's t with Satterthwaite's degrees of freedom. Bootstrap
percentiles are too short at 3 to 20 replications; `tests/lab/test_slopes.py` simulates both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sigmoe._base.constraints import Choice, check

Array = NDArray[np.float64]

#: Statistics that a slope can be taken of; the first is the paper's.
STATISTICS = ("log-mean", "mean-log", "log-median")


@dataclass(frozen=True)
class Slope:
    """A slope and its interval; None where the data do not determine it.

    Attributes
    ----------
    value : float or None
        None with fewer than two sizes.
    low, high : float or None
        Limits of the interval; None if some size that matters has a single replication.
    """

    value: float | None
    low: float | None = None
    high: float | None = None


def ols_slope(x: Array, y: Array) -> float:
    """Return the least-squares slope of y on x, both of shape (k,), k >= 2 with distinct x."""
    return float(_slope_weights(x) @ y)


def fit_slope(
    sizes: Sequence[float],
    losses: Sequence[Sequence[float]],
    statistic: str = "log-mean",
    level: float = 0.95,
) -> Slope:
    """Return the slope of a statistic of the losses on log n, with a jackknife-t interval.

    Parameters
    ----------
    sizes : sequence of k floats
        Sample sizes, distinct and positive.
    losses : sequence of k sequences of floats
        The losses of the replications at each size; positive. Numbers may differ in count.
        Sizes without any loss are left out (their fits are counted as failed elsewhere).
    statistic : {"log-mean", "mean-log", "log-median"}
        Log of the mean (the paper's), mean of the logs, or median of the logs.
    level : float
        Confidence level of the interval.

    Returns
    -------
    Slope

    Raises
    ------
    InputError
        For an unknown statistic.

    Notes
    -----
    A loss of exactly zero has no logarithm; the slope is then undetermined.

    Examples
    --------
    >>> slope = fit_slope([10, 1000], [[1.0, 1.0], [0.1, 0.1]])
    >>> round(slope.value, 12), round(slope.low, 12), round(slope.high, 12)
    (-0.5, -0.5, -0.5)
    """
    names = Choice(STATISTICS)
    check("statistic", statistic, names, "Choose one of these names.")
    kept = [(n, np.asarray(v, dtype=float)) for n, v in zip(sizes, losses, strict=True) if len(v)]
    if len(kept) < 2 or any(np.min(values) <= 0 for _, values in kept):
        return Slope(None)
    weights = _slope_weights(np.log([n for n, _ in kept]))
    summary, variance = _STATISTICS[statistic]
    # Scaling all losses alike leaves the slope as it is and keeps sums of huge losses finite.
    scale = max(float(np.max(values)) for _, values in kept)
    groups = [values / scale for _, values in kept]
    value = float(weights @ np.array([summary(values) for values in groups]))
    parts = [weight**2 * variance(group) for weight, group in zip(weights, groups, strict=True)]
    # A size in the middle of an odd number of sizes has weight zero and needs no variance.
    used = [k for k, weight in enumerate(weights) if abs(weight) > 1e-12]
    if any(len(groups[k]) < 2 for k in used):
        return Slope(value)
    half = _half_width([parts[k] for k in used], [len(groups[k]) - 1 for k in used], level)
    return Slope(value, value - half, value + half)


def log_interval(
    losses: Sequence[float], statistic: str, level: float = 0.95
) -> tuple[float, float, float]:
    """Return the low end, the value and the high end of a statistic of one size's losses.

    A single replication has no interval: both ends are the value.

    Examples
    --------
    >>> log_interval([1.0, 1.0, 1.0], "log-mean")
    (0.0, 0.0, 0.0)
    """
    values = np.asarray(losses, dtype=float)
    summary, variance = _STATISTICS[statistic]
    value = summary(values)
    if len(values) < 2:
        return value, value, value
    half = _half_width([variance(values)], [len(values) - 1], level)
    return value - half, value, value + half


def _slope_weights(x: Array) -> Array:
    centred = x - x.mean()
    weights: Array = centred / (centred @ centred)
    return weights


def _half_width(variances: Sequence[float], freedoms: Sequence[int], level: float) -> float:
    """Return the half width of a t interval for a sum of independent estimates (Satterthwaite)."""
    total = sum(variances)
    if total <= 0:
        return 0.0
    freedom = total**2 / sum(v**2 / f for v, f in zip(variances, freedoms, strict=True))
    return float(stats.t.ppf(0.5 + level / 2, freedom)) * math.sqrt(total)


def _log_mean(values: Array) -> float:
    return math.log(float(values.mean()))


def _mean_log(values: Array) -> float:
    return float(np.log(values).mean())


def _log_median(values: Array) -> float:
    return float(np.median(np.log(values)))


def _jackknife_variance(summary: Callable[[Array], float]) -> Callable[[Array], float]:
    """Return the delete-one jackknife estimate of the variance of a statistic of one size."""

    def variance(values: Array) -> float:
        count = len(values)
        if count < 2:
            return 0.0
        left_out = np.array([summary(np.delete(values, k)) for k in range(count)])
        return float((count - 1) / count * np.square(left_out - left_out.mean()).sum())

    return variance


def _median_variance(values: Array) -> float:
    """Return the variance of a sample median of logs by Maritz and Jarrett's estimator.

    The delete-one jackknife is inconsistent for a median. This is the variance that endless
    bootstrap resampling would give, in closed form: the median of a resample is the ordered
    value k with a probability that the beta distribution gives.
    """
    count = len(values)
    if count < 2:
        return 0.0
    ordered = np.sort(np.log(values))
    half = (count + 1) / 2
    steps = stats.beta.cdf(np.arange(count + 1) / count, half, half)
    probability = np.diff(steps)
    mean = probability @ ordered
    return float(probability @ np.square(ordered - mean))


_STATISTICS: dict[str, tuple[Callable[[Array], float], Callable[[Array], float]]] = {
    "log-mean": (_log_mean, _jackknife_variance(_log_mean)),
    "mean-log": (_mean_log, _jackknife_variance(_mean_log)),
    "log-median": (_log_median, _median_variance),
}
