"""The estimator: scikit-learn's contract, known answers, tables as they come, and streams."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import skops.io
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from sigmoe._base.errors import InputError, SigmoeWarning
from sigmoe.estimation import Bounds
from sigmoe.estimation._sample import Sample
from sigmoe.estimation.engine._arrow import Arrow
from sigmoe.estimation.regressor._estimator import MoERegressor
from sigmoe.estimation.regressor._memory import Memory, Remembered
from sigmoe.estimation.regressor._parameters import CONSTRAINTS
from sigmoe.moe import Architecture, MixingMeasure, draw_sample, draw_truth

# Few starts and digits, for speed: the contract depends on neither.
CHECKED = [
    MoERegressor(n_starts=2),
    MoERegressor(gate="softmax", score="full", expert="relu", n_starts=1, ridge=1, tolerance=0.9),
    MoERegressor(1, score="partial", expert="tanh", n_starts=1, tolerance=1e-3),
]


# scikit-learn's tables are small: some have fewer rows than these models have parameters, and the
# warning says so. It is tested below.
@pytest.mark.filterwarnings("ignore:.* fewer than the .* free parameters:sigmoe.SigmoeWarning")
@parametrize_with_checks(CHECKED)
def test_the_contract_of_scikit_learn(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


def energy(n: int = 240, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return temperature and hour, and the electricity used: heating or cooling."""
    rng = np.random.default_rng(seed)
    temperature, hour = rng.uniform(-10, 40, n), rng.uniform(0, 24, n)
    warm = 1 / (1 + np.exp((15 - temperature) / 2))
    heating, cooling = 30 - 1.5 * temperature, 0.9 * temperature + 0.4 * hour - 10
    use = (1 - warm) * heating + warm * cooling + rng.normal(0, 1.0, n)
    return np.column_stack([temperature, hour]), use


def quick(**parameters: Any) -> MoERegressor:
    defaults = {"gate": "softmax", "n_starts": 2, "random_state": 0}
    return MoERegressor(**{**defaults, **parameters})


X, Y = energy()
TWO = np.column_stack([Y, 3.0 * Y[::-1] + X[:, 0]])
ZERO = torch.zeros((), dtype=torch.float64)


# Known answers


def test_the_experts_of_a_known_table_come_back_in_its_units() -> None:
    inputs, use = energy(2000)
    model = quick(ridge=0.03).fit(inputs, use)
    assert model.converged_
    assert model.score(inputs, use) > 0.98
    slopes = sorted(model.measure_.eta[:, :2].tolist())
    np.testing.assert_allclose(slopes, [[-1.5, 0.0], [0.9, 0.4]], atol=0.03)
    # A softmax mixture takes up the intercept: each expert's own constant is the sum of the two.
    constants = sorted((model.measure_.eta[:, 2] + model.intercept_).tolist())
    np.testing.assert_allclose(constants, [-10, 30], atol=0.5)


def test_one_linear_expert_is_ridge_regression() -> None:
    rng = np.random.default_rng(0)
    inputs = rng.normal(3.0, 5.0, size=(60, 3))
    y = inputs @ [1.0, -2.0, 0.5] + rng.normal(size=60)
    weight = rng.uniform(0.5, 2.0, 60)
    model = quick(n_experts=1, ridge=7.0).fit(inputs, y, weight)
    scaler = StandardScaler().fit(inputs, sample_weight=weight)
    peer = Ridge(alpha=7.0).fit(scaler.transform(inputs), y, weight)
    np.testing.assert_allclose(
        model.predict(inputs), peer.predict(scaler.transform(inputs)), rtol=1e-6
    )


