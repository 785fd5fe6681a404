"""Sequences of different lengths without padding: packed rows, and torch's jagged tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor

from sigmoe._base.errors import invalid
from sigmoe.attention._arguments import Options, as_autocast_wants
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
    Sequences of one length are worked on as a batch, the others one after the other; the lengths
    are read on the CPU.

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
    query, key, value = (as_autocast_wants(part) for part in (query, key, value))
    check_tensors(query, key, value)
    for name, part in (("query", query), ("key", key), ("value", value)):
        if part.ndim != 3:
            rule, found = "of shape (total length, heads, width)", tuple(part.shape)
            raise invalid(name, rule, found, "Pack the sequences one after the other.")
    lengths_q = _lengths("cu_seqlens_q", cu_seqlens_q, len(query))
    if cu_seqlens_k is None:
        cu_seqlens_k = cu_seqlens_q
    lengths_k = _lengths("cu_seqlens_k", cu_seqlens_k, len(key))
    if len(value) != len(key):
        rule = f"as long as key, {len(key)}"
        raise invalid("value", rule, len(value), "Give one value for each key.")
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
    offset = None if causal_offset == "end" else check_offset(causal_offset)
    batches = _Batches.of(lengths_q, lengths_k)
    outputs = []
    for q, k, v in zip(
        batches.of_queries(query), batches.of_keys(key), batches.of_keys(value), strict=True
    ):
        own = q.shape[2], k.shape[2]
        aligned = replace(options, causal_offset=own[1] - own[0] if offset is None else offset)
        outputs.append(attend(gate, q, k, v, aligned).transpose(1, 2).flatten(0, 1))
    if not outputs:
        return query.new_zeros(0, query.shape[1], value.shape[2])
    return batches.as_packed(torch.cat(outputs))


@dataclass(frozen=True)
class _Batches:
    """Sequences of one length as batches.

    ``starts`` has an item for each batch: its lengths of queries and keys, and where each of its
    sequences begins among the queries and among the keys.
    """

    starts: dict[tuple[int, int], list[tuple[int, int]]]

    @classmethod
    def of(cls, lengths_q: list[int], lengths_k: list[int]) -> _Batches:
        starts: dict[tuple[int, int], list[tuple[int, int]]] = {}
        start_q = start_k = 0
        for n, n_keys in zip(lengths_q, lengths_k, strict=True):
            starts.setdefault((n, n_keys), []).append((start_q, start_k))
            start_q, start_k = start_q + n, start_k + n_keys
        return cls(starts)

    def of_queries(self, packed: Tensor) -> list[Tensor]:
        """Return each batch of a (total_q, heads, width) tensor as (batch, heads, L, width)."""
        return self._cut(packed, 0)

    def of_keys(self, packed: Tensor) -> list[Tensor]:
        """Return each batch of a (total_k, heads, width) tensor as (batch, heads, S, width)."""
        return self._cut(packed, 1)

    def as_packed(self, output: Tensor) -> Tensor:
        """Return the rows of all batches, one after the other, in the order of the sequences."""
        rows = self._rows(0, output)
        return output if rows is None else torch.empty_like(output).index_copy(0, rows, output)

    def _rows(self, side: int, packed: Tensor) -> Tensor | None:
        """Return the packed row of each row of the batches; None if they stand in that order.

        Side 0 is that of the queries.
        """
        parts = [
            torch.arange(start[side], start[side] + lengths[side])
            for lengths, starts in self.starts.items()
            for start in starts
        ]
        rows = torch.cat(parts) if parts else torch.arange(0)
        in_order = torch.equal(rows, torch.arange(len(rows)))
        return None if in_order else rows.to(packed.device)

    def _cut(self, packed: Tensor, side: int) -> list[Tensor]:
        rows = self._rows(side, packed)
        if rows is not None:
            packed = packed.index_select(0, rows)
        # One split for all: each slice of its own would have a gradient of the whole size.
        sizes = [lengths[side] * len(starts) for lengths, starts in self.starts.items()]
        parts = zip(packed.split(sizes), self.starts.items(), strict=True)
        return [
            part.unflatten(0, (len(starts), lengths[side])).transpose(1, 2)
            for part, (lengths, starts) in parts
        ]


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
    q, k, v = (_Jagged.of(part.transpose(1, 2)) for part in (query, key, value))
    _check_lengths(q, k, v)
    output = packed_attention(
        q.packed,
        k.packed,
        v.packed,
        q.starts,
        k.starts,
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
    return q.like(output).transpose(1, 2)


@dataclass(frozen=True)
class _Jagged:
    """A jagged tensor of shape (batch, lengths, heads, width), and its rows without holes.

    ``places`` are the rows that ``torch.nested.narrow`` has left of the values, None for all.
    """

    nested: Any
    packed: Tensor
    starts: Tensor
    places: Tensor | None

    @classmethod
    def of(cls, nested: Any) -> _Jagged:
        offsets, lengths = nested.offsets(), nested.lengths()
        if lengths is None:
            return cls(nested, nested.values(), offsets, None)
        pairs = zip(offsets.tolist(), lengths.tolist(), strict=False)
        rows = [torch.arange(start, start + n, device=offsets.device) for start, n in pairs]
        places = torch.cat(rows) if rows else offsets.new_zeros(0)
        starts = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
        return cls(nested, nested.values()[places], starts, places)

    def like(self, output: Tensor) -> Tensor:
        """Return packed rows as a jagged tensor of the same sequences."""
        offsets, lengths = self.nested.offsets(), self.nested.lengths()
        if self.places is not None:
            whole = output.new_zeros(len(self.nested.values()), *output.shape[1:])
            output = whole.index_copy(0, self.places, output)
        return torch.nested.nested_tensor_from_jagged(output, offsets=offsets, lengths=lengths)


def _check_lengths(query: _Jagged, key: _Jagged, value: _Jagged) -> None:
    n_sequences = len(query.starts) - 1
    for name, part in (("key", key), ("value", value)):
        if len(part.starts) - 1 != n_sequences:
            rule, found = f"of as many sequences as query, {n_sequences}", len(part.starts) - 1
            raise invalid(name, rule, found, "Use length 0 for empty ones.")
    if not torch.equal(value.starts, key.starts):
        rule = f"of the lengths of key, {key.starts.diff().tolist()}"
        lengths = value.starts.diff().tolist()
        raise invalid("value", rule, lengths, "Give one value for each key.")


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
