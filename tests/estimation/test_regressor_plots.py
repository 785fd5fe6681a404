"""Pictures of a fitted mixture: the numbers on their axes, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from sklearn.exceptions import NotFittedError

from sigmoe._base.errors import InputError
from sigmoe.estimation import MoERegressor, plot_mixture, plot_row

RNG = np.random.default_rng(0)
X = pd.DataFrame({"warm": RNG.uniform(-2, 2, 150), "late": RNG.uniform(0, 1, 150)})
Y = np.abs(X["warm"].to_numpy()) + X["late"].to_numpy() ** 2


def fitted(y: Any = Y, n_experts: int = 2, **parameters: Any) -> MoERegressor:
    # A table without noise asks for no penalty, and the fit of many experts then takes long.
    settings = {"n_starts": 1, "max_iterations": 40, "tolerance": 1e-3, "ridge": 0.3}
    return MoERegressor(n_experts, **{"random_state": 0, **settings, **parameters}).fit(X, y)


MODEL = fitted()


def curve(ax: Any, label: str) -> tuple[np.ndarray, np.ndarray]:
    line = next(line for line in ax.get_lines() if line.get_label() == label)
    return line.get_xdata(), line.get_ydata()


@pytest.mark.parametrize("feature", ["late", 1])
def test_curves_along_a_feature_are_those_of_the_model(feature: str | int) -> None:
    gates, experts, contributions = plot_mixture(MODEL, X, feature).axes
    x, first = curve(gates, "expert 0")
    assert (x[0], x[-1]) == (X["late"].min(), X["late"].max())
    table = pd.DataFrame({"warm": X["warm"].median(), "late": x})
    np.testing.assert_allclose(first, MODEL.gates(table)[:, 0])
    for ax in (experts, contributions):
        np.testing.assert_allclose(curve(ax, "prediction")[1], MODEL.predict(table))
    assert contributions.get_xlabel() == "late"
    assert [text.get_text() for text in gates.get_legend().get_texts()] == [
        *("expert 0", "expert 1", "intercept", "prediction")
    ]
    lines = [found for found in experts.collections if isinstance(found, LineCollection)]
    ends = np.array([segment[0] for segment in lines[1].get_segments()])
    alone = MODEL.experts(table)[:, 1] + MODEL.intercept_
    np.testing.assert_allclose(ends[:, 1], alone[:-1])
    faint = np.asarray(lines[1].get_alpha())
    assert faint.argmax() == pytest.approx(MODEL.gates(table)[:, 1].argmax(), abs=1)


def test_areas_go_up_and_down_from_the_intercept_and_add_up() -> None:
    model = fitted(n_experts=3)
    ax = plot_mixture(model, X, "warm").axes[2]
    areas = [found for found in ax.collections if isinstance(found, PolyCollection)]
    assert len(areas) == 6
    x, prediction = curve(ax, "prediction")

    def height(area: PolyCollection) -> float:
        points = area.get_paths()[0].vertices
        values = points[points[:, 0] == x[7]][:, 1]
        return float(np.ptp(values))

    up, down = (sum(height(area) for area in areas[k::2]) for k in (0, 1))
    assert model.intercept_ + up - down == pytest.approx(prediction[7])


def test_the_other_features_can_be_those_of_a_row() -> None:
    for row in (X.iloc[3], X[3:4], X.to_numpy()[3], X.to_numpy()[3].tolist()):
        x, prediction = curve(plot_mixture(MODEL, X, "late", row=row).axes[1], "prediction")
        table = pd.DataFrame({"warm": X["warm"][3], "late": x})
        np.testing.assert_allclose(prediction, MODEL.predict(table))


def test_one_of_several_responses() -> None:
    two = fitted(np.column_stack([Y, 5 - 2 * Y]))
    table = X[:1]
    for output in (0, 1):
        axes = plot_mixture(two, X, "warm", output=output).axes
        x, prediction = curve(axes[2], "prediction")
        inputs = pd.DataFrame({"warm": x, "late": X["late"].median()})
        np.testing.assert_allclose(prediction, two.predict(inputs)[:, output])
        shown = plot_row(two, table, output=output).axes[0].texts[-1].get_text()
        assert float(shown) == pytest.approx(two.predict(table)[0, output], rel=1e-3)
    for draw in (
        lambda output: plot_mixture(two, X, "warm", output=output),
        lambda output: plot_row(two, table, output=output),
    ):
        with pytest.raises(InputError) as error:
            draw(2)
        assert str(error.value) == (
            "output must be an integer >= 0 and <= 1; got 2. Count the responses from 0."
        )


def test_the_steps_of_a_row_lead_to_its_prediction() -> None:
    model = fitted(n_experts=7)
    row = X[5:6]
    ax = plot_row(model, row).axes[0]
    contributions, intercept = model.decompose(row)
    bars = ax.patches
    np.testing.assert_allclose([bar.get_width() for bar in bars], contributions[0])
    assert bars[0].get_x() == pytest.approx(intercept)
    assert bars[-1].get_x() + bars[-1].get_width() == pytest.approx(model.predict(row)[0])
    weights = model.gates(row)[0]
    labels = [label.get_text() for label in ax.get_yticklabels()]
    experts = [f"expert {k}, weight {weight:.2f}" for k, weight in enumerate(weights)]
    assert labels == ["intercept", *experts, "prediction"]
    # Colours begin again at the seventh expert, hatched.
    assert bars[6].get_facecolor() == bars[0].get_facecolor()
    assert (bars[0].get_hatch(), bars[6].get_hatch()) == (None, "////")


def test_texts_do_not_overlap_and_stay_inside() -> None:
    for figure in (plot_row(fitted(n_experts=6), X[:1]), plot_mixture(MODEL, X, "warm")):
        figure.draw_without_rendering()
        whole = figure.bbox
        for ax in figure.axes:
            boxes = [text.get_window_extent() for text in (*ax.texts, *ax.get_yticklabels())]
            legend = ax.get_legend()
            boxes += [legend.get_window_extent()] if legend else []
            for k, box in enumerate(boxes):
                assert whole.x0 <= box.x0
                assert box.x1 <= whole.x1
                assert not any(box.overlaps(other) for other in boxes[k + 1 :])


def test_axes_of_the_callers() -> None:
    figure = Figure()
    assert plot_mixture(MODEL, X, "warm", axes=figure.subplots(3)) is figure
    assert plot_row(MODEL, X[:1], ax=figure.subplots()) is figure
    with pytest.raises(InputError) as error:
        plot_mixture(MODEL, X, "warm", axes=Figure().subplots(2))
    assert str(error.value) == "axes must be three of them; got 2. One for each panel."


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        (
            "cold",
            "feature must be a column of X, by name or by number from 0; got 'cold'. Look at "
            "feature_names_in_.",
        ),
        (2, "feature must be an integer >= 0 and <= 1; got 2. Count the columns from 0."),
    ],
)
def test_unknown_features_are_refused(feature: str | int, message: str) -> None:
    with pytest.raises(InputError) as error:
        plot_mixture(MODEL, X, feature)
    assert str(error.value) == message


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(InputError) as error:
        plot_mixture(MODEL, X.assign(late=0.5), "late")
    assert str(error.value) == (
        "feature must be a column that varies in X; got 'late'. Choose another column."
    )
    for row, message in (
        ([1.0], "row must be of 2 finite values; got 'shape (1,)'. Pass one row of X."),
        (
            [1.0, np.nan],
            "row must be of 2 finite values; got 'a value that is not finite'. Pass one row of X.",
        ),
        (X[:2], "row must be a single row; got '2 rows'. Pass for example X[:1]."),
    ):
        with pytest.raises(InputError) as error:
            plot_row(MODEL, row)
        assert str(error.value) == message
    with pytest.raises(NotFittedError):
        plot_row(MoERegressor(), X[:1])
    with pytest.raises(NotFittedError):
        plot_mixture(MoERegressor(), X, "warm")
