"""Gradients to which many blocks add, and who adds where."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sums:
    """Gradients of keys, values and added scores, in the dtype of the work.

    Parameters
    ----------
    key : Tensor of shape (B, Hk, S, E)
    value : Tensor of shape (B, Hk, S, Ev)
    added : Tensor, broadcastable to (B, Hq, L, S), optional
    """

    key: Tensor
    value: Tensor
    added: Tensor | None

    @classmethod
    def zeros(cls, key: Tensor, value: Tensor, added: Tensor | None, dtype: torch.dtype) -> Sums:
        """Return sums of nothing for these inputs."""
        d_key, d_value = (part.new_zeros(part.shape, dtype=dtype) for part in (key, value))
        d_added = None if added is None else added.new_zeros(added.shape, dtype=dtype)
        return cls(d_key, d_value, d_added)

    def for_another_worker(self, apart: bool) -> Sums:
        """Return what another worker adds to; ``apart`` says that it has key heads of its own."""
        added = None if self.added is None else torch.zeros_like(self.added)
        if apart:
            return Sums(self.key, self.value, added)
        return Sums(torch.zeros_like(self.key), torch.zeros_like(self.value), added)

    def take(self, other: Sums) -> None:
        """Add what another worker has gathered."""
        for own, more in (
            (self.key, other.key),
            (self.value, other.value),
            (self.added, other.added),
        ):
            if own is not None and more is not None and own is not more:
                own.add_(more)
