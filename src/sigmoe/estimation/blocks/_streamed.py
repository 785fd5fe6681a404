"""Least squares over blocks of rows: what a pass computes of each block, and how it adds up.

Objective, gradient and J'J / n are means over rows, so those of many blocks are the averages of
the blocks' own, weighted by the blocks' total weights. Whoever holds the blocks, this
process or the workers of a cluster, computes the same sums of each block and adds them in the same
order: the result does not depend on where the work was done.

As in memory, steps take J'J, and how the prediction bends along them, from a random part of many
rows. Those rows are fetched once and kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sigmoe._base.errors import invalid
from sigmoe._base.seeds import Seed, child_seeds
from sigmoe.estimation._sample import Sample
from sigmoe.estimation.blocks._sources import Block, Blocks, checked_sample
from sigmoe.estimation.engine._arrow import Curvature
from sigmoe.estimation.engine._chunks import curvature_rows
from sigmoe.estimation.engine._layout import Layout, layout
from sigmoe.estimation.engine._normal_equations import LeastSquares
from sigmoe.moe import Architecture

Kind = Literal["objective", "gradient", "curvature"]
Array = NDArray[Any]
#: Told how many rows were just done.
Tick = Callable[[int], object]

#: Neighbouring blocks whose sums are added first; the sums of the groups are added after that.
GROUP = 16
#: Rows at either end of the data that tell one data set from another.
_ENDS = 16


@dataclass(frozen=True)
class Model:
    """What is fitted, and where blocks are computed: None for the CPU."""

    architecture: Architecture
    n_experts: int
    device: torch.device | None = None

    def problem(self, sample: Sample) -> LeastSquares:
        """Return the least squares problem of some rows, on the device."""
        there = sample if self.device is None else sample.to(self.device)
        return LeastSquares(
            there.X, there.y, self.architecture, self.n_experts, sample_weight=there.weight
        )


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
        return float((self.square / self.weight) ** 0.5)

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


class Data(Protocol):
    """Rows in blocks, wherever they lie."""

    @property
    def n_rows(self) -> int | None:
        """Return the number of rows if it is known beforehand."""

    def total(self, kind: Kind, theta: Array, model: Model, tick: Tick) -> Array:
        """Return the sums over all blocks, see ``block_sums``."""

    def survey(self, model: Model, tick: Tick) -> Summary:
        """Check all rows, and return what a fit must know beforehand."""

    def rows(self, positions: Array, model: Model, tick: Tick) -> Sample:
        """Return the rows at some positions, ascending, among those of positive weight."""


def block_sums(kind: Kind, theta: Array, block: Block, model: Model) -> Array:
    """Return one block's sums over its rows.

    Parameters
    ----------
    kind : {"objective", "gradient", "curvature"}
    theta : array of shape (N, parameters of an atom)
    block : Block
    model : Model

    Returns
    -------
    array of shape (2 + k,)
        Number of rows, weight, and what was asked for, times the weight: the objective, k = 1; the
        objective and its gradient, k = 1 + p; or the moments of J'J / n.

    Raises
    ------
    InputError
        For rows that cannot be used, see ``checked_sample``.
    """
    sample = checked_sample(block, model.architecture)
    if sample is None:
        moments = layout(model.architecture, model.n_experts).n_moments
        lengths = {"objective": 1, "gradient": 1 + theta.size, "curvature": moments}
        return np.zeros(2 + lengths[kind])
    problem = model.problem(sample)
    weight = problem.total_weight
    means = _means(kind, torch.from_numpy(theta).to(problem.device), problem).numpy()
    return np.concatenate([[len(sample), weight], weight * means])


def _means(kind: Kind, theta: Tensor, problem: LeastSquares) -> Tensor:
    """Return what ``block_sums`` asks for, on the CPU."""
    if kind == "curvature":
        return problem.moments(theta).cpu()
    if kind == "objective":
        return torch.tensor([problem.objective(theta)], dtype=torch.float64)
    objective, gradient = problem.gradient(theta)
    return torch.cat([torch.tensor([objective], dtype=torch.float64), gradient.cpu()])


def add_up(parts: Iterable[Array]) -> Array:
    """Return the sum of parts, at least one, from left to right."""
    iterator = iter(parts)
    total = next(iterator).copy()
    for part in iterator:
        total += part
    return total


def grouped(parts: Iterable[Array]) -> Iterator[Array]:
    """Yield the sums of groups of neighbours."""
    iterator = iter(parts)
    for first in iterator:
        yield add_up(chain([first], islice(iterator, GROUP - 1)))


def summarise(sample: Sample) -> Summary:
    """Return the summary of one block."""
    n = len(sample)
    square = sample.y.reshape(n, -1).square().mean(1)
    weight = sample.weight
    return Summary(
        n,
        float(n if weight is None else weight.sum()),
        float(square.sum() if weight is None else weight @ square),
        float(sample.X.abs().max()),
        table(sample.rows(torch.arange(min(n, _ENDS)))),
        table(sample.rows(torch.arange(max(0, n - _ENDS), n))),
    )


def table(sample: Sample) -> Array:
    """Return rows [X, y, weight], with weight 1 where there is none."""
    n = len(sample)
    weight = torch.ones(n, dtype=torch.float64) if sample.weight is None else sample.weight
    y = sample.y.unsqueeze(1) if sample.y.ndim == 1 else sample.y
    return torch.cat([sample.X, y, weight.unsqueeze(1)], 1).numpy()


def rows_at(sample: Sample, index: Array) -> Array:
    """Return the table of the rows at some positions."""
    return table(sample.rows(torch.from_numpy(index)))


def rows_of_none(model: Model) -> Array:
    """Return a table without rows."""
    return np.zeros((0, model.architecture.dim + model.architecture.n_columns + 1))


def sample_of_table(rows: Array, architecture: Architecture) -> Sample:
    """Return the sample whose rows ``table`` wrote."""
    X, y, weight = torch.from_numpy(rows).split([architecture.dim, architecture.n_columns, 1], 1)
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


class Streamed:
    """Blocks that this process reads one after the other."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks

    @property
    def n_rows(self) -> int | None:
        """Return the number of rows if it is known beforehand."""
        return self._blocks.n_rows

    def total(self, kind: Kind, theta: Array, model: Model, tick: Tick) -> Array:
        """Return the sums over all blocks."""

        def parts() -> Iterator[Array]:
            for block in self._blocks:
                sums = block_sums(kind, theta, block, model)
                tick(int(sums[0]))
                yield sums

        groups = grouped(parts())
        return add_up(chain([next(groups, np.zeros(2))], groups))

    def survey(self, model: Model, tick: Tick) -> Summary:
        """Check all rows, and return what a fit must know beforehand."""
        total: Summary | None = None
        for sample in self._samples(model, tick):
            summary = summarise(sample)
            total = summary if total is None else total + summary
        return with_rows(total)

    def rows(self, positions: Array, model: Model, tick: Tick) -> Sample:
        """Return the rows at some positions, in one pass."""
        parts, first = [rows_of_none(model)], 0
        for sample in self._samples(model, tick):
            low, high = np.searchsorted(positions, [first, first + len(sample)])
            parts.append(rows_at(sample, positions[low:high] - first))
            first += len(sample)
        return sample_of_table(np.concatenate(parts), model.architecture)

    def _samples(self, model: Model, tick: Tick) -> Iterator[Sample]:
        for block in self._blocks:
            sample = checked_sample(block, model.architecture)
            if sample is not None:
                yield sample
                tick(len(sample))


