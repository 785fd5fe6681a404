"""Sums and joins over the ranks of a group, with derivatives of any order.

They come in two pairs, each the derivative of the other: ``add_over_ranks`` and ``share``,
``scatter_sum`` and ``gather``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class _Add(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, group: Any) -> Tensor:
        ctx.group = group
        total = part.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return share(gradients[0], ctx.group), None


class _Share(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, group: Any) -> Tensor:
        ctx.group = group
        return part.view_as(part)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return add_over_ranks(gradients[0], ctx.group), None


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, lengths: Sequence[int], group: Any) -> Tensor:
        ctx.lengths, ctx.group = lengths, group
        mine = _padded(part, max(lengths))
        parts = [torch.empty_like(mine) for _ in lengths]
        dist.all_gather(parts, mine, group=group)
        rows = [one[..., :n, :] for one, n in zip(parts, lengths, strict=True)]
        return torch.cat(rows, dim=-2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return scatter_sum(gradients[0], ctx.lengths, ctx.group), None, None


class _ScatterSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, whole: Tensor, lengths: Sequence[int], group: Any) -> Tensor:
        ctx.lengths, ctx.group = lengths, group
        parts = [_padded(part, max(lengths)) for part in whole.split(list(lengths), dim=-2)]
        mine = torch.empty_like(parts[0])
        dist.reduce_scatter(mine, parts, group=group)
        return mine[..., : lengths[dist.get_rank(group)], :].contiguous()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gather(gradients[0], ctx.lengths, ctx.group), None, None


def _padded(part: Tensor, length: int) -> Tensor:
    """Return rows with zeros below them, contiguous: the ranks exchange tensors of one shape."""
    return torch.nn.functional.pad(part, (0, 0, 0, length - part.shape[-2])).contiguous()


def _apply(function: Any, *inputs: Any) -> Tensor:
    output: Tensor = function.apply(*inputs)
    return output


def add_over_ranks(part: Tensor, group: Any) -> Tensor:
    """Return the sum of the parts of all ranks; the gradient must be the same on every rank."""
    return _apply(_Add, part, group)


def share(part: Tensor, group: Any) -> Tensor:
    """Return a tensor that is the same on every rank; its gradients are added over the ranks."""
    return _apply(_Share, part, group)


def gather(part: Tensor, lengths: Sequence[int], group: Any) -> Tensor:
    """Return the rows (axis -2) of all ranks, one rank after the other."""
    return _apply(_Gather, part, lengths, group)


def scatter_sum(whole: Tensor, lengths: Sequence[int], group: Any) -> Tensor:
    """Return the rows (axis -2) of this rank, added over the ranks."""
    return _apply(_ScatterSum, whole, lengths, group)