def test_one_linear_expert_without_ridge_is_least_squares() -> None:
    rng = np.random.default_rng(1)
    inputs, y = rng.normal(size=(50, 4)), rng.normal(size=(50, 2))
    model = quick(n_experts=1, ridge=0).fit(inputs, y)
    np.testing.assert_allclose(
        model.predict(inputs), LinearRegression().fit(inputs, y).predict(inputs), atol=1e-7
    )
    np.testing.assert_allclose(
        model.objective_, np.sum(1 - r2_score(y, model.predict(inputs), multioutput="raw_values"))
    )


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"gate": "sigmoid", "score": "full", "expert": "relu"},
        {"gate": "sigmoid", "score": "partial", "expert": "scaled-gelu"},
        {"score": "full", "expert": "tanh", "n_experts": 3},
    ],
    ids=lambda p: "-".join(map(str, p.values())) or "default",
)
@pytest.mark.parametrize("y", [Y, TWO], ids=["one", "two"])
def test_the_measure_in_units_makes_the_predictions(
    parameters: dict[str, Any], y: np.ndarray
) -> None:
    model = quick(n_starts=1, max_iterations=30, tolerance=1e-4, **parameters).fit(X, y)
    assert model.measure_.architecture == model.architecture_
    own = model.intercept_ + model.measure_scale_ * model.measure_.predict(X).numpy()
    np.testing.assert_allclose(own, model.predict(X), rtol=1e-9)
    np.testing.assert_allclose(model.measure_.gates(X).numpy(), model.gates(X), atol=1e-9)
    # Predictions are the sum of the parts to the last bit.
    parts = model.decompose(X)
    np.testing.assert_array_equal(
        parts.contributions.sum(axis=1) + parts.intercept, model.predict(X)
    )
    assert parts.contributions.shape == (len(X), model.n_experts, *y.shape[1:])
    gates = model.gates(X).reshape(len(X), model.n_experts, *[1] * (y.ndim - 1))
    np.testing.assert_allclose(parts.contributions, gates * model.experts(X))


@pytest.mark.parametrize(
    ("parameters", "shift"),
    [
        ({}, 3.0),
        ({"gate": "sigmoid", "score": "full", "expert": "scaled-relu"}, 3.0),
        ({"expert": "tanh"}, 3.0),
        ({"expert": "relu"}, 3.0),
        # A partial score sees where zero is.
        ({"gate": "sigmoid", "score": "partial"}, 0.0),
    ],
    ids=["default", "full", "tanh", "relu", "partial"],
)
def test_units_do_not_matter(parameters: dict[str, Any], shift: float) -> None:
    settings = {"n_starts": 1, "tolerance": 1e-5, **parameters}
    plain = quick(**settings).fit(X, TWO)
    tiny_and_huge, responses = np.array([1e-12, 1e12]), np.array([1e12, 1e-12])
    moved = (X + shift) * tiny_and_huge
    model = quick(**settings).fit(moved, (TWO - 5.0) * responses)
    np.testing.assert_allclose(
        model.predict(moved) / responses + 5.0, plain.predict(X), rtol=1e-6, atol=1e-6
    )
    own = model.intercept_ + model.measure_scale_ * model.measure_.predict(moved).numpy()
    np.testing.assert_allclose(own, model.predict(moved), rtol=1e-8)


def test_experts_of_one_sign_fit_responses_of_both() -> None:
    y = Y - Y.mean()
    for expert in ("relu", "polynomial:2"):
        model = quick(expert=expert).fit(X, y)
        assert model.intercept_ < y.mean()
        assert model.score(X, y) > 0.9


# Weights and rows


@pytest.mark.parametrize("y", [Y, TWO], ids=["one", "two"])
def test_a_weight_of_k_is_k_rows_in_any_order(y: np.ndarray) -> None:
    weight = np.arange(len(X)) % 3
    weighted = quick().fit(X, y, weight)
    rows = np.random.default_rng(0).permutation(np.repeat(np.arange(len(X)), weight))
    repeated = quick().fit(X[rows], y[rows])
    np.testing.assert_array_equal(weighted.predict(X), repeated.predict(X))
    assert (weighted.n_samples_seen_, repeated.n_samples_seen_) == (160, 240)


def test_rows_of_weight_zero_are_absent() -> None:
    cold = X[:, 0] < 15
    model = quick(n_experts=1).fit(X, Y, np.where(cold, 1.0, 0.0))
    np.testing.assert_array_equal(
        model.predict(X), quick(n_experts=1).fit(X[cold], Y[cold]).predict(X)
    )


# Parameters


def test_score_is_both_a_parameter_and_the_method() -> None:
    model = quick(score="full", n_starts=1).fit(X, Y)
    assert model.score(X, Y) == r2_score(Y, model.predict(X))
    assert model.get_params()["score"] == "full"
    assert clone(model.set_params(score="partial")).get_params()["score"] == "partial"
    # What was fitted stays what it was.
    assert model.architecture_ == Architecture("softmax", "full", "linear", 2)
    assert "score='partial'" in repr(model)
    with config_context(enable_metadata_routing=True):
        assert model.set_score_request(sample_weight=True) is model


