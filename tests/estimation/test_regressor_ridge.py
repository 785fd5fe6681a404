"""The ridge penalty that a table decides: against BayesianRidge, in its limits, in streams."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import BayesianRidge

from sigmoe._base.errors import InputError, SigmoeWarning
from sigmoe.estimation.regressor._estimator import MoERegressor
from sigmoe.estimation.regressor._memory import Memory
from sigmoe.estimation.regressor._weigh import _step, evidence_ridge

FIRST = 0.3


def quick(n_experts: Any = 2, **parameters: Any) -> MoERegressor:
    return MoERegressor(n_experts, **{"n_starts": 3, "random_state": 0, **parameters})


def line(n: int = 60, noise: float = 1.0, columns: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(n, columns))
    return inputs, inputs @ rng.normal(size=columns) + rng.normal(0.0, noise, n)


def nested(n: int = 300, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Return a table whose gates are steep: their slopes are 5 and 3."""
    x = np.random.default_rng(0).uniform(-2, 2, n)
    first, second = (1 / (1 + np.exp(-score)) for score in (5 * x - 3, 3 * x + 3))
    y = first * (1 - 2 * x) + second * 2 * x
    y -= y.mean()
    return x[:, None], y + np.random.default_rng(1).normal(0, noise, n)


def memory_of(model: MoERegressor) -> Memory:
    state = model._state()
    assert state is not None
    return state.memory


# Against another program


@pytest.mark.parametrize("noise", [0.1, 1.0, 5.0])
def test_of_one_linear_expert_it_is_that_of_bayesian_ridge_regression(noise: float) -> None:
    inputs, y = line(noise=noise)
    model = quick(1, gate="softmax").fit(inputs, y)
    z = (inputs - model.input_centre_) / model.input_scale_
    design = np.column_stack([z, np.ones(len(z))])
    # Without priors on the two variances, which it calls by their precisions.
    priors = dict.fromkeys(("alpha_1", "alpha_2", "lambda_1", "lambda_2"), 0.0)
    peer = BayesianRidge(fit_intercept=False, max_iter=10_000, tol=1e-10, **priors)
    peer.fit(design, (y - model.intercept_) / model.response_scale_)
    assert model.ridge_ == pytest.approx(peer.lambda_ / peer.alpha_, rel=0.06)
    expected = peer.predict(design) * model.response_scale_ + model.intercept_
    np.testing.assert_allclose(model.predict(inputs), expected, atol=0.02 * model.response_scale_)


@pytest.mark.parametrize("noise", [0.1, 1.0, 5.0])
def test_beside_an_intercept_it_is_that_of_centred_rows(noise: float) -> None:
    inputs, y = line(noise=noise)
    # Linear, too, but not so by name: its own constant is left to the intercept.
    model = quick(1, gate="softmax", expert="polynomial:1").fit(inputs, y + 7.0)
    z = (inputs - model.input_centre_) / model.input_scale_
    priors = dict.fromkeys(("alpha_1", "alpha_2", "lambda_1", "lambda_2"), 0.0)
    peer = BayesianRidge(max_iter=10_000, tol=1e-10, **priors)
    peer.fit(z, y / model.response_scale_)
    assert model.ridge_ == pytest.approx(peer.lambda_ / peer.alpha_, rel=0.1)
    assert model.intercept_ == pytest.approx(y.mean() + 7.0)


def test_an_intercept_counts_as_a_parameter() -> None:
    p, matrix = 3, torch.diag(torch.tensor([50.0, 2.0, 1e-3, 20.0], dtype=torch.float64))
    centre = torch.tensor([1.0, -2.0, 0.5, 0.3], dtype=torch.float64)
    bare = Memory(centre[:p], matrix[:p, :p], torch.zeros(p), 9.0, 20.0, 0)
    beside = Memory(centre, matrix, torch.zeros(p + 1), 9.0, 20.0, 1)
    determined = 50.0 / 50.3 + 2.0 / 2.3 + 1e-3 / 0.301
    ratio = evidence_ridge(beside, 1, 0.3) / evidence_ridge(bare, 1, 0.3)
    assert ratio == pytest.approx((20.0 - determined) / (19.0 - determined))


def test_a_settled_penalty_is_what_its_fit_asks_for() -> None:
    inputs, y = nested()
    for parameters in ({}, {"gate": "softmax", "expert": "tanh"}, {"gate": "softmax"}):
        model = quick(**parameters).fit(inputs, np.column_stack([y, y[::-1]]))
        asked = evidence_ridge(memory_of(model), 2, model.ridge_)
        assert abs(math.log(asked / model.ridge_)) < math.log(1.05)
        assert model.ridge_ != FIRST


# What it is for


def test_gates_are_found_where_there_is_little_noise() -> None:
    inputs, y = nested()
    own, fixed = (
        # The experts sum to a constant: beside an intercept each gate may as well be turned over.
        np.sort(quick(ridge=ridge).fit(inputs, y).measure_.b[:, 0].abs())
        for ridge in ("auto", 0.3)
    )
    np.testing.assert_allclose(own, [3.0, 5.0], atol=1.2)
    assert np.abs(fixed - [3.0, 5.0]).max() > 2.0


def test_more_noise_asks_for_more() -> None:
    found = [quick().fit(*nested(noise=sd)).ridge_ for sd in (0.01, 0.1, 1.0, 20.0)]
    assert found == sorted(found)
    assert found[0] < 1e-4
    assert found[3] > 0.3


