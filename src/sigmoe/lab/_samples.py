"""How many samples an error needs, read off a curve of losses, and the table of such numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from sigmoe.lab._panels import Panel
from sigmoe.lab._slopes import Slope, fit_slope, log_interval
from sigmoe.lab._view import Curve

#: The errors that the table of the paper is read at.
ERRORS = (0.1, 0.03)
#: The statistic behind samples and exponents: one stray fit of ten does not decide it.
STATISTIC = "log-median"
#: Slopes of a cell, of the whole loss and of parts of it.
_SLOPES = ("mean", "median", "over_fitted", "exact")
#: Errors of the samples-to-error curves.
LEVELS = tuple(float(f"{level:.3g}") for level in np.geomspace(1.0, 1e-6, 25))


@dataclass(frozen=True)
class Samples:
    """The sample size at which a curve of losses falls to an error.

    Attributes
    ----------
    relation : {"=", "<", ">"}
        "<" where the smallest size is already below the error, ">" where no size reaches it; the
        number is then that size.
    n : float
        Interpolated on log-log axes; NaN without any loss.
    low, high : float
        Where the ends of the losses' 95 % intervals fall to the error; NaN where they do not.
    """

    relation: Literal["=", "<", ">"]
    n: float
    low: float = math.nan
    high: float = math.nan


def samples_to_error(
    sizes: Sequence[float], losses: Sequence[Sequence[float]], error: float
) -> Samples:
    """Return how many samples bring the median loss down to an error.

    Parameters
    ----------
    sizes : sequence of k floats
        Increasing.
    losses : sequence of k sequences of floats
        Losses of the replications at each size, positive; sizes without any are left out.
    error : float
        > 0.

    Returns
    -------
    Samples
        The first crossing, where a curve has several.

    Examples
    --------
    >>> samples_to_error([100, 10_000], [[1.0, 1.0], [0.1, 0.1]], 0.1).n
    10000.0
    >>> samples_to_error([100, 10_000], [[1.0, 1.0], [0.1, 0.1]], 0.01)
    Samples(relation='>', n=10000.0, low=nan, high=nan)
    """
    kept = [(n, values) for n, values in zip(sizes, losses, strict=True) if len(values)]
    if not kept:
        return Samples(">", math.nan)
    log_n = np.log([n for n, _ in kept])
    bands = np.array([log_interval(values, STATISTIC) for _, values in kept]) - math.log(error)
    low, middle, high = (_crossing(log_n, band) for band in bands.T)
    if middle == -math.inf:
        return Samples("<", float(kept[0][0]))
    if middle == math.inf:
        return Samples(">", float(kept[-1][0]))
    return Samples("=", _size(middle), _size(low), _size(high))


def _crossing(log_n: np.ndarray, above: np.ndarray) -> float:
    """Return where a curve first falls to zero; -inf if it begins there, inf if it never does."""
    below = np.flatnonzero(above <= 0.0)
    if not len(below):
        return math.inf
    k = int(below[0])
    if k == 0:
        return -math.inf
    share = above[k - 1] / (above[k - 1] - above[k])
    return float(log_n[k - 1] + share * (log_n[k] - log_n[k - 1]))


def _size(log_n: float) -> float:
    return float(f"{math.exp(log_n):.6g}") if math.isfinite(log_n) else math.nan


@dataclass(frozen=True)
class Cell:
    """What is measured for one cell of the table.

    Attributes
    ----------
    mean, median : Slope
        Slopes of the mean and of the median loss.
    over_fitted, exact : Slope
        Slope of the median contribution of the over-fitted true atom, and of the others.
    samples : tuple of Samples
        One for each of `ERRORS`.
    """

    mean: Slope
    median: Slope
    over_fitted: Slope
    exact: Slope
    samples: tuple[Samples, ...]


def cell(curve: Curve) -> Cell:
    """Return what is measured for a curve; the last true atom is the one that is over-fitted."""
    sizes = [point.n for point in curve.points]
    values = [point.values for point in curve.points]
    first = curve.n_true - 1
    over = [[sum(atoms[first:]) for atoms in point.by_atom] for point in curve.points]
    exact = [[sum(atoms[:first]) for atoms in point.by_atom] for point in curve.points]
    mean = fit_slope(sizes, values, "log-mean")
    median, over_fitted, others = (fit_slope(sizes, v, STATISTIC) for v in (values, over, exact))
    samples = tuple(samples_to_error(sizes, values, error) for error in ERRORS)
    return Cell(mean, median, over_fitted, others, samples)


def is_comparison(panel: Panel) -> bool:
    """Whether a panel compares errors of functions, which alone compare across gates."""
    return all(curve.loss == "function" for curve in panel.curves if curve.main)


def cell_columns(curve: Curve) -> dict[str, float | str | None]:
    """Return the columns that a cell adds to the table's CSV."""
    found = cell(curve)
    columns: dict[str, float | str | None] = {}
    for name in _SLOPES:
        slope = getattr(found, name)
        columns |= {
            f"{name}_slope": slope.value,
            f"{name}_low": slope.low,
            f"{name}_high": slope.high,
        }
    for error, samples in zip(ERRORS, found.samples, strict=True):
        columns |= samples_columns(samples, f"samples_{error:g}")
    return columns


def samples_columns(samples: Samples, name: str) -> dict[str, float | str | None]:
    """Return columns of a number of samples; what does not exist is None."""
    numbers = {name: samples.n, f"{name}_low": samples.low, f"{name}_high": samples.high}
    return {
        f"{name}_relation": samples.relation,
        **{key: value if math.isfinite(value) else None for key, value in numbers.items()},
    }


#: Columns of `cell_columns`, in order, with their types.
CELL_SCHEMA = pl.Schema(
    {f"{name}_{part}": pl.Float64() for name in _SLOPES for part in ("slope", "low", "high")}
    | {
        column: pl.String() if column.endswith("relation") else pl.Float64()
        for error in ERRORS
        for column in samples_columns(Samples(">", 1.0), f"samples_{error:g}")
    }
)


def samples_table(panels: Iterable[Panel]) -> pl.DataFrame:
    """Return the samples-to-error curves of panels that compare functions, one row a level."""
    rows = [
        {"panel": panel.panel, "curve": curve.curve, "data": curve.reading, "error": level}
        | samples_columns(found, "samples")
        for panel in panels
        for curve in panel.curves
        if curve.main
        for level in LEVELS
        for found in [samples_to_error(*points_of(curve), level)]
    ]
    numbers = ("samples", "samples_low", "samples_high")
    schema = dict.fromkeys(("panel", "curve", "data"), pl.String()) | {"error": pl.Float64()}
    schema |= {"samples_relation": pl.String()} | dict.fromkeys(numbers, pl.Float64())
    return pl.DataFrame(rows, schema=pl.Schema(schema))


def points_of(curve: Curve) -> tuple[list[int], list[tuple[float, ...]]]:
    """Return the sizes of a curve and the losses at each."""
    return [point.n for point in curve.points], [point.values for point in curve.points]