@pytest.mark.parametrize(
    ("parameter", "value"),
    [(name, bad) for name, (rule, _) in CONSTRAINTS.items() for bad in rule.bad_values()],
)
def test_numbers_out_of_range_are_refused(parameter: str, value: object) -> None:
    rule, remedy = CONSTRAINTS[parameter]
    for method in ("fit", "partial_fit"):
        with pytest.raises(InputError) as error:
            getattr(quick(**{parameter: value}), method)(X, Y)
        assert str(error.value) == f"{parameter} must be {rule.rule}; got {value!r}. {remedy}"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"gate": "hard"},
            "gate must be one of 'sigmoid', 'softmax'; got 'hard'. Choose one of these names.",
        ),
        (
            {"score": "cubic"},
            "score must be one of 'full', 'partial', 'linear'; got 'cubic'. Choose one of these "
            "names.",
        ),
        (
            {"warm_start": 1},
            "warm_start must be True or False; got 1. Use True to go on fitting.",
        ),
        (
            {"bounds": 3.0},
            "bounds must be 'default', a Bounds or None; got 3.0. Write for example "
            "Bounds(A=(-5, 5)).",
        ),
    ],
)
def test_unknown_choices_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        quick(**parameters).fit(X, Y)
    assert str(error.value) == message


def test_bounds_hold_in_standardised_units_and_are_reported() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = quick(bounds=Bounds(eta=(-0.4, 0.4))).fit(X * 1e6, Y)
    g = model.architecture_.n_score_coefficients
    assert np.abs(model.coordinates_[:, g:]).max() == 0.4
    assert model.active_bounds_
    assert all(text.endswith("0.4") for text in model.active_bounds_)
    assert "ended at a bound" in model.message_
    assert quick(bounds=None).fit(X, Y).active_bounds_ == ()


def test_a_fit_that_stops_early_says_so() -> None:
    with pytest.warns(ConvergenceWarning) as caught:
        model = quick(max_iterations=1, n_starts=1).fit(X, Y)
    assert not model.converged_
    assert str(caught[0].message) == model.message_
    assert model.message_.startswith(
        "Stopped at the limit of iterations before it converged; often some directions are hardly "
        "determined by the sample. Raise max_iterations, or fit fewer experts."
    )
    assert caught[0].filename == __file__


def test_what_a_fit_says_about_itself() -> None:
    model = quick(random_state=np.random.RandomState(3)).fit(X, Y)
    residual = (Y - model.predict(X)) / Y.std()
    assert model.objective_ == pytest.approx(np.mean(residual**2))
    assert model.start_objectives_.shape == (2,)
    assert model.start_objectives_.min() >= model.objective_
    assert 1 <= model.n_starts_agreed_ <= 2
    assert (model.status_ in ("gradient", "decrease", "step")) == model.converged_
    assert model.n_iter_ >= 1
    assert model.total_weight_ == len(X)


# Warm starts


def test_a_warm_start_goes_on_where_the_last_fit_ended() -> None:
    cold = quick(ridge=0.3).fit(X, Y)
    warm = clone(cold).set_params(warm_start=True).fit(X, Y)
    found = warm.predict(X)
    warm.fit(X, Y)
    np.testing.assert_allclose(warm.predict(X), found, rtol=1e-5)
    assert warm.start_objectives_.shape == (1,)
    # It follows the table into other units.
    moved = X * [1e-6, 1e6] + [3.0, -1.0]
    warm.fit(moved, Y * 100.0)
    assert warm.n_iter_ <= 10
    np.testing.assert_allclose(warm.predict(moved) / 100.0, found, rtol=1e-4)
    warm.set_params(bounds=Bounds(eta=(-0.3, 0.3))).fit(X, Y)
    assert np.abs(warm.coordinates_[:, 3:]).max() == 0.3


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_experts": 3}, "n_experts must be 2, as in the fit that goes on; got 3."),
        ({"gate": "sigmoid"}, "gate must be 'softmax', as in the fit that goes on; got 'sigmoid'."),
        ({"score": "full"}, "score must be 'linear', as in the fit that goes on; got 'full'."),
        ({"expert": "tanh"}, "expert must be 'linear', as in the fit that goes on; got 'tanh'."),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_fit_goes_on_with_the_model_it_began_with(
    method: str, changed: dict[str, Any], message: str
) -> None:
    model = quick(warm_start=True, n_starts=1).fit(X, Y)
    expected = model.predict(X)
    with pytest.raises(InputError) as error:
        getattr(model.set_params(**changed), method)(X, Y)
    assert str(error.value) == f"{message} Begin anew with sklearn.base.clone(estimator)."
    np.testing.assert_array_equal(model.predict(X), expected)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_fit_goes_on_with_the_columns_it_began_with(method: str) -> None:
    model = quick(warm_start=True, n_starts=1).fit(X, Y)
    with pytest.raises(ValueError, match="X has 1 features, but MoERegressor is expecting 2"):
        getattr(model, method)(X[:, :1], Y)
    with pytest.raises(InputError) as error:
        getattr(model, method)(X, TWO)
    assert str(error.value) == (
        "the number of responses must be None, as in the fit that goes on; got 2. Begin anew with "
        "sklearn.base.clone(estimator)."
    )
    model.predict(X)


