"""Split conformal intervals: the quantile by brute force, coverage by simulation."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from sigmoe._base.errors import InputError
from sigmoe.estimation.inference._conformal import (
    conformal_radius,
    least_calibration_size,
    split_conformal,
)
from sigmoe.moe import Architecture, MixingMeasure, draw_sample, draw_truth

SHAPE = Architecture("softmax", "linear", "linear", 1)
LINE = MixingMeasure(SHAPE, None, [[0.0]], [0.0], [[1.0, 0.0]])
TWO_COLUMNS = MixingMeasure(
    Architecture("softmax", "linear", "linear", 1, 2), None, [[0.0]], [0.0], [[[1.0, 0], [2.0, 0]]]
)


def brute_force(sizes: list[float], level: str) -> float:
    """Return the least size that is at least the level-quantile when infinity is added to them."""
    wanted = Fraction(level) * (len(sizes) + 1)
    return min(s for s in sizes if sum(other <= s for other in sizes) >= wanted)


@pytest.mark.parametrize(
    ("n", "level"),
    [
        (9, "0.9"),
        (10, "0.9"),
        (19, "0.95"),
        # 100 * 0.55 is 55.00000000000001 in floats: the 55th, not the 56th.
        (99, "0.55"),
        (37, "0.8"),
        (1, "0.5"),
        (250, "0.99"),
    ],
)
def test_the_radius_is_the_exact_quantile(n: int, level: str) -> None:
    residuals = np.random.default_rng(n).normal(size=n)
    expected = brute_force(np.abs(residuals).tolist(), level)
    assert float(conformal_radius(residuals, float(level))) == expected


def test_the_radius_covers_in_exactly_its_share_of_all_orders() -> None:
    # Of n + 1 exchangeable sizes any is the new one with the same probability.
    sizes = np.random.default_rng(0).normal(size=25)
    for level, share in [(0.8, 20), (0.9, 23), (0.5, 13)]:
        covered = [
            abs(sizes[k]) <= float(conformal_radius(np.delete(sizes, k), level)) for k in range(25)
        ]
        # The least number of the 25 that reaches the level.
        assert sum(covered) == share


def test_ties_only_cover_more() -> None:
    assert float(conformal_radius([1.0, 1.0, 1.0, 2.0], 0.5)) == 1.0
    assert float(conformal_radius([0.0, 0.0], 0.5)) == 0.0


def test_columns_have_their_own_radius() -> None:
    residuals = np.random.default_rng(1).normal(size=(50, 3)) * [1.0, 10.0, 0.1]
    found = conformal_radius(residuals, 0.9)
    for k in range(3):
        assert float(found[k]) == float(conformal_radius(residuals[:, k], 0.9))


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95, 0.99, 0.995, 0.7, 1 / 3])
def test_the_least_size_is_the_least_that_works(level: float) -> None:
    least = least_calibration_size(level)
    conformal_radius(np.zeros(least), level)
    if least > 1:
        with pytest.raises(InputError) as error:
            conformal_radius(np.zeros(least - 1), level)
        assert str(error.value) == (
            f"the number of calibration rows must be >= {least} for level {level:g}; got "
            f"{least - 1}. Set more rows aside for calibration, or lower the level."
        )


def test_the_least_sizes_of_common_levels() -> None:
    assert [least_calibration_size(level) for level in (0.5, 0.8, 0.9, 0.95, 0.99)] == [
        1,
        4,
        9,
        19,
        99,
    ]


# Coverage


def skewed(rng: np.random.Generator, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return data that the line is wrong for: curved, with skewed noise that grows with x."""
    X = rng.uniform(-1, 1, size=(n, 1))
    y = X[:, 0] ** 2 + (1.5 + X[:, 0]) * rng.exponential(size=n)
    return torch.from_numpy(X), torch.from_numpy(y)


def test_coverage_is_between_the_level_and_one_row_more() -> None:
    level, n, repeats, new = 0.8, 29, 400, 50
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(repeats):
        X, y = skewed(rng, n)
        band = split_conformal(LINE, X, y, level)
        X, y = skewed(rng, new)
        covered.append(float(band.intervals(X).covers(y).double().mean()))
    # The coverage given a calibration sample is Beta(24, 6): mean 0.8, deviation 0.072. On top
    # comes that of 50 new rows.
    assert level == 24 / 30
    error = np.sqrt((0.8 * 0.2 / 31) / repeats + 0.8 * 0.2 / (repeats * new))
    assert abs(np.mean(covered) - 24 / 30) < 4 * error


