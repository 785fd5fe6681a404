import math
from importlib import resources
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from matplotlib import style
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from sigmoe._base.errors import InputError
from sigmoe.lab._draw import COLOURS, legend_label
from sigmoe.lab._figures import panel_stem, write_figures
from sigmoe.lab._forest import forest
from sigmoe.lab._layouts import detail, overview
from sigmoe.lab._read import Results, read_results
from sigmoe.lab._tables import bar, figure_table, fitted_line
from synthetic_results import Synthetic, paper_like, power


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paper_like(tmp_path_factory.mktemp("synthetic") / "results")


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    return read_results(folder)


def panels_of(results: Results, figure: str) -> list:
    return [panel for panel in results.panels if panel.figure == figure]


def axes_titled(figure: Figure, title: str) -> list:
    return [ax for ax in figure.axes if ax.get_title(loc="left") == title]


def one_curve(tmp_path: Path, **options) -> Results:
    made = Synthetic()
    made.add("2b", "ReLU", "L1", power(50.0, -0.5), **options)
    return read_results(made.write(tmp_path / "one"))


class TestNumbersBehindTheFigures:
    def test_means_and_deviations_are_those_of_the_stored_losses(self, folder, results):
        table = figure_table(panels_of(results, "figure2"))
        losses = pl.read_parquet(folder / "losses.parquet")
        keys = ["panel", "curve", "reading", "protocol", "start", "n_fitted", "loss", "n"]
        expected = (
            losses.filter(pl.col("figure") == "figure2", "main", ~pl.col("failed"))
            .group_by(keys)
            .agg(
                pl.col("value").mean().alias("mean_"),
                pl.col("value").std().alias("sd_"),
                pl.col("value").median().alias("median_"),
                pl.col("start_value").mean().alias("start_"),
                pl.len().alias("count_"),
            )
        )
        joined = table.join(expected, on=keys, how="full", coalesce=True)
        assert len(joined) == len(table) == len(expected) > 40
        for ours, theirs in [
            ("mean", "mean_"),
            ("sd", "sd_"),
            ("median", "median_"),
            ("start_mean", "start_"),
        ]:
            np.testing.assert_allclose(joined[ours], joined[theirs], rtol=1e-12)
        assert joined["replications"].to_list() == joined["count_"].to_list()

    def test_bars_reach_three_standard_deviations_even_below_zero(self, results):
        table = figure_table(panels_of(results, "figure1"))
        np.testing.assert_allclose(table["bar_high"], table["mean"] + 3 * table["sd"])
        np.testing.assert_allclose(table["bar_low"], table["mean"] - 3 * table["sd"])
        assert (table["bar_low"] < 0).any()

    def test_the_fitted_column_is_a_line_of_the_stored_slope(self, folder, results):
        slopes = pl.read_csv(folder / "slopes.csv").filter(
            pl.col("statistic") == "log-mean", pl.col("slope").is_not_null()
        )
        table = figure_table(panels_of(results, "figure2"))
        keys = ["panel", "curve", "reading", "protocol", "start", "n_fitted", "loss"]
        checked = 0
        for key, rows in table.filter(pl.col("fitted").is_not_null()).group_by(keys):
            stored = slopes.filter(*(pl.col(k) == v for k, v in zip(keys, key, strict=True)))
            x, y = np.log(rows["n"].to_numpy()), np.log(rows["fitted"].to_numpy())
            assert np.polyfit(x, y, 1)[0] == pytest.approx(stored["slope"].item(), abs=1e-10)
            # A least squares line and its points have the same mean.
            assert y.mean() == pytest.approx(np.log(rows["mean"].to_numpy()).mean())
            checked += 1
        assert checked == 16

    def test_failed_fits_are_counted_and_in_no_mean(self, results):
        table = figure_table(panels_of(results, "figure1"))
        failing = table.filter(
            pl.col("panel") == "1a", pl.col("protocol") == "converged", pl.col("n") == 1000
        )
        assert failing["failed"].to_list() == [1] * 4
        assert failing["replications"].to_list() == [4] * 4
        assert table.filter(pl.col("panel") == "1b")["failed"].sum() == 0

    def test_a_failed_fit_does_not_count_even_with_a_loss(self, tmp_path):
        results = one_curve(tmp_path, replications=2)
        path = results.directory / "losses.parquet"
        first = pl.col("replication") == 0
        pl.read_parquet(path).with_columns(failed=first).write_parquet(path)
        table = figure_table(read_results(results.directory).panels)
        assert table["replications"].to_list() == [1, 1, 1]
        assert table["failed"].to_list() == [1, 1, 1]

    def test_what_does_not_exist_is_null_and_never_nan(self, tmp_path):
        results = one_curve(tmp_path, sizes=(1000,), replications=1)
        row = figure_table(results.panels).row(0, named=True)
        assert row["sd"] is None
        assert row["fitted"] is None
        assert row["fisher_prediction"] is None
        assert row["bar_low"] == row["bar_high"] == row["mean"] == pytest.approx(50.0)

    def test_the_function_error_stands_beside_the_loss(self, results):
        table = figure_table(panels_of(results, "figure2")).filter(
            pl.col("protocol") == "converged", pl.col("start") == "near-truth"
        )
        np.testing.assert_allclose(
            table["function_error"], 0.6 * (table["n"].to_numpy() / 1e3) ** -0.5
        )


