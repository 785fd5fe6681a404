"""Attention tile by tile with PyTorch's own operations, forward and backward, on any device.

Beside inputs and outputs it holds a few blocks of scores: O(L + S) memory. Nothing but q, k, v is
kept for the backward pass. Blocks of queries are shared out among the cores, so that one head keeps
them busy too. Half precisions are read as they are, tile by tile; scores, weights and sums are
float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sigmoe.attention._block import Block, Call
from sigmoe.attention._products import visible_product
from sigmoe.attention._rules import Rules
from sigmoe.attention._softmax_rows import row_statistics
from sigmoe.attention._sums import Sums
from sigmoe.attention._tiles import Chunk, places
from sigmoe.attention._workers import share_out

#: A block's place: its heads and its queries.
_Place = tuple[Chunk, range]


def forward(query: Tensor, key: Tensor, value: Tensor, rules: Rules) -> Tensor:
    """Return the output of attention; arguments as in ``_reference.forward``."""
    call = Call.prepare(rules, query, key, value)
    output = query.new_zeros(*query.shape[:3], value.shape[3])

    def write(place: _Place) -> None:
        block = Block(call, *place)
        block.chunk.block_of(output, block.rows).copy_(block.by_head(_forward_block(block)))

    every = [place for of_chunk in _places(call) for place in of_chunk]
    share_out(write, every, _workers(query.device, len(every)))
    return output


def backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rules: Rules,
    *,
    with_added: bool = True,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Return the gradients of query, key, value and ``rules.added``.

    The weights are computed anew, tile by tile; arguments as in ``_reference.backward``. For a
    given number of threads the result is the same in every run.
    """
    call = Call.prepare(rules, query, key, value, gradient)
    d_query = query.new_zeros(query.shape)
    cut = _places(call)
    workers = _workers(query.device, sum(map(len, cut)))
    # With few chunks the workers share the queries of each, and add up their sums at the end.
    apart = len(cut) >= 2 * workers
    shares = _shares(cut, workers, apart)
    sums = Sums.zeros(key, value, rules.added if with_added else None, call.dtype)
    gathered = [sums, *(sums.for_another_worker(apart) for _ in range(workers - 1))]

    def write(worker: int) -> None:
        for place in shares[worker]:
            block = Block(call, *place)
            d_out = block.chunk.of_queries(gradient, block.rows, call.dtype)
            d_block = _backward_block(block, d_out, gathered[worker])
            block.chunk.block_of(d_query, block.rows).copy_(block.by_head(d_block))

    share_out(write, range(workers), workers)
    for other in gathered[1:]:
        sums.take(other)
    d_added = None if sums.added is None or rules.added is None else sums.added.to(rules.added)
    return d_query, sums.key.to(key.dtype), sums.value.to(value.dtype), d_added


def _places(call: Call) -> list[list[_Place]]:
    """Return the places of all blocks, one list for each chunk of heads."""
    batch, key_heads, n_keys = call.key.shape[:3]
    return places(batch, key_heads, call.group, call.query.shape[2], n_keys)


def _shares(cut: list[list[_Place]], workers: int, apart: bool) -> list[list[_Place]]:
    """Return each worker's places: whole chunks where they are apart, else queries of each."""
    if apart:
        return [[p for chunk in cut[w::workers] for p in chunk] for w in range(workers)]
    every = [place for of_chunk in cut for place in of_chunk]
    return [every[w::workers] for w in range(workers)]


def _workers(device: torch.device, n_items: int) -> int:
    """Return how many threads share the work; a device other than the CPU has its own."""
    return min(torch.get_num_threads(), n_items) if device.type == "cpu" else 1


def _forward_block(block: Block) -> Tensor:
    """Return the output of a block, of shape (pairs, group * rows, Ev)."""
    call = block.call
    statistics = row_statistics(block, None)
    total = block.query.new_zeros(*block.query.shape[:2], call.value.shape[3])
    for tile in block.tiles():
        weights = call.gate.weights_(block.scores(tile), statistics)
        _drop_(weights, block.dropout_factor(tile))
        _add_product(total, weights, block.guard(tile), block.keys(call.value, tile))
    return total


def _backward_block(block: Block, d_out: Tensor, sums: Sums) -> Tensor:
    """Return the gradient of a block's queries, and add its share to the sums."""
    call, chunk, scale = block.call, block.chunk, block.call.rules.scale
    statistics = row_statistics(block, d_out)
    d_query = torch.zeros_like(block.query)
    for tile in block.tiles():
        factor, guard = block.dropout_factor(tile), block.guard(tile)
        weights = call.gate.weights_(block.scores(tile), statistics)
        d_weights = block.weight_gradient(tile, d_out, factor)
        d_scores = call.gate.score_gradient(d_weights, weights, statistics)
        if tile.visible is not None:
            block.by_head(d_scores).masked_fill_(~tile.visible, 0.0)
        _drop_(weights, factor)
        turned = None if guard is None else guard.mT
        d_value, d_key = (chunk.of_keys(part, tile.columns) for part in (sums.value, sums.key))
        _add_product(d_value, weights.mT, turned, d_out)
        _add_product(d_key, d_scores.mT, turned, block.query, scale)
        _add_product(d_query, d_scores, guard, block.keys(call.key, tile), scale)
        if sums.added is not None:
            part = chunk.of_pairs(sums.added, block.rows, tile.columns)
            part.add_(block.by_head(d_scores).sum_to_size(part.shape))
    return d_query


def _drop_(weights: Tensor, factor: Tensor | None) -> None:
    if factor is not None:
        weights.mul_(factor)


def _add_product(
    total: Tensor, left: Tensor, guard: Tensor | None, right: Tensor, scale: float = 1.0
) -> None:
    """Add scale * left @ right to a sum, in place; a guard keeps hidden pairs out."""
    if guard is None:
        total.baddbmm_(left, right, alpha=scale)
    else:
        total.add_(visible_product(left, guard, right), alpha=scale)
