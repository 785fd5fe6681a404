"""The picture of a merging path: numbers on its axes, not pixels."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from problems_estimation import (
    TWO,
    inputs,
    noisy,
    split,
    three_lines,
)
from sigmoe.estimation import fit_least_squares, near_truth_start
from sigmoe.estimation.selection._merging import merge_atoms
from sigmoe.estimation.selection._merging_path import MergePath
from sigmoe.estimation.selection._merging_plot import brackets, leaf_order, plot_merging
from sigmoe.moe import MixingMeasure


@pytest.fixture(scope="module")
def path() -> MergePath:
    truth = three_lines()
    X, y = noisy(truth)
    start = near_truth_start(truth, 5, scale=0.3, seed=0)
    fit = fit_least_squares(X, y, TWO, 5, start, max_iterations=20)
    return merge_atoms(fit.measure, X, y, n_candidates=3, max_iterations=20)


def test_brackets_join_what_the_path_joins(path: MergePath) -> None:
    order, found = leaf_order(path), brackets(path)
    assert sorted(order) == [0, 1, 2, 3, 4]
    assert [b.height for b in found] == list(path.heights[1:])
    assert [b.n_experts for b in found] == [4, 3, 2, 1]
    places = {atom: float(k) for k, atom in enumerate(order)}
    first = path.levels[1].members[-1]
    assert {found[0].left, found[0].right} == {(places[atom], 0.0) for atom in first}
    for level in path.levels:
        for atoms in level.members:
            # Without crossings the atoms of a branch stand side by side.
            where = sorted(places[atom] for atom in atoms)
            assert where == [where[0] + k for k in range(len(where))]


def test_numbers_on_the_axes(path: MergePath) -> None:
    figure = plot_merging(path)
    tree, values = figure.axes
    assert [text.get_text() for text in tree.get_xticklabels()] == [
        str(atom) for atom in leaf_order(path)
    ]
    drawn = brackets(path)
    lines = [line for line in tree.lines if len(line.get_xdata()) == 4]
    for bracket, line in zip(drawn, lines, strict=True):
        assert list(line.get_ydata()) == [
            bracket.left[1],
            bracket.height,
            bracket.height,
            bracket.right[1],
        ]
        assert list(line.get_xdata()) == [bracket.left[0]] * 2 + [bracket.right[0]] * 2
    colours = [to_hex(line.get_color()) for line in lines]
    assert colours == ["#8a929b", "#8a929b", "#0b559f", "#0b559f"]
    cut = next(line for line in tree.lines if len(line.get_xdata()) == 2)
    assert cut.get_ydata()[0] == pytest.approx((path.heights[2] + path.heights[3]) / 2)
    assert [text.get_text() for text in tree.texts] == ["3 experts"]
    low, high = tree.get_ylim()
    assert low < 0 < path.heights[-1] < high
    curve, dot = values.lines
    assert list(curve.get_xdata()) == [1, 2, 3, 4, 5]
    excess = [path.values[k] - path.values[3] for k in (1, 2, 3, 4, 5)]
    assert list(curve.get_ydata()) == pytest.approx(excess)
    assert (list(dot.get_xdata()), list(dot.get_ydata())) == ([3], [0.0])
    assert values.get_ylabel() == "BIC above its least"
    assert values.get_ylim()[0] < 0
    assert values.get_ylim()[1] > max(excess)


def test_a_path_without_a_choice_is_a_tree_alone() -> None:
    truth = three_lines()
    figure = plot_merging(merge_atoms(truth, inputs(truth)))
    (tree,) = figure.axes
    assert {to_hex(line.get_color()) for line in tree.lines} == {"#0b559f"}
    assert len(tree.lines) == 2
    assert not tree.texts


def test_axes_that_are_given_get_the_tree(path: MergePath) -> None:
    figure = Figure()
    ax = figure.subplots()
    assert plot_merging(path, ax) is figure
    assert figure.axes == [ax]
    assert len(ax.lines) == 5


def test_exact_levels_are_drawn_without_infinities() -> None:
    truth = MixingMeasure(TWO, None, [[6.0], [0.0]], [0.0, 0.0], [[1.0, 0.0], [-1.0, 0.0]])
    X = inputs(truth)
    figure = plot_merging(merge_atoms(split(truth, 0), X, truth.predict(X)))
    figure.draw_without_rendering()
    (curve,) = figure.axes[1].lines
    assert len(curve.get_xdata()) == 0
    assert not plt.get_fignums()
