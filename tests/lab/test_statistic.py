"""A study that speaks of the median loss: figures, words, page and tables take its slope."""

import math
from dataclasses import replace

import polars as pl
import pytest

from lab.tiny import tiny_data
from sigmoe._base.errors import InputError
from sigmoe.lab._builtin import builtin_study
from sigmoe.lab._draw import legend_label
from sigmoe.lab._evidence import format_value
from sigmoe.lab._explain import heavy_tails, ill_determined
from sigmoe.lab._figures import write_figures
from sigmoe.lab._forest import forest
from sigmoe.lab._page import chart, page
from sigmoe.lab._read import read_results
from sigmoe.lab._report import render
from sigmoe.lab._study_file import parse_study
from sigmoe.lab._tables import fitted_line
from sigmoe.lab._verdict import judgement, slope_evidence, tally, verdict
from synthetic_results import Synthetic, power

SIZES = (1000, 10_000, 100_000)
FACTORS = (0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2)
MEDIAN = 1.025


def stray_losses(slope=-0.5, stray=9.0):
    """Return ten losses a size, of which nine follow a power and one does not."""
    return {n: [*(k * (n / 1000) ** slope for k in FACTORS), stray] for n in SIZES}


def results_of(folder, statistic, *, figure="table1"):
    made = Synthetic(statistic=statistic)
    made.add(
        "a",
        "sigmoid, ReLU, sparse",
        "expert",
        power(1.0, 0.0),
        figure=figure,
        sizes=SIZES,
        replications=10,
        exact_values=stray_losses(),
        paper=-0.5,
    )
    made.add(
        "a",
        "softmax, ReLU, sparse",
        "expert",
        power(1.0, 0.0),
        figure=figure,
        sizes=SIZES,
        replications=10,
        exact_values={n: [values[1]] * 10 for n, values in stray_losses().items()},
        paper=-0.25,
    )
    return read_results(made.write(folder))


@pytest.fixture(scope="module")
def by_median(tmp_path_factory):
    return results_of(tmp_path_factory.mktemp("median"), "median")


@pytest.fixture(scope="module")
def by_mean(tmp_path_factory):
    return results_of(tmp_path_factory.mktemp("mean"), None)


def claiming(curve, paper):
    """Return the curve with another slope of the paper."""
    slopes = {name: replace(slope, paper=paper) for name, slope in curve.slopes.items()}
    return replace(curve, slopes=slopes)


def own(results):
    return results.panels[0].select(main=True)


def test_the_study_says_which_slope_is_spoken_of(by_median, by_mean):
    for results, statistic, slope in ((by_median, "median", -0.5), (by_mean, "mean", -0.1)):
        stray, _ = own(results)
        assert stray.statistic == statistic
        assert stray.main_slope.statistic == f"log-{statistic}"
        assert stray.main_slope.slope == pytest.approx(slope, abs=0.03)
    assert own(by_median)[0].beside == own(by_mean)[0].main_slope
    assert own(by_mean)[0].beside == own(by_median)[0].main_slope


def test_the_verdict_is_on_that_slope(by_median, by_mean):
    stray, same = own(by_median)[0], own(by_mean)[0]
    assert judgement(stray) == "inside"
    assert judgement(claiming(stray, 0.0)) == "steeper"
    assert judgement(claiming(same, 0.0)) == "inside"
    finding = verdict(own(by_median)[0])
    assert finding.text.startswith("Measured slope of the median loss −0.50; the paper’s −0.50")
    assert {piece.source.rpartition(", ")[2] for piece in slope_evidence(own(by_median)[0])} == {
        "log-median"
    }
    assert tally(own(by_median)).evidence[0].source == "slopes.csv: log-median of 2 curves"


def test_single_large_losses_are_context_for_a_median(by_median, by_mean):
    found = heavy_tails(own(by_median)[0])
    mean = format_value(own(by_mean)[0].main_slope.slope, "slope")
    assert found.text.endswith(f"The slope of the mean is {mean}, of the median −0.50.")
    assert found.role == "context"
    assert heavy_tails(own(by_mean)[0]).role == "cause"


def test_a_function_is_compared_by_the_same_statistic(by_median):
    panel = by_median.panels[0]
    curve = own(by_median)[0]
    function = panel.sibling(curve, loss="function")
    assert function.statistic == "median"
    assert ill_determined(curve, function) is None


def test_the_line_passes_through_the_medians(by_median):
    line = fitted_line(own(by_median)[0])
    for n in SIZES:
        assert line(n) == pytest.approx(MEDIAN * (n / 1000) ** -0.5, rel=1e-3)


