"""A merging path as a picture: the tree of the atoms, and the criterion by their number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sigmoe._base.errors import invalid
from sigmoe.estimation.selection._merging_path import MergePath

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Grey for what is merged away, dark blue for what is kept, vermilion for the choice.
_MERGED, _KEPT, _CHOICE = "#8a929b", "#0b559f", "#d95f02"
#: Differences of the criterion up to here are drawn to scale, larger ones by their logarithm.
_TO_SCALE = 10.0


@dataclass(frozen=True)
class Bracket:
    """One merge as it is drawn: two legs up to a bar.

    Attributes
    ----------
    left, right : tuple of two float
        Feet of the legs: position and height.
    height : float
        Of the bar.
    n_experts : int
        Atoms that are left after the merge.
    """

    left: tuple[float, float]
    right: tuple[float, float]
    height: float
    n_experts: int


def plot_merging(path: MergePath, ax: Axes | None = None) -> Figure:
    """Draw the tree of the merges and, in a new figure, the criterion beside it.

    The leaves are the atoms of the first level. Two branches meet at the height of their merge:
    the root mean square change of the prediction, the largest so far. Merges that the choice
    takes for granted are grey, those that it refuses blue; a dashed line lies between them.

    Parameters
    ----------
    path : MergePath
        Of at least two atoms.
    ax : Axes, optional
        Draw the tree alone, there.

    Returns
    -------
    Figure
        That of the axes. A new figure is not registered with pyplot: save it, or show it in a
        notebook.

    Raises
    ------
    InputError
        For a path of a single atom.

    Examples
    --------
    >>> from sigmoe.estimation.selection._merging import merge_atoms
    >>> from sigmoe.moe import Architecture, draw_truth
    >>> shape = Architecture("softmax", "linear", "linear", dim=1)
    >>> path = merge_atoms(draw_truth(shape, 3, seed=0), [[-1.0], [0.0], [1.0]])
    >>> figure = plot_merging(path)
    >>> figure.axes[0].get_ylabel()
    'rms change of the prediction'
    """
    # Who fits and never draws should not pay for the import.
    from matplotlib.figure import Figure

    if len(path.levels) == 1:
        raise invalid("path", "of at least two atoms", 1, "There is nothing to merge.")
    if ax is not None:
        _draw_tree(ax, path)
        return ax.get_figure(root=True) or ax.figure.figure
    beside = bool(path.values)
    figure = Figure(figsize=(7.6 if beside else 4.2, 3.3), layout="constrained")
    axes = figure.subplots(1, 1 + beside, squeeze=False)[0]
    _draw_tree(axes[0], path)
    if beside:
        _draw_criterion(axes[1], path)
    return figure


def leaf_order(path: MergePath) -> tuple[int, ...]:
    """Return the first level's atoms in an order in which no branches cross."""
    order = {atoms: atoms for atoms in path.levels[0].members}
    for before, level in zip(path.levels, path.levels[1:], strict=False):
        i, j = level.merged or (0, 0)
        # The new atom stands last; its own order is that of its two parts.
        order[level.members[-1]] = order[before.members[i]] + order[before.members[j]]
    return order[path.levels[-1].members[0]]


def brackets(path: MergePath) -> list[Bracket]:
    """Return the tree's brackets in the order of the merges; leaves stand at 0, 1, 2, ..."""
    position = {atom: float(place) for place, atom in enumerate(leaf_order(path))}
    feet = {atoms: (position[atoms[0]], 0.0) for atoms in path.levels[0].members}
    drawn = []
    for before, level in zip(path.levels, path.levels[1:], strict=False):
        i, j = level.merged or (0, 0)
        left, right = sorted((feet[before.members[i]], feet[before.members[j]]))
        drawn.append(Bracket(left, right, level.height, level.n_experts))
        feet[level.members[-1]] = ((left[0] + right[0]) / 2.0, level.height)
    return drawn


def _draw_tree(ax: Axes, path: MergePath) -> None:
    found = brackets(path)
    for bracket in found:
        kept = path.chosen is not None and bracket.n_experts < path.chosen
        ax.plot(
            [bracket.left[0], bracket.left[0], bracket.right[0], bracket.right[0]],
            [bracket.left[1], bracket.height, bracket.height, bracket.right[1]],
            color=_KEPT if kept or path.chosen is None else _MERGED,
            linewidth=1.6,
            solid_joinstyle="miter",
        )
    top = found[-1].height or 1.0
    ax.set_ylim(-0.02 * top, 1.08 * top)
    order = leaf_order(path)
    ax.set_xticks(range(len(order)), [str(atom) for atom in order])
    ax.set_xlim(-0.6, len(order) - 0.4)
    ax.set_xlabel("atom of the first fit")
    ax.set_ylabel("rms change of the prediction")
    _tidy(ax)
    if path.chosen is not None:
        _draw_cut(ax, path, path.chosen, top)


def _draw_cut(ax: Axes, path: MergePath, chosen: int, top: float) -> None:
    """Draw the line between the merges below and above the choice."""
    below = path.level(chosen).height
    above = path.level(chosen - 1).height if chosen > 1 else 1.06 * top
    cut = (below + above) / 2.0
    ax.axhline(cut, color=_CHOICE, linestyle=(0, (4, 3)), linewidth=1.1)
    noun = "expert" if chosen == 1 else "experts"
    # Above the line unless it is at the top, where there is no room.
    low = cut > 0.9 * top
    ax.annotate(
        f"{chosen} {noun}",
        (1.0, cut),
        xycoords=ax.get_yaxis_transform(),
        xytext=(-3, -3 if low else 3),
        textcoords="offset points",
        ha="right",
        va="top" if low else "bottom",
        color=_CHOICE,
        fontsize=8.5,
    )


def _draw_criterion(ax: Axes, path: MergePath) -> None:
    """Draw the criterion's excess over its least value by the number of experts."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    finite = {k: v for k, v in sorted(path.values.items()) if v > -float("inf")}
    least = min(path.values.values())
    excess = {k: v - least for k, v in finite.items()} if least in finite.values() else {}
    ax.plot(list(excess), list(excess.values()), color=_KEPT, marker="o", linewidth=1.3)
    if path.chosen in excess:
        ax.plot([path.chosen], [0.0], color=_CHOICE, marker="o", markersize=8, linestyle="none")
    scale = 1.0 if path.criterion == "dsc" else _TO_SCALE
    ax.set_yscale("symlog", linthresh=scale, linscale=0.6)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.set_ylim(bottom=-0.15 * scale)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("number of experts")
    ax.set_ylabel(f"{path.criterion.upper()} above its least")
    _tidy(ax)


def _tidy(ax: Axes) -> None:
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.grid(visible=True, axis="y", color="#e4e7ea", linewidth=0.6)
    ax.set_axisbelow(True)
