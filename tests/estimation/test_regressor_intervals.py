"""What the estimator says about its coefficients: intervals, when there are none, the summary."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import t as student
from sklearn.exceptions import NotFittedError

from sigmoe._base.errors import InputError
from sigmoe._base.seeds import child_seeds
from sigmoe.estimation import fit_least_squares, parameter_covariance
from sigmoe.estimation.regressor._estimator import MoERegressor
from sigmoe.estimation.regressor._intervals import resampled
from sigmoe.estimation.regressor._rivals import Optima
from sigmoe.moe import MixingMeasure
from sigmoe.moe._forward import forward


def bend(n: int = 200, noise: float = 0.1, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Return a table that two experts describe."""
    rng = np.random.default_rng(seed)
    x, z = rng.uniform(-2, 2, n), rng.normal(size=n)
    right = 1 / (1 + np.exp(-4 * (x - 0.3)))
    y = (1 - right) * (1 + x) + right * (4 - 3 * x) + 0.5 * z + rng.normal(0, noise, n)
    return pd.DataFrame({"slope": x, "load": z}), y


def quick(n_experts: Any = 2, **parameters: Any) -> MoERegressor:
    defaults = {"gate": "softmax", "n_starts": 2, "random_state": 0}
    return MoERegressor(n_experts, **{**defaults, **parameters})


X, Y = bend()
SMALL = bend(40, 0.3, 1)


def robust(inputs: np.ndarray, y: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return least squares with a constant, last, and White's standard errors, by the book."""
    design = np.column_stack([inputs, np.ones(len(inputs))])
    inverse = np.linalg.inv(design.T @ (weight[:, None] * design))
    coefficients = inverse @ design.T @ (weight * y)
    residual = y - design @ coefficients
    meat = design.T @ ((weight * residual**2)[:, None] * design)
    return coefficients, np.sqrt(np.diag(inverse @ meat @ inverse))


def by_expert(values: np.ndarray) -> np.ndarray:
    """Return the coefficients of two experts of two features, in an order of their own."""
    experts = values[3:].reshape(2, 3)
    return experts[experts[:, 0].argsort()]


# The sandwich


@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e12])
def test_one_expert_has_whites_standard_errors(unit: float) -> None:
    weight = np.arange(len(X)) % 3 + 1.0
    inputs = X.to_numpy() * unit + 3.0 * unit
    found = quick(1, ridge=5.0).fit(inputs, Y, weight).confidence_intervals(inputs, Y, weight)
    coefficients, error = robust(inputs, Y, weight)
    assert found.names == ("expert 0: x0", "expert 0: x1", "expert 0: const")
    assert (found.method, found.reason) == ("sandwich", "")
    np.testing.assert_allclose(found.estimate, coefficients, rtol=1e-6)
    np.testing.assert_allclose(found.standard_error, error, rtol=1e-6)
    assert found.degrees_of_freedom == weight.sum() - 3
    reach = student.ppf(0.975, weight.sum() - 3) * error
    np.testing.assert_allclose(found.upper - found.estimate, reach, rtol=1e-6)
    np.testing.assert_allclose(found.lower, found.estimate - reach, rtol=1e-6, atol=1e-6 * unit)
    np.testing.assert_allclose(found.p_value, 2 * student.sf(abs(found.t), weight.sum() - 3))
    assert found["expert 0: x1"] == (found.lower[1], found.upper[1])
    assert found.covers(coefficients).all()


def test_two_experts_agree_with_parameter_covariance() -> None:
    model = quick(ridge=0.0).fit(X, Y)
    found = model.confidence_intervals(X, Y)
    centred = Y - model.intercept_
    peer = parameter_covariance(model.measure_, X.to_numpy(), centred).intervals()
    order = [peer.names.index(name) for name in peer.names]
    np.testing.assert_allclose(found.standard_error, peer.standard_error[order], rtol=1e-3)
    assert found.names[:4] == (
        *("gate 0: const", "gate 0: slope", "gate 0: load", "expert 0: slope"),
    )
    assert found.names[-1] == "expert 1: const"
    constants = [name.endswith("const") and name.startswith("expert") for name in found.names]
    moved = found.estimate - peer.estimate.numpy()
    np.testing.assert_allclose(moved, np.where(constants, model.intercept_, 0.0), atol=1e-3)


