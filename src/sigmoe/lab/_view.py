"""What the figures, the report and its words see of a result folder: curves made of points."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

_T = TypeVar("_T")

#: The statistic whose slope the paper prints: least squares of log mean loss on log n.
PAPER_STATISTIC = "mean"


@dataclass(frozen=True)
class Point:
    """All fits of one curve at one sample size, under one loss.

    Parameters
    ----------
    n : int
        Sample size.
    values : tuple of float
        Losses of the fits that did not fail, by replication; finite, >= 0.
    failed : int
        Number of fits without a usable loss; they are counted here and in no mean.
    start_values : tuple of float
        The same loss at the starts of those fits.
    predicted : float or None
        Mean loss predicted by the Fisher information, where the model is regular.
    by_atom : tuple of tuple of float
        Contribution of each true atom to the loss of each fit; empty where a loss has none.
    empty_cells : tuple of int
        Number of true atoms that each fit leaves with an empty cell, which counts zero; empty
        where a loss has no cells.
    members : tuple of str
        For a distance to a set: which member each fit was nearest to.
    objectives : tuple of float
        Mean squared residual of each fit; NaN if unknown.
    converged : tuple of bool
        Whether each fit stopped by itself, and not at its limit.
    samples : tuple of int
        Replication of each fit: equal numbers, at one size and reading, are one sample.
    """

    n: int
    values: tuple[float, ...]
    failed: int = 0
    start_values: tuple[float, ...] = ()
    predicted: float | None = None
    by_atom: tuple[tuple[float, ...], ...] = ()
    empty_cells: tuple[int, ...] = ()
    members: tuple[str, ...] = ()
    objectives: tuple[float, ...] = ()
    converged: tuple[bool, ...] = ()
    samples: tuple[int, ...] = ()

    @property
    def replications(self) -> int:
        """Number of fits that the mean is taken over."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """Mean loss; NaN if every fit failed."""
        return float(np.mean(self.values)) if self.values else math.nan

    @property
    def median(self) -> float:
        """Median loss; NaN if every fit failed."""
        return float(np.median(self.values)) if self.values else math.nan

    @property
    def sd(self) -> float:
        """Standard deviation over replications (n - 1); NaN with fewer than two."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else math.nan

    @property
    def mean_empty(self) -> float:
        """Mean number of empty cells; NaN where the loss has no cells or every fit failed."""
        return float(np.mean(self.empty_cells)) if self.empty_cells else math.nan

    @property
    def atoms(self) -> tuple[float, ...]:
        """Mean contribution of each true atom, over the fits that leave no cell empty.

        Where a cell is empty, an atom that left its own cell counts in that of another.
        """
        filled = [
            shares
            for shares, empty in zip(self.by_atom, self.empty_cells, strict=True)
            if not empty
        ]
        return tuple(np.mean(filled, axis=0).tolist()) if filled else ()

    @property
    def objective(self) -> float:
        """Mean of the mean squared residuals; NaN if unknown."""
        return float(np.mean(self.objectives)) if self.objectives else math.nan

    def on_samples(self, samples: Collection[int]) -> Point:
        """Return the point with the fits to the given samples alone."""
        kept = [k for k, sample in enumerate(self.samples) if sample in samples]

        def pick(column: tuple[_T, ...]) -> tuple[_T, ...]:
            # A column that this loss does not have is empty, and stays so.
            return tuple(column[k] for k in kept) if len(column) == len(self.values) else column

        return replace(
            self,
            values=pick(self.values),
            start_values=pick(self.start_values),
            by_atom=pick(self.by_atom),
            empty_cells=pick(self.empty_cells),
            members=pick(self.members),
            objectives=pick(self.objectives),
            converged=pick(self.converged),
            samples=pick(self.samples),
        )

    @property
    def start_mean(self) -> float:
        """Mean loss of the starts; NaN if unknown."""
        return float(np.mean(self.start_values)) if self.start_values else math.nan


@dataclass(frozen=True)
class Slope:
    """One row of slopes.csv: the fitted slope of a curve under one statistic."""

    statistic: str
    slope: float
    ci_low: float
    ci_high: float
    paper: float | None
    predicted: float | None
    fits: int
    failed: int
    n_min: int
    n_max: int


