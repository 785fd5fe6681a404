"""The logic of ``make bench-real-data``: tables, folds, ratios, and peers that are not there."""

import math
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression

# The benchmarks are no part of the installed package.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.real_data import __main__ as command
from benchmarks.real_data import measure, peers
from benchmarks.real_data.aggregate import corrected_interval, make_line, make_lines
from benchmarks.real_data.datasets import SOURCES, Source, Table, diabetes
from benchmarks.real_data.folds import Fold, proper_and_calibration, repeated_folds
from benchmarks.real_data.measure import ABSENT, FAILED, OK, Interval, Outcome, run_table
from benchmarks.real_data.models import Model, chosen_experts, models
from benchmarks.real_data.peers import FlexmixByBIC, cgmm_bic, flexmix_version
from benchmarks.real_data.report import draw, markdown

SHAPES = {
    "diabetes": (442, 10),
    "randhie": (2000, 9),
    "engel": (235, 1),
    "fair": (2000, 8),
    "star98": (303, 12),
    "grunfeld": (220, 3),
}


@pytest.fixture
def table() -> Table:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    y = X @ [1.0, -1.0] + rng.normal(size=60)
    return Table("made", X, y, np.arange(60), "y")


# scikit-learn ships no types, so its classes are Any, here and twice below.
class Broken(LinearRegression):  # type: ignore[misc]  # untyped base
    """Raises when it is fitted."""

    def fit(self, X: Any, y: Any) -> "Broken":
        raise RuntimeError("singular\nmatrix")


class Infinite(LinearRegression):  # type: ignore[misc]  # untyped base
    """Predicts what is not finite."""

    def predict(self, X: Any) -> Any:
        return np.full(len(X), np.inf)


class Unfinished(LinearRegression):  # type: ignore[misc]  # untyped base
    """Warns that it did not converge."""

    def fit(self, X: Any, y: Any) -> "Unfinished":
        warnings.warn("stopped", ConvergenceWarning, stacklevel=2)
        super().fit(X, y)
        return self


def outcomes(table: Table, make: Callable[[], Any], installed: bool = True) -> list[Outcome]:
    model = Model("peer", "a peer", lambda _: make(), installed=lambda: installed)
    folds = repeated_folds(table.groups, 3, 2)
    reference = Model("ridge", "ridge", lambda _: LinearRegression())
    return list(run_table(table, [reference, model], folds, interval_repeats=1))


@pytest.mark.parametrize("name", SHAPES)
def test_the_tables_have_the_documented_shapes(name: str) -> None:
    # statsmodels comes with requirements-bench.lock, which the tests do not need.
    pytest.importorskip(SOURCES[name].package)
    with warnings.catch_warnings():
        # Loading statsmodels raises some of its own.
        warnings.simplefilter("ignore", DeprecationWarning)
        found = SOURCES[name].load()
    assert found.X.shape == SHAPES[name]
    assert found.y.shape == found.groups.shape == (SHAPES[name][0],)
    assert np.isfinite(found.X).all()
    assert np.isfinite(found.y).all()
    assert (found.X.std(0) > 0).all()
    n_groups = len(np.unique(found.groups))
    assert n_groups == (11 if name == "grunfeld" else len(found.X))


def test_each_repeat_tests_every_row_once_and_keeps_groups_whole() -> None:
    groups = np.repeat(np.arange(7), 3)
    folds = repeated_folds(groups, 3, 2, seed=1)
    assert [(fold.repeat, fold.number) for fold in folds] == [
        (repeat, number) for repeat in range(2) for number in range(3)
    ]
    for repeat in range(2):
        tested = np.concatenate([fold.test for fold in folds if fold.repeat == repeat])
        assert sorted(tested) == list(range(21))
    for fold in folds:
        assert sorted([*fold.train, *fold.test]) == list(range(21))
        assert not set(groups[fold.train]) & set(groups[fold.test])
    assert any(list(a.test) != list(b.test) for a, b in zip(folds[:3], folds[3:], strict=True))


