"""The files of a benchmark: everything measured as JSON, and the figure of ratios."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.estimation.problems import Problem
from benchmarks.estimation.ratios import Cell
from benchmarks.estimation.table import PEERS, Row, description
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

PACKAGES = ("sigmoe", "torch", "numpy", "scipy", "jax", "jaxlib", "optimistix", "equinox", "lineax")
GOALS = (5.0, 20.0)
_STYLES = {
    "scipy-trf": ("o", "#0072B2"),
    "scipy-lm": ("s", "#56B4E9"),
    "torch-lbfgs": ("D", "#D55E00"),
    "torch-adam": ("^", "#E69F00"),
    "optimistix-lm": ("v", "#009E73"),
    "lbfgs-own-gradient": ("P", "#444444"),
}


def machine() -> dict[str, object]:
    """Return what the times depend on: processor, its number, load, versions."""
    return {
        "processor": processor(),
        "processors": os.cpu_count(),
        "load": list(os.getloadavg()),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: installed(name) for name in PACKAGES},
    }


def processor() -> str:
    """Return the processor's name, as Linux has it where it does."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def installed(package: str) -> str | None:
    """Return the version of a package, None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def write_json(path: Path, content: dict[str, object]) -> None:
    """Write atomically: an interrupted benchmark leaves the last whole file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(content, indent=1))
    partial.replace(path)


def write_figure(path: Path, rows: Sequence[Row], problems: Sequence[Problem]) -> None:
    """Write the figure of ratios."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_figure(rows, problems).savefig(path, dpi=150)


def draw_figure(rows: Sequence[Row], problems: Sequence[Problem]) -> Figure:
    """Draw each peer's time over ours, problem by problem, with the goals.

    On the left to the best known objective, on the right to the worse of the two ends.
    """
    figure = Figure(figsize=(11.0, 2.2 + 0.42 * len(rows)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    by_name = {problem.name: problem for problem in problems}
    for position, row in enumerate(rows):
        _draw_cells(left, position, row.cells)
        _draw_cells(right, position, row.common)
    left.set_yticks(
        range(len(rows)), [description(by_name[row.problem]) for row in rows], fontsize=7
    )
    left.set_ylim(len(rows) - 0.4, -0.6)
    _tidy(left, "to 1e-6 of the best known objective")
    _tidy(right, "to the worse of the two final objectives")
    figure.legend(handles=_handles(), loc="outside lower center", ncols=4, fontsize=8)
    return figure


def _tidy(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10, pad=16)
    axes.set_xlabel("time of the peer / time of fit_least_squares")
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.axvline(1.0, color="0.3", linewidth=1.0, label="equal")
    for goal in GOALS:
        axes.axvline(goal, color="0.5", linewidth=1.0, linestyle="--", label=f"goal {goal:g}")
        axes.annotate(
            f"{goal:g}x", (goal, 1.0), (0, 3), axes.get_xaxis_transform(),
            textcoords="offset points", ha="center", fontsize=8, color="0.4",
        )  # fmt: skip


def _draw_cells(axes: Axes, position: int, cells: dict[str, Cell]) -> None:
    """Draw the ratios of one problem; a bound has an arrow, and what has no ratio is named."""
    absent: dict[str, list[str]] = {}
    for solver in PEERS:
        cell = cells.get(solver.name)
        if cell is None:
            continue
        if cell.ratio is None:
            absent.setdefault(cell.word, []).append(solver.label)
            continue
        marker, colour = _STYLES[solver.name]
        face = "white" if cell.bound else colour
        axes.plot(
            cell.ratio, position, marker, color=colour, markerfacecolor=face, markersize=6,
            label=solver.label,
        )  # fmt: skip
        if cell.bound:
            axes.annotate(
                "", (cell.ratio, position), (18, 0), textcoords="offset points",
                arrowprops={"arrowstyle": "<-", "color": colour, "linewidth": 0.9}, zorder=0,
            )  # fmt: skip
    words = "; ".join(f"{word}: {', '.join(names)}" for word, names in absent.items())
    axes.annotate(
        words, (1.0, position), (-4, -9), axes.get_yaxis_transform(),
        textcoords="offset points", ha="right", va="center", fontsize=5, color="0.4",
    )  # fmt: skip


def _handles() -> list[Line2D]:
    """Return the legend's entries: one for each peer, and one for lower bounds."""
    handles = [
        Line2D([], [], linestyle="", marker=marker, color=colour, label=solver.label)
        for solver in PEERS
        for marker, colour in [_STYLES[solver.name]]
    ]
    bound = Line2D(
        [], [], linestyle="", marker="o", color="0.4", markerfacecolor="white",
        label="at least (out of time)",
    )  # fmt: skip
    return [*handles, bound]