@dataclass(frozen=True)
class Curve:
    """Losses over sample sizes for one combination of what the studies vary.

    Parameters
    ----------
    figure, panel, curve, reading, protocol, start, loss : str
        Names as stored.
    main : bool
        Whether this is the loss that the paper draws for the curve.
    n_true, n_fitted : int
        Number of true and of fitted atoms.
    points : tuple of Point
        By increasing n; sizes at which every fit failed are there too.
    slopes : dict of str to Slope
        By statistic: "log-mean" (the paper's), "mean-log", "log-median".
    zero_gates : tuple of int
        Atoms (from 0) whose true gate is constant: A = b = c = 0.
    truth_size : float
        The loss's own measure of the truth (sum of the norms of its blocks); NaN if unknown.
    noise_variance : float
        Variance of the noise in the samples; NaN if unknown.
    regular, reason : bool or None, str
        Whether the Fisher information predicts this curve and, if not, why.
    statistic : {"mean", "median"}
        Of the losses at one size, whose slope the study speaks of.
    """

    figure: str
    panel: str
    curve: str
    reading: str
    protocol: str
    start: str
    loss: str
    main: bool
    n_true: int
    n_fitted: int
    points: tuple[Point, ...]
    slopes: dict[str, Slope] = field(default_factory=dict)
    zero_gates: tuple[int, ...] = ()
    truth_size: float = math.nan
    noise_variance: float = math.nan
    regular: bool | None = None
    reason: str = ""
    statistic: str = PAPER_STATISTIC

    @property
    def main_slope(self) -> Slope | None:
        """The slope that figures, tables and words speak of; None where it has no row."""
        return self.slopes.get(f"log-{self.statistic}")

    @property
    def beside(self) -> Slope | None:
        """The slope of the median where the main one is of the mean, and the other way round."""
        return self.slopes.get("log-median" if self.statistic == "mean" else "log-mean")

    @property
    def over_specified(self) -> bool:
        """Whether more atoms are fitted than are true."""
        return self.n_fitted > self.n_true

    @property
    def scope(self) -> str:
        """Whether the fits start near the truth ("local") or know nothing of it ("global")."""
        return "local" if self.start == "near-truth" else "global"

    def summary(self, point: Point) -> float:
        """Return the mean or the median loss at one size, as the curve's statistic says."""
        return point.median if self.statistic == "median" else point.mean

    @property
    def measured(self) -> tuple[Point, ...]:
        """The points that have a mean."""
        return tuple(point for point in self.points if point.values)

    @property
    def where(self) -> str:
        """The rows of losses.parquet behind this curve, in words."""
        return (
            f"losses.parquet: {self.panel}, {self.curve}, {self.reading}, {self.protocol}, "
            f"{self.start}, N={self.n_fitted}, {self.loss}"
        )


def log_slope(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Least squares slope of log value on log size over the positive finite values.

    Parameters
    ----------
    sizes, values : sequence of float
        Equally long; pairs with a value that is not positive and finite are left out.

    Returns
    -------
    float
        NaN with fewer than two different sizes left.

    Examples
    --------
    >>> round(log_slope([10, 100, 1000], [4.0, 0.4, 0.04]), 12)
    -1.0
    """
    pairs = [(n, v) for n, v in zip(sizes, values, strict=True) if v > 0 and math.isfinite(v)]
    if len({n for n, _ in pairs}) < 2:
        return math.nan
    x, y = np.log(np.asarray(pairs, dtype=np.float64)).T
    x = x - x.mean()
    return float(x @ y / (x @ x))


def curve_slope(curve: Curve, quantity: Callable[[Point], float]) -> float:
    """Slope of any number taken from a curve's points, for example the start's loss."""
    return log_slope([p.n for p in curve.points], [quantity(p) for p in curve.points])


def statistics_of(studies: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Return which statistic's slopes each stored study speaks of, by its name."""
    found = {}
    for study in studies:
        presets = study.get("study", {}).get("presets", {})
        preset = presets.get(study.get("preset"), {})
        found[study["name"]] = preset.get("statistic", PAPER_STATISTIC)
    return found
