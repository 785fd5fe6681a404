"""Ranks in many digits: what float64 cannot tell from zero, and what is zero."""

from fractions import Fraction

import numpy as np
import pytest

from sigmoe.theory.identifiability._circuits import sparse_supports
from sigmoe.theory.identifiability._experts import rational
from sigmoe.theory.identifiability._fixed import (
    Precision,
    as_float,
    eliminate,
    exponent,
    precise,
    scale_columns,
)

SIXTY = precise(60)


def fixed(rows, precision=SIXTY):
    return np.array(
        [[rational(Fraction(v), precision.bits) for v in row] for row in rows], dtype=object
    )


def test_a_dependent_column_is_written_by_the_ones_before_it():
    rng = np.random.default_rng(0)
    a, b, c = rng.integers(-9, 10, size=(3, 8)).tolist()
    mixed = [2 * u - Fraction(1, 3) * v for u, v in zip(a, b, strict=True)]
    found = eliminate(fixed(np.array([a, b, mixed, c]).T), SIXTY)
    assert (found.pivots, found.dependent) == ([0, 1, 3], [2])
    assert as_float(found.null, SIXTY.bits) == pytest.approx(np.array([[2, -1 / 3, -1, 0]]))
    assert found.clear
    assert found.largest_zero < -55
    assert found.smallest_pivot > -2


def monomials(n, degree):
    x = [Fraction(2 * k + 1, 2 * n) for k in range(n)]
    return [[u**j for j in range(degree)] for u in x]


def test_powers_are_independent_however_ill_conditioned():
    rows = monomials(30, 24)
    singular = np.linalg.svd(np.array(rows, dtype=float), compute_uv=False)
    assert singular[-1] < 1e-13 * singular[0]
    found = eliminate(fixed(rows), SIXTY)
    assert found.pivots == list(range(24))
    assert -22 < found.smallest_pivot < -10


def test_too_few_digits_are_noticed_and_more_settle_it():
    rows = monomials(60, 44)
    few = eliminate(fixed(rows, precise(40)), precise(40))
    assert not few.clear
    enough = precise(120)
    found = eliminate(fixed(rows, enough), enough)
    assert found.clear
    assert len(found.pivots) == 44


def test_columns_are_scaled_to_largest_entry_one():
    matrix = fixed([[1, 0, Fraction(-1, 7)], [-4, 0, Fraction(1, 14)]])
    scaled, tops = scale_columns(matrix, SIXTY.bits)
    assert as_float(scaled, SIXTY.bits) == pytest.approx(np.array([[-0.25, 0, 1], [1, 0, -0.5]]))
    assert [bool(top) for top in tops] == [True, False, True]


@pytest.mark.parametrize("power", [0, -1, -30, -55])
def test_exponents_of_tiny_numbers(power):
    value = rational(Fraction(3) * Fraction(10) ** power, SIXTY.bits)
    assert exponent(value, SIXTY.bits) == pytest.approx(power + np.log10(3), abs=1e-4)
    assert exponent(0, SIXTY.bits) == -np.inf


def test_float64_noise_lies_between_the_limits_of_float64():
    noisy = Precision(60, zero=-13.0, independent=-8.0)
    rows = np.random.default_rng(0).normal(size=(6, 2))
    rows = np.column_stack([rows, rows @ [1.0, 2.0], rows @ [1.0, -1.0] + 1e-10 * rows[:, 0] ** 2])
    found = eliminate(fixed(rows), noisy)
    assert found.dependent == [2]
    assert not found.clear


def test_sparse_relations_are_preferred_and_independent():
    rng = np.random.default_rng(3)
    sparse = np.zeros((4, 12))
    for row, support in zip(sparse, [(0, 1), (2, 3, 4), (5, 6), (7, 8, 9, 10)], strict=True):
        row[list(support)] = rng.uniform(0.5, 1.5, len(support))
    mixed = rng.normal(size=(4, 4)) @ sparse
    found = sparse_supports(mixed, [0] * 12, np.random.default_rng(0))
    assert found == [(0, 1), (5, 6), (2, 3, 4), (7, 8, 9, 10)]


def test_relations_within_an_atom_are_found_beside_longer_ones():
    null = np.zeros((2, 8))
    null[0, :3] = 1.0, 2.0, -1.0
    null[1, [0, 3, 4, 5, 6, 7]] = 1.0
    mixed = np.array([[1.0, 1.0], [1.0, -1.0]]) @ null
    found = sparse_supports(mixed, [0] * 3 + [1] * 5, np.random.default_rng(0))
    assert found[0] == (0, 1, 2)
    assert len(found) == 2


def test_the_units_of_functions_do_not_change_what_is_found():
    rng = np.random.default_rng(5)
    null = rng.normal(size=(5, 11)) * np.logspace(-5, 5, 11)
    plain = sparse_supports(rng.normal(size=(5, 11)), [0] * 11, np.random.default_rng(0))
    assert sparse_supports(null, [0] * 11, np.random.default_rng(0)) == plain
    assert [len(support) for support in plain] == [7] * 5
