"""The table of slopes, from the tables of losses and predictions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl

from sigmoe.lab._node_work import predicted_slope
from sigmoe.lab._plan import PlannedCurve
from sigmoe.lab._schemas import SLOPES
from sigmoe.lab._slopes import STATISTICS, fit_slope, ols_slope


def slope_rows(
    curve: PlannedCurve,
    losses: list[dict[str, Any]],
    predictions: list[dict[str, Any]],
    modulus: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Return the rows of the slopes' table that belong to a curve.

    One for each loss and statistic; and, for near-truth starts, for the curve's own loss of the
    starts ("start L1"), which shows what the noise of the start alone would give.

    Parameters
    ----------
    curve : PlannedCurve
    losses, predictions : list of dict
        The curve's rows of those tables.
    modulus : dict or None
        The row of the curve's `ModulusTask`, if there is one: it predicts the "expert" loss.
    """
    rows = []
    for loss in curve.losses:
        own = loss == curve.losses[0]
        paper = curve.paper_slope if own else None
        rate = _rate(curve, modulus) if loss == "expert" else None
        rows += _rows(curve, loss, losses, "value", paper, predictions, rate)
    if curve.start == "near-truth":
        rows += _rows(curve, curve.losses[0], losses, "start_value", None, [])
    return rows


def _rows(
    curve: PlannedCurve,
    loss: str,
    losses: list[dict[str, Any]],
    column: str,
    paper_slope: float | None,
    predictions: list[dict[str, Any]],
    rate: float | None = None,
) -> list[dict[str, Any]]:
    entries = [entry for entry in losses if entry["loss"] == loss]
    by_size: dict[int, list[float]] = {}
    for entry in entries:
        values = by_size.setdefault(entry["n"], [])
        if entry[column] is not None:
            values.append(entry[column])
    sizes = sorted(by_size)
    counts = {
        "fits": sum(not entry["failed"] for entry in entries),
        "failed": sum(entry["failed"] for entry in entries),
    }
    rows = []
    for statistic in STATISTICS:
        slope = fit_slope(sizes, [by_size[n] for n in sizes], statistic)
        rows.append(
            {
                **curve.key,
                "n_min": min(sizes, default=None),
                "n_max": max(sizes, default=None),
                "loss": loss if column == "value" else f"start {loss}",
                "statistic": statistic,
                "slope": slope.value,
                "ci_low": slope.low,
                "ci_high": slope.high,
                "paper_slope": paper_slope,
                "predicted_slope": _predicted_slope(loss, sizes, predictions)
                if rate is None
                else rate,
                **counts,
            }
        )
    return rows


def _rate(curve: PlannedCurve, modulus: dict[str, Any] | None) -> float | None:
    if modulus is None or modulus["failed"]:
        return None
    slope = predicted_slope(modulus["exponents"], curve.target == "representations")
    return None if math.isnan(slope) else slope


def _predicted_slope(
    loss: str, sizes: list[int], predictions: list[dict[str, Any]]
) -> float | None:
    """Return the slope of the predicted curve over the same sizes."""
    values = {row["n"]: row["value"] for row in predictions if row["loss"] == loss}
    known = [n for n in sizes if values.get(n) is not None]
    if len(known) < 2:
        return None
    return ols_slope(np.log(known), np.log([values[n] for n in known]))


def slopes_csv(rows: list[dict[str, Any]]) -> bytes:
    """Return the table as CSV: missing numbers are empty cells."""
    return pl.DataFrame(rows, schema=SLOPES).write_csv().encode()