def test_a_scale_makes_the_intervals_follow_it() -> None:
    rng = np.random.default_rng(1)

    def fanning(n: int) -> tuple[torch.Tensor, torch.Tensor]:
        X = rng.uniform(-1, 1, size=n)
        noise = (1.5 + X) * rng.normal(size=n)
        return torch.from_numpy(X[:, None]), torch.from_numpy(X + noise)

    X, y = fanning(500)

    def scale(rows: torch.Tensor) -> torch.Tensor:
        return 1.5 + rows[:, 0]

    plain = split_conformal(LINE, X, y, 0.9)
    scaled = split_conformal(LINE, X, y, 0.9, scale=scale)
    ends = torch.tensor([[-1.0], [1.0]]).double()
    widths = [(b.upper - b.lower) for b in (plain.intervals(ends), scaled.intervals(ends))]
    assert float(widths[0][1] / widths[0][0]) == pytest.approx(1.0)
    assert float(widths[1][1] / widths[1][0]) == pytest.approx(5.0)
    X, y = fanning(4000)
    low = X[:, 0] < 0
    shares = {
        name: [float(band.intervals(X).covers(y)[half].double().mean()) for half in (low, ~low)]
        for name, band in (("plain", plain), ("scaled", scaled))
    }
    assert abs(shares["plain"][0] - shares["plain"][1]) > 0.08
    assert abs(shares["scaled"][0] - shares["scaled"][1]) < 0.06


def test_the_scale_divides_and_multiplies() -> None:
    X, y = skewed(np.random.default_rng(2), 60)
    twice = split_conformal(LINE, X, y, 0.9, scale=lambda rows: torch.full((len(rows),), 2.0))
    plain = split_conformal(LINE, X, y, 0.9)
    assert float(twice.radius[0]) == pytest.approx(float(plain.radius[0]) / 2)
    torch.testing.assert_close(twice.intervals(X).upper, plain.intervals(X).upper)


def test_intervals_are_centred_on_the_prediction() -> None:
    X, y = skewed(np.random.default_rng(3), 60)
    band = split_conformal(LINE, X, y, 0.9)
    found = band.intervals([[0.0], [2.0]])
    torch.testing.assert_close((found.lower + found.upper) / 2, torch.tensor([0.0, 2.0]).double())
    assert float(found.upper[0]) == float(conformal_radius(y - X[:, 0], 0.9))
    assert (band.level, band.n_calibration, found.level) == (0.9, 60, 0.9)


def test_several_columns() -> None:
    X, y = draw_sample(TWO_COLUMNS, 99, 1.0, seed=1)
    y = y * torch.tensor([1.0, 5.0])
    found = split_conformal(TWO_COLUMNS, X, y, 0.9).intervals(X[:4])
    assert found.lower.shape == found.upper.shape == (4, 2)
    for k in range(2):
        radius = conformal_radius((y - TWO_COLUMNS.predict(X))[:, k], 0.9)
        torch.testing.assert_close(found.upper[:, k] - found.lower[:, k], 2 * radius.expand(4))
    assert found.covers(y[:4]).shape == (4, 2)


def test_one_column_as_a_matrix_keeps_its_shape() -> None:
    truth = draw_truth(Architecture("softmax", "linear", "linear", 1, 1), 1, seed=0)
    X, y = draw_sample(truth, 20, 1.0, seed=1)
    assert split_conformal(truth, X, y, 0.9).intervals(X).lower.shape == (20, 1)


def test_an_interval_covers_its_ends() -> None:
    X, y = skewed(np.random.default_rng(3), 20)
    found = split_conformal(LINE, X, y, 0.9).intervals([[0.0]])
    assert bool(found.covers(found.upper))
    assert bool(found.covers(found.lower))
    assert not bool(found.covers(found.upper + 1e-9))


# Bad input


def test_bad_input_is_refused() -> None:
    X, y = skewed(np.random.default_rng(3), 20)
    for call, message in [
        (
            lambda: conformal_radius([1.0], 1.0),
            "level must be a number > 0 and < 1; got 1.0. Pass 0.95 for 95 % intervals.",
        ),
        (
            lambda: conformal_radius([0.0, float("nan")], 0.5),
            "residuals must be finite; got 'nan in row 1'. Remove or impute rows with NaN or "
            "infinity.",
        ),
        (
            lambda: conformal_radius([], 0.5),
            "residuals must be of shape (n,) or (n, m); got 'shape (0,)'. Give one for each row.",
        ),
        (
            lambda: split_conformal(MixingMeasure.stack([LINE]), X, y),
            "measure must be a single measure; got 'a batch (1,)'. Take one with measure[k].",
        ),
        (
            lambda: split_conformal(LINE, X, y, scale=lambda rows: rows[:, 0]),
            "scale(X) must be finite and above 0; got "
            f"{float(X.min())!r}. Bound the scale away from zero.",
        ),
        (
            lambda: split_conformal(LINE, X, y, scale=lambda _: torch.ones(3)),
            "scale(X) must be of the shape of the predictions; got 'shape (3,)'. One number each.",
        ),
    ]:
        with pytest.raises(InputError) as error:
            call()
        assert str(error.value) == message