# Streams


def test_a_stream_keeps_its_intercept_or_has_none() -> None:
    model = quick(gate="sigmoid").partial_fit(X, Y)
    with pytest.raises(InputError) as error:
        model.set_params(fit_intercept=False).partial_fit(X, Y)
    assert str(error.value) == (
        "fit_intercept must be True, as in the fit that goes on; got False. Begin anew with "
        "sklearn.base.clone(estimator)."
    )
    bare = quick(gate="sigmoid", fit_intercept=False).partial_fit(X, Y).partial_fit(X, Y)
    assert bare.intercept_ == 0.0
    np.testing.assert_array_equal(bare.decompose(X).contributions.sum(1), bare.predict(X))


@pytest.mark.parametrize("columns", [1, 2])
def test_responses_of_sigmoid_experts_and_a_constant_are_fitted_to_the_noise(columns: int) -> None:
    truth = draw_truth(Architecture("sigmoid", "linear", "linear", 2, n_outputs=columns), 2, seed=4)
    inputs, y = draw_sample(truth, 1500, noise_variance=0.01, seed=1)
    y = (y + torch.tensor([3.0, -70.0])[:columns]).numpy()
    model = MoERegressor(2, random_state=0).fit(inputs.numpy(), y[:, 0] if columns == 1 else y)
    noise = np.sqrt(np.mean((y - model.predict(inputs.numpy()).reshape(y.shape)) ** 2, axis=0))
    np.testing.assert_allclose(noise, 0.1, rtol=0.05)
    if columns == 1:
        stream = MoERegressor(2, random_state=0)
        for rows in np.split(np.arange(1500), 3):
            stream.partial_fit(inputs.numpy()[rows], y[rows, 0])
        np.testing.assert_allclose(
            stream.predict(inputs.numpy()), model.predict(inputs.numpy()), atol=0.1
        )


def test_without_an_intercept_tanh_experts_have_their_own_size() -> None:
    truth = draw_truth(Architecture("sigmoid", "linear", "tanh", 1), 2, seed=4)
    inputs, y = draw_sample(truth, 500, noise_variance=1e-4, seed=1)
    model = MoERegressor(2, expert="tanh", fit_intercept=False, random_state=0)
    model.fit(inputs.numpy(), y.numpy())
    assert (model.intercept_, model.measure_scale_, model.response_scale_) == (0.0, 1.0, 1.0)
    np.testing.assert_allclose(
        model.predict(inputs.numpy()), model.measure_.predict(inputs).numpy()
    )
    assert model.objective_ < 1.1e-4


def stream(architecture: Architecture, n_experts: int, seed: int) -> tuple[Any, Any, Any]:
    truth = draw_truth(architecture, n_experts, seed=seed)
    inputs, y = draw_sample(truth, 4000, noise_variance=0.05, seed=seed)
    return truth, inputs.numpy(), y.numpy()


def part(inputs: np.ndarray, y: np.ndarray, first: int, last: int) -> Sample:
    return Sample(torch.from_numpy(inputs[first:last]), torch.from_numpy(y[first:last]))


@pytest.mark.parametrize(
    ("architecture", "n_experts"),
    [
        (Architecture("sigmoid", "linear", "linear", 2), 2),
        (Architecture("softmax", "linear", "linear", 3), 2),
        (Architecture("sigmoid", "linear", "tanh", 2, 2), 2),
    ],
    ids=lambda value: getattr(value, "gate", None),
)
def test_twenty_batches_come_close_to_all_rows_at_once(
    architecture: Architecture, n_experts: int
) -> None:
    truth, inputs, y = stream(architecture, n_experts, seed=2)
    names = {"gate": architecture.gate, "expert": architecture.expert, "n_experts": n_experts}
    model, whole = quick(**names, ridge=0.03), quick(**names, ridge=0.03).fit(inputs, y)

    def error(estimator: MoERegressor) -> float:
        difference = estimator.predict(inputs) - truth.predict(inputs).numpy()
        return float(np.sqrt(np.mean(difference**2)))

    errors = []
    for k in range(20):
        batch = slice(200 * k, 200 * k + 200)
        errors.append(error(model.partial_fit(inputs[batch], y[batch])))
        assert model.n_samples_seen_ == 200 * k + 200
    # Over 32 such streams the median of this ratio was 1.3 and the largest 3.1.
    assert errors[-1] < 1.8 * error(whole)
    assert errors[-1] < errors[0] / 2


