"""Arrange curves on the axes of a figure: what stands beside what, and with which words."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sigmoe.lab._draw import (
    draw_curve,
    draw_random,
    key_handles,
    legend_handle,
    limits,
    prepare,
)
from sigmoe.lab._panels import Panel, Variant
from sigmoe.lab._view import Curve

#: Protocols in the order in which they stand side by side, and what they are.
PROTOCOLS = {
    "paper-style": "paper-style (first-order steps)",
    "converged": "converged (least squares)",
}

_Chooser = Callable[[Variant], tuple[Curve, ...]]


def overview(panels: Sequence[Panel]) -> Figure:
    """Return the figure as the paper draws it: readings in rows, panels x protocols in columns.

    All protocols of a panel have the same ends of the axes within a row, so that they compare.
    """
    variants = list(dict.fromkeys(v for panel in panels for v in panel.variants))
    columns = [(panel, protocol) for panel in panels for protocol in _protocols(panel)]
    keys = _keys([curve for panel in panels for curve in panel.curves])
    figure, grid = _grid(len(variants), len(columns), width=2.62, across=0.52, keys=len(keys))
    for row, variant in zip(grid, variants, strict=True):
        for ax, (panel, protocol) in zip(row, columns, strict=True):
            curves = panel.select(variant, main=True)
            _fill(ax, panel, curves, protocol, f"{panel.panel}  {protocol}")
        row[0].set_ylabel(_row_label(variant, panels))
    _place_key(figure, keys)
    return figure


def detail(panel: Panel) -> Figure:
    """Return one panel with all its readings: both protocols, then the function error."""
    protocols = _protocols(panel)
    keys = _keys(panel.curves)
    shape = len(panel.variants), len(protocols) + 1
    figure, grid = _grid(*shape, width=2.8, across=0.68, keys=len(keys))
    for row, variant in zip(grid, panel.variants, strict=True):
        for ax, protocol in zip(row[:-1], protocols, strict=True):
            curves = panel.select(variant, main=True)
            title = f"{panel.panel}  {PROTOCOLS.get(protocol, protocol)}"
            _fill(ax, panel, curves, protocol, title)
        row[0].set_ylabel(_row_label(variant, [panel]))
        errors = panel.select(variant, loss="function")
        _fill(row[-1], panel, errors, protocols[-1], f"{panel.panel}  function, {protocols[-1]}")
        row[-1].set_ylabel(r"$\Vert \hat f - \mathrm{target} \Vert$")
    _place_key(figure, keys)
    return figure


def _grid(
    rows: int, columns: int, width: float, across: float, keys: int
) -> tuple[Figure, list[list[Axes]]]:
    """Return axes at fixed places, in inches: a solver for the layout would double the time.

    `width` is that of an axes, `across` the gap between two, `keys` the entries of the key below.
    """
    height, left, right, top, down = 2.35, 0.95, 0.15, 0.62, 1.08
    total_width = left + columns * width + (columns - 1) * across + right
    bottom = 0.62 + 0.2 * math.ceil(keys / _key_columns(total_width))
    total_height = top + rows * height + (rows - 1) * down + bottom
    figure = Figure(figsize=(total_width, total_height))
    grid = [
        [
            figure.add_axes(
                (
                    (left + column * (width + across)) / total_width,
                    (bottom + (rows - 1 - row) * (height + down)) / total_height,
                    width / total_width,
                    height / total_height,
                )
            )
            for column in range(columns)
        ]
        for row in range(rows)
    ]
    return figure, grid


def _key_columns(width: float) -> int:
    """Return how many entries of the key stand side by side on a figure of that many inches."""
    return max(1, int((width - 0.6) / 1.75))


def _row_label(variant: Variant, panels: Sequence[Panel]) -> str:
    losses = {curve.loss for panel in panels for curve in panel.select(variant, main=True)}
    return variant.label.replace(", N", "\nN") + f"\nmean loss {' / '.join(sorted(losses))}"


def _protocols(panel: Panel) -> list[str]:
    found = {curve.protocol for curve in panel.curves}
    return [name for name in PROTOCOLS if name in found] + sorted(found - set(PROTOCOLS))


def _fill(ax: Axes, panel: Panel, curves: Sequence[Curve], protocol: str, title: str) -> None:
    """Draw the near-truth curves of one protocol, and the random starts on top."""
    box = limits(curves)
    near = [c for c in curves if c.protocol == protocol and c.start == "near-truth"]
    near.sort(key=lambda c: c.curve)
    ax.set_title(title, loc="left", pad=8 + 10 * max(1, len(near)))
    if box is None or not near:
        # The frame goes, the label of the row stays.
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        reason = "every fit failed" if near else "not run"
        ax.text(0.5, 0.5, reason, ha="center", transform=ax.transAxes)
        return
    prepare(ax, box)
    for curve in near:
        draw_curve(ax, curve, panel.names.index(curve.curve), box)
    for curve in curves:
        if curve.protocol == protocol and curve.start == "random":
            draw_random(ax, curve, panel.names.index(curve.curve))
    ax.legend(
        handles=[legend_handle(c, panel.names.index(c.curve)) for c in near],
        loc="lower left",
        bbox_to_anchor=(0.0, 1.015),
    )


def _keys(curves: Sequence[Curve]) -> list[Line2D]:
    return key_handles(
        random=any(c.start == "random" for c in curves),
        failed=any(p.failed for c in curves for p in c.points),
    )


def _place_key(figure: Figure, handles: Sequence[Line2D]) -> None:
    columns = min(len(handles), _key_columns(figure.get_figwidth()))
    figure.legend(handles=handles, loc="lower center", ncols=columns, borderaxespad=0.8)