def test_the_summary_says_what_it_is() -> None:
    inputs, y = line()
    own, given = (quick(1, ridge=ridge).fit(inputs, y) for ridge in ("auto", 0.3))
    assert own.summary(inputs, y).facts["Ridge"] == f"{own.ridge_:.3g} (weighed)"
    assert given.summary(inputs, y).facts["Ridge"] == "0.3"


def test_two_rounds_tell_where_the_penalty_goes() -> None:
    assert _step((0.0, 1.5), None) == 1.5
    # What is asked for halves the distance to 3 each time.
    assert _step((1.5, 0.75), (0.0, 1.5)) == pytest.approx(1.5)
    assert _step((4.0, -0.5), (2.0, 0.5)) == pytest.approx(-1.0)
    # No secant where rounds move away from each other, and no step without end.
    assert _step((1.0, 2.0), (0.0, 1.0)) == 2.0
    assert _step((1.0, 1.0), (0.0, 1.0 + 1e-9)) == pytest.approx(math.log(100.0))


# Limits


def test_without_noise_there_is_no_penalty() -> None:
    inputs, y = line(noise=0.0)
    model = quick(1, gate="softmax").fit(inputs, y)
    assert model.ridge_ == 1e-8
    np.testing.assert_allclose(model.predict(inputs), y, atol=1e-8)


def test_without_signal_it_is_at_most_the_weight_of_the_rows() -> None:
    rng = np.random.default_rng(3)
    inputs, y = rng.normal(size=(50, 2)), rng.normal(size=50)
    model = quick(1, gate="softmax").fit(inputs, y)
    assert 1.0 < model.ridge_ <= 50.0


# Six rows are too few for the model, of which the fit warns; the penalty is what is tested.
@pytest.mark.filterwarnings("ignore:.* fewer than the .* free parameters:sigmoe.SigmoeWarning")
def test_without_evidence_it_stays_where_it_begins() -> None:
    inputs, y = line(6)
    few = quick(1, gate="softmax").fit(inputs, y, np.full(6, 0.1))
    flat = quick(1, gate="softmax").fit(inputs, np.full(6, 2.0))
    assert few.ridge_ == flat.ridge_ == FIRST
    inputs, y = nested()
    with pytest.warns(ConvergenceWarning, match="Stopped at the limit"):
        stopped = quick(max_iterations=1, n_starts=1, tolerance=0.0).fit(inputs, y)
    assert stopped.ridge_ == FIRST


def test_more_parameters_than_rows_do_not_bring_it_to_nothing() -> None:
    inputs, y = line(12)
    with pytest.warns(SigmoeWarning, match="fewer than"):
        model = quick(2, n_starts=1).fit(inputs, y)
    assert model.ridge_ > 1e-3


def test_a_weight_of_k_is_k_rows() -> None:
    inputs, y = nested(60)
    weight = np.arange(60) % 3
    one = quick().fit(inputs, y, weight)
    other = quick().fit(np.repeat(inputs, weight, axis=0), np.repeat(y, weight))
    assert one.ridge_ == other.ridge_
    np.testing.assert_array_equal(one.predict(inputs), other.predict(inputs))


# Other ways to fit


@pytest.mark.parametrize("number", [0, 0.3, 7])
def test_a_given_penalty_stays_what_it_is(number: float) -> None:
    inputs, y = nested(60)
    model = quick(ridge=number).fit(inputs, y)
    assert model.ridge_ == number
    assert model.partial_fit(inputs, y).ridge_ == number


@pytest.mark.parametrize("n_experts", ["auto", "merge"])
def test_chosen_numbers_of_experts_have_a_penalty_of_their_own(n_experts: str) -> None:
    inputs, y = nested()
    model = quick(n_experts, max_experts=3).fit(inputs, y)
    assert model.n_experts_ in {2, 3}
    asked = evidence_ridge(memory_of(model), 1, model.ridge_)
    assert abs(math.log(asked / model.ridge_)) < math.log(1.05)


def test_a_stream_weighs_it_anew_after_each_batch() -> None:
    inputs, y = nested(900)
    model = quick().partial_fit(inputs[:100], y[:100])
    first = model.ridge_
    batches = (slice(100, 400), slice(400, 900))
    later = [model.partial_fit(inputs[rows], y[rows]).ridge_ for rows in batches]
    assert len({first, *later}) == 3
    whole = quick().fit(inputs, y)
    assert model.ridge_ == pytest.approx(whole.ridge_, rel=0.5)
    np.testing.assert_allclose(model.predict(inputs), whole.predict(inputs), atol=0.1)


def test_a_warm_start_begins_with_the_penalty_it_had() -> None:
    inputs, y = nested()
    model = quick(warm_start=True).fit(inputs, y)
    before = model.ridge_, model.predict(inputs)
    model.fit(inputs, y)
    assert model.ridge_ == before[0]
    np.testing.assert_allclose(model.predict(inputs), before[1], atol=1e-4)
    assert model.fit(inputs, y + np.random.default_rng(5).normal(size=len(y))).ridge_ > 0.01


# Refused


@pytest.mark.parametrize("value", ["automatic", -1.0, math.nan, None, True])
def test_other_values_are_refused(value: Any) -> None:
    inputs, y = line()
    with pytest.raises(InputError) as error:
        quick(ridge=value).fit(inputs, y)
    assert str(error.value) == (
        f"ridge must be a number >= 0 or 'auto'; got {value!r}. Use 0 for plain least squares."
    )
