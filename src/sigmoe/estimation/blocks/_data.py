"""Rows in blocks, wherever they lie, and what a fit must know of them beforehand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sigmoe._base.errors import invalid
from sigmoe._base.seeds import Seed, child_seeds
from sigmoe.estimation._sample import Sample
from sigmoe.estimation.engine._least_squares import LeastSquares
from sigmoe.estimation.engine._levenberg_marquardt import Problem
from sigmoe.estimation.engine._rows import Rows, total_square
from sigmoe.moe import Architecture

Array = NDArray[Any]
#: Told how many rows were just done.
Tick = Callable[[int], object]

CPU = torch.device("cpu")
#: Rows at either end of the data that tell one data set from another.
_ENDS = 16


@dataclass(frozen=True)
class Model:
    """What is fitted, and where blocks are computed."""

    architecture: Architecture
    n_experts: int
    device: torch.device = CPU

    def rows(self, sample: Sample) -> Rows:
        """Return the rows of a sample, on the device."""
        there = sample.to(self.device)
        return Rows.of(there.X, there.y, there.weight)

    def problem(self, sample: Sample) -> LeastSquares:
        """Return the least squares problem of some rows, on the device."""
        return LeastSquares(self.rows(sample), self.architecture, self.n_experts)


@dataclass(frozen=True)
class Summary:
    """What a fit must know of its rows beforehand; rows of weight 0 do not count.

    Attributes
    ----------
    rows : int
    weight : float
        Sum of the weights.
    square : float
        Weighted sum of the squared responses, averaged over the columns.
    reach : float
        Largest absolute value in X.
    head, tail : array of shape (k, d + m + 1)
        A few first and last rows [X, y, weight].
    """

    rows: int
    weight: float
    square: float
    reach: float
    head: Array
    tail: Array

    @property
    def response_scale(self) -> float:
        """Return the root mean square of the responses."""
        return sqrt(self.square / self.weight)

    @property
    def digest(self) -> str:
        """Return a hash of the first and last rows."""
        return hashlib.sha256(self.head.tobytes() + self.tail.tobytes()).hexdigest()

    def __add__(self, later: Summary) -> Summary:
        return Summary(
            self.rows + later.rows,
            self.weight + later.weight,
            self.square + later.square,
            max(self.reach, later.reach),
            np.concatenate([self.head, later.head])[:_ENDS],
            np.concatenate([self.tail, later.tail])[-_ENDS:],
        )


class PlacedProblem(Problem, Protocol):
    """A problem that says where it wants its parameters."""

    @property
    def device(self) -> torch.device:
        """Return where parameters, gradients and matrices lie."""


class Data(Protocol):
    """Rows in blocks, wherever they lie."""

    @property
    def n_rows(self) -> int | None:
        """Return the number of rows if it is known beforehand."""

    def survey(self, model: Model, tick: Tick) -> Summary:
        """Check all rows, and return what a fit must know beforehand."""

    def rows(self, positions: Array, model: Model, tick: Tick) -> Sample:
        """Return the rows at some positions, ascending, among those of positive weight."""

    def problem(self, model: Model, summary: Summary, tick: Tick) -> PlacedProblem:
        """Return the least squares problem of all rows."""


def summarise(rows: Rows) -> Summary:
    """Return the summary of some rows in memory."""
    n = len(rows)
    return Summary(
        n,
        rows.total_weight,
        total_square(rows.responses, rows.weight),
        float(rows.inputs.abs().max()),
        table(rows.cut(0, min(n, _ENDS))),
        table(rows.cut(max(0, n - _ENDS), n)),
    )


def with_rows(summary: Summary | None) -> Summary:
    """Return the summary, or raise InputError if no row counts."""
    if summary is None:
        remedy = "Check the source; a function must return a fresh iterator at every call."
        raise invalid("source", "rows of positive weight", "none", remedy)
    return summary


def same_rows(seen: int, expected: int) -> None:
    """Raise InputError if a pass saw another number of rows than the first one."""
    if seen != expected:
        raise invalid(
            "source",
            f"the same {expected} rows in every pass",
            seen,
            "Leave the data as they are during a fit; a function must return a fresh "
            "iterator at every call.",
        )


def table(rows: Rows) -> Array:
    """Return rows [X, y, weight], with weight 1 where there is none."""
    weight = torch.ones_like(rows.inputs[0]) if rows.weight is None else rows.weight
    columns: Tensor = torch.cat([rows.inputs, rows.responses, weight.unsqueeze(0)])
    return columns.T.contiguous().cpu().numpy()


def rows_at(sample: Sample, index: Array) -> Array:
    """Return the table of the rows at some positions."""
    chosen = sample.rows(torch.from_numpy(index))
    return table(Rows.of(chosen.X, chosen.y, chosen.weight))


def sample_of_tables(tables: list[Array], architecture: Architecture) -> Sample:
    """Return the sample whose rows ``table`` wrote, piece by piece or not at all."""
    widths = [architecture.dim, architecture.n_columns, 1]
    rows = torch.from_numpy(np.concatenate([np.zeros((0, sum(widths))), *tables]))
    X, y, weight = rows.split(widths, 1)
    y = y.squeeze(1) if architecture.n_outputs is None else y
    alike = bool((weight == 1).all())
    return Sample(X.contiguous(), y.contiguous(), None if alike else weight.squeeze(1).contiguous())


def drawn_rows(n: int, size: int, seed: Seed) -> Array:
    """Return positions of rows drawn at random without replacement, ascending; at most n.

    The seed and the number of rows decide which they are, and how the rows are cut into blocks
    does not.
    """
    if n <= size:
        return np.arange(n)
    rng = np.random.default_rng(child_seeds(seed, "drawn-rows", 1)[0])
    return np.sort(rng.choice(n, size, replace=False, shuffle=False))