def test_intervals_are_those_of_plain_least_squares() -> None:
    strong, loose, none = (
        quick(**settings).fit(X, Y)
        for settings in ({"ridge": 3.0}, {"tolerance": 0.1}, {"ridge": 0.0})
    )
    assert np.abs(strong.predict(X) - none.predict(X)).max() > 0.01
    plain = none.confidence_intervals(X, Y)
    for model in (strong, loose):
        found = model.confidence_intervals(X, Y)
        assert found.method == "sandwich"
        for values in ("estimate", "standard_error"):
            first, second = (by_expert(getattr(each, values)) for each in (found, plain))
            np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-3)


def test_the_penalty_does_not_choose_the_optimum_of_the_intervals() -> None:
    x = np.random.default_rng(0).uniform(-2, 2, 600)
    first, second = (1 / (1 + np.exp(-score)) for score in (5 * x - 3, 3 * x + 3))
    y = first * (1 - 2 * x) + second * 2 * x
    y += np.random.default_rng(1).normal(0, 0.1, 600)
    settings = {"gate": "sigmoid", "n_starts": 5, "ridge": 0.3, "fit_intercept": False}
    model = quick(**settings).fit(x[:, None], y)
    found = model.confidence_intervals(x[:, None], y, method="sandwich")
    truth = MixingMeasure(model.architecture_, None, [[5.0], [3.0]], [-3.0, 3.0], [[-2, 1], [2, 0]])
    best = fit_least_squares(x[:, None], y, model.architecture_, 2, start=truth)
    # The penalty leads to another optimum, from which least squares does not come back.
    there = fit_least_squares(x[:, None], y, model.architecture_, 2, start=model.measure_)
    assert there.objective > 1.02 * best.objective
    assert (found.names[1], found.names[5]) == ("gate 0: x0", "gate 1: x0")
    np.testing.assert_allclose(
        np.sort(found.estimate[[1, 5]]), np.sort(best.measure.b[:, 0]), rtol=1e-3
    )
    # Experts keep the order of the fit.
    model.coordinates_ = model.coordinates_[::-1].copy()
    turned = model.confidence_intervals(x[:, None], y, method="sandwich").estimate
    np.testing.assert_allclose(turned, np.roll(found.estimate, 4), rtol=1e-3)


def test_a_weight_of_k_is_k_rows_and_rows_of_any_order() -> None:
    weight = np.arange(len(X)) % 3
    rows = np.random.default_rng(0).permutation(np.repeat(np.arange(len(X)), weight))
    model = quick().fit(X, Y, weight)
    for method in ("sandwich", "bootstrap"):
        one = model.confidence_intervals(X, Y, weight, method=method, n_bootstrap=3)
        other = model.confidence_intervals(X.iloc[rows], Y[rows], method=method, n_bootstrap=3)
        np.testing.assert_array_equal(one.standard_error, other.standard_error)
        np.testing.assert_array_equal(one.lower, other.lower)


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("expert", ["tanh", "linear"])
def test_a_fitted_intercept_is_one_of_the_parameters(columns: int, expert: str) -> None:
    """The covariance is that of all parameters at once, by autograd and the book."""
    rng = np.random.default_rng(0)
    inputs = rng.uniform(-2, 2, (2000, 1))
    gates = 1 / (1 + np.exp(np.column_stack([2 - 4 * inputs, 2 + 4 * inputs])))
    parts = np.column_stack([3 * inputs - 1, 3 * inputs + 1])
    experts = 0.5 * np.tanh(parts) if expert == "tanh" else parts
    both = np.column_stack([(gates * experts).sum(1) + 3, (gates * experts[:, ::-1]).sum(1)])
    both += rng.normal(0, 0.01, both.shape)
    y = both[:, 0] if columns == 1 else both
    model = quick(gate="sigmoid", expert=expert, n_starts=5).fit(inputs, y)
    weight = np.arange(2000) % 4 + 1.0
    estimate = model._estimate(inputs, y, weight)
    found, sample = estimate.judgement.covariance, estimate.problem.sample
    assert found is not None
    architecture, p = model.architecture_, model.coordinates_.size
    X, counts = sample.X.T.contiguous(), sample.weight
    assert counts is not None

    def residuals(values: torch.Tensor) -> torch.Tensor:
        measure = values[:p].view(2, -1)
        return (forward(architecture, measure, X).prediction + values[p:, None]).T - sample.y.view(
            len(sample), -1
        )

    def total(values: torch.Tensor) -> torch.Tensor:
        return 0.5 * (counts @ residuals(values).square().sum(1))

    at = estimate.judgement.parameters
    J = torch.autograd.functional.jacobian(residuals, at)
    scores = torch.einsum("nmp,nm->np", J, residuals(at))
    inverse = torch.autograd.functional.hessian(total, at).inverse()
    expected = inverse @ (scores.T @ (counts[:, None] * scores)) @ inverse
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(
        counts @ residuals(at), torch.zeros(columns).double(), atol=1e-9, rtol=0
    )
    intervals = estimate.intervals(0.95, "sandwich", 2, 0)
    names = ("intercept",) if columns == 1 else ("intercept, y0", "intercept, y1")
    assert intervals.names[-columns:] == names
    error = expected.diagonal()[p:].sqrt().numpy() * model.response_scale_
    np.testing.assert_allclose(intervals.standard_error[-columns:], error, rtol=1e-6)
    assert intervals.degrees_of_freedom == counts.sum() * columns - p - columns


