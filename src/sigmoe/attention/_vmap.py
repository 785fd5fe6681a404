"""Rules of the operators under ``torch.vmap``: the mapped axis becomes a part of the batch."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sigmoe.attention._operators import attention, attention_backward


def fold(part: Tensor, axis: int | None, size: int, batch: int) -> Tensor:
    """Return a tensor of shape (size * batch, ...), the mapped axis before the batch.

    Parameters
    ----------
    part : Tensor
        Its first axis, apart from the mapped one, is 1 or ``batch``.
    axis : int or None
        The mapped axis; None if the tensor is the same for all.
    size : int
        Length of the mapped axis.
    batch : int
    """
    moved = part.unsqueeze(0) if axis is None else part.movedim(axis, 0)
    return moved.expand(size, batch, *moved.shape[2:]).flatten(0, 1)


def _fold_all(
    info: Any, in_dims: tuple[Any, ...], inputs: tuple[Any, ...], first: int
) -> tuple[list[Any], int]:
    """Return the inputs with the mapped axis folded in, and the batch before it."""
    query, axis = inputs[first], in_dims[first]
    batch = query.shape[0] if axis is None else query.movedim(axis, 0).shape[1]
    # The tensors stand first, then the seed.
    n_tensors = first + 6
    folded = [
        fold(part, axis, info.batch_size, batch) if isinstance(part, Tensor) else part
        for part, axis in zip(inputs[:n_tensors], in_dims[:n_tensors], strict=True)
    ]
    seed, axis = inputs[n_tensors], in_dims[n_tensors]
    if seed is not None and axis is not None:
        # One of the seeds does: the places differ.
        seed = seed.select(axis, 0)
    return [*folded, seed, *inputs[n_tensors + 1 :]], batch


def _map_forward(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> tuple[Tensor, int]:
    folded, batch = _fold_all(info, in_dims, inputs, 0)
    output: Tensor = attention(*folded)
    return output.unflatten(0, (info.batch_size, batch)), 0


def _map_backward(
    info: Any, in_dims: tuple[Any, ...], *inputs: Any
) -> tuple[tuple[Tensor, ...], tuple[int | None, ...]]:
    folded, batch = _fold_all(info, in_dims, inputs, 1)
    *gradients, d_added = attention_backward(*folded)
    results = [part.unflatten(0, (info.batch_size, batch)) for part in gradients]
    added, axis, with_added = inputs[4], in_dims[4], inputs[-1]
    if added is None or not with_added:
        return (*results, d_added), (0, 0, 0, None)
    shape = added.shape if axis is None else added.movedim(axis, 0).shape[1:]
    of_each = d_added.unflatten(0, (info.batch_size, batch)).sum_to_size(info.batch_size, *shape)
    return (*results, of_each), (0, 0, 0, 0)


attention.register_vmap(_map_forward)
attention_backward.register_vmap(_map_backward)