class TestAxes:
    def test_overview_has_a_row_a_reading_and_a_column_a_panel_and_protocol(self, results):
        figure = overview(panels_of(results, "figure1"))
        titles = [ax.get_title(loc="left") for ax in figure.axes]
        row = ["1a  paper-style", "1a  converged", "1b  paper-style", "1b  converged"]
        assert titles == row * 2
        assert all(ax.get_xscale() == ax.get_yscale() == "log" for ax in figure.axes)
        assert [figure.axes[k].get_ylabel().split("\n") for k in (0, 4)] == [
            ["softmax data for both fits", "N = 9 for N* = 8", "mean loss L3 / softmax"],
            ["data from the corresponding model", "N = 9 for N* = 8", "mean loss L3 / softmax"],
        ]

    def test_curves_fits_starts_and_predictions_have_the_numbers_of_the_table(self, results):
        panel = next(p for p in results.panels if p.panel == "2b")
        figure = overview([panel])
        ax = axes_titled(figure, "2b  converged")[0]
        drawn = [(line.get_xdata(), line.get_ydata()) for line in ax.get_lines()]

        def is_drawn(x, y) -> bool:
            return any(
                len(a) == len(x) and np.allclose(a, x) and np.allclose(b, y) for a, b in drawn
            )

        curves = panel.select(panel.variants[0], protocol="converged", main=True)
        assert len(curves) == 4
        for curve in curves:
            x = [p.n for p in curve.points]
            assert is_drawn(x, [p.mean for p in curve.points])
            if curve.start == "near-truth":
                line = fitted_line(curve)
                assert is_drawn(x, [line(n) for n in x])
                assert is_drawn(x, [p.start_mean for p in curve.points])
                assert is_drawn(x, [p.predicted for p in curve.points])

    def test_legend_prints_slope_interval_and_the_papers_slope(self, results):
        panel = next(p for p in results.panels if p.panel == "2b")
        figure = overview([panel])
        ax = axes_titled(figure, "2b  converged")[0]
        texts = [text.get_text() for text in ax.get_legend().get_texts()]
        slopes = [
            c.slopes["log-mean"]
            for c in panel.select(
                panel.variants[0], protocol="converged", start="near-truth", main=True
            )
        ]
        expected = [
            f"{name} {s.slope:.2f} [{s.ci_low:.2f}, {s.ci_high:.2f}]; paper {s.paper:.2f}".replace(
                "-", "−"
            )
            for name, s in zip(("ReLU", "linear"), slopes, strict=True)
        ]
        assert texts == expected

    def test_the_key_stays_inside_the_figure(self, tmp_path, results):
        with style.context(str(resources.files("sigmoe.lab") / "sigmoe.mplstyle")):
            pictures = [overview(one_curve(tmp_path).panels), overview(results.panels[:2])]
            pictures.append(detail(results.panels[0]))
            for figure in pictures:
                figure.draw_without_rendering()
        for figure in pictures:
            box = figure.legends[0].get_window_extent()
            assert box.x0 >= 0
            assert box.x1 <= figure.bbox.width
            assert box.y1 <= min(ax.get_tightbbox().y0 for ax in figure.axes)

    def test_protocols_of_one_panel_and_reading_share_their_ends(self, results):
        figure = overview(panels_of(results, "figure2"))
        first, second = figure.axes[0], figure.axes[1]
        assert first.get_ylim() == second.get_ylim()
        assert first.get_xlim() == second.get_xlim()

    def test_a_bar_that_goes_below_the_axis_ends_in_an_arrow_at_its_end(self, results):
        panel = next(p for p in results.panels if p.panel == "1a")
        figure = overview([panel])
        ax = axes_titled(figure, "1a  converged")[0]
        low = ax.get_ylim()[0]
        curves = panel.select(panel.variants[0], protocol="converged", main=True)
        cut = [p.n for c in curves for p in c.points if bar(p).lower < low]
        whole = [bar(p).lower for c in curves for p in c.points if bar(p).lower >= low]
        assert cut
        assert whole
        arrows = [
            n for line in ax.get_lines() if line.get_marker() == "v" for n in line.get_xdata()
        ]
        assert sorted(arrows) == sorted(cut)
        feet = [segment[:, 1].min() for group in ax.collections for segment in group.get_segments()]
        np.testing.assert_allclose(sorted(feet), sorted([low] * len(cut) + whole))

    def test_a_bar_that_would_stretch_the_axis_ends_in_an_arrow_too(self, tmp_path):
        values = {1000: [0.667, 1.0, 1.333], 3162: [0.5, 0.5, 0.5]}
        results = one_curve(
            tmp_path,
            sizes=(1000, 3162),
            replications=3,
            exact_values=values,
            start_law=lambda _: 1.0,
        )
        (curve,) = results.panels[0].select(main=True)
        assert 0 < bar(curve.points[0]).lower < 0.01
        ax = overview(results.panels).axes[0]
        assert ax.get_ylim()[0] == pytest.approx(0.5 / 8 / 1.25)
        arrows = [line for line in ax.get_lines() if line.get_marker() == "v"]
        assert [list(line.get_xdata()) for line in arrows] == [[1000]]

    def test_every_mean_lies_inside_the_axes(self, results):
        for name in ("figure1", "figure2"):
            for ax in overview(panels_of(results, name)).axes:
                low, high = ax.get_ylim()
                for line in ax.get_lines():
                    if line.get_marker() in ("o", "s"):
                        assert np.all((low < line.get_ydata()) & (line.get_ydata() < high))

    def test_failures_are_written_at_their_size(self, results):
        panel = next(p for p in results.panels if p.panel == "1a")
        ax = axes_titled(overview([panel]), "1a  converged")[0]
        notes = [(text.get_text(), text.xy[0]) for text in ax.texts]
        assert notes == [("1 failed", 1000), ("1 failed", 1000)]

    def test_detail_adds_the_function_error(self, results):
        panel = next(p for p in results.panels if p.panel == "2a")
        figure = detail(panel)
        assert len(figure.axes) == 6
        ax = axes_titled(figure, "2a  function, converged")[0]
        assert ax.get_ylabel() == r"$\Vert \hat f - \mathrm{target} \Vert$"
        y = next(line.get_ydata() for line in ax.get_lines() if line.get_marker() == "o")
        np.testing.assert_allclose(
            y.astype(float), 0.6 * (np.array([1000, 3162, 10000, 31623]) / 1e3) ** -0.5
        )

    def test_forest_places_slopes_intervals_and_claims(self, results):
        panels = panels_of(results, "table1")
        ax = forest(panels).axes[0]
        curves = [curve for panel in panels for curve in panel.curves if curve.main]
        slopes = [curve.slopes["log-mean"] for curve in curves]
        marks = {
            kind: [line for line in ax.get_lines() if line.get_marker() in kind]
            for kind in (("o", "s"), ("|",), ("None",))
        }
        values = [line.get_xdata()[0] for line in marks["o", "s"]]
        np.testing.assert_allclose(values, [s.slope for s in slopes])
        np.testing.assert_allclose(
            [line.get_xdata()[0] for line in marks[("|",)]], [s.paper for s in slopes]
        )
        np.testing.assert_allclose(
            [line.get_xdata() for line in marks[("None",)]],
            [*([s.ci_low, s.ci_high] for s in slopes), [0.0, 0.0]],
        )

    def test_forest_places_what_theory_predicts(self, results, tmp_path):
        made = Synthetic()
        for curve, slope in (("sigmoid, ReLU", -0.25), ("softmax, ReLU", None)):
            law = power(9.0, -0.5)
            made.add("dense", curve, "expert", law, figure="table1", predicted_slope=slope)
        figure = forest(read_results(made.write(tmp_path / "predicted")).panels)
        drawn = [line for line in figure.axes[0].get_lines() if line.get_marker() == "D"]
        assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in drawn] == [(-0.25, 1)]
        named = [
            [text.get_text() for text in shown.legends[0].get_texts()]
            for shown in (figure, forest(panels_of(results, "table1")))
        ]
        assert ["predicted" in names for names in named] == [True, False]