def test_a_refit_to_resampled_rows_has_the_intercept_of_these_rows() -> None:
    x = np.random.default_rng(0).uniform(-2, 2, (300, 1))
    y = np.tanh(3 * x[:, 0]) + np.random.default_rng(1).normal(0, 0.3, 300)
    model = quick(1, gate="softmax", expert="tanh").fit(x, y)
    problem = model._problem(x, y, None)
    draws, _ = resampled(problem, model._measure(), 2, seed=3)
    p = model.coordinates_.size
    for draw, child in zip(draws, child_seeds(3, "bootstrap", 2), strict=True):
        counts = torch.from_numpy(
            np.random.default_rng(child).multinomial(300, np.full(300, 1 / 300))
        )
        measure = MixingMeasure.from_coordinates(problem.architecture, draw[:p].view(1, -1))
        residual = problem.sample.y - measure.predict(problem.sample.X) - draw[p]
        assert abs(float(counts.double() @ residual)) < 1e-9


def test_what_leaving_out_the_penalty_moves_includes_the_intercept() -> None:
    x = np.random.default_rng(0).uniform(-2, 2, (300, 1))
    y = 5.0 + np.exp(x[:, 0]) + np.random.default_rng(1).normal(0, 0.3, 300)
    model = quick(1, gate="sigmoid", ridge=20.0).fit(x, y)
    estimate = model._estimate(x, y, None)
    found, sample = estimate.judgement, estimate.problem.sample
    plain = found.measure.predict(sample.X) + found.parameters[-1]
    mine = (model.predict(x) - model.intercept_) / model.response_scale_
    # Rows of the problem are in an order of their own.
    order = (np.sort(sample.X[:, 0].numpy()), np.argsort(x[:, 0]))
    assert np.allclose(order[0] * model.input_scale_ + model.input_centre_, x[order[1], 0])
    sorted_plain = plain[sample.X[:, 0].argsort()].numpy()
    moved = np.sqrt(np.mean((sorted_plain - mine[order[1]]) ** 2))
    assert abs(float(found.parameters[-1])) > 0.1
    assert estimate.moved == pytest.approx(moved)


def test_constant_columns_have_no_coefficients() -> None:
    wide = X.assign(site=7.0)
    model = quick().fit(wide, Y)
    found, plain = model.confidence_intervals(wide, Y), quick().fit(X, Y).confidence_intervals(X, Y)
    assert found.names == plain.names
    np.testing.assert_allclose(
        by_expert(found.standard_error), by_expert(plain.standard_error), rtol=1e-3
    )
    assert any(
        text == "1 constant column(s) of X have no effect and no coefficients here."
        for text in model.summary(wide, Y).remarks
    )


