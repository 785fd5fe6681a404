"""The pairs bootstrap: refits, the matching of atoms, limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import norm

from problems_estimation import (
    fitted,
    ordinary,
)
from problems_moe import ARCHITECTURES, name
from sigmoe._base.errors import InputError
from sigmoe._base.seeds import child_seeds
from sigmoe.estimation.inference._bootstrap import METHODS, bootstrap_intervals, match_atoms
from sigmoe.estimation.inference._parameters import parameter_covariance, prediction_standard_error
from sigmoe.moe import Architecture, MixingMeasure, draw_sample, draw_truth


def test_the_bootstrap_of_a_line_agrees_with_its_robust_errors() -> None:
    measure, X, y, _ = ordinary(200)
    found = bootstrap_intervals(measure, X, y, n_bootstrap=200, seed=1)
    robust = parameter_covariance(measure, X, y).intervals()
    assert found.intervals.names == robust.names
    assert found.n_unconverged == 0
    # 200 draws know a standard deviation to 5 %.
    ratio = found.intervals.standard_error / robust.standard_error
    assert float((ratio - 1.0).abs().max()) < 0.2
    low, high = found.prediction_interval(X[:5])
    assert low.shape == high.shape == (5,)
    width = 2 * 1.96 * prediction_standard_error(parameter_covariance(measure, X, y), measure, X)
    assert float(((high - low) / width[:5] - 1.0).abs().max()) < 0.3


def test_a_resample_is_what_refits_are_made_to() -> None:
    # For a line the refit is least squares on the drawn rows: done here by hand.
    measure, X, y, design = ordinary(30)
    found = bootstrap_intervals(measure, X, y, n_bootstrap=3, seed=5)
    for child, refit in zip(child_seeds(5, "bootstrap", 3), found.measures, strict=True):
        rows = np.random.default_rng(child).integers(30, size=30)
        expected = torch.linalg.lstsq(design[rows], y[rows]).solution
        torch.testing.assert_close(refit.eta[0], expected, rtol=1e-6, atol=1e-8)


def test_a_row_is_drawn_with_its_weight() -> None:
    measure, X, y, design = ordinary(30)
    weight = 1.0 + torch.arange(30).double() % 4
    found = bootstrap_intervals(measure, X, y, n_bootstrap=2, seed=5, sample_weight=weight)
    rows = np.random.default_rng(child_seeds(5, "bootstrap", 2)[1]).integers(30, size=30)
    root = weight[rows].sqrt()
    expected = torch.linalg.lstsq(design[rows] * root[:, None], y[rows] * root).solution
    torch.testing.assert_close(found.measures[1].eta[0], expected, rtol=1e-6, atol=1e-8)


def test_refits_are_in_the_order_of_the_estimate_and_pinned() -> None:
    measure, X, y = fitted("softmax", 200)
    found = bootstrap_intervals(measure, X, y, n_bootstrap=10)
    assert not found.measures.coordinates[:, -1, :2].any()
    # b[0,0] of the pinned estimate is about +6; a swapped refit would have about -6.
    assert float(found.measures.b[:, 0, 0].min()) > 2.0
    again = bootstrap_intervals(measure, X, y, n_bootstrap=10)
    assert again.measures == found.measures
    assert bootstrap_intervals(measure, X, y, n_bootstrap=10, seed=1).measures != found.measures


@pytest.mark.parametrize("architecture", ARCHITECTURES[::7], ids=name)
def test_matching_undoes_a_permutation(architecture: Architecture) -> None:
    reference = draw_truth(architecture, 4, seed=2)
    X, _ = draw_sample(reference, 50, seed=0)
    shuffled = reference.permute([2, 0, 3, 1])
    assert match_atoms(shuffled, reference, X) == reference


def test_matching_minimises_the_differences_of_contributions() -> None:
    architecture = Architecture("softmax", "linear", "tanh", 2)
    ours, theirs = (draw_truth(architecture, 4, seed=seed) for seed in (1, 2))
    X, _ = draw_sample(ours, 50, seed=0)
    cost = [
        [
            float(
                (
                    ours.gates(X)[:, i] * ours.experts(X)[:, i]
                    - theirs.gates(X)[:, j] * theirs.experts(X)[:, j]
                )
                .square()
                .mean()
            )
            for i in range(4)
        ]
        for j in range(4)
    ]
    _, order = linear_sum_assignment(cost)
    assert match_atoms(ours, theirs, X) == ours.permute(order.tolist())


def test_percentiles_are_quantiles_of_the_draws() -> None:
    draws = np.random.default_rng(0).normal(size=(400, 2))
    low, high = METHODS.get("percentile")(draws, draws.mean(0), 0.9)
    assert ((draws < low).mean(0) == 0.05).all()
    assert ((draws > high).mean(0) == 0.05).all()


def test_the_bias_correction_shifts_by_the_estimate_s_rank() -> None:
    draws = np.arange(1000.0)[:, None]
    correct = METHODS.get("bias-corrected")
    low, high = correct(draws, np.array([499.5]), 0.9)
    assert (low[0], high[0]) == pytest.approx((49.95, 949.05))
    low, high = correct(draws, np.array([299.5]), 0.9)
    shares = norm.cdf(2 * norm.ppf(0.3) + norm.ppf([0.05, 0.95]))
    assert (low[0], high[0]) == pytest.approx(tuple(999 * shares))
    # Outside all draws both limits are at that end, with no number that is not one.
    assert correct(draws, np.array([-1.0]), 0.9) == (0.0, 0.0)
    assert correct(draws, np.array([2000.0]), 0.9) == (999.0, 999.0)


def test_refits_that_did_not_converge_are_counted_and_kept() -> None:
    measure, X, y = fitted("softmax", 200)
    found = bootstrap_intervals(measure, X, y, n_bootstrap=4, max_iterations=1)
    assert found.n_unconverged == 4
    assert len(found.measures) == 4


# Bad input


def test_bad_input_is_refused() -> None:
    measure, X, y = ordinary()[:3]
    for call, message in [
        (
            lambda: bootstrap_intervals(measure, X, y, n_bootstrap=1),
            "n_bootstrap must be an integer >= 2; got 1. Refit at least twice.",
        ),
        (
            lambda: bootstrap_intervals(measure, X, y, method="bca"),
            "method must be one of 'percentile', 'bias-corrected'; got 'bca'. Choose one of these "
            "names.",
        ),
        (
            lambda: bootstrap_intervals(MixingMeasure.stack([measure]), X, y),
            "measure must be a single measure; got 'a batch (1,)'. Take one with measure[k].",
        ),
    ]:
        with pytest.raises(InputError) as error:
            call()
        assert str(error.value) == message
