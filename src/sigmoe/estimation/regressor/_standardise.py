"""Tables without units: equal rows merged, columns centred and scaled, and the way back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from sigmoe.estimation.starts._draw import _in_inputs
from sigmoe.moe import Architecture, MixingMeasure
from sigmoe.moe._experts import get_expert
from sigmoe.moe._scores import SCORES

Array = npt.NDArray[np.float64]

#: Odd constant of a multiplicative hash, 2^64 over the golden ratio.
_HASH_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_HASH_SHIFT = np.uint64(29)
#: Deviations below this share of a column's largest value are rounding, not information.
_ROUNDING = 10 * np.finfo(np.float64).eps


class DistinctRows(NamedTuple):
    """Distinct rows and how often each counts; X (n, d), y (n,) or (n, m), weight (n,)."""

    X: Array
    y: Array
    weight: Array


def merge_rows(X: Array, y: Array, weight: Array | None) -> DistinctRows:
    """Return the distinct rows that count, in an order that depends on their values alone.

    A weight of k, k equal rows, and the rows in another order then give the same numbers to the
    last bit; without this, rounding in the sums would grow over the iterations of a fit. Rows of
    weight zero are left out.

    Parameters
    ----------
    X : array of shape (n, d)
    y : array of shape (n,) or (n, m)
    weight : array of shape (n,), or None
        Non-negative, not all zero.

    Returns
    -------
    DistinctRows

    Examples
    --------
    >>> X, y = np.array([[1.0], [2.0], [1.0]]), np.array([0.0, 5.0, 0.0])
    >>> sorted(merge_rows(X, y, None).weight.tolist())
    [1.0, 2.0]
    """
    weight = np.ones(len(X)) if weight is None else weight
    counts = weight > 0
    # Adding 0.0 turns -0.0 into 0.0, so that equal rows have equal bits.
    table = np.column_stack([X[counts], y[counts]]) + 0.0
    order = np.argsort(_row_keys(table), kind="stable")
    table, weight = table[order], weight[counts][order]
    # Two different rows of one key, once in 2^64, keep an order that depends on the table's.
    new = np.ones(len(table), dtype=bool)
    new[1:] = (table[1:] != table[:-1]).any(axis=1)
    total = np.add.reduceat(weight, np.flatnonzero(new))
    d = X.shape[1]
    responses = table[new, d:] if y.ndim == 2 else table[new, d]
    return DistinctRows(table[new, :d], responses, total)


def _row_keys(table: Array) -> npt.NDArray[np.uint64]:
    """Return a hash of each row's bits; ten times faster than sorting by every column."""
    keys = np.zeros(len(table), dtype=np.uint64)
    for column in table.T:
        keys ^= np.ascontiguousarray(column).view(np.uint64)
        keys *= _HASH_FACTOR
        keys ^= keys >> _HASH_SHIFT
    return keys


@dataclass(frozen=True)
class Standardisation:
    """How a table loses its units: z = (x - input_centre) / input_scale, and so for y.

    Attributes
    ----------
    input_centre, input_scale : array of shape (d,)
        Weighted mean and standard deviation. A score without a linear part cannot take up a
        shift: for it the centre is 0 and the scale the root mean square. A constant column has
        its value and 1.
    constant : array of shape (d,), bool
        Columns of one value, up to rounding. They tell no rows apart: z is 0 there, whatever x
        is.
    response_centre, response_scale : array of shape () or (m,)
        Weighted mean and standard deviation of the responses; the scale of a constant response is
        1. Without an intercept the centre is 0 and the scale the root mean square, or 1 for
        experts that cannot take it up: the model is the paper's. Of a fit the centre is its
        intercept.
    """

    input_centre: Array
    input_scale: Array
    constant: npt.NDArray[np.bool_]
    response_centre: Array
    response_scale: Array

    @classmethod
    def of(cls, rows: DistinctRows, architecture: Architecture, intercept: bool) -> Standardisation:
        """Return the standardisation of a table for a model, with or without an intercept."""
        centred = SCORES.get(architecture.score).has_linear
        centre, scale, constant = _centre_and_scale(rows.X, rows.weight, centred)
        columns = rows.y.reshape(len(rows.y), -1)
        mean, spread, same = _centre_and_scale(columns, rows.weight, intercept)
        if not intercept:
            size = np.abs(columns[0])
            mean, spread = np.zeros_like(mean), np.where(same & (size > 0), size, spread)
            if not _takes_up_scale(architecture.expert):
                spread = np.ones_like(spread)
        shape = rows.y.shape[1:]
        return cls(centre, scale, constant, mean.reshape(shape), spread.reshape(shape))

    def with_intercept(self, intercept: torch.Tensor) -> Standardisation:
        """Return the standardisation whose centre of the responses is a fitted intercept.

        ``intercept`` has shape () or (m,) and no units.
        """
        moved = self.response_centre + self.response_scale * intercept.numpy()
        return replace(self, response_centre=moved)

    def inputs(self, X: Array) -> Array:
        """Return X of shape (n, d) without units."""
        z: Array = (X - self.input_centre) / self.input_scale
        z[:, self.constant] = 0.0
        return z

    def leaves_constant(self, X: Array) -> npt.NDArray[np.bool_]:
        """Return which constant columns have other values in X, shape (d,)."""
        centre = self.input_centre
        moved = np.abs(X - centre) > _ROUNDING * np.maximum(np.abs(X), np.abs(centre))
        return self.constant & moved.any(axis=0)

    def responses(self, y: Array) -> Array:
        """Return y of shape (n,) or (n, m) without units."""
        return (y - self.response_centre) / self.response_scale


