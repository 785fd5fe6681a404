"""Slopes against closed forms and polyfit; the coverage of their intervals by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sigmoe._base.errors import InputError
from sigmoe.lab._slopes import STATISTICS, fit_slope, ols_slope

SIZES = [1000, 3200, 10_000, 30_000]


def noisy(rng, replications, sizes=SIZES, sigma=1.0, exponent=-0.5):
    """Return losses with mean proportional to n^exponent and lognormal noise."""
    scale = [40 * n**exponent for n in sizes]
    noise = [np.exp(rng.normal(-(sigma**2) / 2, sigma, count)) for count in replications]
    return [s * e for s, e in zip(scale, noise, strict=True)]


@pytest.mark.parametrize(
    ("statistic", "summary"),
    [
        ("log-mean", lambda v: math.log(np.mean(v))),
        ("mean-log", lambda v: np.mean(np.log(v))),
        ("log-median", lambda v: np.median(np.log(v))),
    ],
)
def test_the_slope_is_that_of_polyfit(statistic, summary):
    losses = noisy(np.random.default_rng(0), [5, 5, 4, 3])
    expected = np.polyfit(np.log(SIZES), [summary(v) for v in losses], 1)[0]
    assert fit_slope(SIZES, losses, statistic).value == pytest.approx(expected, rel=1e-12)


def test_two_sizes_have_the_slope_of_the_line_through_them():
    slope = fit_slope([10, 1000], [[2.0, 4.0], [0.03]])
    assert slope.value == pytest.approx(math.log(0.03 / 3) / math.log(100), rel=1e-14)
    assert (slope.low, slope.high) == (None, None)


@given(st.floats(-2, 2), st.floats(1e-3, 1e3), st.integers(2, 7))
def test_an_exact_power_law_has_its_exponent_and_no_width(exponent, factor, count):
    sizes = np.geomspace(100, 1e6, count)
    losses = [[factor * n**exponent] * 3 for n in sizes]
    for statistic in STATISTICS:
        slope = fit_slope(sizes, losses, statistic)
        assert slope.value == pytest.approx(exponent, abs=1e-10)
        assert slope.low == pytest.approx(exponent, abs=1e-7)
        assert slope.high == pytest.approx(exponent, abs=1e-7)


@given(st.floats(1e-200, 1e200))
def test_the_unit_of_the_loss_does_not_matter(unit):
    losses = noisy(np.random.default_rng(1), [4, 4, 4, 4])
    plain, scaled = (fit_slope(SIZES, [u * v for v in losses]) for u in (1.0, unit))
    assert scaled.value == pytest.approx(plain.value, abs=1e-12)
    assert scaled.low == pytest.approx(plain.low, abs=1e-10)


def test_the_interval_of_mean_log_is_the_welch_interval():
    # With two sizes the slope of the mean logs is a difference of means, whose jackknife-t
    # interval is Welch's.
    rng = np.random.default_rng(2)
    first, second = np.exp(rng.normal(3, 1, 6)), np.exp(rng.normal(1, 2, 4))
    slope = fit_slope([100, 10_000], [first, second], "mean-log")
    welch = stats.ttest_ind(np.log(second), np.log(first), equal_var=False)
    interval = welch.confidence_interval(0.95)
    assert slope.low == pytest.approx(interval.low / math.log(100), rel=1e-10)
    assert slope.high == pytest.approx(interval.high / math.log(100), rel=1e-10)


def test_the_variance_of_a_median_is_the_limit_of_the_bootstrap():
    rng = np.random.default_rng(3)
    values = np.exp(rng.normal(size=7))
    other = np.full(7, 1.0)
    slope = fit_slope([1, math.e], [other, values], "log-median")
    medians = np.median(rng.choice(np.log(values), size=(200_000, 7)), axis=1)
    half = stats.t.ppf(0.975, 6) * medians.std()
    assert slope.high - slope.value == pytest.approx(half, rel=0.01)


@pytest.mark.parametrize("sigma", [0.3, 1.0])
@pytest.mark.parametrize("replications", [3, 5, 20])
@pytest.mark.parametrize("statistic", STATISTICS)
def test_the_interval_covers_the_true_slope(statistic, replications, sigma):
    # 400 repetitions have a standard error of 0.011 at 0.95. Lognormal noise with sigma 1 has a
    # standard deviation of 1.3 times its mean: more than converged fits show.
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(400):
        slope = fit_slope(SIZES, noisy(rng, [replications] * 4, sigma=sigma), statistic)
        covered += slope.low <= -0.5 <= slope.high
    # The interval of a median is a little wide, since a few logs pin its variance badly.
    assert 0.92 <= covered / 400 <= (1.0 if statistic == "log-median" else 0.985)


def test_a_percentile_bootstrap_would_fall_short():
    # Why the interval is a jackknife-t: the usual interval, on the same data.
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(200):
        losses = noisy(rng, [5] * 4)
        picks = [v[rng.integers(5, size=(400, 5))].mean(axis=1) for v in losses]
        weights = np.log(SIZES) - np.mean(np.log(SIZES))
        slopes = weights @ np.log(picks) / (weights @ weights)
        low, high = np.quantile(slopes, [0.025, 0.975])
        covered += low <= -0.5 <= high
    assert covered / 200 < 0.90


def test_one_size_has_no_slope_and_one_replication_no_interval():
    assert fit_slope([100], [[1.0, 2.0]]).value is None
    assert fit_slope([100, 200], [[1.0, 2.0], []]).value is None
    slope = fit_slope([100, 200, 400], [[2.0, 2.0], [1.5, 1.4], [1.0]])
    assert slope.value is not None
    assert slope.low is None


def test_the_middle_of_an_odd_number_of_sizes_has_no_weight_and_needs_no_variance():
    slope = fit_slope([1, 10, 100], [[2.0, 2.1], [5.0], [0.2, 0.3]])
    assert slope.low is not None


def test_a_loss_of_zero_has_no_logarithm():
    assert fit_slope([1, 10], [[1.0, 1.0], [0.0, 1.0]]).value is None


def test_an_unknown_statistic_is_refused():
    with pytest.raises(InputError) as caught:
        fit_slope([1, 10], [[1.0], [1.0]], "mean")
    assert str(caught.value) == (
        "statistic must be one of 'log-mean', 'mean-log', 'log-median'; got 'mean'. "
        "Choose one of these names."
    )


def test_ols_slope_is_polyfit():
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=9), rng.normal(size=9)
    assert ols_slope(x, y) == pytest.approx(np.polyfit(x, y, 1)[0], rel=1e-12)


def test_losses_whose_sum_overflows_have_a_slope():
    slope = fit_slope([10, 1000], [[1.5e308, 1.5e308], [1.5e307, 1.5e307]])
    assert slope.value == pytest.approx(-0.5)
    assert (slope.low, slope.high) == pytest.approx((-0.5, -0.5))
