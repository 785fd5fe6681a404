"""When there are no standard errors, and the words that say so."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from problems_estimation import (
    LINE,
    TWO,
    fitted,
    ordinary,
    two_lines,
    wide,
)
from sigmoe._base.errors import InputError
from sigmoe.estimation import Bounds, fit_least_squares, near_truth_start
from sigmoe.estimation.inference._atoms import alike_atoms, light_atoms
from sigmoe.estimation.inference._coordinates import pinned
from sigmoe.estimation.inference._parameters import parameter_covariance, prediction_standard_error
from sigmoe.moe import Architecture, MixingMeasure, draw_sample


def reason(measure: MixingMeasure, X: Tensor, y: Tensor, **options) -> str:
    found = parameter_covariance(measure, X, y, **options)
    assert found.available == (not found.reason)
    assert (found.covariance is None) == bool(found.reason)
    return found.reason


def test_too_few_rows() -> None:
    measure, X, y = ordinary()[:3]
    found = parameter_covariance(measure, X[:3], y[:3])
    assert found.reason == "3 responses cannot carry 3 free coordinates"
    assert math.isnan(found.noise_variance)


def test_an_exact_fit() -> None:
    measure, X, _ = ordinary()[:3]
    expected = "the fit is exact, so that there is no noise to judge it by"
    assert reason(measure, X, measure.predict(X)) == expected


def test_an_estimate_at_its_bounds() -> None:
    measure, X, y = fitted("softmax")
    edge = float(measure.b[0, 0])
    bounds = Bounds(b=(-20.0, edge))
    expected = f"the estimate is at the edge of its bounds (b[0,0] at upper bound {edge:g})"
    assert reason(measure, X, y, bounds=bounds) == expected
    # Beyond a limit it is not at it: the fit had other bounds.
    assert reason(measure, X, y, bounds=Bounds(b=(-20.0, edge - 0.1))) == ""
    assert reason(measure, X, y, bounds=None) == ""


def test_an_atom_that_is_there_twice() -> None:
    _, X, y, _ = ordinary()
    eta = ordinary()[0].eta[0]
    twice = MixingMeasure(LINE, None, torch.zeros(2, 2), [0.0, 1.0], torch.stack([eta, eta]))
    words = reason(twice, X, y)
    assert words.startswith(
        "the data carry no information on 6 directions of the parameters, made up of c[0], "
        "b[0,0], b[0,1] and eta["
    )


def test_a_redundant_scale() -> None:
    architecture = Architecture("softmax", "linear", "scaled-relu", 1)
    truth = MixingMeasure(
        architecture, None, [[4.0], [0.0]], [0.0, 0.0], [[1.0, 1.0, 1.0], [-1.5, 0.5, 1.0]]
    )
    X, y = draw_sample(truth, 300, 0.001, 0, wide(2.0, 1))
    fit = fit_least_squares(X, y, architecture, 2, truth)
    words = reason(fit.measure, X, y)
    assert words.startswith("the data carry no information on 2 directions of the parameters")
    assert "eta[0,2]" in words or "eta[1,2]" in words


def test_not_the_minimum_of_this_sample() -> None:
    measure, X, y = fitted("softmax")
    theta = measure.coordinates
    theta[1, 2] += 0.05
    moved = MixingMeasure.from_coordinates(measure.architecture, theta)
    words = reason(moved, X, y)
    assert words.startswith(
        "the estimate is not a minimum of the objective: a Newton step moves eta[1,0] by "
    )
    assert words.endswith("or fitted with a ridge penalty or to another sample)")


def test_a_hessian_that_is_not_positive_definite() -> None:
    measure, X, y = fitted("softmax")
    opposite = measure.permute([1, 0])
    assert reason(opposite, X, -3.0 * y) == (
        "the estimate is not a minimum of the objective: its Hessian is not positive definite"
    )


def test_a_gate_with_hardly_any_weight() -> None:
    measure = two_lines()
    theta = measure.coordinates
    theta[0, 0] -= 9.0
    light = MixingMeasure.from_coordinates(TWO, theta)
    X = torch.linspace(-1.0, 1.0, 100).double().unsqueeze(1)
    rows = float(light.gates(X)[:, 0].sum())
    assert rows < 4
    expected = f"atom 0 has the weight of {rows:.2g} rows for 4 parameters"
    ones = torch.ones(100).double()
    assert light_atoms(light, X, ones) == light_atoms(light, X, 5 * ones) == expected
    assert light_atoms(measure, X, ones) == ""


def test_atoms_that_the_data_cannot_tell_apart() -> None:
    measure = pinned(two_lines())
    free = torch.eye(6, dtype=torch.float64)
    # The gates differ by b = 6: the squared ratio to its error is compared with 3.84.
    assert alike_atoms(measure, free * (6.0 / 1.97) ** 2) == ""
    words = "the data cannot tell apart atoms 0 and 1"
    assert alike_atoms(measure, free * (6.0 / 1.95) ** 2) == words
    assert alike_atoms(measure, free * 1e-4) == ""


def test_an_error_that_atoms_share_does_not_blur_their_difference() -> None:
    measure, unit = two_lines("sigmoid"), torch.eye(8, dtype=torch.float64)
    # Each coordinate of one atom errs as its fellow of the other does.
    shared = torch.kron(torch.full((2, 2), 1e4).double(), torch.eye(4).double())
    assert alike_atoms(measure, shared + unit) == ""
    words = "the data cannot tell apart atoms 0 and 1"
    assert alike_atoms(measure, 1e4 * unit) == words


def test_experts_have_to_coincide_too_unless_they_are_linear() -> None:
    measure = MixingMeasure(
        Architecture("softmax", "linear", "tanh", 1),
        None,
        [[0.0], [0.0]],
        [0.0, 0.0],
        [[1.0, 0.0], [1.0, 5.0]],
    )
    small = torch.eye(6, dtype=torch.float64)
    assert alike_atoms(measure, small) == ""
    theta = measure.coordinates
    linear = MixingMeasure.from_coordinates(TWO, theta)
    assert alike_atoms(linear, small) == "the data cannot tell apart atoms 0 and 1"


def test_a_model_that_bends_within_its_errors() -> None:
    truth = MixingMeasure(TWO, None, [[4.0], [0.0]], [0.0, 0.0], [[1.0, 1.0], [-1.0, 0.0]])
    X, y = draw_sample(truth, 500, 0.01, seed=1)
    fit = fit_least_squares(X, y, TWO, 2, truth)
    words = reason(fit.measure, X, y)
    assert "the model is not close to linear over the size of the errors" in words
    assert "times its linear change" in words


@pytest.mark.parametrize("seed", range(4))
def test_over_specified_fits_have_no_standard_errors(seed: int) -> None:
    truth = two_lines()
    X, y = draw_sample(truth, 500, 0.01, seed, wide(2.0, 1))
    start = near_truth_start(truth, 3, scale=0.3, seed=seed)
    fit = fit_least_squares(X, y, TWO, 3, start)
    assert reason(fit.measure, X, y) != ""


def test_withheld_intervals_say_why_and_what_to_do() -> None:
    measure, X, y = ordinary()[:3]
    found = parameter_covariance(measure, X[:3], y[:3])
    expected = (
        "inference must be available; got 'withheld'. Reason: 3 responses cannot carry 3 free "
        "coordinates. bootstrap_intervals does not need the Gaussian approximation."
    )
    for ask in (found.intervals, lambda: prediction_standard_error(found, measure, X)):
        with pytest.raises(InputError) as error:
            ask()
        assert str(error.value) == expected
