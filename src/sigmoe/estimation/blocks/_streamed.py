"""Rows that this process reads block by block, once for each pass.

Blocks are cut anew into the chunks that the same rows would have in memory. So a pass does the
same computations in the same order, and the fit is the same to the last bit, however the blocks
are cut. As in memory, steps take J'J from a part of many rows, which is fetched once and kept.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from sigmoe.estimation._sample import Sample
from sigmoe.estimation.blocks._data import (
    Array,
    Model,
    Summary,
    Tick,
    rows_at,
    same_rows,
    sample_of_tables,
    summarise,
    with_rows,
)
from sigmoe.estimation.blocks._sources import Blocks, checked_sample
from sigmoe.estimation.engine._least_squares import LeastSquares
from sigmoe.estimation.engine._rows import PIECE, Rows, recut
from sigmoe.moe import Architecture


class Streamed:
    """Blocks that this process reads one after the other."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks

    @property
    def n_rows(self) -> int | None:
        """Return the number of rows if it is known beforehand."""
        return self._blocks.n_rows

    def survey(self, model: Model, tick: Tick) -> Summary:
        """Check all rows, and return what a fit must know beforehand."""
        rows = (
            Rows.of(sample.X, sample.y, sample.weight)
            for sample in self.samples(model.architecture, tick)
        )
        total: Summary | None = None
        for piece in recut(rows, PIECE):
            summary = summarise(piece)
            total = summary if total is None else total + summary
        return with_rows(total)

    def rows(self, positions: Array, model: Model, tick: Tick) -> Sample:
        """Return the rows at some positions, in one pass."""
        tables, first = [], 0
        for sample in self.samples(model.architecture, tick):
            low, high = np.searchsorted(positions, [first, first + len(sample)])
            tables.append(rows_at(sample, positions[low:high] - first))
            first += len(sample)
        return sample_of_tables(tables, model.architecture)

    def problem(self, model: Model, summary: Summary, tick: Tick) -> LeastSquares:
        """Return the least squares problem of all rows."""
        rows = StreamedRows(self, model, summary, tick)
        return LeastSquares(rows, model.architecture, model.n_experts)

    def samples(self, architecture: Architecture, tick: Tick) -> Iterator[Sample]:
        """Read all blocks, and yield their rows of positive weight."""
        for block in self._blocks:
            sample = checked_sample(block, architecture)
            if sample is not None:
                yield sample
                tick(len(sample))


class StreamedRows:
    """The rows of blocks, as a problem takes them: each pass reads them again.

    Parameters
    ----------
    source : Streamed
    model : Model
    summary : Summary
        Of the same rows.
    tick : callable
    """

    def __init__(self, source: Streamed, model: Model, summary: Summary, tick: Tick) -> None:
        self._source = source
        self._model = model
        self._summary = summary
        self._tick = tick

    @property
    def total_weight(self) -> float:
        """Return the sum of the weights, or the number of rows if they count alike."""
        return self._summary.weight

    @property
    def device(self) -> torch.device:
        """Return where chunks are computed."""
        return self._model.device

    def __len__(self) -> int:
        return self._summary.rows

    def chunks(self, length: int) -> Iterator[Rows]:
        """Yield the rows in chunks of a length, and raise InputError if they are not as many."""
        samples = self._source.samples(self._model.architecture, self._tick)
        seen = 0
        for chunk in recut(map(self._model.rows, samples), length):
            seen += len(chunk)
            yield chunk
        same_rows(seen, len(self))

    def part(self, positions: Tensor) -> Rows:
        """Return the rows at some positions, which stay in memory."""
        return self._model.rows(self._source.rows(positions.numpy(), self._model, self._tick))
