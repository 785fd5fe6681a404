"""How many experts the estimator chooses, what it says about that, and what it does not change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import skops.io
import torch
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from sigmoe._base.errors import InputError, SigmoeWarning
from sigmoe.estimation import information_criteria, plot_merging
from sigmoe.estimation.regressor import _choose, _parameters
from sigmoe.estimation.regressor._estimator import MoERegressor
from sigmoe.moe import MixingMeasure

CHECKED = [
    MoERegressor("auto", max_experts=2, n_starts=1),
    MoERegressor("merge", gate="softmax", max_experts=2, n_starts=1, tolerance=1e-3),
]


# Small tables, as in test_regressor.
@pytest.mark.filterwarnings("ignore:.* fewer than the .* free parameters:sigmoe.SigmoeWarning")
@parametrize_with_checks(CHECKED)
def test_the_contract_of_scikit_learn(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


def bend(n: int = 120, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return a table that two experts describe."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, n)
    return x[:, None], np.where(x > 0, 2 * x, -x) + rng.normal(0, 0.1, n)


def quick(n_experts: Any = "auto", **parameters: Any) -> MoERegressor:
    defaults = {"gate": "softmax", "n_starts": 2, "max_experts": 3, "random_state": 0}
    return MoERegressor(n_experts, **{**defaults, **parameters})


X, Y = bend()


@pytest.mark.parametrize("how", ["auto", "merge"])
@pytest.mark.parametrize("gate", ["sigmoid", "softmax"])
def test_on_diabetes_a_mixture_does_not_help(how: str, gate: str) -> None:
    inputs, y = load_diabetes(return_X_y=True)
    model = quick(how, gate=gate).fit(inputs, y)
    assert model.n_experts_ == 1
    first = {"sigmoid": "one expert without a gate", "softmax": "1 expert"}[gate]
    assert model.selection_reason_.startswith(f"BIC is least with {first}: ")
    assert model.selection_reason_.endswith("; a mixture does not help here")
    assert model.predict(inputs).shape == y.shape


@pytest.mark.parametrize("how", ["auto", "merge"])
@pytest.mark.parametrize("gate", ["sigmoid", "softmax"])
def test_on_a_bend_it_does(how: str, gate: str) -> None:
    model = quick(how, gate=gate).fit(X, Y)
    assert (model.n_experts_, len(model.coordinates_)) == (2, 2)
    assert model.selection_reason_.startswith("BIC is least with 2 experts: ")
    assert "does not help" not in model.selection_reason_
    assert model.score(X, Y) > 0.97
    assert model.selection_["n_experts"].tolist() == [1, 2, 3]
    assert model.selection_["criterion"].argmin() == 1
    assert np.isfinite(model.selection_["without_gate"]) == (gate == "sigmoid")


def test_a_sweep_is_never_worse_than_the_number_it_chose() -> None:
    chosen, given = quick().fit(X, Y), quick(2).fit(X, Y)
    assert chosen.start_objectives_.min() <= given.start_objectives_.min()
    assert chosen.objective_ <= given.objective_ * (1 + 1e-6)
    assert given.selection_ == {}
    assert given.selection_reason_ == "n_experts was given"


def test_starts_grown_from_a_smaller_fit_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    def poor(below: MixingMeasure, *_: object) -> list[MixingMeasure]:
        theta = torch.zeros((below.n_experts + 1, below.architecture.n_atom_parameters))
        return [MixingMeasure.from_coordinates(below.architecture, theta.double())]

    monkeypatch.setattr(_choose, "grown_starts", poor)
    chosen, given = quick().fit(X, Y), quick(2).fit(X, Y)
    np.testing.assert_array_equal(chosen.coordinates_, given.coordinates_)
    assert chosen.n_starts_agreed_ == given.n_starts_agreed_


def test_the_criterion_counts_rows_by_their_weights() -> None:
    weight = np.arange(len(X)) % 4 + 0.5
    model = quick(criterion="aic").fit(X, Y, weight)
    found = model.selection_
    expected = information_criteria(found["objective"][0], round(weight.sum()), 2).aic
    assert found["criterion"][0] == pytest.approx(expected, rel=1e-12)
    line = LinearRegression().fit(X, Y, weight)
    error = np.average((Y - line.predict(X)) ** 2, weights=weight) / model.response_scale_**2
    assert found["objective"][0] == pytest.approx(error, rel=1e-8)


@pytest.mark.parametrize("how", ["auto", "merge"])
def test_a_weight_of_k_is_k_rows_in_any_order(how: str) -> None:
    weight = np.arange(len(X)) % 3
    weighted = quick(how).fit(X, Y, weight)
    rows = np.random.default_rng(0).permutation(np.repeat(np.arange(len(X)), weight))
    repeated = quick(how).fit(X[rows], Y[rows])
    np.testing.assert_array_equal(weighted.predict(X), repeated.predict(X))
    np.testing.assert_array_equal(
        weighted.selection_["criterion"], repeated.selection_["criterion"]
    )
    assert weighted.selection_reason_ == repeated.selection_reason_


def test_a_straight_line_has_one_expert_with_noise_or_without() -> None:
    for noise in (0.0, 1e-6, 0.3):
        y = 3 * X[:, 0] + noise * np.random.default_rng(0).normal(size=len(X))
        for gate in ("sigmoid", "softmax"):
            model = quick(gate=gate).fit(X, y)
            assert model.n_experts_ == 1, (noise, gate)
            assert model.score(X, y) > 0.9


@pytest.mark.parametrize("how", ["auto", "merge"])
def test_numbers_that_the_rows_cannot_carry_are_not_tried(how: str) -> None:
    model = quick(how).fit(X[:13], Y[:13])
    assert model.selection_["n_experts"].tolist() == [1, 2]
    assert model.selection_reason_.endswith(
        "; 3 experts have 10 parameters, too many to be weighed by 13 responses"
    )
    few = quick(how).fit(X[:8], Y[:8])
    assert few.selection_reason_ == (
        "one expert was fitted: 2 experts have 6 parameters, too many to be weighed by 8 responses"
    )
    # Neither more weight nor less makes more of the same rows.
    heavy = quick(how).fit(X[:8], Y[:8], np.full(8, 100.0))
    assert heavy.selection_reason_ == few.selection_reason_
    light = quick(how).fit(X, Y, np.full(len(X), 0.05))
    assert light.selection_reason_.endswith("too many to be weighed by 6 responses")
    one = quick(how, max_experts=1).fit(X, Y)
    assert one.selection_reason_ == "one expert was fitted: max_experts is 1"


def test_numbers_too_large_for_memory_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_parameters, "_MOST_BYTES", 2500)
    model = quick().fit(X, Y)
    assert model.selection_["n_experts"].tolist() == [1, 2]
    assert model.selection_reason_.endswith("; 3 experts have 10 parameters, too many for memory")


@pytest.mark.parametrize("how", ["auto", "merge"])
def test_a_thousand_features(how: str) -> None:
    wide = np.random.default_rng(0).normal(size=(20, 1000))
    with pytest.raises(InputError) as error:
        quick(how, score="full").fit(wide, Y[:20])
    assert str(error.value) == (
        "score='full' must be a model whose normal equations fit into 2 GiB; got '502502 "
        "parameters: 1 expert of 1000 features'. Use score='linear' (2002 parameters), fewer "
        "experts or fewer features."
    )


@pytest.mark.parametrize("how", ["auto", "merge"])
def test_more_features_than_rows(how: str) -> None:
    wide = np.random.default_rng(0).normal(size=(20, 100))
    with pytest.warns(SigmoeWarning, match=r"^20 responses are fewer than the 101 free parameters"):
        model = quick(how).fit(wide, Y[:20])
    assert model.n_experts_ == 1
    assert np.isfinite(model.predict(wide)).all()


@pytest.mark.parametrize("how", ["auto", "merge"])
@pytest.mark.parametrize(
    ("table", "y"),
    [
        (X * 1e-12, Y * 1e12),
        (X * 1e12 + 1e13, Y * 1e-12),
        (np.column_stack([X, np.full(len(X), 7.0)]), Y),
        (np.column_stack([X, X]), Y),
        (X.astype(np.float32), Y.astype(np.float32)),
        (np.round(10 * X).astype(int), np.round(10 * Y).astype(int)),
    ],
    ids=["tiny", "huge", "constant", "twice", "float32", "int"],
)
def test_tables_of_all_kinds(how: str, table: np.ndarray, y: np.ndarray) -> None:
    model = quick(how, max_experts=2).fit(table, y)
    assert model.n_experts_ == 2
    assert model.score(table, y) > 0.97


@pytest.mark.parametrize("how", ["auto", "merge"])
def test_tables_that_say_nothing_have_one_expert(how: str) -> None:
    for gate in ("sigmoid", "softmax"):
        constant = quick(how, gate=gate).fit(X, np.full(len(X), 0.1))
        np.testing.assert_allclose(constant.predict(X), 0.1, atol=1e-12)
        nothing = quick(how, gate=gate).fit(np.ones((40, 2)), Y[:40])
        np.testing.assert_allclose(nothing.predict([[7.0, -3.0]]), Y[:40].mean(), atol=1e-6)
        assert (constant.n_experts_, nothing.n_experts_) == (1, 1)


def test_two_responses_share_the_number_of_experts() -> None:
    two = np.column_stack([Y, 3.0 - 2 * X[:, 0]])
    model = quick().fit(X, two)
    assert model.n_experts_ == 2
    assert model.predict(X).shape == two.shape


def test_a_later_fit_keeps_the_number_that_was_chosen() -> None:
    model = quick().partial_fit(X[:60], Y[:60])
    assert model.n_experts_ == 2
    reason = model.selection_reason_
    model.partial_fit(X[60:], 3 * X[60:, 0])
    assert (model.n_experts_, model.selection_reason_) == (2, reason)
    warm = clone(model).set_params(warm_start=True).fit(X, Y)
    warm.fit(X, 3 * X[:, 0])
    assert warm.n_experts_ == 2
    warm.set_params(warm_start=False).fit(X, 3 * X[:, 0])
    assert warm.n_experts_ == 1
    with pytest.raises(InputError, match="n_experts must be 1, as in the fit that goes on; got 3"):
        warm.set_params(n_experts=3).partial_fit(X, Y)


@pytest.mark.parametrize("how", ["auto", "merge"])
def test_saved_with_skops_and_read_again(how: str) -> None:
    model = quick(how).fit(X, Y)
    data = skops.io.dumps(model)
    trusted = skops.io.get_untrusted_types(data=data)
    assert trusted == ["sigmoe.estimation.regressor._estimator.MoERegressor"]
    again = skops.io.loads(data, trusted=trusted)
    assert again.selection_reason_ == model.selection_reason_
    for name, values in model.selection_.items():
        np.testing.assert_array_equal(again.selection_[name], values)
    again.partial_fit(X[:10], Y[:10])


def test_the_merging_path_of_a_fit_can_be_drawn() -> None:
    model = quick("merge").fit(X, Y)
    path = model.merging_path(X, Y)
    assert (path.n_experts, path.chosen) == ((3, 2, 1), 2)
    np.testing.assert_array_equal(
        [path.values[k] for k in (1, 2, 3)], model.selection_["criterion"]
    )
    assert len(plot_merging(path).axes) == 2
    for other in (quick().fit(X, Y), quick(2).fit(X, Y)):
        with pytest.raises(InputError) as error:
            other.merging_path(X, Y)
        assert str(error.value) == (
            f"n_experts must be 'merge' in the last fit from random starts; got "
            f"{other.n_experts!r}. Fit with MoERegressor(n_experts='merge')."
        )
