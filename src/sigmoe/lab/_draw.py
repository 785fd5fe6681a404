"""Draw curves on log-log axes; the numbers come from `_tables` and are tested there and here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogFormatterSciNotation, LogLocator, NullFormatter
from matplotlib.transforms import Transform, offset_copy

from sigmoe.lab._evidence import format_value
from sigmoe.lab._tables import bar, fitted_line
from sigmoe.lab._view import PAPER_STATISTIC, Curve, Point

COLOURS = ("#0b559f", "#d95f02", "#1b7f5c", "#8e4a9e")
MARKERS = ("o", "s", "^", "D")
FIT = (0, (5, 1.6, 1, 1.6))

#: How far below the lowest mean an axis may reach for the sake of an error bar.
_ROOM = 8.0


@dataclass(frozen=True)
class Limits:
    """Ends of both axes, common to the axes that are to be compared."""

    n_low: float
    n_high: float
    low: float
    high: float


def limits(curves: Iterable[Curve]) -> Limits | None:
    """Return axes that hold every mean, start and prediction, and the bars as far as sensible.

    An error bar whose lower end would push the axis more than a factor of 8 below the lowest
    mean (always one that ends at or below zero) is left to end in an arrow instead.
    """
    points = [(c, p) for c in curves for p in c.points]
    means = [p.mean for _, p in points if p.mean > 0]
    if not means:
        return None
    others = [p.start_mean for _, p in points] + [p.predicted or math.nan for _, p in points]
    drawn = means + [value for value in others if value > 0]
    ends = [bar(p) for _, p in points]
    low = min(drawn)
    floor = min(means) / _ROOM
    low = min([low] + [max(end.lower, floor) for end in ends if end.lower > 0])
    high = max(drawn + [end.upper for end in ends if math.isfinite(end.upper)])
    sizes = [p.n for _, p in points]
    stretch = 1.15 if min(sizes) < max(sizes) else 1.8
    return Limits(min(sizes) / stretch, max(sizes) * stretch, low / 1.25, high * 1.25)


def prepare(ax: Axes, box: Limits) -> None:
    """Set log axes with the given ends and readable ticks."""
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(box.n_low, box.n_high)
    ax.set_ylim(box.low, box.high)
    ax.set_xlabel("sample size $n$")
    for axis, low, high in ((ax.xaxis, box.n_low, box.n_high), (ax.yaxis, box.low, box.high)):
        powers = math.floor(math.log10(high)) - math.ceil(math.log10(low)) + 1
        # With fewer than two powers of ten in view an axis would have no numbers to read.
        axis.set_major_locator(LogLocator(subs=(1.0,) if powers > 1 else (1.0, 2.0, 5.0)))
        axis.set_major_formatter(LogFormatterSciNotation() if powers > 1 else FuncFormatter(plain))
        axis.set_minor_locator(LogLocator(subs=tuple(range(2, 10)), numticks=50))
        axis.set_minor_formatter(NullFormatter())


def plain(value: float, _place: int | None = None) -> str:
    """Return a tick's number written out, for axes on which powers of ten are too few.

    Examples
    --------
    >>> plain(20000.0), plain(0.5), plain(2e-7)
    ('20,000', '0.5', '2e-07')
    """
    return f"{value:,.0f}" if 1 <= value < 1e7 else f"{value:g}"


def draw_curve(ax: Axes, curve: Curve, slot: int, box: Limits) -> None:
    """Draw means, bars, the fitted line, the loss of the start, the prediction and failures.

    Parameters
    ----------
    ax : Axes
        Prepared by `prepare`.
    curve : Curve
        At least one point.
    slot : int
        Place of the curve in its panel, which decides its colour and marker.
    box : Limits
        Ends of the axes.
    """
    colour = COLOURS[slot % len(COLOURS)]
    _draw_prediction(ax, curve, colour)
    _draw_start(ax, curve, colour)
    _draw_fit(ax, curve, colour, slot)
    _draw_means(ax, curve, slot, box)
    _draw_failures(ax, curve, colour, slot)


def draw_random(ax: Axes, curve: Curve, slot: int) -> None:
    """Draw the fits from random starts as hollow diamonds, without bars or line."""
    points = [p for p in curve.measured if p.mean > 0]
    ax.plot(
        [p.n for p in points],
        [p.mean for p in points],
        linestyle="none",
        marker="D",
        markersize=6.5,
        markerfacecolor="none",
        markeredgewidth=1.1,
        color=COLOURS[slot % len(COLOURS)],
        transform=_aside(ax, slot, ax.transData),
        zorder=4,
    )


def _draw_means(ax: Axes, curve: Curve, slot: int, box: Limits) -> None:
    colour, marker = COLOURS[slot % len(COLOURS)], MARKERS[slot % len(MARKERS)]
    points = [p for p in curve.measured if p.mean > 0]
    if points:
        ends = [bar(p) for p in points]
        ax.errorbar(
            [p.n for p in points],
            [p.mean for p in points],
            # An arrow starts at the axis' lower end, so the bar is drawn down to it.
            yerr=[
                [p.mean - max(end.lower, box.low) for p, end in zip(points, ends, strict=True)],
                [end.upper - p.mean for p, end in zip(points, ends, strict=True)],
            ]
            if all(math.isfinite(end.upper) for end in ends)
            else None,
            color=colour,
            marker=marker,
            linestyle="-",
            elinewidth=0.8,
            transform=_aside(ax, slot, ax.transData),
            zorder=3,
        )
        cut = [p.n for p, end in zip(points, ends, strict=True) if end.lower < box.low]
        _edge_marks(ax, cut, "v", slot)
    zeros = [p.n for p in curve.measured if p.mean == 0]
    _edge_marks(ax, zeros, "$0$", slot)


def _aside(ax: Axes, slot: int, transform: Transform) -> Transform:
    """Return a transform moved by a few points, so that bars at the same n stay apart.

    The data of what is drawn keep their true n.
    """
    points = (-2.0, 2.0, -6.0, 6.0)[slot % 4]
    return offset_copy(transform, ax.get_figure(root=True), x=points, units="points")


def _edge_marks(ax: Axes, sizes: Sequence[float], marker: str, slot: int) -> None:
    """Mark sizes at the lower end of the axis, for what a log axis cannot hold."""
    if sizes:
        ax.plot(
            sizes,
            [0.0] * len(sizes),
            linestyle="none",
            marker=marker,
            markersize=4.5,
            color=COLOURS[slot % len(COLOURS)],
            transform=_aside(ax, slot, ax.get_xaxis_transform()),
            clip_on=False,
            zorder=5,
        )


def _draw_fit(ax: Axes, curve: Curve, colour: str, slot: int) -> None:
    line = fitted_line(curve)
    if line is not None:
        sizes = [p.n for p in curve.measured]
        ax.plot(
            sizes,
            [line(n) for n in sizes],
            linestyle=FIT,
            color=colour,
            linewidth=1.0,
            transform=_aside(ax, slot, ax.transData),
        )


def _draw_start(ax: Axes, curve: Curve, colour: str) -> None:
    points = [p for p in curve.points if p.start_mean > 0]
    if not points:
        return
    ax.plot(
        [p.n for p in points],
        [p.start_mean for p in points],
        linestyle=":",
        color=colour,
        linewidth=1.2,
        zorder=2,
    )


def _draw_prediction(ax: Axes, curve: Curve, colour: str) -> None:
    points = [(p.n, p.predicted) for p in curve.points if p.predicted]
    if points:
        sizes, values = zip(*points, strict=True)
        ax.plot(sizes, values, color=colour, alpha=0.25, linewidth=5, solid_capstyle="round")


def _draw_failures(ax: Axes, curve: Curve, colour: str, slot: int) -> None:
    """Write the number of failed fits at the top, one line a curve."""
    for point in curve.points:
        if point.failed:
            ax.annotate(
                f"{point.failed} failed",
                (point.n, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, -9 * slot - 1),
                textcoords="offset points",
                ha="center",
                va="top",
                fontsize=6.5,
                color=colour,
            )


def legend_handle(curve: Curve, slot: int) -> Line2D:
    """Return the dash-dotted line of the fit with the curve's marker, labelled with the slope."""
    return Line2D(
        [],
        [],
        color=COLOURS[slot % len(COLOURS)],
        marker=MARKERS[slot % len(MARKERS)],
        linestyle=FIT,
        linewidth=1.0,
        label=legend_label(curve),
    )