class TestAwkwardCurves:
    def test_one_size_has_no_slope_and_says_so(self, tmp_path):
        results = one_curve(tmp_path, sizes=(1000,), paper=-0.5)
        (curve,) = results.panels[0].select(main=True)
        assert legend_label(curve) == "ReLU: no slope (one size); paper −0.50"
        ax = overview(results.panels).axes[0]
        assert [line.get_linestyle() for line in ax.get_lines()].count("--") == 0

    def test_every_fit_failed(self, tmp_path):
        every = [(n, k) for n in (1000, 3162) for k in range(2)]
        results = one_curve(tmp_path, sizes=(1000, 3162), replications=2, failing=every)
        (curve,) = results.panels[0].select(main=True)
        assert legend_label(curve) == "ReLU: no slope (every fit failed)"
        ax = overview(results.panels).axes[0]
        assert [text.get_text() for text in ax.texts] == ["every fit failed"]
        table = figure_table(results.panels)
        assert table["failed"].to_list() == [2, 2]
        assert table["mean"].to_list() == [None, None]

    def test_one_curve_whose_fits_all_failed_beside_one_that_did_not(self, tmp_path):
        made = Synthetic()
        made.add("2b", "ReLU", "L1", power(50.0, -0.5), replications=2)
        failing = [(n, k) for n in (1000, 3162, 10000) for k in range(2)]
        made.add("2b", "linear", "L1", power(50.0, -0.5), replications=2, failing=failing)
        results = read_results(made.write(tmp_path / "half"))
        ax = overview(results.panels).axes[0]
        assert [text.get_text() for text in ax.texts] == ["2 failed"] * 3
        assert ax.get_legend().get_texts()[1].get_text() == "linear: no slope (every fit failed)"

    def test_a_loss_of_zero_stands_at_the_lower_end_as_a_nought(self, tmp_path):
        values = {1000: [2.0, 1.0], 3162: [0.0, 0.0]}
        results = one_curve(tmp_path, sizes=(1000, 3162), replications=2, exact_values=values)
        (curve,) = results.panels[0].select(main=True)
        assert legend_label(curve) == "ReLU: no slope (a loss of zero)"
        ax = overview(results.panels).axes[0]
        noughts = [line for line in ax.get_lines() if line.get_marker() == "$0$"]
        assert [list(line.get_xdata()) for line in noughts] == [[3162]]
        assert [list(line.get_ydata()) for line in noughts] == [[0.0]]
        assert figure_table(results.panels)["mean"].to_list() == [1.5, 0.0]

    def test_a_panel_without_one_protocol_in_one_reading_says_not_run(self, tmp_path):
        made = Synthetic()
        made.add("2b", "ReLU", "L1", power(50.0, -0.5))
        made.add("2b", "ReLU", "L1", power(50.0, -0.5), n_fitted=9)
        made.add("2b", "ReLU", "L1", power(20.0, -0.3), protocol="paper-style")
        results = read_results(made.write(tmp_path / "missing"))
        figure = overview(results.panels)
        words = [[text.get_text() for text in ax.texts] for ax in figure.axes]
        assert words == [[], [], ["not run"], []]

    def test_no_predictions_at_all(self, tmp_path):
        results = one_curve(tmp_path)
        path = results.directory / "predictions.parquet"
        pl.read_parquet(path).clear().write_parquet(path)
        again = read_results(results.directory)
        assert figure_table(again.panels)["fisher_prediction"].to_list() == [None] * 3


