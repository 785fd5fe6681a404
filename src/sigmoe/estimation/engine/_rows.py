"""The rows that a problem sums over, in memory or handed over piece by piece.

Sums are added chunk by chunk from the first row to the last, and chunks are as long as the number
of rows says, however the rows come. So a fit of rows that are read block by block is that of the
same rows in memory, to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add
from typing import Protocol

import torch
from torch import Tensor

#: Rows whose weights or responses are added first; the sums of the pieces are added after that.
PIECE = 65_536


class RowSource(Protocol):
    """Rows that a pass takes chunk by chunk, as often as it wants."""

    @property
    def total_weight(self) -> float:
        """Return the sum of the weights, or the number of rows if they count alike."""

    @property
    def device(self) -> torch.device:
        """Return where the rows are when a pass gets them."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def chunks(self, length: int) -> Iterator[Rows]:
        """Yield the rows in chunks of a length, of which only the last may be shorter."""

    def part(self, positions: Tensor) -> Rows:
        """Return the rows at some positions, ascending."""


@dataclass(frozen=True)
class Rows:
    """Rows in memory, float64 and samples last.

    Attributes
    ----------
    inputs : Tensor of shape (d, n)
    responses : Tensor of shape (m, n)
    weight : Tensor of shape (n,), or None
        Not negative; None if all rows count alike.
    """

    inputs: Tensor
    responses: Tensor
    weight: Tensor | None = None

    @classmethod
    def of(cls, X: Tensor, y: Tensor, weight: Tensor | None = None) -> Rows:
        """Return the rows of X (n, d), y (n,) or (n, m) and weight (n,)."""
        columns = y.unsqueeze(1) if y.ndim == 1 else y
        return cls(X.T.contiguous(), columns.T.contiguous(), weight)

    def __len__(self) -> int:
        return self.inputs.shape[1]

    @property
    def device(self) -> torch.device:
        """Return where the rows are."""
        return self.inputs.device

    @property
    def total_weight(self) -> float:
        """Return the sum of the weights, or the number of rows if they count alike."""
        return total_weight(self.weight, len(self))

    @cached_property
    def root_weight(self) -> Tensor | None:
        """Return the roots of the weights."""
        return None if self.weight is None else self.weight.sqrt()

    def chunks(self, length: int) -> Iterator[Rows]:
        """Yield the rows in chunks of a length; they share memory with these rows."""
        for start in range(0, len(self), length):
            yield self.cut(start, min(start + length, len(self)))

    def cut(self, start: int, stop: int) -> Rows:
        """Return neighbouring rows, which share memory with these."""
        weight = None if self.weight is None else self.weight[start:stop]
        return Rows(self.inputs[:, start:stop], self.responses[:, start:stop], weight)

    def shifted(self, constant: Tensor) -> Rows:
        """Return the rows with a constant (m,) taken off the responses; inputs are shared."""
        return Rows(self.inputs, self.responses - constant.unsqueeze(1), self.weight)

    def part(self, positions: Tensor) -> Rows:
        """Return the rows at some positions."""
        there = positions.to(self.device)
        weight = None if self.weight is None else self.weight[there]
        return Rows(self.inputs[:, there], self.responses[:, there], weight)

    def clone(self) -> Rows:
        """Return the rows in memory of their own."""
        weight = None if self.weight is None else self.weight.clone()
        return Rows(self.inputs.clone(), self.responses.clone(), weight)


def total_weight(weight: Tensor | None, n: int) -> float:
    """Return the sum of the weights of n rows; without weights each counts 1."""
    if weight is None:
        return float(n)
    return _added(float(piece.sum()) for piece in weight.split(PIECE))


def total_square(responses: Tensor, weight: Tensor | None) -> float:
    """Return the weighted sum of squares of responses (m, n), averaged over the columns."""
    squares = (piece.square().mean(0) for piece in responses.split(PIECE, 1))
    if weight is None:
        return _added(float(square.sum()) for square in squares)
    pieces = zip(weight.split(PIECE), squares, strict=True)
    return _added(float(part @ square) for part, square in pieces)


def _added(numbers: Iterable[float]) -> float:
    """Return the sum from left to right; that of Python depends on its version."""
    return reduce(add, numbers)


def joined(parts: list[Rows]) -> Rows:
    """Return the rows of one or more parts, one after the other."""
    if len(parts) == 1:
        return parts[0]
    weight = None
    if any(part.weight is not None for part in parts):
        weight = torch.cat(
            [torch.ones_like(p.inputs[0]) if p.weight is None else p.weight for p in parts]
        )
    inputs = torch.cat([part.inputs for part in parts], 1)
    return Rows(inputs, torch.cat([part.responses for part in parts], 1), weight)


def recut(parts: Iterable[Rows], length: int) -> Iterator[Rows]:
    """Yield the rows of parts of any length in chunks of one length; the last may be shorter."""
    waiting: list[Rows] = []
    for part in parts:
        start, missing = 0, length - sum(map(len, waiting))
        while len(part) - start >= missing:
            yield joined([*waiting, part.cut(start, start + missing)])
            waiting, start, missing = [], start + missing, length
        if start < len(part):
            # A copy, as a view would keep the whole part in memory until the next one is read.
            waiting.append(part if start == 0 else part.cut(start, len(part)).clone())
    if waiting:
        yield joined(waiting)