def test_a_stream_of_a_linear_model_is_weighted_least_squares() -> None:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(120, 3))
    y = inputs @ [1.0, 2.0, 3.0] + rng.normal(size=120)
    model = quick(n_experts=1, ridge=0.0)
    weight, sizes = np.zeros(120), (50, 40, 30)
    start = 0
    for size in sizes:
        batch = slice(start, start + size)
        model.partial_fit(inputs[batch], y[batch])
        # The older rows fade by (new / all)^2.
        weight *= 1 - (size / (size + weight.sum())) ** 2
        weight[batch] = 1.0
        start += size
    assert model.total_weight_ == pytest.approx(weight.sum())
    expected = LinearRegression().fit(inputs, y, weight)
    np.testing.assert_allclose(model.predict(inputs), expected.predict(inputs), atol=1e-6)
    residual = (y - expected.predict(inputs)) / model.response_scale_
    assert model.objective_ == pytest.approx(np.average(residual**2, weights=weight))


def test_a_large_table_outweighs_a_small_batch() -> None:
    model = quick().fit(X, Y)
    before = model.predict(X)
    model.partial_fit(X[:5], Y[:5] + 100.0, sample_weight=[1.0, 1.0, 1.0, 1.0, 0.0])
    assert model.n_samples_seen_ == 244
    assert 0.1 < np.abs(model.predict(X) - before).max() < 20.0
    assert model.start_objectives_.shape == (1,)


def test_a_first_batch_is_a_fit() -> None:
    one, other = quick().partial_fit(X, Y), quick().fit(X, Y)
    np.testing.assert_array_equal(one.predict(X), other.predict(X))


def test_a_stream_keeps_its_columns() -> None:
    inputs = np.column_stack([X, np.full(len(X), 7.0)])
    model = quick(n_starts=1).partial_fit(inputs[:100], Y[:100])
    model.partial_fit(inputs[100:200], Y[100:200])
    inputs[200:, 2] = 8.0
    with pytest.warns(SigmoeWarning) as caught:
        model.partial_fit(inputs[200:], Y[200:])
    assert str(caught[0].message) == (
        "Column(s) 2 of X were constant in the first batch and vary now: they stay without effect. "
        "Begin the stream with a batch in which they vary."
    )
    assert caught[0].filename == __file__


