"""How the work is cut: chunks of heads, blocks of queries, and the tiles that hold visible keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sigmoe.attention._rules import Rules
from sigmoe.attention._visibility import band_mask, columns_seen

#: Side of a tile. Larger tiles leave the second-level cache, smaller ones spend time on calls.
SIDE = 512


@dataclass(frozen=True)
class Chunk:
    """Batch entries and key heads that are worked on together, with all their query heads."""

    batches: range
    key_heads: range
    group: int

    @property
    def query_heads(self) -> range:
        """Return the query heads that read these key heads."""
        return range(self.key_heads.start * self.group, self.key_heads.stop * self.group)

    @property
    def pairs(self) -> int:
        """Return the number of pairs of a batch entry and a key head."""
        return len(self.batches) * len(self.key_heads)

    def of_queries(self, tensor: Tensor, rows: range, dtype: torch.dtype) -> Tensor:
        """Return rows of a (B, Hq, L, width) tensor as (pairs, group * rows, width)."""
        part = self.block_of(tensor, rows)
        return part.reshape(self.pairs, self.group * len(rows), tensor.shape[-1]).to(dtype)

    def of_keys(self, tensor: Tensor, columns: range, dtype: torch.dtype | None = None) -> Tensor:
        """Return columns of a (B, Hk, S, width) tensor as (pairs, columns, width)."""
        part = tensor[_cut(self.batches), _cut(self.key_heads), _cut(columns)]
        return part.flatten(0, 1).to(dtype or tensor.dtype)

    def block_of(self, tensor: Tensor, rows: range) -> Tensor:
        """Return a view of rows of a (B, Hq, L, width) tensor, its axes kept."""
        return tensor[_cut(self.batches), _cut(self.query_heads), _cut(rows)]

    def of_pairs(self, tensor: Tensor, rows: range, columns: range) -> Tensor:
        """Return a block of a tensor that broadcasts to (B, Hq, L, S), its unit axes kept."""
        places = (self.batches, self.query_heads, rows, columns)
        cuts = (
            slice(None) if size == 1 else _cut(place)
            for size, place in zip(tensor.shape, places, strict=True)
        )
        return tensor[tuple(cuts)]


@dataclass(frozen=True)
class Tile:
    """Keys that a block of queries sees; ``visible`` is None if it sees all of them.

    Otherwise it broadcasts to (batches, query heads, rows, columns).
    """

    columns: range
    visible: Tensor | None


def places(
    batch: int, key_heads: int, group: int, n_queries: int, n_keys: int
) -> list[list[tuple[Chunk, range]]]:
    """Return the places of all blocks of queries, one list for each chunk of heads.

    A tile of a block has at most about ``SIDE`` squared scores: short sequences have many heads in
    a chunk, and the blocks of a key head with many query heads have fewer queries.

    Parameters
    ----------
    batch, key_heads : int
    group : int
        Query heads of one key head.
    n_queries, n_keys : int
    """
    rows = list(_blocks(n_queries, max(1, SIDE // group)))
    pairs = max(1, SIDE * SIDE // (group * len(rows[0]) * min(SIDE, n_keys)))
    return [
        [(Chunk(b, h, group), block) for block in rows]
        for b in _blocks(batch, max(1, pairs // key_heads))
        for h in _blocks(key_heads, min(pairs, key_heads))
    ]


def tiles(
    rules: Rules, chunk: Chunk, rows: range, n_keys: int, device: torch.device
) -> Iterator[Tile]:
    """Yield the tiles of a block of queries that hold a visible key.

    Tiles beyond the band are never looked at; a boolean mask is looked at tile by tile.
    """
    seen = columns_seen(rules.band, rows, n_keys)
    for columns in _blocks(len(seen), SIDE, seen.start):
        visible = band_mask(rules.band, rows, columns, device)
        if rules.visible is not None:
            part = chunk.of_pairs(rules.visible, rows, columns)
            if not bool(part.any()):
                continue
            if not bool(part.all()):
                visible = part if visible is None else part & visible
        yield Tile(columns, visible)


def _blocks(length: int, size: int, first: int = 0) -> Iterator[range]:
    """Yield equal blocks of at most ``size``, the last perhaps shorter."""
    count = -(-length // size)
    step = -(-length // count) if count else 1
    for start in range(0, length, step):
        yield range(first + start, first + min(start + step, length))


def _cut(places: range) -> slice:
    return slice(places.start, places.stop)