def test_the_forest_shows_the_median_and_marks_the_mean_where_it_differs(by_median, by_mean):
    stray, even = own(by_median)
    ax = forest(by_median.panels).axes[0]
    assert ax.get_xlabel() == "slope of log median loss on log $n$"
    dots = [line.get_xdata()[0] for line in ax.get_lines() if line.get_marker() in ("o", "s")]
    assert dots == [stray.main_slope.slope, even.main_slope.slope]
    crosses = [line for line in ax.get_lines() if line.get_marker() == "x"]
    assert [line.get_xdata()[0] for line in crosses] == [stray.slopes["log-mean"].slope]
    (key,) = ax.figure.legends
    assert [text.get_text() for text in key.get_texts()] == [
        "measured, 95 % interval",
        "slope of the mean",
        "Table 1",
    ]
    ax = forest(by_mean.panels).axes[0]
    assert ax.get_xlabel() == "slope of log mean loss on log $n$"
    assert [line for line in ax.get_lines() if line.get_marker() == "x"] == []


def test_the_table_says_which_slope_is_its_own_and_has_both(by_median, by_mean):
    for results, statistic in ((by_median, "median"), (by_mean, "mean")):
        write_figures(results.directory)
        table = pl.read_csv(results.directory / "table1.csv")
        assert table["statistic"].to_list() == [f"log-{statistic}"] * 2
        for ours, theirs in (("slope", "slope"), ("ci_low", "low"), ("ci_high", "high")):
            assert table[ours].to_list() == pytest.approx(table[f"{statistic}_{theirs}"].to_list())
        assert table["mean_slope"][0] > table["median_slope"][0] + 0.3


def test_the_page_shows_that_slope_and_the_other_beside_it_where_they_differ(by_median, by_mean):
    for results, statistic, other in ((by_median, "median", "mean"), (by_mean, "mean", "median")):
        variables = page(results)
        assert variables["statistics"] == [statistic]
        stray, even = variables["table_panels"][0]["glance"]
        assert stray["slope"].statistic == f"log-{statistic}"
        assert stray["beside"].statistic == f"log-{other}"
        assert even["beside"] is None
        text = render(results)
        number = format_value(stray["beside"].slope, "slope")
        assert f'<td class="num">{other}        {number}</td>' in text.replace("\n", "")
        assert f'data-statistic="log-{statistic}"' in text


def test_a_figure_names_the_median_in_its_legend_and_at_a_glance(tmp_path):
    results = results_of(tmp_path, "median", figure="mine")
    stray = own(results)[0]
    assert legend_label(stray).startswith("sigmoid, ReLU, sparse (median) −0.50 [")
    assert chart(results.panels[0])["curves"][0]["slope"] == pytest.approx(-0.5, abs=0.03)
    assert '<span class="quiet">of the median</span>' in render(results)


def test_a_median_of_zero_has_no_slope(tmp_path):
    made = Synthetic(statistic="median")
    losses = {1000: [0.0, 0.0, 1.0], 10_000: [0.5, 0.5, 0.5]}
    made.add(
        "a",
        "ReLU",
        "L1",
        power(1.0, 0.0),
        sizes=(1000, 10_000),
        replications=3,
        exact_values=losses,
    )
    (curve,) = own(read_results(made.write(tmp_path)))
    assert math.isnan(curve.main_slope.slope)
    assert fitted_line(curve) is None
    assert verdict(curve).text == (
        "There is no slope: the number of sizes with a median loss above zero is 1."
    )


def test_the_statistic_is_a_setting_of_the_preset():
    data = tiny_data()
    before = parse_study(data).resolve()
    assert before.statistic == "mean"
    data["presets"]["only"]["statistic"] = "median"
    after = parse_study(data).resolve()
    assert after.statistic == "median"
    assert parse_study(after.as_dict()).resolve() == after
    # A study that does not say it keeps the hash of its results.
    assert "statistic" not in before.as_dict()["presets"]["only"]
    data["presets"]["only"]["statistic"] = "mode"
    with pytest.raises(InputError) as caught:
        parse_study(data, "tiny.toml")
    assert str(caught.value) == (
        "tiny.toml: presets.only.statistic must be one of 'mean', 'median'; got 'mode'. Say which "
        "loss at a size the report takes the slope of; by default the mean."
    )


def test_table_1_speaks_of_the_median_where_stray_fits_decide_the_mean():
    study = builtin_study("table1")
    assert study.resolve("asymptotic").statistic == "median"
    assert study.resolve("quick").statistic == study.resolve("paper").statistic == "mean"