@pytest.mark.parametrize("intercept", [False, True])
def test_a_memory_is_the_sum_of_squares_of_linearised_residuals(intercept: bool) -> None:
    architecture = Architecture("sigmoid", "linear", "tanh", 1)
    truth, inputs, y = stream(architecture, 2, seed=1)
    parts = [
        Sample(torch.from_numpy(inputs[r]), torch.from_numpy(y[r]), intercept=intercept)
        for r in (slice(9), slice(9, 30))
    ]
    at = [truth, MixingMeasure.from_coordinates(architecture, truth.coordinates + 0.1)]
    constants = [torch.tensor(value * intercept, dtype=torch.float64) for value in (0.7, -0.3)]
    memory = Memory.of(parts[0], at[0], constants[0]) + Memory.of(parts[1], at[1], constants[1])
    p = truth.coordinates.numel()
    assert torch.equal(memory.coordinates, at[1].coordinates.flatten())
    parameters = torch.cat([truth.coordinates.flatten() - 0.2, torch.tensor([0.4])[:intercept]])

    def predict(inputs: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        b, c, eta = values[:, 1:2], values[:, 0], values[:, 2:]
        gates = torch.sigmoid(inputs @ b.T + c)
        return (gates * torch.tanh(inputs @ eta[:, :1].T + eta[:, 1])).sum(1)

    def squares(flat: torch.Tensor) -> float:
        total = 0.0
        for sample, measure in zip(parts, at, strict=True):
            centre = measure.coordinates
            jacobian = torch.autograd.functional.jacobian(partial(predict, sample.X), centre)
            change = jacobian.flatten(1) @ (flat[:p] - centre.flatten())
            residual = predict(sample.X, centre) - sample.y + change + flat[p:].sum()
            total += float(residual.square().sum())
        return total

    value, slope = memory.at(parameters)
    assert value == pytest.approx(squares(parameters), rel=1e-10)
    assert memory.moved(parameters).value == pytest.approx(value, rel=1e-12)
    assert memory.faded(0.5).at(parameters)[0] == pytest.approx(value / 2, rel=1e-12)
    assert memory.weight == 30
    step = torch.full_like(parameters, 1e-6)
    change = squares(parameters + step) - squares(parameters - step)
    assert change == pytest.approx(2.0 * float(slope @ step), rel=1e-6)
    # Responses less the intercept have the same sum of squares at what is left of it.
    constant = memory.centre[p:]
    rest = torch.cat([parameters[:p], parameters[p:] - constant])
    assert memory.without_intercept().at(rest)[0] == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("intercept", [False, True])
def test_the_problem_of_a_batch_has_the_gradient_and_curvature_of_its_objective(
    intercept: bool,
) -> None:
    architecture = Architecture("softmax", "linear", "linear", 1)
    truth, inputs, y = stream(architecture, 2, seed=2)
    first = slice(40)
    everything = Sample(
        torch.from_numpy(inputs[first]), torch.from_numpy(y[first]), intercept=intercept
    )
    old, new = (everything.rows(torch.arange(40)[r]) for r in (slice(10), slice(10, 40)))
    constant = torch.tensor(0.3 * intercept, dtype=torch.float64)
    problem = Remembered(new, architecture, 2, Memory.of(old, truth, constant), ridge=2.0)
    theta = truth.coordinates
    value, gradient = problem.gradient(theta)
    best = everything.best_intercept(truth).flatten()[: everything.n_intercepts]
    torch.testing.assert_close(problem.intercept(theta), best)
    # At the centre of the memory it is the problem of all rows.
    whole = everything.problem(architecture, 2, ridge=2.0 / 40)
    assert value == problem.objective(theta)
    assert value == pytest.approx(whole.gradient(theta)[0], rel=1e-12)
    torch.testing.assert_close(gradient, whole.gradient(theta)[1])
    torch.testing.assert_close(problem.curvature(theta), whole.curvature(theta))
    step = torch.full_like(theta, 1e-6)
    change = problem.objective(theta + step) - problem.objective(theta - step)
    assert change == pytest.approx(2.0 * float(gradient @ step.flatten()), rel=1e-6)


@pytest.mark.parametrize("intercept", [False, True])
def test_a_batch_of_many_columns_keeps_the_arrow(intercept: bool) -> None:
    architecture = Architecture("softmax", "full", "linear", 2, n_outputs=40)
    truth, start = (draw_truth(architecture, 3, seed=seed) for seed in (2, 3))
    sample = Sample(*draw_sample(truth, 60, noise_variance=0.05, seed=2), intercept=intercept)
    old, new = (sample.rows(torch.arange(60)[r]) for r in (slice(20), slice(20, 60)))
    problem = Remembered(new, architecture, 3, Memory.of(old, start, ZERO), ridge=6.0)
    matrix = problem.curvature(start.coordinates)
    assert isinstance(matrix, Arrow)
    whole = sample.problem(architecture, 3, ridge=0.1).curvature(start.coordinates)
    assert isinstance(whole, Arrow)
    torch.testing.assert_close(matrix.dense(), whole.dense())


def test_steps_of_a_large_batch_are_curved() -> None:
    architecture = Architecture("sigmoid", "linear", "tanh", 1)
    truth = draw_truth(architecture, 2, seed=2)
    sample = Sample(*draw_sample(truth, 20_000, noise_variance=0.05, seed=2))
    step = torch.ones(truth.coordinates.numel(), dtype=torch.float64)
    bends = []
    for rows in (slice(19_990), slice(10)):
        new = sample.rows(torch.arange(len(sample))[rows])
        memory = Memory.of(sample, truth, ZERO)
        problem = Remembered(new, architecture, 2, memory, ridge=2.0)
        bends.append(problem.bend(truth.coordinates, step))
    alone = sample.rows(torch.arange(19_990)).problem(architecture, 2).bend(truth.coordinates, step)
    assert alone is not None
    assert bends[0] is not None
    torch.testing.assert_close(bends[0], alone * (19_990 / (19_990 + len(sample))))
    assert bends[1] is None
    free = replace(sample, intercept=True)
    forgotten = Memory.of(free, truth, ZERO).faded(1e-12)
    expected = free.problem(architecture, 2).bend(truth.coordinates, step)
    assert expected is not None
    found = Remembered(free, architecture, 2, forgotten, ridge=0.0).bend(truth.coordinates, step)
    torch.testing.assert_close(found, expected)


# Tables as they come


@pytest.mark.parametrize("library", [pd, pl], ids=["pandas", "polars"])
def test_frames_and_their_names(library: Any) -> None:
    frame = library.DataFrame({"temperature": X[:, 0], "hour": X[:, 1]})
    responses = library.DataFrame({"use": TWO[:, 0], "other": TWO[:, 1]})
    weight = np.linspace(0.5, 2.0, len(X))
    plain = quick(n_starts=1).fit(X, TWO, weight)
    model = quick(n_starts=1).fit(frame, responses, library.Series(weight))
    assert model.feature_names_in_.tolist() == ["temperature", "hour"]
    np.testing.assert_array_equal(model.predict(frame), plain.predict(X))
    assert model.total_weight_ == pytest.approx(weight.sum())
    single = quick(n_starts=1).fit(frame, library.Series(Y))
    assert single.predict(frame).shape == (len(X),)
    with pytest.raises(ValueError, match="feature names should match those that were passed"):
        model.predict(frame[["hour", "temperature"]])


@pytest.mark.parametrize(
    ("frame", "dtype"),
    [
        (pd.DataFrame({"a": [1.0, 2.0], "city": ["Oslo", "Rome"]}), "str"),
        (pd.DataFrame({"a": [1.0, 2.0], "city": ["01", "02"]}, dtype=object), "object"),
        (pd.DataFrame({"city": pd.to_datetime(["2024-01-01", "2024-01-02"])}), "datetime64[us]"),
        (pd.DataFrame({"city": pd.Categorical([1, 2])}), "category"),
        (pd.DataFrame({"city": [{}, 2]}), "object"),
        (pl.DataFrame({"a": [1.0, 2.0], "city": ["Oslo", "Rome"]}), "String"),
        (pl.DataFrame({"city": [date(2024, 1, 1), date(2024, 1, 2)]}), "Date"),
    ],
    ids=["text", "digits", "dates", "category", "objects", "polars-text", "polars-dates"],
)
def test_columns_without_numbers_are_named(frame: Any, dtype: str) -> None:
    with pytest.raises(InputError) as error:
        quick().fit(frame, [0.0, 1.0])
    assert str(error.value) == (
        f"column 'city' of X must be of numbers; got '{dtype}'. Encode it first, for example with "
        "OneHotEncoder in a ColumnTransformer."
    )


@pytest.mark.parametrize(
    "table",
    [
        X,
        X.astype(np.float32),
        np.round(X).astype(int),
        np.round(X).astype(object),
        pd.DataFrame(np.round(X)).astype("Int64"),
        pd.DataFrame(np.round(X)).astype(object),
        pl.DataFrame(np.round(X)).cast(pl.Int32),
        pd.DataFrame({"warm": X[:, 0] > 15}),
        pl.DataFrame({"warm": X[:, 0] > 15}),
    ],
    ids=[
        *["float64", "float32", "int", "object"],
        *["nullable", "pandas-object", "polars", "bool", "polars-bool"],
    ],
)
def test_numbers_of_any_kind_are_used_as_they_are(table: Any) -> None:
    expected = np.asarray(table, dtype=np.float64)
    model = quick(n_starts=1).fit(table, np.round(Y).astype(int))
    predictions = model.predict(table)
    assert predictions.dtype == np.float64
    np.testing.assert_allclose(model.input_centre_, expected.mean(axis=0), rtol=1e-13)
    np.testing.assert_array_equal(
        predictions, quick(n_starts=1).fit(expected, np.round(Y)).predict(expected)
    )


@pytest.mark.parametrize(
    "table",
    [
        np.where(X > 38.0, np.nan, X),
        pd.DataFrame(np.where(X > 38.0, np.nan, X)),
        pl.DataFrame({"a": [None, *X[1:, 0]]}),
    ],
    ids=["array", "pandas", "polars"],
)
def test_missing_values_are_refused(table: Any) -> None:
    with pytest.raises(ValueError, match=r"^Input X contains NaN\.\nMoERegressor does not accept"):
        quick().fit(table, Y)


def test_a_model_with_too_few_rows_warns_and_predicts() -> None:
    with pytest.warns(SigmoeWarning) as caught:
        model = quick(n_starts=1).fit(X[:8], Y[:8])
    assert str(caught[0].message) == (
        "8 responses are fewer than the 9 free parameters of 2 experts: the fit can follow the "
        "noise. Use more samples or fewer experts."
    )
    assert np.isfinite(model.predict(X)).all()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"score": "full"},
            "score='full' must be a model whose normal equations fit into 2 GiB; got '1005004 "
            "parameters: 2 experts of 1000 features'. Use score='linear' (4004 parameters), fewer "
            "experts or fewer features.",
        ),
        (
            {"n_experts": 20},
            "score='linear' must be a model whose normal equations fit into 2 GiB; got '40040 "
            "parameters: 20 experts of 1000 features'. Use fewer experts or fewer features.",
        ),
    ],
)
def test_a_model_too_large_for_memory_is_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        quick(**parameters).fit(np.zeros((3, 1000)), np.zeros(3))
    assert str(error.value) == message