class TestFiles:
    def test_every_figure_in_four_formats_and_the_same_bytes_again(self, tmp_path):
        made = Synthetic()
        made.add("2b", "ReLU", "L1", power(50.0, -0.5))
        made.add("dense", "sigmoid", "expert", power(9.0, -0.5), figure="table1", paper=-0.5)
        folder = made.write(tmp_path / "files")
        written = write_figures(folder)
        stems = ["figure2", "figure2b", "table1"]
        names = {f"{stem}.{ending}" for stem in stems for ending in ("svg", "pdf", "png", "csv")}
        assert {path.name for path in written} == names
        assert all(path.parent == folder and path.stat().st_size > 100 for path in written)
        first = {path: path.read_bytes() for path in written}
        assert {path: path.read_bytes() for path in write_figures(folder)} == first

        table = figure_table(panels_of(read_results(folder), "figure2"))
        back = pl.read_csv(folder / "figure2.csv", schema_overrides=table.schema)
        assert back.equals(table)
        assert pl.read_csv(folder / "table1.csv")["paper_slope"].to_list() == [-0.5]

    def test_a_study_of_ones_own_keeps_its_name(self):
        assert panel_stem("figure-mine", "Any panel") == "figure-mine-any-panel"


class TestRefusals:
    def test_an_empty_folder(self, tmp_path):
        with pytest.raises(InputError) as caught:
            write_figures(tmp_path)
        assert str(caught.value) == (
            f"directory must be a result folder that holds losses.parquet; got '{tmp_path}'. "
            "Run `sigmoe reproduce all --out DIR` or `sigmoe run STUDY.toml --out DIR` first."
        )

    def test_a_folder_without_a_finished_task(self, tmp_path):
        folder = Synthetic().write(tmp_path / "none")
        with pytest.raises(InputError) as caught:
            write_figures(folder)
        assert str(caught.value) == (
            "directory must be a result folder with at least one finished task; got "
            f"'{folder}'. Run the study again: it continues where it stopped."
        )

    def test_a_table_that_lacks_a_column(self, tmp_path):
        results = one_curve(tmp_path)
        path = results.directory / "losses.parquet"
        pl.read_parquet(path).drop("empty_cells").write_parquet(path)
        with pytest.raises(InputError) as caught:
            write_figures(results.directory)
        assert str(caught.value) == (
            "directory must be a result folder whose losses.parquet has the column empty_cells; "
            f"got '{results.directory}'. Delete losses.parquet and run `sigmoe report DIR`: it is "
            "made anew from the stored tasks."
        )

    @pytest.mark.parametrize("name", ["losses.parquet", "tasks/all.parquet"])
    def test_a_damaged_table(self, tmp_path, name):
        results = one_curve(tmp_path)
        (results.directory / name).write_bytes(b"PAR1 and nothing more")
        with pytest.raises(InputError) as caught:
            write_figures(results.directory)
        shown = name.replace("all", "*")
        text = str(caught.value)
        assert text.startswith(f"directory must be a result folder whose {shown} can be read (")
        assert text.endswith(
            f"); got '{results.directory}'. Delete the damaged file and run the study again: it "
            "continues where it stopped."
        )
        assert "\n" not in text

    def test_a_folder_whose_tasks_are_gone(self, tmp_path):
        results = one_curve(tmp_path)
        (results.directory / "tasks" / "all.parquet").unlink()
        with pytest.raises(InputError) as caught:
            write_figures(results.directory)
        assert str(caught.value) == (
            f"directory must be a result folder with tasks/*.parquet; got '{results.directory}'. "
            "Copy the whole folder: the report is written from the stored tasks."
        )


def test_colours_differ_in_lightness_so_that_grey_print_tells_them_apart():
    def lightness(colour: str) -> float:
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)
        ]
        return 116 * float(np.dot([0.2126, 0.7152, 0.0722], linear)) ** (1 / 3) - 16

    first, second = (lightness(colour) for colour in COLOURS[:2])
    assert abs(first - second) > 15
    assert not math.isnan(first)