@pytest.mark.parametrize(
    "parameters",
    [
        {"score": "full"},
        {"score": "partial", "gate": "sigmoid"},
        {"expert": "scaled-gelu", "gate": "sigmoid"},
        {"expert": "relu"},
    ],
    ids=lambda value: "-".join(value.values()),
)
def test_names_and_numbers_of_every_model(parameters: dict[str, Any]) -> None:
    two = np.column_stack([Y, Y[::-1]])
    settings = {"n_starts": 1, "max_iterations": 20, "tolerance": 1e-2}
    model = quick(**settings, **parameters).fit(X, two)
    found = model.confidence_intervals(X, two, method="bootstrap", n_bootstrap=2)
    a = model.architecture_
    # None of them takes up the intercepts but the first.
    intercepts = 0 if parameters == {"score": "full"} else 2
    visible = a.n_parameters(2) - a.n_invisible
    assert len(set(found.names)) == len(found.names) == visible + intercepts
    assert "expert 0, y1: load" in found.names
    assert ("gate 0: slope*load" in found.names) == ("score" in parameters)
    assert ("expert 1, y0: scale" in found.names) == (a.expert == "scaled-gelu")
    assert np.isfinite(found.estimate).all()


# Withheld


def test_too_many_experts_have_none_and_the_reader_is_told_why() -> None:
    model = quick(3).fit(X, Y)
    found = model.confidence_intervals(X, Y, method="sandwich")
    assert found.method == "withheld"
    assert found.reason
    assert "[" not in found.reason.replace("bound [", "")
    assert "atom" not in found.reason
    assert np.isnan(found.standard_error).all()
    assert np.isfinite(found.estimate).all()
    assert " - " in str(found)


@pytest.mark.parametrize(
    ("table", "y", "weight", "reason"),
    [
        (
            pd.DataFrame({"a": X["slope"], "b": X["slope"]}),
            Y,
            None,
            "the data carry no information on 3 directions of the parameters",
        ),
        (X[:5], Y[:5], None, "5 responses cannot carry 9 free coordinates"),
        (
            X[:40],
            Y[:40],
            np.full(40, 0.1),
            "the weights stand for fewer responses than coefficients",
        ),
        (X, np.full(len(X), 2.0), None, "the fit is exact"),
        (pd.DataFrame(np.ones((30, 2))), Y[:30], None, "the data carry no information on"),
    ],
    ids=["twice", "few", "light", "constant-y", "constant-X"],
)
# These tables determine nothing, of which the fit warns; the intervals are what is tested.
@pytest.mark.filterwarnings("ignore:.* fewer than the .* free parameters:sigmoe.SigmoeWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_what_is_not_identified_is_withheld_whatever_the_method(
    table: pd.DataFrame, y: np.ndarray, weight: Any, reason: str
) -> None:
    table = table.rename(columns=str)
    model = quick().fit(table, y, weight)
    for method in ("auto", "sandwich", "bootstrap"):
        found = model.confidence_intervals(table, y, weight, method=method, n_bootstrap=2)
        assert found.method == "withheld"
        assert found.reason.startswith(reason)
    page = str(model.summary(table, y, weight))
    assert "Standard errors are withheld: " in page
    assert "Fit fewer experts or more rows" in page


def test_experts_that_cannot_be_told_apart_have_no_intervals() -> None:
    rng = np.random.default_rng(2)
    line = X["slope"] + rng.normal(size=len(X))
    found = quick(ridge=0.3).fit(X, line).confidence_intervals(X, line)
    assert found.method == "withheld"
    assert found.reason.startswith("the data cannot tell apart experts 0 and 1")


def test_where_two_optima_fit_alike_neither_has_intervals() -> None:
    x = np.random.default_rng(0).uniform(-2, 2, 300)
    first, second = (1 / (1 + np.exp(-score)) for score in (5 * x - 3, 3 * x + 3))
    y = first * (1 - 2 * x) + second * 2 * x + np.random.default_rng(1).normal(0, 0.3, 300)
    model = quick(gate="sigmoid", n_starts=10).fit(x[:, None], y)
    for method in ("auto", "sandwich", "bootstrap"):
        found = model.confidence_intervals(x[:, None], y, method=method, n_bootstrap=2)
        assert found.method == "withheld"
        assert found.reason.startswith("another optimum fits about as well (its deviance is ")
    # The optimum that is said to fit as well does, and is another one.
    estimate = model._estimate(x[:, None], y, None)
    optima = Optima.of(
        estimate.problem, estimate.problem.without_ridge(estimate.judgement.measure, 100)
    )
    assert optima.objectives == sorted(optima.objectives)
    assert 300 * np.log(optima.objectives[0] / estimate.objective) > -1e-3
    near = [
        measure
        for measure, objective in zip(optima.measures, optima.objectives, strict=True)
        if 300 * np.log(objective / estimate.objective) < 10.0
    ]
    slopes = {tuple(measure.b[:, 0].mul(10).round().tolist()) for measure in near}
    assert len(slopes) > 1


