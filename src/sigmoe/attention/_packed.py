"""Sequences of different lengths without padding: packed rows, and torch's jagged tensors."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor

from sigmoe._base.errors import invalid
from sigmoe.attention._arguments import Options
from sigmoe.attention._attend import attend
from sigmoe.attention._bias import Bias
from sigmoe.attention._gates import GATES
from sigmoe.attention._inputs import check_offset, check_tensors


def packed_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor | None = None,
    *,
    gate: Literal["sigmoid", "softmax"] = "sigmoid",
    bias: Bias = "auto",
    is_causal: bool = False,
    causal_offset: int | Literal["end"] = 0,
    window: tuple[int, int] | None = None,
    alibi_slopes: Tensor | None = None,
    dropout_p: float = 0.0,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Return attention inside each of several sequences that stand one after the other.

    Parameters
    ----------
    query : Tensor of shape (total_q, heads, head_dim)
    key : Tensor of shape (total_k, key_heads, head_dim)
    value : Tensor of shape (total_k, key_heads, value_dim)
    cu_seqlens_q : Tensor of shape (sequences + 1,), integer
        Where each sequence begins, 0 first, total_q last.
    cu_seqlens_k : Tensor of shape (sequences + 1,), integer, optional
        The same for keys and values; that of the queries if it is left out.
    gate : "sigmoid" or "softmax"
    bias : "auto", "length", "log-visible", float or Tensor
        The names count the keys of each sequence by itself. A tensor broadcasts to
        (heads, L, S) of every sequence, such as (heads, 1, 1).
    is_causal
        As for ``sigmoid_attention``, in each sequence by itself.
    causal_offset : int or "end"
        "end" aligns the last query of each sequence with its last key.
    window, alibi_slopes, dropout_p, scale, enable_gqa
        As for ``sigmoid_attention``, in each sequence by itself.

    Returns
    -------
    Tensor of shape (total_q, heads, value_dim)

    Raises
    ------
    InputError
        For lengths that do not fit, and for what ``sigmoid_attention`` refuses.

    Notes
    -----
    The sequences are worked on one after the other, and the lengths are read on the CPU.

    Examples
    --------
    >>> import torch
    >>> query, key, value = torch.zeros(3, 5, 2, 8) + 1.0
    >>> starts = torch.tensor([0, 2, 5])
    >>> packed_attention(query, key, value, starts, gate="softmax").shape
    torch.Size([5, 2, 8])
    >>> packed_attention(query, key, value, starts)[[0, 2], 0, 0]  # 2 and 3 keys
    tensor([1.7886, 2.5482])
    """
    GATES.get(gate)
    check_tensors(query, key, value)
    for name, part in (("query", query), ("key", key), ("value", value)):
        if part.ndim != 3:
            rule, found = "of shape (total length, heads, width)", tuple(part.shape)
            raise invalid(name, rule, found, "Pack the sequences one after the other.")
    lengths_q = _lengths("cu_seqlens_q", cu_seqlens_q, len(query))
    if cu_seqlens_k is None:
        cu_seqlens_k = cu_seqlens_q
    lengths_k = _lengths("cu_seqlens_k", cu_seqlens_k, len(key))
    if len(lengths_k) != len(lengths_q):
        rule, remedy = f"{len(lengths_q)} sequences, as cu_seqlens_q", "Use 0 for empty ones."
        raise invalid("cu_seqlens_k", rule, len(lengths_k), remedy)
    options = Options(
        bias=bias,
        attn_mask=None,
        is_causal=is_causal,
        causal_offset=0,
        window=window,
        alibi_slopes=alibi_slopes,
        dropout_p=dropout_p,
        scale=scale,
        enable_gqa=enable_gqa,
    )
    if causal_offset == "end":
        offsets = [n_keys - n for n, n_keys in zip(lengths_q, lengths_k, strict=True)]
    else:
        offsets = [check_offset(causal_offset)] * len(lengths_q)
    parts = zip(
        query.split(lengths_q), key.split(lengths_k), value.split(lengths_k), offsets, strict=True
    )
    outputs = []
    for q, k, v, offset in parts:
        q, k, v = (part.transpose(0, 1) for part in (q, k, v))
        alone = attend(gate, q, k, v, replace(options, causal_offset=offset))
        outputs.append(alone.transpose(0, 1))
    if not outputs:
        return query.new_zeros(0, query.shape[1], value.shape[2])
    return torch.cat(outputs)


def is_jagged(query: object) -> bool:
    """Return whether a tensor is one of torch's jagged nested tensors."""
    return isinstance(query, Tensor) and query.is_nested and query.layout == torch.jagged


def jagged_attention(gate: str, query: Any, key: Any, value: Any, options: Options) -> Tensor:
    """Return attention of jagged tensors of shape (batch, heads, length of each, width).

    Raises
    ------
    InputError
        If key or value is not jagged, if the heads do not stand before the lengths, or with a mask.
    """
    for name, part in (("query", query), ("key", key), ("value", value)):
        if not is_jagged(part) or part.ndim != 4:
            rule = "a jagged nested tensor of shape (batch, heads, lengths, width), as query"
            found = f"shape {tuple(part.shape)}" if isinstance(part, Tensor) else type(part)
            raise invalid(name, rule, found, "Build all three from (lengths, heads, width) parts.")
    if options.attn_mask is not None:
        remedy = "Lengths need no mask; pass the rest as a dense batch."
        raise invalid("attn_mask", "None with jagged tensors", "a mask", remedy)
    q, k, v = (part.transpose(1, 2) for part in (query, key, value))
    starts: Any = q.offsets()
    output = packed_attention(
        q.values(),
        k.values(),
        v.values(),
        starts,
        k.offsets(),
        gate=gate,  # type: ignore[arg-type]  # a str here, checked by its user
        bias=options.bias,
        is_causal=options.is_causal,
        causal_offset=options.causal_offset,
        window=options.window,
        alibi_slopes=options.alibi_slopes,
        dropout_p=options.dropout_p,
        scale=options.scale,
        enable_gqa=options.enable_gqa,
    )
    return torch.nested.nested_tensor_from_jagged(output, offsets=starts).transpose(1, 2)


def _lengths(name: str, starts: object, total: int) -> list[int]:
    """Return the length of each sequence from where each begins."""
    if not isinstance(starts, Tensor) or starts.ndim != 1 or starts.is_floating_point():
        found = (
            f"{starts.dtype} of shape {tuple(starts.shape)}"
            if isinstance(starts, Tensor)
            else (type(starts).__name__)
        )
        raise invalid(name, "an integer tensor of shape (sequences + 1,)", found, "Start with 0.")
    places = starts.tolist()
    lengths = [stop - start for start, stop in pairwise(places)]
    if not places or places[0] != 0 or places[-1] != total or any(n < 0 for n in lengths):
        rule = f"rising from 0 to {total}"
        raise invalid(name, rule, places, "Use the cumulative sum of the lengths, after a 0.")
    return lengths
