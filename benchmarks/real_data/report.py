"""The printed tables, which the page of the docs shows as they are, and the figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan

from benchmarks.real_data.aggregate import Line
from benchmarks.real_data.measure import ABSENT
from benchmarks.real_data.models import REFERENCE, Model
from matplotlib.axes import Axes
from matplotlib.figure import Figure

HEADER = (
    "| model | R² | RMSE over ridge | seconds | covered | width over ridge | experts |",
    "|---|---|---|---|---|---|---|",
)
OURS, THEIRS = "#0072B2", "#D55E00"


def markdown(title: str, lines: Sequence[Line], models: Sequence[Model]) -> str:
    """Return the table of one data set in Markdown, with what went wrong below it."""
    labels = {model.name: model.label for model in models}
    rows = [row(line, labels[line.model]) for line in lines]
    remarks = [f"- {text}" for line in lines for text in trouble(line, labels[line.model])]
    return "\n".join([f"**{title}**", "", *HEADER, *rows, *([""] if remarks else []), *remarks])


def row(line: Line, label: str) -> str:
    """Return one row; a model without a result says why instead."""
    if line.ratio is None:
        why = line.ended if line.ended == ABSENT else "failed"
        return f"| {label} | {why} | | | | | |"
    mark = {"better": ", better", "worse": ", worse", "same": ""}[line.ratio.verdict]
    ratio = f"{line.ratio.centre:.3f} [{line.ratio.low:.3f}, {line.ratio.high:.3f}]{mark}"
    cells = (
        label,
        f"{line.r2:.3f}",
        "1" if line.model == REFERENCE else ratio,
        f"{line.seconds:.2g}",
        "" if isnan(line.coverage) else f"{100 * line.coverage:.1f} %",
        "" if isnan(line.width) else f"{line.width:.2f}",
        experts(line),
    )
    return "| " + " | ".join(cells) + " |"


def experts(line: Line) -> str:
    """Return how often each number of experts was chosen, as "1: 7, 2: 3"."""
    return ", ".join(f"{N}: {count}" for N, count in (line.experts or {}).items())


def trouble(line: Line, label: str) -> list[str]:
    """Return what went wrong with a model on a table, if anything."""
    found = []
    if line.n_failed:
        found.append(f"{label}: {line.n_failed} of {line.n_folds} fits failed")
    if line.unconverged:
        found.append(f"{label}: {line.unconverged} of {line.n_folds} fits did not converge")
    if line.interval_failures:
        found.append(f"{label}: intervals failed on {line.interval_failures} folds")
    return found


def draw(lines: Sequence[Line], models: Sequence[Model], titles: Mapping[str, str]) -> Figure:
    """Draw one panel a table: each model's error over ridge's, with its interval."""
    tables = list(dict.fromkeys(line.table for line in lines))
    shown = models[1:]
    columns = min(3, len(tables))
    rows = -(-len(tables) // columns)
    figure = Figure(figsize=(3.3 * columns + 1.2, 2.7 * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes in panels.flat[len(tables) :]:
        axes.set_visible(False)
    for axes, table in zip(panels.flat, tables, strict=False):
        by_model = {line.model: line for line in lines if line.table == table}
        for height, model in enumerate(shown):
            _draw_model(axes, height, model, by_model.get(model.name))
        axes.axvline(1.0, color="0.3", linewidth=1.0)
        axes.set_title(titles[table], fontsize=9)
        axes.set_yticks(range(len(shown)), [model.label for model in shown], fontsize=8)
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.grid(axis="x", color="0.92")
        axes.tick_params(axis="x", labelsize=8)
    figure.supxlabel("RMSE / RMSE of ridge, 95 % interval over folds (left is better)", fontsize=9)
    return figure


def _draw_model(axes: Axes, height: int, model: Model, line: Line | None) -> None:
    """Draw an error bar, or the word why there is none."""
    if line is None or line.ratio is None:
        word = "not run" if line is None else line.ended
        axes.text(0.5, height, word, transform=axes.get_yaxis_transform(), fontsize=7, va="center")
        return
    ratio, colour = line.ratio, OURS if model.ours else THEIRS
    axes.plot([ratio.low, ratio.high], [height, height], color=colour, linewidth=1.5)
    axes.plot(ratio.centre, height, "o" if model.ours else "s", color=colour, markersize=5)
