"""The gradient of ``added`` in the kernel: which sums it makes, and what may run at once."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

from torch import Tensor

from sigmoe.attention._native_call import number_type


class Part(NamedTuple):
    """Batches and key heads that one call of the kernel works on, with their query heads."""

    batches: slice
    key_heads: slice
    group: int

    def of_keys(self, tensor: Tensor) -> Tensor:
        """Return the part of a tensor (B, Hk, ...)."""
        return tensor[self.batches, self.key_heads]

    def of_queries(self, tensor: Tensor) -> Tensor:
        """Return the part of a tensor (B, Hq, ...)."""
        start, stop = self.key_heads.start * self.group, self.key_heads.stop * self.group
        return tensor[self.batches, start:stop]


class AddedGradient(NamedTuple):
    """Where the kernel sums the gradient of ``added``.

    Attributes
    ----------
    field : str
        "grad_rows" (summed over keys), "grad_columns" (over queries) or "grad_pairs".
    sums : Tensor
        Of shape (B, Hq, L), (B, Hq, S), or four axes of ``added`` whose repeated heads and batches
        share one sum.
    """

    field: str
    sums: Tensor

    @classmethod
    def fresh(cls, query: Tensor, key: Tensor, added: Tensor) -> AddedGradient:
        """Return zeros for the gradient of `added` in a call with `query` and `key`."""
        batch, heads, queries = query.shape[:3]
        shape = _four_axes(added)
        number = number_type(query.dtype)
        if shape[3] == 1:
            return cls("grad_rows", query.new_zeros((batch, heads, queries), dtype=number))
        if shape[2] == 1:
            return cls("grad_columns", query.new_zeros((batch, heads, key.shape[2]), dtype=number))
        return cls("grad_pairs", query.new_zeros(shape, dtype=number))

    def parts(self, query: Tensor, key: Tensor) -> list[Part]:
        """Return the calls to make one after another: two that share a sum are never one call."""
        sizes = (query.shape[0], key.shape[1])
        shared = [self.field == "grad_pairs" and axis == 1 for axis in self.sums.shape[:2]]
        steps = [1 if one else size for one, size in zip(shared, sizes, strict=True)]
        ranges = [
            [slice(start, start + step) for start in range(0, size, step)]
            for size, step in zip(sizes, steps, strict=True)
        ]
        group = query.shape[1] // key.shape[1]
        return [Part(batches, heads, group) for batches, heads in product(*ranges)]

    def expanded(self, query: Tensor, key: Tensor) -> Tensor:
        """Return the sums as the kernel indexes them."""
        if self.field != "grad_pairs":
            return self.sums
        return self.sums.expand(*query.shape[:3], key.shape[2])

    def finish(self, added: Tensor) -> Tensor:
        """Return the gradient in the shape and dtype of `added`."""
        axis = {"grad_rows": 3, "grad_columns": 2}.get(self.field)
        pairs = self.sums if axis is None else self.sums.unsqueeze(axis)
        return pairs.sum_to_size(_four_axes(added)).reshape(added.shape).to(added.dtype)


def _four_axes(added: Tensor) -> tuple[int, ...]:
    return (1,) * (4 - added.dim()) + tuple(added.shape)
