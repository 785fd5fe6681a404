"""A table of the paper as a picture: the slope of each cell with its interval, and the claims."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from sigmoe.lab._draw import COLOURS, MARKERS
from sigmoe.lab._panels import Panel
from sigmoe.lab._tables import slope_rows
from sigmoe.lab._verdict import NO_DIFFERENCE
from sigmoe.lab._view import PAPER_STATISTIC, Curve, Slope

_GREY = "#5b636d"
#: The slope of the mean beside one of the median: a cross, in the colour of its row.
_CROSS: dict[str, Any] = {
    "marker": "x",
    "markersize": 5,
    "markeredgewidth": 1.3,
    "linestyle": "none",
}
#: The slope that theory predicts for the loss, in this setting and from this start.
_DIAMOND: dict[str, Any] = {
    "marker": "D",
    "markersize": 4.5,
    "markeredgewidth": 1.1,
    "markerfacecolor": "white",
    "color": "black",
    "linestyle": "none",
}
_Row = tuple[Curve, Slope]


def forest(panels: Sequence[Panel]) -> Figure:
    """Return the slopes of a table's cells, their intervals, what is predicted and what is claimed.

    Where a study speaks of the median loss, a cross marks the slope of the mean if it differs.
    """
    rows = slope_rows(panels)
    figure = Figure(figsize=(6.8, 1.35 + 0.26 * len(rows)), layout="constrained")
    ax = figure.subplots()
    gates = sorted({_gate(curve) for curve, _ in rows})
    for k, (curve, slope) in enumerate(rows):
        _draw_row(ax, curve, slope, len(rows) - 1 - k, gates.index(_gate(curve)))
    settings = [_setting(curve) for curve, _ in rows]
    ax.set_title(settings[0] if len(set(settings)) == 1 else "", loc="left")
    ax.set_yticks(range(len(rows)), _names(rows)[::-1])
    ax.set_ylim(-0.7, len(rows) - 0.3)
    statistics = sorted({curve.statistic for curve, _ in rows})
    ax.set_xlabel(f"slope of log {' or '.join(statistics)} loss on log $n$")
    ax.axvline(0.0, color=_GREY, linewidth=0.7)
    handles = _key(
        predictions=any(slope.predicted is not None for _, slope in rows),
        strays=any(_stray(*row) for row in rows),
    )
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), borderaxespad=0.9
    )
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(h_pad=0.12)
    return figure


def _draw_row(ax: Axes, curve: Curve, slope: Slope, y: int, slot: int) -> None:
    colour = COLOURS[slot % len(COLOURS)]
    if not math.isnan(slope.ci_low):
        ax.plot([slope.ci_low, slope.ci_high], [y, y], color=colour, linewidth=2.2)
    if slope.predicted is not None:
        ax.plot(slope.predicted, y, **_DIAMOND)
    ax.plot(slope.slope, y, marker=MARKERS[slot % len(MARKERS)], color=colour)
    stray = _stray(curve, slope)
    if stray is not None:
        ax.plot(stray.slope, y, color=colour, **_CROSS)
    if slope.paper is not None:
        ax.plot(slope.paper, y, marker="|", markersize=13, markeredgewidth=1.6, color="black")


def _stray(curve: Curve, slope: Slope) -> Slope | None:
    """Return the slope of the mean beside one of the median, if the two differ."""
    beside = None if curve.statistic == PAPER_STATISTIC else curve.beside
    differ = beside is not None and abs(beside.slope - slope.slope) >= NO_DIFFERENCE
    return beside if differ else None


def _key(predictions: bool, strays: bool) -> list[Line2D]:
    measured = Line2D([], [], marker="o", color=_GREY, lw=2.2, label="measured, 95 % interval")
    claimed = Line2D([], [], ls="none", marker="|", color="black", ms=11, mew=1.6, label="Table 1")
    mean = [Line2D([], [], color=_GREY, label="slope of the mean", **_CROSS)] if strays else []
    theory = [Line2D([], [], label="predicted", **_DIAMOND)] if predictions else []
    return [measured, *mean, *theory, claimed]


def _names(rows: Sequence[_Row]) -> list[str]:
    """Return the rows' labels: cells, with what else is needed to tell them apart."""
    settings = [_setting(curve) for curve, _ in rows]
    names = [curve.curve for curve, _ in rows]
    if len(set(settings)) > 1:
        names = [f"{name}, {setting}" for name, setting in zip(names, settings, strict=True)]
    if len(set(names)) < len(names):
        # Panels that repeat the names of the cells are told apart by theirs, less its dimensions.
        labels = [c.panel.partition(" (")[0] for c, _ in rows]
        names = [f"{name}, {label}" for name, label in zip(names, labels, strict=True)]
    return names


def _setting(curve: Curve) -> str:
    return f"N = {curve.n_fitted}, {curve.protocol}"


def _gate(curve: Curve) -> str:
    """Return the first word of a table's cell, which names the gate: "sigmoid, ReLU, dense"."""
    return curve.curve.partition(",")[0]