def legend_label(curve: Curve) -> str:
    """Return "name slope [interval]; paper slope" for the legend; a median is named as one."""
    slope = curve.main_slope
    if slope is None or math.isnan(slope.slope):
        text = f"{curve.curve}: no slope ({_sizes(curve.measured)})"
    else:
        of = "" if curve.statistic == PAPER_STATISTIC else f" ({curve.statistic})"
        text = f"{curve.curve}{of} {format_value(slope.slope, 'slope')}"
        if not math.isnan(slope.ci_low):
            low, high = (format_value(v, "slope") for v in (slope.ci_low, slope.ci_high))
            text += f" [{low}, {high}]"
    if slope is not None and slope.paper is not None:
        text += f"; paper {format_value(slope.paper, 'slope')}"
    return text


def _sizes(points: Sequence[Point]) -> str:
    return {0: "every fit failed", 1: "one size"}.get(len(points), "a loss of zero")


def key_handles(*, random: bool, failed: bool) -> list[Line2D]:
    """Return the legend of what does not depend on the curve, in neutral grey."""
    grey = "#5b636d"
    handles = [
        Line2D([], [], color=grey, marker="o", label="mean, bars of three standard deviations"),
        Line2D(
            [], [], color=grey, marker="v", linestyle="none", label="bar goes on below the axis"
        ),
        Line2D([], [], color=grey, linestyle=FIT, linewidth=1.0, label="fitted slope"),
        Line2D([], [], color=grey, linestyle=":", label="loss of the start"),
        Line2D([], [], color=grey, alpha=0.25, linewidth=5, label="Fisher prediction"),
    ]
    if random:
        handles.append(
            Line2D([], [], color=grey, marker="D", mfc="none", ls="none", label="random starts")
        )
    if failed:
        handles.append(Line2D([], [], ls="none", label="failed: fits without a loss"))
    return handles