def test_folds_are_the_same_for_every_model_and_refuse_too_many() -> None:
    groups = np.arange(10)
    first, second = (repeated_folds(groups, 5, 1) for _ in range(2))
    assert [list(fold.test) for fold in first] == [list(fold.test) for fold in second]
    with pytest.raises(ValueError, match="between 2 and 10 groups"):
        repeated_folds(groups, 11, 1)


def test_calibration_rows_come_from_the_training_rows_and_whole_groups() -> None:
    groups = np.repeat(np.arange(10), 4)
    train = np.flatnonzero(groups < 8)
    proper, calibration = proper_and_calibration(train, groups)
    assert sorted([*proper, *calibration]) == list(train)
    assert set(groups[proper]).isdisjoint(groups[calibration])
    assert len(calibration) == 8


def test_the_interval_is_that_of_nadeau_and_bengio() -> None:
    centre, low, high = corrected_interval([0.1, 0.2, 0.3, 0.4], test_share=0.25)
    # t(0.975, 3) = 3.18245; the variance of the four is 1 / 60.
    half = 3.18245 * math.sqrt((0.25 + 0.25) / 60)
    assert (centre, low, high) == pytest.approx((0.25, 0.25 - half, 0.25 + half), rel=1e-5)
    assert math.isnan(corrected_interval([0.1], 0.25)[1])


def outcome(fold: int, mse: float, **changes: Any) -> Outcome:
    plain = Outcome("t", "m", 0, fold, 8, 2, OK, seconds=float(fold), mse=mse, baseline=4.0)
    return replace(plain, **changes)


def test_a_line_pairs_folds_and_counts_what_failed() -> None:
    reference = [outcome(k, 1.0, interval=Interval(OK, 9, 10, 2.0)) for k in range(3)]
    peer = [
        outcome(0, 4.0, n_experts=1, interval=Interval(OK, 8, 10, 3.0)),
        outcome(1, 4.0, n_experts=2, converged=False, interval=Interval(FAILED)),
        outcome(2, math.nan, ended=FAILED),
    ]
    line = make_line(peer, reference)
    assert (line.n_folds, line.n_failed, line.ended) == (3, 1, "1 failed")
    assert line.ratio is not None
    assert line.ratio.centre == pytest.approx(2.0)
    assert line.ratio.verdict == "worse"
    assert (line.r2, line.seconds) == (0.0, 0.5)
    assert (line.coverage, line.width) == (0.8, 1.5)
    assert (line.unconverged, line.interval_failures) == (1, 1)
    assert line.experts == {1: 1, 2: 1}


def test_a_missing_peer_is_reported_on_every_fold_and_never_fitted(table: Table) -> None:
    found = outcomes(table, Broken, installed=False)
    assert [o.ended for o in found if o.model == "peer"] == [ABSENT] * 6
    ridge, peer = make_lines(found)
    assert ridge.ended == OK
    assert peer.ended == ABSENT
    labels = [Model(name, name, lambda _: None) for name in ("ridge", "peer")]
    assert "| peer | not installed |" in markdown("made", [ridge, peer], labels)


@pytest.mark.parametrize(
    ("make", "why"),
    [(Broken, "RuntimeError: singular matrix"), (Infinite, "ValueError: predictions are not fin")],
)
def test_a_peer_that_fails_is_counted_and_shown(
    table: Table, make: Callable[[], Any], why: str
) -> None:
    found = outcomes(table, make)
    peer = [o for o in found if o.model == "peer"]
    assert all(o.ended == FAILED and o.detail.startswith(why) for o in peer)
    labels = [Model(name, name, lambda _: None) for name in ("ridge", "peer")]
    shown = markdown("made", make_lines(found), labels)
    assert "| peer | failed |" in shown
    assert "- peer: 6 of 6 fits failed" in shown