def test_an_expert_of_a_few_rows_has_no_intervals() -> None:
    inputs, y = bend(60)
    y = y + np.where(np.arange(60) == 0, 30.0, 0.0)
    inputs.loc[0, "slope"] = 4.0
    found = quick(3).fit(inputs, y).confidence_intervals(inputs, y)
    assert found.method == "withheld"
    assert "rows for 6 parameters" in found.reason
    assert "expert" in found.reason


def test_where_only_the_approximation_fails_the_bootstrap_steps_in() -> None:
    inputs, y = SMALL
    model = quick().fit(inputs, y)
    plain = model.confidence_intervals(inputs, y, method="sandwich")
    assert plain.method == "withheld"
    found = model.confidence_intervals(inputs, y, n_bootstrap=5)
    assert found.method == "bootstrap"
    assert found.reason.startswith(plain.reason)
    assert (found.lower <= found.upper).all()
    again = model.confidence_intervals(inputs, y, n_bootstrap=5)
    other = model.confidence_intervals(inputs, y, n_bootstrap=5, seed=1)
    np.testing.assert_array_equal(found.lower, again.lower)
    assert (found.lower != other.lower).any()
    page = model.summary(inputs, y, method="auto", n_bootstrap=5)
    assert page.remarks[0] == "Standard errors and limits are those of refits to resampled rows."
    assert page.remarks[1] == f"Take them as rough: {found.reason}."


@pytest.mark.parametrize("gate", ["softmax", "sigmoid"])
def test_the_bootstrap_agrees_with_the_sandwich_where_both_hold(gate: str) -> None:
    inputs, y = X.to_numpy(), Y
    if gate == "sigmoid":
        rng = np.random.default_rng(1)
        x = rng.uniform(-2, 2, 300)
        inputs, sides = x[:, None], [(3 * s * x - 1) / (1 + np.exp(2 - 4 * s * x)) for s in (1, -1)]
        y = sides[0] - sides[1] + rng.normal(0, 0.1, 300)
    model = quick(gate=gate, fit_intercept=gate == "softmax").fit(inputs, y)
    one = model.confidence_intervals(inputs, y, method="sandwich")
    assert one.reason == ""
    other = model.confidence_intervals(inputs, y, method="bootstrap", n_bootstrap=100)
    ratio = other.standard_error / one.standard_error
    assert (ratio > 0.7).all()
    assert (ratio < 1.5).all()


# The page


def test_the_summary_of_a_fit_literally() -> None:
    model = quick("auto", max_experts=3).fit(X, Y)
    page = model.summary(X, Y)
    text = str(page)
    lines = text.splitlines()
    assert lines[0].strip() == "Mixture of experts, least squares"
    assert lines[1] == "=" * len(lines[1])
    assert "Experts:" in lines[2]
    assert "[0.025" in text
    assert "0.975]" in text
    assert page.facts["Gate"] == "softmax"
    assert page.facts["Rows"] == "200"
    assert page.facts["Free parameters"] == "9"
    assert page.facts["R-squared"] == f"{model.score(X, Y):.4f}"
    assert page.facts["Converged"] == "yes"
    assert page.facts["Starts that agree"] == f"{model.n_starts_agreed_} of 2"
    assert page.facts["At their bounds"] == "none"
    assert float(page.facts["Noise sd"]) == pytest.approx(0.1, rel=0.2)
    assert page.remarks[1].startswith("No P value tests whether an expert is needed")
    assert f"Number of experts: {model.selection_reason_}." in page.remarks
    assert "Constants of experts include the intercept." in page.remarks
    assert "Gates are relative to that of expert 1." in page.remarks
    assert max(map(len, lines)) <= 100


