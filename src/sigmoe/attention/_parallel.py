"""Sigmoid attention with keys and values on several ranks, whose outputs add up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from sigmoe._base.constraints import Choice, check
from sigmoe._base.errors import invalid
from sigmoe.attention import _inputs
from sigmoe.attention._bias import Bias, Visible, schedule_bias, split_bias
from sigmoe.attention._collectives import add_over_ranks, gather, scatter_sum, share
from sigmoe.attention._functional import sigmoid_attention
from sigmoe.attention._rules import band, work_dtype
from sigmoe.attention._visibility import shown_by


def context_parallel_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    group: Any = None,
    queries: Literal["replicated", "sharded"] = "replicated",
    bias: Bias = "auto",
    attn_mask: Tensor | None = None,
    is_causal: bool = False,
    causal_offset: int = 0,
    window: tuple[int, int] | None = None,
    alibi_slopes: Tensor | None = None,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Return sigmoid attention whose keys and values are spread over the ranks of a group.

    No weight depends on another key, so each rank attends to its own keys and the outputs are
    added: one sum a call and one a backward pass, whatever the length. Every rank calls this, with
    the same options.

    Parameters
    ----------
    query : Tensor of shape (batch, heads, L, head_dim)
        All queries, the same on every rank; or this rank's, with ``queries="sharded"``.
    key : Tensor of shape (batch, key_heads, S, head_dim)
        This rank's keys; those of rank 0 come first. Ranks may hold different numbers.
    value : Tensor of shape (batch, key_heads, S, value_dim)
    group : torch.distributed.ProcessGroup, optional
        All ranks if it is left out.
    queries : "replicated" or "sharded"
        "sharded": every rank holds consecutive queries, those of rank 0 first, and receives the
        output of its own.
    bias, attn_mask, is_causal, causal_offset, window, alibi_slopes
        As for ``sigmoid_attention`` with the queries and keys of all ranks: "auto" is -log of the
        number of all keys, and tensors broadcast to (batch, heads, all queries, all keys).
    scale, enable_gqa
        As for ``sigmoid_attention``.

    Returns
    -------
    Tensor of shape (batch, heads, L, value_dim)
        For all queries, the same on every rank; or for this rank's, with ``queries="sharded"``.

    Raises
    ------
    InputError
        Without an initialised process group, and for inputs that do not fit each other.

    Notes
    -----
    Gradients of ``key`` and ``value`` belong to this rank's keys. With ``queries="replicated"``,
    every rank must compute the same loss of the output, and gradients of ``query`` and of tensors
    in ``bias`` and ``attn_mask`` are whole on every rank. With "sharded", the loss is the sum of
    the ranks' losses; the gradient of ``query`` is that of this rank's queries, and gradients of
    ``bias`` and ``attn_mask`` are shares to be added over the ranks, as for every parameter there.

    Outputs are added in float32 or float64. Numbers of keys and queries are exchanged through the
    CPU. With ``is_causal`` the ranks of later keys have less to do.

    Examples
    --------
    >>> import torch.distributed as dist
    >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    >>> query, key, value = torch.ones(3, 1, 2, 4, 8)
    >>> context_parallel_attention(query, key, value, bias=0.0)[0, 0, 0, 0]
    tensor(3.7768)
    >>> dist.destroy_process_group()
    """
    _check_call(query, key, value, queries, enable_gqa)
    shards = _Shards.known_to_all(query, key, group)
    if queries == "sharded":
        asked = gather(query, shards.query_lengths, group)
    else:
        _check_replicated(shards)
        asked = share(query, group)
    offset = _inputs.check_offset(causal_offset)
    pairs = _Pairs(asked, shards, is_causal, offset, _inputs.check_window(window))
    mask = _inputs.check_mask(attn_mask, asked, shards.n_keys)
    own_bias = pairs.bias(bias, mask)
    if queries == "replicated":
        own_bias, mask = (_shared(part, group) for part in (own_bias, mask))
    partial = sigmoid_attention(
        asked,
        key,
        value,
        bias=pairs.of_own_keys(own_bias) if isinstance(own_bias, Tensor) else own_bias,
        attn_mask=None if mask is None else pairs.of_own_keys(mask),
        is_causal=is_causal,
        causal_offset=offset - shards.first_key,
        window=window,
        alibi_slopes=alibi_slopes,
        scale=scale,
        enable_gqa=enable_gqa,
    ).to(work_dtype(query.dtype))
    if queries == "sharded":
        output = scatter_sum(partial, shards.query_lengths, group)
    else:
        output = add_over_ranks(partial, group)
    return output.to(query.dtype)


@dataclass(frozen=True)
class _Shards:
    """How many queries and keys each rank holds, and which rank this is."""

    query_lengths: list[int]
    key_lengths: list[int]
    rank: int

    @classmethod
    def known_to_all(cls, query: Tensor, key: Tensor, group: Any) -> _Shards:
        own = torch.tensor([query.shape[2], key.shape[2]], device=query.device)
        every = [torch.zeros_like(own) for _ in range(dist.get_world_size(group))]
        dist.all_gather(every, own, group=group)
        query_lengths, key_lengths = torch.stack(every).T.tolist()
        return cls(query_lengths, key_lengths, dist.get_rank(group))

    @property
    def n_keys(self) -> int:
        return sum(self.key_lengths)

    @property
    def first_key(self) -> int:
        return sum(self.key_lengths[: self.rank])


@dataclass(frozen=True)
class _Pairs:
    """All queries and the keys of all ranks."""

    query: Tensor
    shards: _Shards
    is_causal: bool
    offset: int
    window: tuple[int, int] | None

    def bias(self, bias: Bias, mask: Tensor | None) -> float | Tensor:
        """Return a bias as a number, or as a tensor that broadcasts to all queries and keys."""
        constant, rest = split_bias(bias, "sigmoid")
        n_keys = self.shards.n_keys
        if isinstance(rest, Tensor):
            return _inputs.check_bias(rest, self.query, n_keys)
        if rest is None:
            return -math.log(max(n_keys, 1)) if constant is None else constant
        seen = band(self.offset if self.is_causal else None, self.window, self.offset)
        like = self.query
        shown = Visible(seen, shown_by(mask), like.shape[2], n_keys, like.device, like.dtype)
        return schedule_bias(rest, shown)

    def of_own_keys(self, part: Tensor) -> Tensor:
        """Return the columns of this rank's keys."""
        if part.shape[-1] == 1:
            return part
        return part.narrow(-1, self.shards.first_key, self.shards.key_lengths[self.shards.rank])


def _shared(part: Any, group: Any) -> Any:
    return share(part, group) if isinstance(part, Tensor) and part.requires_grad else part


def _check_call(query: Any, key: Any, value: Any, queries: str, enable_gqa: bool) -> None:
    _inputs.check_tensors(query, key, value)
    _inputs.check_shapes(query, key, value, enable_gqa)
    if query.ndim != 4:
        rule = "of shape (batch, heads, L, head_dim)"
        raise invalid("query", rule, tuple(query.shape), "Reshape query, key and value.")
    remedy = "'sharded' if every rank holds its own queries."
    check("queries", queries, Choice(("replicated", "sharded")), remedy)
    if not dist.is_available() or not dist.is_initialized():
        remedy = "Call torch.distributed.init_process_group first."
        raise invalid("group", "an initialised process group", None, remedy)


def _check_replicated(shards: _Shards) -> None:
    if len(set(shards.query_lengths)) > 1:
        rule, found = "as long on every rank", shards.query_lengths
        raise invalid("query", rule, found, 'Pass queries="sharded" for own queries of each rank.')
