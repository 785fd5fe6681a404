"""Equal rows merged, columns without units, and measures carried back and forth exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from problems_moe import ARCHITECTURES, name
from sigmoe.estimation.regressor import _standardise
from sigmoe.estimation.regressor._standardise import (
    DistinctRows,
    Standardisation,
    carry_over,
    in_units,
    merge_rows,
    scale_experts,
    without_constants,
)
from sigmoe.moe import Architecture, MixingMeasure, draw_truth, expert_names


def table(seed: int = 0, n: int = 30, d: int = 3, m: int | None = None) -> DistinctRows:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * [10.0, 0.1, 1.0][:d] + [5.0, -1.0, 0.0][:d]
    y = rng.normal(size=n if m is None else (n, m)) * 7.0 + 100.0
    return DistinctRows(X, y, rng.integers(1, 4, size=n).astype(float))


MODEL = Architecture("sigmoid", "linear", "linear", 3)


def units(rows: DistinctRows, architecture: Architecture) -> Standardisation:
    return Standardisation.of(rows, architecture, True)


# Rows


@pytest.mark.parametrize("m", [None, 2])
def test_weights_repetitions_and_order_give_the_same_bits(m: int | None) -> None:
    X, y, _ = table(m=m)
    count = np.arange(30) % 4
    weighted = merge_rows(X, y, count.astype(float))
    shuffled = np.random.default_rng(1).permutation(np.repeat(np.arange(30), count))
    repeated = merge_rows(X[shuffled], y[shuffled], None)
    assert len(weighted.X) == np.count_nonzero(count)
    assert weighted.y.shape[1:] == y.shape[1:]
    for one, other in zip(weighted, repeated, strict=True):
        np.testing.assert_array_equal(one, other)


def test_rows_that_differ_in_y_or_in_the_sign_of_zero() -> None:
    X, y = np.zeros((12, 1)), np.repeat(np.arange(6.0), 2)
    X[::2] = -0.0
    rows = merge_rows(X, y, None)
    assert sorted(rows.y.tolist()) == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert rows.weight.tolist() == [2.0] * 6


def test_rows_of_one_key_are_not_confused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        _standardise, "_row_keys", lambda rows: np.zeros(len(rows), dtype=np.uint64)
    )
    rows = merge_rows(np.array([[1.0], [1.0], [2.0], [1.0]]), np.zeros(4), None)
    assert (rows.X[:, 0].tolist(), rows.weight.tolist()) == ([1.0, 2.0, 1.0], [2.0, 1.0, 1.0])


# Columns


@pytest.mark.parametrize("score", ["linear", "full"])
def test_columns_have_weighted_mean_zero_and_deviation_one(score: str) -> None:
    rows = table(m=2)
    found = Standardisation.of(rows, replace(MODEL, score=score), True)
    for z in (found.inputs(rows.X), found.responses(rows.y)):
        mean = np.average(z, axis=0, weights=rows.weight)
        np.testing.assert_allclose(mean, 0.0, atol=1e-13)
        np.testing.assert_allclose(np.average(z**2, axis=0, weights=rows.weight), 1.0)


def test_a_partial_score_keeps_the_zero_of_its_inputs() -> None:
    rows = table()
    found = Standardisation.of(rows, replace(MODEL, score="partial"), True)
    assert found.input_centre.tolist() == [0.0, 0.0, 0.0]
    square = np.average(found.inputs(rows.X) ** 2, axis=0, weights=rows.weight)
    np.testing.assert_allclose(square, 1.0)


@given(st.integers(-200, 200), st.integers(-200, 200))
def test_units_leave_no_trace(first: int, second: int) -> None:
    rows = table()
    factor = np.array([10.0**first, -(10.0**second), 1.0])
    other = DistinctRows(rows.X * factor, rows.y * 10.0**second, rows.weight)
    one, two = (Standardisation.of(r, MODEL, True) for r in (rows, other))
    np.testing.assert_allclose(
        two.inputs(other.X) * np.sign(factor), one.inputs(rows.X), rtol=1e-9, atol=1e-12
    )
    np.testing.assert_allclose(two.responses(other.y), one.responses(rows.y), atol=1e-9)


@pytest.mark.parametrize("score", ["linear", "partial"])
@pytest.mark.parametrize("value", [0.0, 0.1, -1e300, 1e12])
def test_constant_columns_have_no_say(score: str, value: float) -> None:
    rows = table()
    rows.X[:, 1] = value
    # What is left of a constant after rounding is not a feature.
    rows.X[3, 1] = np.nextafter(value, np.inf) if value else 0.0
    found = Standardisation.of(rows, replace(MODEL, score=score), True)
    assert found.constant.tolist() == [False, True, False]
    assert found.inputs(rows.X + [0.0, 1e6, 0.0])[:, 1].tolist() == [0.0] * 30
    assert found.leaves_constant(rows.X).tolist() == [False, False, False]
    rows.X[4, 1] = 2.0 * value if value else 1e-30
    assert found.leaves_constant(rows.X).tolist() == [False, True, False]


@pytest.mark.parametrize("m", [None, 2])
def test_a_constant_response_becomes_zero(m: int | None) -> None:
    rows = table(m=m)
    rows.y[:] = 0.1
    found = Standardisation.of(rows, MODEL, True)
    assert found.response_scale.tolist() == ([1.0, 1.0] if m else 1.0)
    assert not found.responses(rows.y).any()


@pytest.mark.parametrize("m", [None, 2])
def test_without_an_intercept_zero_stays_where_it_is(m: int | None) -> None:
    rows = table(m=m)
    found = Standardisation.of(rows, MODEL, False)
    assert not np.any(found.response_centre)
    square = np.average(found.responses(rows.y) ** 2, axis=0, weights=rows.weight)
    np.testing.assert_allclose(square, 1.0)
    for value, scale in ((-5.0, 5.0), (0.0, 1.0)):
        rows.y[:] = value
        found = Standardisation.of(rows, MODEL, False)
        assert not np.any(found.response_centre)
        assert found.response_scale.tolist() == ([scale, scale] if m else scale)
    # What tanh cannot take up would be no gated sum.
    for expert, one in (("tanh", True), ("gelu", True), ("relu", False), ("scaled-gelu", False)):
        found = Standardisation.of(table(m=m), replace(MODEL, expert=expert), False)
        assert np.all(found.response_scale == 1.0) == one


def test_a_fitted_intercept_is_the_centre_of_its_units() -> None:
    rows = table(m=2)
    found = Standardisation.of(rows, MODEL, True)
    moved = found.with_intercept(torch.tensor([0.5, -2.0], dtype=torch.float64))
    np.testing.assert_allclose(
        moved.responses(rows.y), found.responses(rows.y) - [0.5, -2.0], rtol=1e-12, atol=1e-12
    )


# Measures


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=name)
def test_a_measure_in_units_is_the_same_function(architecture: Architecture) -> None:
    rows = table(d=architecture.dim, m=architecture.n_outputs) if architecture.dim < 4 else None
    if rows is None:
        rng = np.random.default_rng(3)
        rows = DistinctRows(
            rng.normal(2.0, 3.0, (30, 4)), rng.normal(5.0, 2.0, (30, 1)), np.ones(30)
        )
    found = units(rows, architecture)
    measure = draw_truth(architecture, 3, seed=1)
    moved, scale = in_units(measure, found)
    absorbed = architecture.expert not in ("tanh", "gelu")
    np.testing.assert_array_equal(scale, np.ones_like(scale) if absorbed else found.response_scale)
    expected = measure.predict(found.inputs(rows.X)).numpy() * found.response_scale
    np.testing.assert_allclose(
        moved.predict(rows.X).numpy() * scale, expected, rtol=1e-8, atol=1e-8
    )
    np.testing.assert_allclose(
        moved.gates(rows.X).numpy(), measure.gates(found.inputs(rows.X)).numpy(), rtol=1e-9
    )


@pytest.mark.parametrize("expert", [e.replace(":P", ":4") for e in expert_names()])
def test_experts_take_up_a_scale_or_say_that_they_cannot(expert: str) -> None:
    measure = draw_truth(Architecture("softmax", "linear", expert, 2, 2), 3, seed=2)
    X = np.random.default_rng(0).normal(size=(20, 2))
    scale = np.array([1e12, 1e-3])
    scaled = scale_experts(measure, scale)
    if expert in ("tanh", "gelu"):
        assert scaled is None
    else:
        assert scaled is not None
        expected = measure.experts(X) * torch.from_numpy(scale)
        torch.testing.assert_close(scaled.experts(X), expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("score", ["full", "partial", "linear"])
def test_a_measure_carried_over_is_the_same_function_but_for_the_centre(score: str) -> None:
    architecture = Architecture("sigmoid", score, "linear", 3, 2)
    before = units(table(0, m=2), architecture)
    rows = table(1, m=2)
    after = units(DistinctRows(rows.X * 3.0 + 2.0, rows.y * 5.0, rows.weight), architecture)
    measure = draw_truth(architecture, 2, seed=4)
    carried = carry_over(measure, before, after)
    expected = measure.predict(before.inputs(rows.X)).numpy() * before.response_scale
    found = carried.predict(after.inputs(rows.X)).numpy() * after.response_scale
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        carry_over(measure, before, before).coordinates, measure.coordinates, rtol=0, atol=0
    )


@pytest.mark.parametrize("architecture", [a for a in ARCHITECTURES if a.dim == 3], ids=name)
def test_coefficients_of_constant_columns_are_zero_and_the_others_stay(
    architecture: Architecture,
) -> None:
    measure = draw_truth(architecture, 2, seed=5)
    masked = without_constants(measure, np.array([False, True, False]))
    X = np.random.default_rng(0).normal(size=(10, 3)) * [1.0, 0.0, 1.0]
    torch.testing.assert_close(masked.predict(X), measure.predict(X))
    changed = X + [0.0, 3.0, 0.0]
    torch.testing.assert_close(masked.predict(changed), measure.predict(X))
    assert not masked.eta[..., 1].any()
    assert not masked.b[:, 1].any()
    assert not masked.A[:, 1].any()


def test_carrying_over_clears_columns_that_have_become_constant() -> None:
    architecture = Architecture("softmax", "linear", "linear", 3)
    before = units(table(), architecture)
    rows = table(1)
    rows.X[:, 2] = 4.0
    carried = carry_over(draw_truth(architecture, 2, seed=0), before, units(rows, architecture))
    assert isinstance(carried, MixingMeasure)
    assert not carried.b[:, 2].any()
