"""A picture of who competes: the gates of one row, and how each depends on each score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sigmoe._base.errors import invalid
from sigmoe.attention import _reference
from sigmoe.attention._mixture import AttentionMixture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Okabe and Ito's blue and vermilion, which colour-blind readers tell apart.
_COLOUR, _RAISED = "#0072b2", "#d55e00"
#: Colour of what is exactly 0.
_NOTHING = "#d8dce0"
#: How far the largest score is raised in the picture.
_RISE = 2.0


def plot_gates(
    mixture: AttentionMixture,
    row: int,
    *,
    head: int = 0,
    labels: Sequence[str] | None = None,
    axes: Sequence[Axes] | None = None,
) -> Figure:
    """Draw the gates of one row under sigmoid and softmax, and who competes.

    On the left, the weight of each token, and as a mark what becomes of it when the largest score
    rises by 2. On the right, the derivatives of all weights by all scores: grey is exactly 0.

    Parameters
    ----------
    mixture : AttentionMixture
        Its scores are shown under both gates, each with the bias that belongs to it.
    row : int
        Token that asks, from 0.
    head : int
        From 0.
    labels : sequence of L strings, optional
        Names of the tokens; their numbers by default.
    axes : sequence of four Axes, optional
        Draw there: weights and derivatives of sigmoid, then of softmax.

    Returns
    -------
    Figure
        That of the axes. A new figure is not registered with pyplot: save it, or show it in a
        notebook.

    Raises
    ------
    InputError
        For a row or head that is not there, another number of labels, or of axes.

    Examples
    --------
    >>> import torch
    >>> from sigmoe.attention import as_mixture
    >>> mixture = as_mixture((torch.eye(2), torch.eye(2), torch.eye(2)), torch.eye(2))
    >>> figure = plot_gates(mixture, row=0)
    >>> [ax.get_title() for ax in figure.axes[1:4:2]]
    ['0 of 2 off the diagonal are not 0', '2 of 2 off the diagonal are not 0']
    """
    # Who computes and never draws should not pay for the import.
    from matplotlib.figure import Figure

    names = [str(j) for j in range(mixture.n_tokens)] if labels is None else list(labels)
    if len(names) != mixture.n_tokens:
        rule = f"{mixture.n_tokens} names"
        raise invalid("labels", rule, len(names), "Give one for each token.")
    pairs = [
        (mixture.with_gate("sigmoid"), "sigmoid"),
        (mixture.with_gate("softmax"), "softmax"),
    ]
    jacobians = [view.jacobian(row, head).cpu().numpy() for view, _ in pairs]
    if axes is None:
        figure = Figure(figsize=(8.0, 5.6), layout="constrained")
        axes = list(figure.subplots(2, 2, width_ratios=(3, 2)).flat)
    if len(axes) != 4:
        raise invalid("axes", "four of them", len(axes), "Two for each gate.")
    for k, (view, gate) in enumerate(pairs):
        _draw_weights(axes[2 * k], view.scores(row)[head], gate, names)
        _draw_jacobian(axes[2 * k + 1], jacobians[k], names)
    axes[0].legend(frameon=False, fontsize=8, loc="upper right")
    axes[2].set_xlabel("token")
    axes[3].set_xlabel("score of token")
    return axes[0].get_figure(root=True) or axes[0].figure.figure


def _draw_weights(ax: Axes, scores: Tensor, gate: str, names: list[str]) -> None:
    weights = _reference.gate_weights(scores, gate)
    raised = scores.clone()
    raised[int(torch.argmax(scores))] += _RISE
    places = np.arange(len(names))
    ax.bar(places, weights.cpu().numpy(), width=0.7, color=_COLOUR, alpha=0.55, label="weight")
    after = _reference.gate_weights(raised, gate).cpu().numpy()
    label = f"after the largest score has risen by {_RISE:g}"
    ax.plot(places, after, "_", color=_RAISED, markersize=12, markeredgewidth=2.2, label=label)
    ax.set_title(f"{gate}: weights add up to {float(weights.sum()):.2f}", fontsize=10)
    ax.set_ylabel("weight")
    ax.set_ylim(0.0, 1.3)
    ax.set_xticks(places, names)


def _draw_jacobian(ax: Axes, jacobian: np.ndarray, names: list[str]) -> None:
    largest = float(np.abs(jacobian).max())
    # What is masked shows the ground: a colour that no value has.
    ax.set_facecolor(_NOTHING)
    shown = np.ma.masked_equal(jacobian, 0.0)
    image = ax.imshow(shown, cmap="RdBu_r", vmin=-largest, vmax=largest, interpolation="nearest")
    off_diagonal = jacobian[~np.eye(len(names), dtype=bool)]
    count = f"{np.count_nonzero(off_diagonal)} of {off_diagonal.size}"
    ax.set_title(f"{count} off the diagonal are not 0", fontsize=10)
    ax.set_ylabel("weight of token")
    for ticks in (ax.set_xticks, ax.set_yticks):
        ticks(np.arange(len(names)), names)
    figure = ax.get_figure(root=True)
    if figure is not None:
        figure.colorbar(image, ax=ax, label="derivative (grey: exactly 0)", shrink=0.85)