def test_a_fit_that_did_not_converge_counts_but_keeps_its_error(table: Table) -> None:
    found = outcomes(table, Unfinished)
    ridge, peer = make_lines(found)
    assert (ridge.unconverged, peer.unconverged) == (0, 6)
    assert peer.ratio is not None
    assert peer.ratio.centre == pytest.approx(1.0)


def test_intervals_cover_about_what_they_promise_and_only_where_asked(table: Table) -> None:
    found = outcomes(table, LinearRegression)
    asked = [o for o in found if o.interval is not None]
    assert {o.repeat for o in asked} == {0}
    ridge, _ = make_lines(found)
    assert 0.75 <= ridge.coverage <= 1.0
    assert ridge.width == 1.0


def test_intervals_that_fail_do_not_hide_the_error(table: Table) -> None:
    few = replace(table, X=table.X[:24], y=table.y[:24], groups=table.groups[:24])
    (fold, *_) = repeated_folds(few.groups, 3, 1)
    model = Model("m", "m", lambda _: LinearRegression())
    found = measure.run_fold(few, model, fold, intervals=True)
    assert found.ended == OK
    assert found.interval is not None
    assert found.interval.ended == FAILED
    assert "calibration rows" in found.interval.detail


def test_every_model_of_this_package_runs_on_a_fold() -> None:
    data = diabetes()
    rows = np.arange(120)
    fold = Fold(0, 0, rows, rows[:20] + 120)
    for model in models(n_experts=1):
        if model.name in {"ridge", "boosting", "mlp", "softmax"}:
            found = measure.run_fold(data, model, fold, intervals=False)
            assert (found.ended, found.detail) == (OK, "")
            assert found.n_experts == (1 if model.ours else None)


def test_auto_is_what_is_asked_of_our_mixtures() -> None:
    ours = {model.name: model.make(0) for model in models() if model.ours}
    assert all(ours[name].n_experts == "auto" for name in ("sigmoid", "softmax", "relu"))
    assert chosen_experts(LinearRegression()) is None


def test_bic_of_cgmm_counts_gates_experts_and_variances() -> None:
    fit = type("Fit", (), {"n_components": 2, "lower_bound_": -1.5})
    assert cgmm_bic(fit, 100, 3) == pytest.approx((2 * 5 + 4) * math.log(100) + 300.0)


def test_without_r_flexmix_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    flexmix_version.cache_clear()
    try:
        (peer,) = (model for model in models() if model.name == "flexmix")
        assert flexmix_version() is None
        assert not peer.installed()
    finally:
        flexmix_version.cache_clear()


def test_flexmix_weighs_its_regressions_by_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    def instead_of_r(arguments: list[str]) -> str:
        Path(arguments[2]).write_text("0,0,1,2,1,0.5\n0,1,3,nan,1,0.5\n")
        return ""

    monkeypatch.setattr(peers, "run_r", instead_of_r)
    model = FlexmixByBIC().fit(np.zeros((3, 1)), np.zeros(3))
    gate = 1 / (1 + math.exp(-2.0))
    assert model.predict(np.array([[2.0]])) == pytest.approx([(1 - gate) * 5.0 + gate * 3.0])
    assert (model.n_experts_, model.seconds_) == (2, 0.5)


def test_the_command_names_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(SOURCES, "engel", Source("no_such_package", diabetes))
    assert command.main(["--tables", "engel", "--out", str(tmp_path)]) == 0
    assert "**engel**: not run, no_such_package is not installed" in capsys.readouterr().out
    assert command.main(["--models", "nonsense"]) == 2
    assert "no such model: nonsense" in capsys.readouterr().err


def test_the_figure_shows_a_bar_or_the_reason_for_none(table: Table) -> None:
    found = make_lines(outcomes(table, LinearRegression, installed=False))
    shown = [Model(name, name, lambda _: None) for name in ("ridge", "peer")]
    (axes,) = (a for a in draw(found, shown, {"made": "made"}).axes if a.get_visible())
    assert [text.get_text() for text in axes.texts] == ["not installed"]
