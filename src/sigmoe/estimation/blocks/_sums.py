"""Least squares as sums over blocks that lie apart: each block's own, and how they add up.

Objective, gradient and J'J / n are means over rows, so those of many blocks are the averages of
the blocks' own, weighted by the blocks' total weights. They are added in the order of the blocks,
whoever computed them: the result does not depend on where the work was done.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from sigmoe.estimation._sample import Sample
from sigmoe.estimation.blocks._data import CPU, Array, Model, Tick, same_rows
from sigmoe.estimation.blocks._sources import Block, checked_sample
from sigmoe.estimation.engine._arrow import Curvature
from sigmoe.estimation.engine._chunks import curvature_rows
from sigmoe.estimation.engine._layout import layout
from sigmoe.estimation.engine._least_squares import LeastSquares

Kind = Literal["objective", "gradient", "curvature"]

#: Neighbouring blocks whose sums are added first; the sums of the groups are added after that.
GROUP = 16


class Totals(Protocol):
    """Blocks that know their sums."""

    def total(self, kind: Kind, theta: Array, model: Model, tick: Tick) -> Array:
        """Return the sums over all blocks, see ``block_sums``."""

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


class SummedProblem:
    """The least squares problem of all blocks, as the solver wants it.

    Parameters
    ----------
    data : Totals
    model : Model
    rows : int
        How many rows each pass must see.
    tick : callable
        Told how many rows were just done.
    """

    def __init__(self, data: Totals, model: Model, rows: int, tick: Tick) -> None:
        self._data = data
        self._model = model
        self._rows = rows
        self._tick = tick
        self._design = layout(model.architecture, model.n_experts)
        self._part: LeastSquares | None = None

    @property
    def device(self) -> torch.device:
        """Return where parameters, gradients and matrices lie: with the coordinator."""
        return CPU

    def objective(self, theta: Tensor) -> float:
        """Return the mean squared residual."""
        return float(self._means("objective", theta)[0])

    def gradient(self, theta: Tensor) -> tuple[float, Tensor]:
        """Return the objective and its gradient of shape (p,)."""
        means = self._means("gradient", theta)
        return float(means[0]), means[1:]

    def curvature(self, theta: Tensor) -> Curvature:
        """Return J'J / n (p x p), from the same rows as ``LeastSquares`` would."""
        part = self._chosen_part()
        if part is None:
            return self._design.curvature(self._means("curvature", theta))
        return self._design.curvature(part.moments(theta.to(part.device)).cpu())

    def bend(self, theta: Tensor, step: Tensor) -> Tensor | None:
        """Return J' f'' / n of shape (p,), or None, as ``LeastSquares`` would."""
        part = self._chosen_part()
        if part is None:
            return None
        return part.mean_bend(theta.to(part.device), step.to(part.device))[0].cpu()

    def _chosen_part(self) -> LeastSquares | None:
        """Return the problem of the rows that shape the steps, which stay in memory."""
        if self._part is None:
            chosen = curvature_rows(self._rows, self._design)
            if chosen is None:
                return None
            held = self._data.rows(chosen.numpy(), self._model, self._tick)
            self._part = self._model.problem(held)
        return self._part

    def _means(self, kind: Kind, theta: Tensor) -> Tensor:
        sums = self._data.total(kind, theta.numpy(), self._model, self._tick)
        same_rows(int(sums[0]), self._rows)
        return torch.from_numpy(sums[2:] / sums[1])
