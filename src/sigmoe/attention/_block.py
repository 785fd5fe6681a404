"""One block of queries of one chunk of heads, and what a tile of its scores needs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sigmoe.attention._dropout import kept
from sigmoe.attention._gates import GATES, Gate
from sigmoe.attention._products import all_finite
from sigmoe.attention._rules import Rules, work_dtype
from sigmoe.attention._tiles import Chunk, Tile, tiles


@dataclass(frozen=True)
class Call:
    """The inputs of one call, and what every tile of it needs to know.

    ``guarded`` says that NaN or infinities may stand behind a mask.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    rules: Rules
    gate: Gate
    dtype: torch.dtype
    guarded: bool

    @classmethod
    def prepare(
        cls, rules: Rules, query: Tensor, key: Tensor, value: Tensor, *more: Tensor
    ) -> Call:
        """Look once at what the tiles share; ``more`` are further factors of products."""
        guarded = rules.hides and not all_finite(query, key, value, *more)
        gate = GATES.get(rules.gate)
        return cls(query, key, value, rules, gate, work_dtype(query.dtype), guarded)

    @property
    def group(self) -> int:
        """Return how many query heads read one key head."""
        return self.query.shape[1] // self.key.shape[1]


class Block:
    """A block of queries; scores have shape (pairs, group * rows, columns).

    Parameters
    ----------
    call : Call
    chunk : Chunk
    rows : range
    """

    def __init__(self, call: Call, chunk: Chunk, rows: range) -> None:
        self.call, self.chunk, self.rows = call, chunk, rows
        self.query = chunk.of_queries(call.query, rows, call.dtype)

    def tiles(self) -> Iterator[Tile]:
        """Yield the tiles that hold a key which the block sees."""
        call = self.call
        return tiles(call.rules, self.chunk, self.rows, call.key.shape[2], call.query.device)

    def keys(self, part: Tensor, tile: Tile) -> Tensor:
        """Return the tile's share of keys or values, of shape (pairs, columns, width)."""
        return self.chunk.of_keys(part, tile.columns, self.call.dtype)

    def by_head(self, block: Tensor) -> Tensor:
        """Return a view of shape (batches, query heads, rows, width)."""
        chunk = self.chunk
        return block.view(
            len(chunk.batches), len(chunk.query_heads), len(self.rows), block.shape[-1]
        )

    def scores(self, tile: Tile) -> Tensor:
        """Return the scores of a tile, -inf where a key is hidden."""
        rules, k = self.call.rules, self.keys(self.call.key, tile)
        scores = self.query.new_full((*self.query.shape[:2], len(tile.columns)), rules.constant)
        heads = self.by_head(scores)
        if rules.added is not None:
            heads.add_(self.chunk.of_pairs(rules.added, self.rows, tile.columns))
        if rules.slopes is not None:
            heads.sub_(self._slopes(rules.slopes) * self._distance(tile))
        scores.baddbmm_(self.query, k.mT, alpha=rules.scale)
        if tile.visible is not None:
            heads.masked_fill_(~tile.visible, -math.inf)
        return scores

    def _slopes(self, slopes: Tensor) -> Tensor:
        part = self.chunk.of_pairs(slopes[:, :, None, None], self.rows, self.rows)
        return part.to(self.call.dtype)

    def _distance(self, tile: Tile) -> Tensor:
        device, offset = self.query.device, self.call.rules.offset
        i = torch.arange(self.rows.start + offset, self.rows.stop + offset, device=device)
        j = torch.arange(tile.columns.start, tile.columns.stop, device=device)
        return (i[:, None] - j).abs().to(self.call.dtype)

    def dropout_factor(self, tile: Tile) -> Tensor | None:
        """Return what weights are multiplied by, 0 for those that are dropped."""
        rules, chunk = self.call.rules, self.chunk
        if rules.seed is None or rules.dropout == 0.0:
            return None
        places = (chunk.batches, chunk.query_heads, self.rows, tile.columns)
        stay = kept(rules.seed, rules.dropout, *places).to(self.call.dtype)
        return (stay / (1.0 - rules.dropout)).view(*self.query.shape[:2], len(tile.columns))

    def weight_gradient(self, tile: Tile, d_out: Tensor, factor: Tensor | None) -> Tensor:
        """Return the gradient of a tile's weights before dropout; hidden pairs hold anything."""
        gradient = torch.bmm(d_out, self.keys(self.call.value, tile).mT)
        return gradient if factor is None else gradient.mul_(factor)

    def guard(self, tile: Tile) -> Tensor | None:
        """Return which pairs of a tile are visible where products must heed it, else None."""
        if tile.visible is None or not self.call.guarded:
            return None
        shape = (*self.query.shape[:2], len(tile.columns))
        whole = (len(self.chunk.batches), len(self.chunk.query_heads), len(self.rows), shape[2])
        return tile.visible.expand(whole).reshape(shape)