def _centre_and_scale(
    values: Array, weight: Array, centred: bool
) -> tuple[Array, Array, npt.NDArray[np.bool_]]:
    """Return centre and positive scale of each column of (n, k), and which are constant."""
    low, high = values.min(axis=0), values.max(axis=0)
    # Squares of values like 1e200 overflow and those of 1e-200 vanish; shares of the largest don't.
    size = np.maximum(np.abs(low), np.abs(high))
    size[size == 0] = 1.0
    shares = values / size
    total = weight.sum()
    # The mean of equal values need not be that value to the last bit; the value itself is.
    mean = np.where(low == high, low / size, weight @ shares / total)
    deviation = np.sqrt(weight @ (shares - mean) ** 2 / total)
    constant = deviation <= _ROUNDING
    spread = deviation if centred else np.sqrt(weight @ shares**2 / total)
    centre = np.where(constant | centred, mean * size, 0.0)
    # Below the normal range of float64 a deviation may round to 0.
    scale = np.maximum(spread * size, np.finfo(np.float64).tiny)
    return centre, np.where(constant, 1.0, scale), constant


def without_constants(measure: MixingMeasure, constant: npt.NDArray[np.bool_]) -> MixingMeasure:
    """Return the measure with zero coefficients at the constant columns.

    Nothing in the sample moves them, so they would otherwise keep what a random start gave them.
    """
    architecture = measure.architecture
    live = torch.from_numpy(~constant).to(torch.float64)
    eta = measure.eta
    eta[..., : architecture.dim] *= live
    A, b = measure.A * live * live.unsqueeze(-1), measure.b * live
    return _measure(architecture, A, b, measure.c, eta)


def in_units(
    measure: MixingMeasure, standardisation: Standardisation
) -> tuple[MixingMeasure, Array]:
    """Return the measure for the table as it came, and the scale that it leaves out.

    Parameters
    ----------
    measure : MixingMeasure
        f with y = response_centre + response_scale f(z).
    standardisation : Standardisation

    Returns
    -------
    MixingMeasure, array of shape () or (m,)
        g and s with response_scale f(z) = s g(x). The scale s is 1 if the experts can take up
        the scale of the responses; tanh and GELU experts cannot.
    """
    scale = standardisation.response_scale
    centre, spread = standardisation.input_centre, standardisation.input_scale
    moved = move(measure, centre, spread)
    scaled = scale_experts(moved, scale)
    if scaled is None:
        return moved, scale
    return scaled, np.ones_like(scale)


def carry_over(measure: MixingMeasure, old: Standardisation, new: Standardisation) -> MixingMeasure:
    """Return a measure of one standardisation in another, as a start for a fit.

    Only what no parameter can express gets lost: a change of the responses' centre, and of their
    scale where the experts cannot take it up.
    """
    centre = (old.input_centre - new.input_centre) / new.input_scale
    moved = move(measure, centre, old.input_scale / new.input_scale)
    scaled = scale_experts(moved, old.response_scale / new.response_scale)
    return without_constants(moved if scaled is None else scaled, new.constant)


def move(measure: MixingMeasure, centre: Array, spread: Array) -> MixingMeasure:
    """Return the measure in x of one in z = (x - centre) / spread."""
    architecture = measure.architecture
    columns, q = architecture.n_columns, architecture.n_expert_parameters
    eta = measure.eta.reshape(measure.n_experts, columns, q)
    blocks = _in_inputs(
        measure.A,
        measure.b,
        measure.c,
        eta,
        torch.from_numpy(np.asarray(centre)),
        torch.from_numpy(np.asarray(spread)),
        architecture,
    )
    return _measure(architecture, *blocks)


def scale_experts(measure: MixingMeasure, scale: Array) -> MixingMeasure | None:
    """Return the measure whose experts are ``scale`` times as large, None if there is none.

    ``scale`` is positive, of shape () or (m,).
    """
    architecture, eta = measure.architecture, measure.eta
    factor = torch.from_numpy(np.asarray(scale)).unsqueeze(-1)
    if not _takes_up_scale(architecture.expert):
        return None
    if get_expert(architecture.expert).scaled:
        eta[..., -1:] *= factor
    else:
        eta = eta * factor ** (1.0 / _homogeneity(architecture.expert))
    return _measure(architecture, measure.A, measure.b, measure.c, eta)


def _takes_up_scale(expert: str) -> bool:
    """Return whether there are parameters of any positive multiple of an expert."""
    return get_expert(expert).scaled or _homogeneity(expert) > 0


def _homogeneity(expert: str) -> int:
    """Return k with phi(t z) = t^k phi(z) for t > 0, 0 where there is none."""
    if expert in ("linear", "relu"):
        return 1
    kind, _, degree = expert.partition(":")
    return int(degree) if kind == "polynomial" else 0


def _measure(
    architecture: Architecture,
    A: torch.Tensor,
    b: torch.Tensor,
    c: torch.Tensor,
    eta: torch.Tensor,
) -> MixingMeasure:
    score = SCORES.get(architecture.score)
    return MixingMeasure(
        architecture, A if score.has_quadratic else None, b if score.has_linear else None, c, eta
    )
