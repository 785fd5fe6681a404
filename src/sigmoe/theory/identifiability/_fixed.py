"""Fixed-point numbers of any precision in NumPy arrays of Python integers, and their elimination.

An integer k stands for k / 2^bits. Long integers in arrays are ten times as fast as floating-point
objects of the same precision, and their rounding is absolute, which elimination wants.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

#: Array of Python integers.
Integers: TypeAlias = NDArray[np.object_]

#: Bits of a decimal digit.
DIGIT = 3.3219280948873626


@dataclass(frozen=True)
class Precision:
    """Decimal digits kept, and how the sizes of pivots are read.

    Attributes
    ----------
    digits : int
        Decimal digits behind the point.
    zero, independent : float
        Decimal exponents: a pivot below 10^zero is a zero blurred by rounding, one above
        10^independent is independence; between them the precision is too low to tell.
    """

    digits: int
    zero: float
    independent: float

    @property
    def bits(self) -> int:
        """Return the binary digits behind the point."""
        return int(self.digits * DIGIT)


def precise(digits: int) -> Precision:
    """Return the reading of pivots at a precision: zeros use most of it, independence little."""
    return Precision(digits, zero=-0.8 * digits, independent=-0.5 * digits)


def multiply(a: Integers, b: Integers, bits: int) -> Integers:
    """Return the product of fixed-point arrays."""
    return np.asarray((a * b) >> bits, dtype=object)


def as_float(values: Integers, bits: int) -> NDArray[np.float64]:
    """Return the nearest float64 numbers."""
    one = 1 << bits
    return np.array([value / one for value in values.ravel()], np.float64).reshape(values.shape)


def exponent(value: int, bits: int) -> float:
    """Return the decimal exponent of |value|; minus infinity for 0."""
    if value == 0:
        return -np.inf
    # Integers may be too small beside 2^bits for a float64: count the bits first.
    shift = max(0, abs(value).bit_length() - 60)
    return float(np.log10(abs(value) >> shift)) + (shift - bits) / DIGIT


def scale_columns(matrix: Integers, bits: int) -> tuple[Integers, list[int]]:
    """Return the matrix with columns of largest entry 1, and the entries divided by.

    A column of zeros stays as it is; its entry is 0.
    """
    tops = [int(column[np.argmax(np.abs(column))]) for column in matrix.T]
    scaled = [
        (column << bits) // top if top else column
        for column, top in zip(matrix.T, tops, strict=True)
    ]
    return np.array(scaled, dtype=object).T.reshape(matrix.shape), tops


@dataclass(frozen=True)
class Elimination:
    """What elimination finds: which columns depend on the ones before them.

    Attributes
    ----------
    pivots, dependent : list of int
        Positions of independent columns, and of columns that depend on earlier ones.
    smallest_pivot, largest_zero : float
        Decimal exponents on both sides of the gap; -inf for a zero that is exact.
    clear : bool
        Whether no pivot lies between the two limits of the precision.
    null : array of int, shape (len(dependent), m)
        Each dependent column minus its combination of pivots is zero.
    """

    pivots: list[int]
    dependent: list[int]
    smallest_pivot: float
    largest_zero: float
    clear: bool
    null: Integers


def eliminate(matrix: Integers, precision: Precision) -> Elimination:
    """Return ranks and null vectors by Gaussian elimination with row exchanges.

    Parameters
    ----------
    matrix : array of int, shape (n, m), n >= m
        Columns should have largest entries near 1.
    precision : Precision
        Of the entries.
    """
    work, bits = matrix.copy(), precision.bits
    pivots: list[int] = []
    dependent: list[int] = []
    sizes: list[float] = []
    zeros: list[float] = []
    for j in range(work.shape[1]):
        row = len(pivots)
        best = row + int(np.argmax(np.abs(work[row:, j])))
        size = exponent(int(work[best, j]), bits)
        if size < precision.zero:
            dependent.append(j)
            zeros.append(size)
            continue
        pivots.append(j)
        sizes.append(size)
        work[[row, best]] = work[[best, row]]
        factors = (work[row + 1 :, j] << bits) // work[row, j]
        work[row + 1 :, j:] -= multiply(factors[:, None], work[row, j:][None, :], bits)
    smallest = min(sizes, default=np.inf)
    return Elimination(
        pivots,
        dependent,
        smallest_pivot=smallest,
        largest_zero=max(zeros, default=-np.inf),
        clear=smallest > precision.independent,
        null=_null_vectors(work, pivots, dependent, bits),
    )


def _null_vectors(work: Integers, pivots: list[int], dependent: list[int], bits: int) -> Integers:
    """Return -1 at each dependent column beside its coefficients on the pivots."""
    null: Any = np.zeros((len(dependent), work.shape[1]), dtype=object)
    null[range(len(dependent)), dependent] = -1 << bits
    for row in reversed(range(len(pivots))):
        later = pivots[row + 1 :]
        right = work[row, dependent].copy()
        if later:
            products = multiply(null[:, later], work[row, later][None, :], bits)
            right = right - products.sum(axis=1)
        null[:, pivots[row]] = (right << bits) // work[row, pivots[row]]
    return np.asarray(null, dtype=object)
