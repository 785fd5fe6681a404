"""Samples to an error, and the cells of the table."""

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from sigmoe.lab._figures import write_figures
from sigmoe.lab._forest import forest
from sigmoe.lab._read import read_results
from sigmoe.lab._samples import cell, is_comparison, samples_table, samples_to_error
from sigmoe.lab._samples_figure import samples_figure
from synthetic_results import Synthetic, power

SIZES = [100, 1000, 10_000]


def losses(*means, spread=0.0):
    return [[m * math.exp(spread * z) for z in (-1.0, -0.3, 0.0, 0.3, 1.0)] for m in means]


def test_a_power_is_interpolated_exactly():
    found = samples_to_error(SIZES, losses(1.0, 0.1, 0.01), 0.03)
    assert found.relation == "="
    assert found.n == pytest.approx(100 / 0.03, rel=1e-5)
    assert found.low == found.n == found.high


def test_the_interval_widens_with_the_spread_of_the_losses():
    narrow, wide = (
        samples_to_error(SIZES, losses(1.0, 0.1, 0.01, spread=s), 0.05) for s in (0.1, 0.4)
    )
    assert wide.low < narrow.low < narrow.n < narrow.high < wide.high


def test_errors_beyond_the_sizes_are_bounds():
    below = samples_to_error(SIZES, losses(1.0, 0.1, 0.01), 2.0)
    above = samples_to_error(SIZES, losses(1.0, 0.1, 0.01), 0.001)
    assert (below.relation, below.n) == ("<", 100)
    assert (above.relation, above.n) == (">", 10_000)


def test_an_end_of_the_interval_that_is_not_reached_is_missing():
    found = samples_to_error(SIZES, losses(1.0, 0.1, 0.01, spread=0.3), 0.0101)
    assert found.relation == "="
    assert math.isnan(found.high)
    assert found.low < found.n


def test_sizes_without_losses_are_left_out():
    found = samples_to_error(SIZES, [[1.0, 1.0], [], [0.01, 0.01]], 0.1)
    assert found.n == pytest.approx(1000.0)
    assert math.isnan(samples_to_error(SIZES, [[], [], []], 0.1).n)


@pytest.fixture
def folder(tmp_path):
    made = Synthetic()
    made.add(
        "partial", "sigmoid, ReLU, sparse", "expert", power(9.0, -0.5), figure="table1", scatter=0.0
    )
    for gate in ("sigmoid", "softmax"):
        for data in ("sigmoid-data", "softmax-data"):
            made.add(
                "same-data",
                f"{gate}, ReLU",
                "function",
                power(30.0, -0.5),
                figure="table1",
                reading=data,
                start="random",
                scatter=0.0,
                function_law=power(0.6 if data == "sigmoid-data" else 0.2, -0.5),
            )
    return made.write(tmp_path / "samples")


def test_the_table_and_the_comparison_have_files_of_their_own(folder):
    names = {path.name for path in write_figures(folder)}
    assert {"table1.csv", "table1.svg", "table1-samples.csv", "table1-samples.png"} <= names
    table = pl.read_csv(folder / "table1.csv")
    assert table["curve"].to_list() == ["sigmoid, ReLU, sparse"]
    assert table["median_slope"].to_list() == [pytest.approx(-0.5)]
    assert table["samples_0.1_relation"].to_list() == [">"]
    compared = pl.read_csv(folder / "table1-samples.csv")
    assert set(compared["data"]) == {"sigmoid-data", "softmax-data"}
    reached = compared.filter(pl.col("samples_relation") == "=")
    for data, level in (("sigmoid-data", 0.6), ("softmax-data", 0.2)):
        rows = reached.filter(data=data)
        expected = 1000 * (level / rows["error"].to_numpy()) ** 2
        np.testing.assert_allclose(rows["samples"].to_numpy(), expected, rtol=1e-4)


def test_the_figure_shows_samples_against_error_for_whose_data(folder):
    panels = [p for p in read_results(folder).panels if is_comparison(p)]
    axes = samples_figure(panels).axes
    assert [ax.get_title(loc="left") for ax in axes] == [
        "ReLU, sigmoid's data",
        "ReLU, softmax's data",
        "ReLU, each one's own data",
    ]
    table = samples_table(panels).filter(samples_relation="=")
    wanted = [("sigmoid-data", "sigmoid-data"), ("softmax-data", "softmax-data")]
    for ax, data in zip(axes, [*wanted, ("sigmoid-data", "softmax-data")], strict=True):
        for line, gate, whose in zip(ax.get_lines(), ("sigmoid", "softmax"), data, strict=True):
            rows = table.filter(curve=f"{gate}, ReLU", data=whose)
            np.testing.assert_allclose(line.get_xdata(), rows["error"])
            np.testing.assert_allclose(line.get_ydata(), rows["samples"])


def test_cells_of_one_name_are_told_apart_by_their_panel(tmp_path):
    made = Synthetic()
    for panel in ("partial (d=1, N*=2)", "full (d=1, N*=2)"):
        made.add(panel, "sigmoid, ReLU", "expert", power(9.0, -0.5), figure="table1")
    results = read_results(made.write(tmp_path / "twice"))
    labels = [tick.get_text() for tick in forest(results.panels).axes[0].get_yticklabels()]
    assert sorted(labels) == ["sigmoid, ReLU, full", "sigmoid, ReLU, partial"]


def test_a_cell_tells_the_over_fitted_atom_from_the_others(folder):
    panel = next(p for p in read_results(folder).panels if not is_comparison(p))
    curve = panel.curves[0]
    points = tuple(
        replace(p, by_atom=tuple((p.n**-0.5, p.n**-0.25) for _ in p.values)) for p in curve.points
    )
    found = cell(replace(curve, n_true=2, points=points))
    assert found.exact.value == pytest.approx(-0.5)
    assert found.over_fitted.value == pytest.approx(-0.25)
