"""Softmax attention by torch's own kernels, where they do what is asked."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from sigmoe.attention._arguments import Arguments
from sigmoe.attention._operators import is_empty


def can_do(call: Arguments) -> bool:
    """Return whether torch's attention gives what the call asks for.

    Its tiles are left alone where there is anything to mask but the plain causal triangle, and in
    float64, so that there second derivatives exist.
    """
    masks = (call.added, call.visible, call.slopes, call.window, call.seed)
    return (
        call.gate == "softmax"
        and all(mask is None for mask in masks)
        and (not call.is_causal or call.offset == 0)
        and not is_empty(call.query, call.key, call.value)
        and call.query.dtype != torch.float64
    )


def torch_softmax(call: Arguments) -> Tensor:
    """Return softmax attention, of shape (B, Hq, L, Ev)."""
    key, value = call.key, call.value
    # Where torch.compile keeps the numbers of heads open, their comparison is no bool yet.
    grouped = False
    if call.query.shape[1] != key.shape[1]:
        grouped = True
    if call.is_causal:
        # torch multiplies weights of 0 by later values, and 0 * NaN is NaN.
        key, value = (part.nan_to_num(0.0, 0.0, 0.0) for part in (key, value))
    output = scaled_dot_product_attention(
        call.query, key, value, is_causal=call.is_causal, scale=call.scale, enable_gqa=grouped
    )
    return output.masked_fill(_reached(call), math.nan) if call.is_causal else output


def _reached(call: Arguments) -> Tensor:
    """Return which queries see a key or value that is not finite, of shape (B, Hq, L, 1)."""
    finite = call.key.isfinite().all(-1, keepdim=True) & call.value.isfinite().all(-1, keepdim=True)
    reached = (~finite).cumsum(dim=2) > 0
    n_queries, n_keys = call.query.shape[2], call.key.shape[2]
    if n_queries > n_keys:
        last = reached[:, :, -1:].expand(-1, -1, n_queries - n_keys, -1)
        reached = torch.cat([reached, last], dim=2)
    group = call.query.shape[1] // call.key.shape[1]
    return reached[:, :, :n_queries].repeat_interleave(group, dim=1)