@pytest.mark.parametrize("ridge", [0.0, 0.3])
@pytest.mark.parametrize("score", ["linear", "partial", "full"])
def test_constant_columns_get_zero_coefficients(score: str, ridge: float) -> None:
    model = quick(score=score, n_starts=1, max_iterations=20, tolerance=1e-3, ridge=ridge)
    plain = clone(model).fit(X, Y)
    wide = np.column_stack([X, np.full(len(X), 0.1)])
    model.fit(wide, Y)
    assert model.constant_features_.tolist() == [False, False, True]
    assert not model.measure_.eta[:, 2].any()
    assert not model.measure_.b[:, 2].any()
    assert not model.measure_.A[:, 2].any()
    changed = wide + [0.0, 0.0, 5.0]
    np.testing.assert_array_equal(model.predict(changed), model.predict(wide))
    assert model.score(wide, Y) == pytest.approx(plain.score(X, Y), abs=0.05)


def test_a_column_given_twice_shares_its_coefficient() -> None:
    model = quick().fit(X[:, [0, 1, 0]], Y)
    eta = model.measure_.eta
    torch.testing.assert_close(eta[:, 0], eta[:, 2], rtol=1e-3, atol=1e-4)
    assert model.score(X[:, [0, 1, 0]], Y) > 0.98


