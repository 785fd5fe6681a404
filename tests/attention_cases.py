"""Cases of attention with readable names, and an oracle that looks at visible keys only."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Make = Callable[[torch.Generator], Any]


def normal(*shape: int) -> Make:
    return lambda generator: torch.randn(shape, generator=generator, dtype=torch.float64)


def coin(*shape: int, share: float = 0.6) -> Make:
    return lambda generator: torch.rand(shape, generator=generator) < share


def rows_without_keys(length: int, n_keys: int) -> Make:
    def make(generator: torch.Generator) -> Tensor:
        mask = coin(length, n_keys)(generator)
        mask[::2] = False
        return mask

    return make


def minus_infinity(*shape: int) -> Make:
    return lambda generator: normal(*shape)(generator).masked_fill(
        ~coin(*shape)(generator), -math.inf
    )


@dataclass(frozen=True)
class Case:
    """Sizes (batch, query heads, key heads, queries, keys, head_dim, value_dim) and options.

    Options that are functions make their tensor from a generator. ``spoil`` writes NaN and
    infinities over the keys and values of these places, which the options must hide.
    """

    sizes: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)
    factor: float = 1.0
    strided: bool = False
    spoil: Sequence[int] = ()

    def make(self) -> tuple[tuple[Tensor, Tensor, Tensor], dict[str, Any]]:
        """Return query, key and value, and the options."""
        generator = torch.Generator().manual_seed(7)
        batch, heads, key_heads, length, n_keys, width, value_width = self.sizes
        shapes = (
            (batch, heads, length, width),
            (batch, key_heads, n_keys, width),
            (batch, key_heads, n_keys, value_width),
        )
        tensors = [normal(*shape)(generator) for shape in shapes]
        tensors[0] *= self.factor
        for place in self.spoil:
            tensors[1][:, :, place, 0] = math.nan
            tensors[2][:, :, place] = math.inf
            tensors[2][:, :, place, 0] = math.nan
        if self.strided:
            tensors = [part.transpose(1, 2).contiguous().transpose(1, 2) for part in tensors]
        query, key, value = tensors
        options = {
            name: make(generator) if callable(make) else make for name, make in self.options.items()
        }
        if heads != key_heads:
            options["enable_gqa"] = True
        return (query, key, value), options


def _padding(batch: int, n_keys: int) -> Make:
    lengths = torch.tensor([n_keys - 4 * b for b in range(batch)])
    return lambda _: (torch.arange(n_keys) < lengths[:, None])[:, None, None]


PLAIN = (2, 3, 3, 7, 7, 4, 4)
CROSS = (2, 3, 3, 7, 11, 4, 5)

CASES = {
    "plain": Case(PLAIN),
    "one-of-each": Case((1, 1, 1, 1, 1, 1, 1)),
    "odd-sizes": Case((1, 3, 3, 13, 17, 5, 3)),
    "cross-lengths": Case(CROSS),
    "more-queries-than-keys": Case((1, 2, 2, 11, 3, 4, 4), {"is_causal": True}),
    "grouped-heads": Case((2, 6, 2, 7, 9, 4, 5)),
    "one-key-head": Case((1, 4, 1, 6, 6, 4, 4), {"is_causal": True}),
    "strided": Case(CROSS, strided=True),
    "strided-grouped": Case((2, 4, 2, 7, 9, 4, 5), {"is_causal": True}, strided=True),
    "scale": Case(PLAIN, {"scale": -0.3}),
    "causal": Case(PLAIN, {"is_causal": True}),
    "causal-end": Case(CROSS, {"is_causal": True, "causal_offset": 4}),
    "causal-rows-without-keys": Case(PLAIN, {"is_causal": True, "causal_offset": -3}),
    "window": Case(CROSS, {"window": (2, 1)}),
    "window-offset": Case(CROSS, {"window": (1, 2), "causal_offset": 3}),
    "window-causal": Case((1, 2, 2, 13, 13, 4, 4), {"window": (3, 2), "is_causal": True}),
    "window-beyond-the-keys": Case((1, 1, 1, 9, 3, 4, 4), {"window": (1, 1)}),
    "window-without-end": Case(CROSS, {"window": (sys.maxsize, 1)}),
    "window-without-end-counted": Case(CROSS, {"window": (2, sys.maxsize), "bias": "log-visible"}),
    "alibi": Case(PLAIN, {"alibi_slopes": normal(3)}),
    "alibi-of-each-entry": Case(
        CROSS, {"alibi_slopes": normal(2, 3), "is_causal": True, "causal_offset": 4}
    ),
    "mask": Case(CROSS, {"attn_mask": coin(2, 3, 7, 11)}),
    "mask-of-heads": Case(CROSS, {"attn_mask": coin(3, 1, 11)}),
    "mask-causal": Case(PLAIN, {"attn_mask": coin(7, 7), "is_causal": True}),
    "padding": Case((2, 2, 2, 9, 9, 4, 4), {"attn_mask": _padding(2, 9)}),
    "no-visible-keys": Case(CROSS, {"attn_mask": rows_without_keys(7, 11)}),
    "nothing-visible": Case(CROSS, {"attn_mask": lambda _: torch.zeros(1, 11, dtype=torch.bool)}),
    "added-mask": Case(CROSS, {"attn_mask": normal(2, 1, 7, 11)}),
    "minus-infinity": Case(CROSS, {"attn_mask": minus_infinity(2, 3, 7, 11)}),
    "minus-infinity-in-the-bias": Case(CROSS, {"bias": minus_infinity(3, 1, 11)}),
    "bias-number": Case(PLAIN, {"bias": -1.5}),
    "bias-length": Case(
        (2, 2, 2, 9, 9, 4, 4), {"bias": "length", "attn_mask": _padding(2, 9), "is_causal": True}
    ),
    "bias-log-visible": Case(PLAIN, {"bias": "log-visible", "is_causal": True}),
    "bias-log-visible-mask": Case(
        CROSS, {"bias": "log-visible", "attn_mask": minus_infinity(7, 11)}
    ),
    "bias-scalar": Case(CROSS, {"bias": normal()}),
    "bias-of-heads": Case(CROSS, {"bias": normal(3, 1, 1)}),
    "bias-of-queries": Case(CROSS, {"bias": normal(7, 1)}),
    "bias-of-keys": Case(CROSS, {"bias": normal(11)}),
    "bias-of-entries": Case(CROSS, {"bias": normal(2, 1, 1, 1)}),
    "bias-of-heads-and-places": Case(CROSS, {"bias": normal(3, 7, 11)}),
    "bias-whole": Case(CROSS, {"bias": normal(2, 3, 7, 11), "is_causal": True}),
    "bias-and-mask": Case(
        CROSS, {"bias": normal(3, 1, 1), "attn_mask": minus_infinity(2, 1, 1, 11)}
    ),
    "bias-grouped": Case((2, 4, 2, 7, 9, 4, 4), {"bias": normal(4, 1, 1), "window": (2, 2)}),
    "scores-to-100": Case(PLAIN, factor=50.0),
    "scores-to-100-causal": Case(PLAIN, {"is_causal": True, "bias": 0.0}, factor=50.0),
    "nan-behind-padding": Case(
        (2, 2, 2, 9, 9, 4, 4), {"attn_mask": lambda _: torch.arange(9) < 5}, spoil=(5, 8)
    ),
    "nan-behind-minus-infinity": Case(
        CROSS,
        {"attn_mask": lambda _: torch.zeros(11).masked_fill(torch.arange(11) == 3, -math.inf)},
        spoil=(3,),
    ),
    "nan-beyond-the-queries": Case(
        (2, 3, 3, 5, 11, 4, 4), {"is_causal": True, "causal_offset": 2}, spoil=(7, 9)
    ),
    "nan-before-the-window": Case(
        (1, 2, 1, 6, 9, 4, 4), {"window": (0, 1), "causal_offset": 2}, spoil=(0, 1)
    ),
}


def _bias_of_row(options: dict[str, Any], seen: int, n_keys: int, whole: int, gate: str) -> float:
    bias = options.get("bias", "auto")
    if not isinstance(bias, str):
        return bias if isinstance(bias, float) else 0.0
    counts = {"auto": n_keys, "length": whole, "log-visible": seen}
    return -math.log(max(counts[bias], 1)) if gate == "sigmoid" else 0.0


def oracle(gate: str, query: Tensor, key: Tensor, value: Tensor, options: dict[str, Any]) -> Tensor:
    """Return attention row by row, of the keys that the row sees and no others."""
    batch, heads, length, _ = query.shape
    n_keys, group = key.shape[2], heads // key.shape[1]
    scale = options.get("scale", query.shape[3] ** -0.5)
    offset = options.get("causal_offset", 0)
    whole = (batch, heads, length, n_keys)
    mask, bias, slopes = (options.get(name) for name in ("attn_mask", "bias", "alibi_slopes"))
    shown = torch.ones(whole, dtype=torch.bool)
    added = torch.zeros(whole, dtype=query.dtype)
    if isinstance(bias, Tensor):
        added = added + bias
    if mask is not None and mask.dtype == torch.bool:
        shown = shown & mask
    elif mask is not None:
        added = added + mask
    shown = shown & (added > -math.inf)
    slopes = torch.zeros(heads) if slopes is None else slopes
    slopes = slopes.expand(batch, heads)
    rows = []
    for b, h, i in torch.cartesian_prod(*map(torch.arange, whole[:3])).tolist():
        left, right = options.get("window", (n_keys + length, n_keys + length))
        right = min(right, 0) if options.get("is_causal") else right
        near = [j for j in range(n_keys) if i + offset - left <= j <= i + offset + right]
        seen = [j for j in near if shown[b, h, i, j]]
        length_of_sequence = int(shown[b, h].any(dim=0).sum())
        distance = torch.tensor([abs(i + offset - j) for j in seen], dtype=query.dtype)
        scores = scale * (key[b, h // group, seen] @ query[b, h, i]) + added[b, h, i, seen]
        scores = scores - slopes[b, h] * distance
        scores = scores + _bias_of_row(options, len(seen), n_keys, length_of_sequence, gate)
        weights = torch.sigmoid(scores) if gate == "sigmoid" else torch.softmax(scores, dim=0)
        rows.append(weights @ value[b, h // group, seen])
    return torch.stack(rows).reshape(batch, heads, length, -1)


def trainable(*parts: Any) -> list[Tensor]:
    """Return the floating tensors among the parts, ready for gradients."""
    found = [p for p in parts if isinstance(p, Tensor) and p.is_floating_point()]
    return [part.requires_grad_() for part in found]
