"""Pictures of a fitted mixture: along one feature, and for one row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sigmoe._base.arrays import ArrayLike
from sigmoe._base.errors import invalid
from sigmoe.estimation.regressor._fitted import FittedMixture
from sigmoe.estimation.regressor._plot_parts import (
    GREY,
    INK,
    Parts,
    along,
    fill,
    one_row,
    parts_at,
    position_of,
    style,
    tidy,
)
from sigmoe.estimation.regressor._standardise import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Weights below this leave an expert no say in how far the axis of the experts reaches.
_HEARD = 0.1


def plot_mixture(
    model: FittedMixture,
    X: ArrayLike,
    feature: str | int,
    *,
    row: Any = None,
    output: int = 0,
    axes: Sequence[Axes] | None = None,
) -> Figure:
    """Draw the gates, the experts and their contributions along one feature.

    The three panels show the weights; what each expert says, faint where its weight is small and
    cut off where it is hardly heard; and the contributions, stacked up and down from the
    intercept so that they add up to the prediction.

    Parameters
    ----------
    model : MoERegressor
        Fitted.
    X : array_like or frame of shape (n, d)
        A table with the features of the fit: its column gives the range of the feature.
    feature : str or int
        Name of a column, or its number from 0.
    row : array_like of shape (d,), series or frame of one row, optional
        Values of the other features; their medians in X by default.
    output : int
        Which response, from 0.
    axes : sequence of three Axes, optional
        Draw there.

    Returns
    -------
    Figure
        That of the axes. A new figure is not registered with pyplot: save it, or show it in a
        notebook.

    Raises
    ------
    InputError
        For a feature or response that is not there, a column of one value, a row of another
        length, or another number of axes.

    Examples
    --------
    >>> from sigmoe.estimation import MoERegressor
    >>> X = np.linspace(-3, 3, 200).reshape(-1, 1)
    >>> model = MoERegressor(gate="softmax", random_state=0).fit(X, 5 * np.abs(X[:, 0]))
    >>> figure = plot_mixture(model, X, feature=0)
    >>> [ax.get_ylabel() for ax in figure.axes]
    ['weight', 'expert and intercept', 'prediction']
    """
    # Who fits and never draws should not pay for the import.
    from matplotlib.figure import Figure

    check_is_fitted(model)
    position = position_of(model, feature)
    inputs = along(model, X, position, row)
    parts = parts_at(model, inputs, output)
    if axes is None:
        figure = Figure(figsize=(5.4, 6.6), layout="constrained")
        axes = figure.subplots(3, 1, sharex=True, height_ratios=(2, 3, 3))
    if len(axes) != 3:
        raise invalid("axes", "three of them", len(axes), "One for each panel.")
    _draw_panels(axes, inputs[:, position], parts)
    axes[-1].set_xlabel(model._features()[position])
    return axes[0].get_figure(root=True) or axes[0].figure.figure


def _draw_panels(axes: Sequence[Axes], x: Array, parts: Parts) -> None:
    gates, experts, contributions = axes
    count = parts.weights.shape[1]
    for k in range(count):
        gates.plot(x, parts.weights[:, k], label=f"expert {k}", linewidth=1.8, **style(k))
        _draw_expert(experts, x, parts, k)
    _draw_stack(contributions, x, parts)
    for ax in (experts, contributions):
        ax.plot(x, parts.prediction, color=INK, linewidth=1.4, label="prediction")
    gates.set_ylim(-0.04, 1.04)
    _reach(experts, parts)
    for ax, label in zip(axes, ("weight", "expert and intercept", "prediction"), strict=True):
        ax.set_ylabel(label)
        ax.set_xlim(x[0], x[-1])
        tidy(ax, "y")
    _legend(gates, contributions)


def _draw_expert(ax: Axes, x: Array, parts: Parts, k: int) -> None:
    """Draw what an expert says, as faint as its weight is small."""
    from matplotlib.collections import LineCollection

    points = np.column_stack([x, parts.experts[:, k] + parts.intercept])
    pieces = np.stack([points[:-1], points[1:]], axis=1)
    weight = (parts.weights[:-1, k] + parts.weights[1:, k]) / 2.0
    kind = style(k)
    # Each piece is too short for dashes of its own; the gates' panel shows them.
    lines = LineCollection(
        list(pieces), colors=kind["color"], linewidths=2.4, alpha=0.12 + 0.78 * weight
    )
    ax.add_collection(lines)


def _draw_stack(ax: Axes, x: Array, parts: Parts) -> None:
    """Draw contributions as areas: positive ones up from the intercept, negative ones down."""
    above, below = (np.full(len(x), parts.intercept) for _ in range(2))
    for k in range(parts.weights.shape[1]):
        up, down = (side(parts.contributions[:, k], 0.0) for side in (np.maximum, np.minimum))
        for base, area in ((above, up), (below, down)):
            ax.fill_between(x, base, base + area, alpha=0.45, **fill(k))
            base += area
    ax.axhline(parts.intercept, color=GREY, linewidth=1.0, linestyle=(0, (4, 2)), label="intercept")


def _reach(ax: Axes, parts: Parts) -> None:
    """Let the axis hold the prediction and every expert where it is heard."""
    heard = parts.experts[parts.weights >= _HEARD] + parts.intercept
    values = np.concatenate([heard, parts.prediction])
    margin = 0.06 * (np.ptp(values) or 1.0)
    ax.set_ylim(values.min() - margin, values.max() + margin)


def _legend(gates: Axes, contributions: Axes) -> None:
    """Name the experts, the intercept and the prediction once, above all panels."""
    handles, labels = gates.get_legend_handles_labels()
    more_handles, more_labels = contributions.get_legend_handles_labels()
    labels = [*labels, *more_labels]
    gates.legend(
        [*handles, *more_handles],
        labels,
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=min(4, len(labels)),
        frameon=False,
        fontsize=8.5,
    )


def plot_row(model: FittedMixture, row: Any, *, output: int = 0, ax: Axes | None = None) -> Figure:
    """Draw how one prediction comes about: the intercept, and step by step each contribution.

    Parameters
    ----------
    model : MoERegressor
        Fitted.
    row : array_like of shape (d,), series or frame of one row
    output : int
        Which response, from 0.
    ax : Axes, optional
        Draw there.

    Returns
    -------
    Figure
        That of the axes; a new one is not registered with pyplot.

    Raises
    ------
    InputError
        For a response that is not there, or anything but one row.

    Examples
    --------
    >>> from sigmoe.estimation import MoERegressor
    >>> X = np.linspace(-3, 3, 200).reshape(-1, 1)
    >>> model = MoERegressor(gate="softmax", random_state=0).fit(X, 5 * np.abs(X[:, 0]))
    >>> ax = plot_row(model, [2.0]).axes[0]
    >>> [label.get_text().split(",")[0] for label in ax.get_yticklabels()]
    ['intercept', 'expert 0', 'expert 1', 'prediction']
    """
    from matplotlib.figure import Figure

    check_is_fitted(model)
    parts = parts_at(model, one_row(model, row), output)
    if ax is None:
        height = 1.1 + 0.42 * (parts.weights.shape[1] + 2)
        ax = Figure(figsize=(5.4, height), layout="constrained").subplots()
    _draw_steps(ax, parts)
    return ax.get_figure(root=True) or ax.figure.figure


def _draw_steps(ax: Axes, parts: Parts) -> None:
    steps = parts.contributions[0]
    ends = parts.intercept + np.concatenate([[0.0], np.cumsum(steps)])
    count = len(steps)
    labels = ["intercept"]
    for k, step in enumerate(steps):
        ax.barh(k + 1, step, left=ends[k], height=0.62, alpha=0.85, **fill(k))
        labels.append(f"expert {k}, weight {parts.weights[0, k]:.2f}")
    # A thin line carries each running total to the next step.
    for k, end in enumerate(ends):
        ax.plot([end, end], [k - 0.31, k + 1.31], color=GREY, linewidth=0.9, zorder=0)
    ax.plot([ends[0]], [0], "D", color=GREY, markersize=7)
    ax.plot([ends[-1]], [count + 1], "D", color=INK, markersize=7)
    low, high = min(ends.min(), ends[0]), max(ends.max(), ends[0])
    span = (high - low) or abs(high) or 1.0
    ax.set_xlim(low - 0.08 * span, high + 0.3 * span)
    starts = [ends[0], *np.maximum(ends[:-1], ends[1:]), ends[-1]]
    texts = [f"{ends[0]:.4g}", *(f"{step:+.4g}" for step in steps), f"{ends[-1]:.4g}"]
    for k, (place, text) in enumerate(zip(starts, texts, strict=True)):
        ax.annotate(
            text, (place, k), xytext=(8, 0), textcoords="offset points", va="center", fontsize=9
        )
    ax.set_yticks(range(count + 2), [*labels, "prediction"])
    ax.set_ylim(count + 1.6, -0.6)
    ax.set_xlabel("response")
    tidy(ax, "x")