# Small tables, on purpose.
@pytest.mark.filterwarnings("ignore:.* fewer than the .* free parameters:sigmoe.SigmoeWarning")
def test_tables_that_say_nothing_give_their_mean() -> None:
    constant = quick().fit(X, np.full(len(X), 0.1))
    np.testing.assert_allclose(constant.predict(X), 0.1, atol=1e-12)
    nothing = quick().fit(np.ones((6, 2)), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    np.testing.assert_allclose(nothing.predict([[7.0, -3.0]]), 2.5, atol=1e-6)
    one = quick().fit(X[:1], Y[:1])
    np.testing.assert_allclose(one.predict(X), Y[0], atol=1e-9)


def test_a_column_of_responses_is_one_response() -> None:
    model = quick().fit(X, Y[:, None])
    assert model.predict(X).shape == (len(X), 1)
    np.testing.assert_allclose(model.predict(X)[:, 0], quick().fit(X, Y).predict(X), rtol=1e-12)
    assert model.architecture_.n_outputs == 1


def test_before_a_fit_there_is_nothing_to_ask() -> None:
    for ask in ("predict", "gates", "experts", "decompose"):
        with pytest.raises(NotFittedError):
            getattr(MoERegressor(), ask)(X)
    for name in ("measure_", "architecture_", "measure_scale_"):
        with pytest.raises(NotFittedError):
            getattr(MoERegressor(), name)


# Among other tools


def test_in_a_pipeline_under_a_search() -> None:
    frame = pd.DataFrame({"temperature": X[:, 0], "day": np.where(X[:, 1] < 12, "am", "pm")})
    encode = ColumnTransformer([("day", OneHotEncoder(), ["day"])], remainder="passthrough")
    pipeline = make_pipeline(encode, quick(n_starts=1, tolerance=1e-4))
    grid = {"moeregressor__n_experts": [1, 2], "moeregressor__score": ["linear", "full"]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(frame, Y)
    assert search.best_params_["moeregressor__n_experts"] == 2
    assert search.score(frame, Y) > 0.95


@pytest.mark.parametrize("bounds", ["default", Bounds(c=(-5, 5))])
@pytest.mark.parametrize("y", [Y, TWO], ids=["one", "two"])
def test_saved_with_skops_and_read_again(y: np.ndarray, bounds: Any) -> None:
    frame = pd.DataFrame(X, columns=["t", "h"])
    model = quick(n_starts=1, bounds=bounds, tolerance=1e-4).fit(frame, y)
    data = skops.io.dumps(model)
    trusted = skops.io.get_untrusted_types(data=data)
    own = ["sigmoe.estimation._bounds.Bounds"] if bounds != "default" else []
    assert trusted == [*own, "sigmoe.estimation.regressor._estimator.MoERegressor"]
    again = skops.io.loads(data, trusted=trusted)
    np.testing.assert_array_equal(again.predict(frame), model.predict(frame))
    assert again.measure_ == model.measure_
    assert again.get_params() == model.get_params()
    # The stream goes on, too.
    for estimator in (again, model):
        estimator.partial_fit(frame[:50], y[:50])
    np.testing.assert_array_equal(again.predict(frame), model.predict(frame))
