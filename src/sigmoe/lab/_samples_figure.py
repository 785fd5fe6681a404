"""Draw samples-to-error curves: each gate on data of both gates."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sigmoe.lab._draw import COLOURS, MARKERS
from sigmoe.lab._panels import Panel
from sigmoe.lab._samples import samples_table

_GATES = ("sigmoid", "softmax")
#: Columns of the figure: whose data, by gate that is fitted.
_COLUMNS = {
    "sigmoid's data": dict.fromkeys(_GATES, "sigmoid-data"),
    "softmax's data": dict.fromkeys(_GATES, "softmax-data"),
    "each one's own data": {gate: f"{gate}-data" for gate in _GATES},
}


def samples_figure(panels: Sequence[Panel]) -> Figure:
    """Return samples against error: experts in rows, whose data in columns.

    A curve ends where the largest sample ends: further right no measured size reaches the error.
    """
    table = samples_table(panels).filter(pl.col("samples_relation") == "=")
    experts = list(dict.fromkeys(c.curve.partition(", ")[2] for p in panels for c in p.curves))
    shape = len(experts), len(_COLUMNS)
    size = (2.6 * shape[1] + 0.6, 1.9 * shape[0] + 0.7)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(*shape, sharex=True, sharey=True, squeeze=False)
    for row, expert in zip(grid, experts, strict=True):
        for ax, (title, data) in zip(row, _COLUMNS.items(), strict=True):
            for slot, gate in enumerate(_GATES):
                wanted = (pl.col("curve") == f"{gate}, {expert}") & (pl.col("data") == data[gate])
                _draw(ax, table.filter(wanted), slot)
            ax.set_title(f"{expert}, {title}", loc="left")
    for ax in grid[-1]:
        ax.set_xlabel(r"error $\Vert \hat f - f_* \Vert$")
    for row in grid:
        row[0].set_ylabel("samples $n$")
    grid[0][0].set(xscale="log", yscale="log")
    grid[0][0].invert_xaxis()
    handles = [
        Line2D([], [], color=COLOURS[k], marker=MARKERS[k], ms=4, label=f"{gate} fitted")
        for k, gate in enumerate(_GATES)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _draw(ax: Axes, rows: pl.DataFrame, slot: int) -> None:
    error, samples = rows["error"].to_numpy(), rows["samples"].to_numpy()
    colour = COLOURS[slot]
    ax.plot(error, samples, color=colour, marker=MARKERS[slot], markersize=3, linewidth=1.2)
    both = rows.drop_nulls(["samples_low", "samples_high"])
    ax.fill_between(
        both["error"].to_numpy(),
        both["samples_low"].to_numpy(),
        both["samples_high"].to_numpy(),
        color=colour,
        alpha=0.2,
        linewidth=0,
    )