def with_rows(summary: Summary | None) -> Summary:
    """Return the summary, or raise InputError if no row counts."""
    if summary is None:
        remedy = "Check the source; a function must return a fresh iterator at every call."
        raise invalid("source", "rows of positive weight", "none", remedy)
    return summary


class BlockProblem:
    """The least squares problem of all blocks, as the solver wants it.

    Parameters
    ----------
    data : Data
    model : Model
    rows : int
        How many rows each pass must see.
    tick : callable
        Told how many rows were just done.
    """

    def __init__(self, data: Data, model: Model, rows: int, tick: Tick) -> None:
        self._data = data
        self._model = model
        self._rows = rows
        self._tick = tick
        self._part: LeastSquares | None = None

    def objective(self, theta: Tensor) -> float:
        """Return the mean squared residual."""
        return float(self._means("objective", theta)[0])

    def gradient(self, theta: Tensor) -> tuple[float, Tensor]:
        """Return the objective and its gradient of shape (p,)."""
        means = self._means("gradient", theta)
        return float(means[0]), means[1:]

    def curvature(self, theta: Tensor) -> Curvature:
        """Return J'J / n (p x p), from the same rows as ``LeastSquares`` would."""
        design = layout(self._model.architecture, self._model.n_experts)
        part = self._chosen_part(design)
        if part is None:
            return design.curvature(self._means("curvature", theta))
        return design.curvature(part.moments(theta.to(part.device)).cpu())

    def bend(self, theta: Tensor, step: Tensor) -> Tensor | None:
        """Return J' f'' / n of shape (p,), or None, as ``LeastSquares`` would."""
        part = self._chosen_part(layout(self._model.architecture, self._model.n_experts))
        if part is None:
            return None
        return part.mean_bend(theta.to(part.device), step.to(part.device)).cpu()

    def _chosen_part(self, design: Layout) -> LeastSquares | None:
        """Return the problem of the rows that shape the steps, which stay in memory."""
        if self._part is None:
            chosen = curvature_rows(self._rows, design)
            if chosen is None:
                return None
            held = self._data.rows(chosen.numpy(), self._model, self._tick)
            self._part = self._model.problem(held)
        return self._part

    def _means(self, kind: Kind, theta: Tensor) -> Tensor:
        sums = self._data.total(kind, theta.numpy(), self._model, self._tick)
        if int(sums[0]) != self._rows:
            raise invalid(
                "source",
                f"the same {self._rows} rows in every pass",
                int(sums[0]),
                "Leave the data as they are during a fit; a function must return a fresh "
                "iterator at every call.",
            )
        return torch.from_numpy(sums[2:] / sums[1])
