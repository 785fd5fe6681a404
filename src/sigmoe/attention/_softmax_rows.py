"""What softmax weights have to know of their row, gathered tile by tile."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sigmoe.attention._block import Block
from sigmoe.attention._gates import RowStatistics


def row_statistics(block: Block, d_out: Tensor | None) -> RowStatistics | None:
    """Return each row's shift, factor and mean gradient; None for gates that do not compete.

    Parameters
    ----------
    block : Block
    d_out : Tensor of shape (pairs, rows, Ev), optional
        Gradient of the output; None where the mean gradient is not wanted.

    Notes
    -----
    The running maximum and the rescaled sums are those of Milakov and Gimelshein, "Online
    normalizer calculation for softmax", 2018.
    """
    if not block.call.gate.competes:
        return None
    shape = (*block.query.shape[:2], 1)
    largest = block.query.new_full(shape, -math.inf)
    total, weighted = block.query.new_zeros(shape), block.query.new_zeros(shape)
    for tile in block.tiles():
        scores = block.scores(tile)
        before, largest = largest, torch.maximum(largest, scores.amax(dim=-1, keepdim=True))
        shift = _finite(largest)
        shrink = torch.exp(before - shift)
        power = scores.sub_(shift).exp_()
        total = total * shrink + power.sum(dim=-1, keepdim=True)
        if d_out is not None:
            factor = block.dropout_factor(tile)
            products = block.weight_gradient(tile, d_out, factor).mul_(power)
            if tile.visible is not None:
                block.by_head(products).masked_fill_(~tile.visible, 0.0)
            weighted = weighted * shrink + products.sum(dim=-1, keepdim=True)
    inverse = torch.where(total == 0.0, 0.0, 1.0 / total)
    return RowStatistics(_finite(largest), inverse, weighted * inverse)


def _finite(largest: Tensor) -> Tensor:
    """Return 0 for rows that have seen no key, whose largest score is -inf."""
    return largest.masked_fill(largest == -math.inf, 0.0)
