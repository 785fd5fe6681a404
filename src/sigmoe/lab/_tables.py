"""Numbers behind the figures: bars, fitted lines, and the rows of the CSV files."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl

from sigmoe.lab._panels import Panel
from sigmoe.lab._samples import CELL_SCHEMA, cell_columns
from sigmoe.lab._schemas import SLOPES
from sigmoe.lab._view import Curve, Point, Slope

#: Half length of an error bar, in standard deviations over replications (the paper's choice).
BAR_WIDTH = 3.0


@dataclass(frozen=True)
class Bar:
    """Ends of an error bar; the lower one may be negative, both are NaN without a deviation."""

    lower: float
    upper: float


def bar(point: Point) -> Bar:
    """Return mean -+ three standard deviations; a single replication has a bar of no length.

    Examples
    --------
    >>> bar(Point(n=10, values=(1.0, 2.0, 3.0)))
    Bar(lower=-1.0, upper=5.0)
    """
    half = BAR_WIDTH * (0.0 if len(point.values) == 1 else point.sd)
    return Bar(point.mean - half, point.mean + half)


def fitted_line(curve: Curve) -> Callable[[float], float] | None:
    """Return the fitted line n -> exp(a) n^slope, or None where there is no slope.

    The least squares line passes through the centre of (log n, log loss), mean or median as the
    curve's statistic says, so the stored slope determines it.
    """
    slope = curve.main_slope
    losses = [curve.summary(p) for p in curve.measured]
    if slope is None or math.isnan(slope.slope) or any(loss <= 0 for loss in losses):
        return None
    log_n = float(np.mean([math.log(p.n) for p in curve.measured]))
    log_loss = float(np.mean(np.log(losses)))
    return lambda n: math.exp(log_loss + slope.slope * (math.log(n) - log_n))


_SLOPE_COLUMNS = (
    *("figure", "panel", "curve", "reading", "protocol", "start", "n_fitted", "loss"),
    *("statistic", "slope", "ci_low", "ci_high", "paper_slope", "predicted_slope"),
    *("n_min", "n_max", "fits", "failed"),
)

_SCHEMA = pl.Schema(
    {
        "figure": pl.String,
        "panel": pl.String,
        "curve": pl.String,
        "reading": pl.String,
        "protocol": pl.String,
        "start": pl.String,
        "n_fitted": pl.Int64,
        "loss": pl.String,
        "n": pl.Int64,
        "mean": pl.Float64,
        "sd": pl.Float64,
        "median": pl.Float64,
        "bar_low": pl.Float64,
        "bar_high": pl.Float64,
        "replications": pl.Int64,
        "failed": pl.Int64,
        "start_mean": pl.Float64,
        "fisher_prediction": pl.Float64,
        "fitted": pl.Float64,
        "function_error": pl.Float64,
        "empty_cells": pl.Float64,
    }
)


def figure_table(panels: Iterable[Panel]) -> pl.DataFrame:
    """Return the numbers of a figure, one row a curve of the paper's loss and a size.

    Parameters
    ----------
    panels : iterable of Panel
        Panels of one figure.

    Returns
    -------
    polars.DataFrame
        Numbers that do not exist (the mean where every fit failed, the deviation of a single
        fit, the fitted line of a single size) are null. `bar_low` is mean - 3 sd as it is, also
        where it is negative and a log axis cannot show it. `function_error` is the mean of
        ||f_hat - target||.
    """
    rows = [
        _row(curve, point, panel)
        for panel in panels
        for curve in panel.curves
        if curve.main
        for point in curve.points
    ]
    return pl.DataFrame(rows, schema=_SCHEMA)


def _row(curve: Curve, point: Point, panel: Panel) -> dict[str, object]:
    line = fitted_line(curve)
    function = panel.sibling(curve, loss="function")
    errors = {p.n: p.mean for p in function.points} if function else {}
    ends = bar(point)
    numbers = {
        "mean": point.mean,
        "sd": point.sd,
        "median": point.median,
        "bar_low": ends.lower,
        "bar_high": ends.upper,
        "start_mean": point.start_mean,
        "fisher_prediction": point.predicted,
        "fitted": line(point.n) if line else None,
        "function_error": errors.get(point.n),
        "empty_cells": point.mean_empty,
    }
    names = ("figure", "panel", "curve", "reading", "protocol", "start", "n_fitted", "loss")
    return (
        {name: getattr(curve, name) for name in names}
        | {"n": point.n, "replications": point.replications, "failed": point.failed}
        | {name: _known(value) for name, value in numbers.items()}
    )


def _known(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def slope_rows(panels: Iterable[Panel]) -> list[tuple[Curve, Slope]]:
    """Return the curves that have a slope of their statistic under their own loss."""
    return [
        (curve, slope)
        for panel in panels
        for curve in panel.curves
        if curve.main and (slope := curve.main_slope) is not None and not math.isnan(slope.slope)
    ]


def slope_table(panels: Iterable[Panel]) -> pl.DataFrame:
    """Return a table as it was measured, one row a cell, reading and protocol.

    `slope` is that of the statistic that the study names, in the column before it. Beside it stand
    the slopes of the mean loss, of the median loss and of its two parts, that of the over-fitted
    true atom and that of the others, and the samples that errors of 0.1 and 0.03 need; see
    `sigmoe.lab._samples`.
    """
    names = ("figure", "panel", "curve", "reading", "protocol", "start", "n_fitted", "loss")
    rows = [
        {name: getattr(curve, name) for name in names}
        | {
            "statistic": slope.statistic,
            "slope": slope.slope,
            "ci_low": _known(slope.ci_low),
            "ci_high": _known(slope.ci_high),
            "paper_slope": slope.paper,
            "predicted_slope": slope.predicted,
            "n_min": slope.n_min,
            "n_max": slope.n_max,
            "fits": slope.fits,
            "failed": slope.failed,
        }
        | cell_columns(curve)
        for curve, slope in slope_rows(panels)
    ]
    schema = {name: SLOPES[name] for name in _SLOPE_COLUMNS}
    return pl.DataFrame(rows, schema=schema | dict(CELL_SCHEMA))