def test_criteria_are_those_of_the_responses_in_their_units() -> None:
    page = quick(1).fit(X, 100 * Y).summary(X, 100 * Y)
    coefficients, _ = robust(X.to_numpy(), 100 * Y, np.ones(len(X)))
    design = np.column_stack([X, np.ones(len(X))])
    variance = np.mean((100 * Y - design @ coefficients) ** 2)
    deviance = len(X) * (np.log(2 * np.pi * variance) + 1)
    assert float(page.facts["AIC"]) == pytest.approx(deviance + 2 * 4, abs=0.06)
    assert float(page.facts["BIC"]) == pytest.approx(deviance + 4 * np.log(len(X)), abs=0.06)


def test_an_intercept_is_counted() -> None:
    model = quick(1, gate="sigmoid").fit(X, Y)
    page, estimate = model.summary(X, Y), model._estimate(X, Y, None)
    assert page.facts["Free parameters"] == "7"
    n, scale = len(X), model.response_scale_
    deviance = n * (np.log(2 * np.pi * estimate.objective * scale**2) + 1)
    assert float(page.facts["BIC"]) == pytest.approx(deviance + 8 * np.log(n), abs=0.06)
    bare = model._problem(X, Y, None).without_gate()
    # The constant of a linear expert on its own is the intercept.
    assert (bare.sample.intercept, bare.n_parameters(1)) == (False, 3)
    curved = quick(1, gate="sigmoid", expert="tanh").fit(X, Y)._problem(X, Y, None).without_gate()
    assert (curved.sample.intercept, curved.n_parameters(1)) == (True, 4)


def test_the_summary_names_what_a_reader_should_change() -> None:
    with pytest.warns(Warning, match="Stopped at the limit"):
        stopped = quick(max_iterations=1, n_starts=1).fit(X, Y)
    page = stopped.summary(X, Y)
    assert page.facts["Converged"] == "no (iterations)"
    assert stopped.message_ in page.remarks
    strong = quick(ridge=20.0).fit(X, Y)
    assert any("the residual variance is" in text for text in strong.summary(X, Y).remarks)
    rng = np.random.default_rng(0)
    line = X["slope"] + rng.normal(size=len(X))
    single = quick("auto", gate="sigmoid", max_experts=2).fit(X, line)
    remarks = single.summary(X, line).remarks
    assert "gate='softmax' fits one expert without a gate, with its standard errors." in remarks
    assert not any("intercept" in text for text in remarks)
    bare = quick(gate="sigmoid", fit_intercept=False).fit(X, line)
    remarks = bare.summary(X, line).remarks
    assert "Predictions are the gated sum alone, without an intercept." in remarks
    free = quick(3, gate="sigmoid", n_starts=1).fit(X, line)
    (withheld, *_) = free.summary(X, line).remarks
    assert withheld.endswith(
        "fit_intercept=False asks less of the rows, if zero means something in them."
    )


def test_several_responses_have_a_noise_each() -> None:
    two = np.column_stack([Y, 100 * Y + np.random.default_rng(1).normal(0, 50, len(Y))])
    page = quick().fit(X, two).summary(X, two)
    small, large = (float(value) for value in page.facts["Noise sd"].split(", "))
    assert small < large / 50


# Refused


@pytest.mark.parametrize("method", ["confidence_intervals", "summary"])
def test_bad_arguments_are_refused(method: str) -> None:
    model = quick(1).fit(X, Y)
    ask = getattr(model, method)
    for arguments, message in (
        (
            {"level": 95},
            "level must be a number > 0 and < 1; got 95. Pass 0.95 for 95 % intervals.",
        ),
        (
            {"method": "magic"},
            "method must be one of 'auto', 'sandwich', 'bootstrap'; got 'magic'. Use 'auto' to let "
            "the fit decide.",
        ),
        (
            {"n_bootstrap": 1},
            "n_bootstrap must be an integer >= 2; got 1. Refit at least twice.",
        ),
    ):
        with pytest.raises(InputError) as error:
            ask(X, Y, **arguments)
        assert str(error.value) == message
    with pytest.raises(ValueError, match="X contains NaN"):
        ask(X.where(X < 1.9), Y)
    with pytest.raises(ValueError, match="feature names should match"):
        ask(X.rename(columns={"load": "other"}), Y)
    with pytest.raises(InputError, match="column 'load' of X must be of numbers"):
        ask(X.assign(load="much"), Y)
    with pytest.raises(NotFittedError):
        getattr(MoERegressor(), method)(X, Y)
