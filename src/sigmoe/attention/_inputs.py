"""Checks of what the user passes, each with one line that says what to do."""

from __future__ import annotations

import math
from numbers import Real
from typing import TypeGuard

import torch
from torch import Tensor

from sigmoe._base.errors import invalid

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

#: Offsets up to here leave distances in the 32 bits of the CPU kernel. No sequence is as long.
_FARTHEST = 1 << 30


def is_finite_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a real number, finite and no boolean."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    # torch.compile follows comparisons of numbers that it does not know, but not math.isfinite.
    return -math.inf < float(value) < math.inf


def check_tensors(query: object, key: object, value: object) -> None:
    """Check types, dtypes, devices and numbers of axes of query, key and value."""
    for name, part in (("query", query), ("key", key), ("value", value)):
        if not isinstance(part, Tensor):
            rule = "a tensor of shape (batch..., heads, length, head_dim)"
            raise invalid(name, rule, type(part).__name__, "Convert it by torch.as_tensor.")
        if part.is_nested:
            rule = "dense, or jagged for sigmoid_attention and softmax_attention"
            found = f"a nested tensor of layout {part.layout}"
            raise invalid(name, rule, found, "Pad it: torch.nested.to_padded_tensor(...).")
        if part.dtype not in _DTYPES:
            rule = "of dtype float16, bfloat16, float32 or float64"
            raise invalid(name, rule, part.dtype, f"Convert it: {name}.float().")
        if part.ndim < 3:
            rule = "of shape (batch..., heads, length, head_dim)"
            raise invalid(name, rule, tuple(part.shape), "Add an axis of heads by unsqueeze(0).")
    assert isinstance(query, Tensor)
    for name, part in (("key", key), ("value", value)):
        assert isinstance(part, Tensor)
        if part.dtype != query.dtype:
            rule = f"of the dtype of query, {query.dtype}"
            raise invalid(name, rule, part.dtype, f"Convert it: {name}.to(query.dtype).")
        if part.device != query.device:
            rule = f"on the device of query, {query.device}"
            raise invalid(name, rule, part.device, f"Move it: {name}.to(query.device).")


def check_shapes(query: Tensor, key: Tensor, value: Tensor, enable_gqa: bool) -> None:
    """Check that batches, heads, lengths and widths fit each other."""
    for name, part in (("key", key), ("value", value)):
        if part.shape[:-3] != query.shape[:-3]:
            rule = f"of the batch shape of query, {tuple(query.shape[:-3])}"
            found = tuple(part.shape[:-3])
            raise invalid(name, rule, found, f"Repeat it without a copy: {name}.expand(...).")
    if value.shape[-2] != key.shape[-2]:
        rule = f"as long as key, {key.shape[-2]}"
        raise invalid("value", rule, value.shape[-2], "Give one value for each key.")
    if key.shape[-1] != query.shape[-1] or query.shape[-1] == 0:
        rule = f"of the head_dim of query, {query.shape[-1]}, above 0"
        raise invalid("key", rule, key.shape[-1], "Project both to the same head_dim.")
    if value.shape[-3] != key.shape[-3]:
        rule = f"of as many heads as key, {key.shape[-3]}"
        raise invalid("value", rule, value.shape[-3], "Give each key head one value head.")
    _check_groups(query.shape[-3], key.shape[-3], enable_gqa)


def _check_groups(query_heads: int, key_heads: int, enable_gqa: bool) -> None:
    if query_heads == key_heads:
        return
    if not enable_gqa:
        rule = f"of as many heads as query, {query_heads}"
        raise invalid("key", rule, key_heads, "Pass enable_gqa=True to share key heads.")
    if key_heads == 0 or query_heads % key_heads:
        rule = f"of a number of heads that divides that of query, {query_heads}"
        raise invalid("key", rule, key_heads, "Change one of the numbers of heads.")


def check_scale(scale: object, head_dim: int) -> float:
    """Return the scale; 1 / sqrt(head_dim) if it is None."""
    if scale is None:
        return 1.0 / math.sqrt(head_dim)
    if not is_finite_number(scale):
        remedy = "Leave it out for 1 / sqrt(head_dim)."
        raise invalid("scale", "a finite number", scale, remedy)
    return float(scale)


def check_dropout(dropout_p: float) -> float:
    """Return the share of weights that are dropped."""
    if not is_finite_number(dropout_p) or not 0.0 <= dropout_p < 1.0:
        rule, remedy = "a number >= 0 and < 1", "Pass 0.0 to drop nothing."
        raise invalid("dropout_p", rule, dropout_p, remedy)
    return float(dropout_p)


def check_offset(causal_offset: object) -> int:
    """Return the position of query 0 among the keys."""
    if not _is_integer(causal_offset):
        remedy = "Pass S - L to align the last query with the last key."
        raise invalid("causal_offset", "an integer", causal_offset, remedy)
    # A traced length is no number yet, and the comparison would become a condition on it.
    if not torch.compiler.is_compiling() and abs(causal_offset) > _FARTHEST:
        remedy = "It is the position of the first query among the keys."
        raise invalid("causal_offset", "between -2**30 and 2**30", causal_offset, remedy)
    return causal_offset


def _is_integer(value: object) -> TypeGuard[int]:
    """Return whether a value is an integer, that of a traced length included, and no boolean."""
    return isinstance(value, int | torch.SymInt) and not isinstance(value, bool)


def check_window(window: object) -> tuple[int, int] | None:
    """Return the window, None without one."""
    if window is None:
        return None
    if isinstance(window, tuple | list) and len(window) == 2 and all(map(_is_side, window)):
        # A side without end, sys.maxsize say, must not overflow when an offset is added.
        return (min(window[0], 4 * _FARTHEST), min(window[1], 4 * _FARTHEST))
    remedy = "window=(128, 0) shows 128 keys before each query and its own."
    raise invalid("window", "a pair (left, right) of integers >= 0", window, remedy)


def _is_side(value: object) -> bool:
    return _is_integer(value) and value >= 0


def check_slopes(slopes: object, query: Tensor) -> Tensor | None:
    """Return ALiBi's slopes with shape (1 or B, Hq), None without them."""
    if slopes is None:
        return None
    heads, batch = query.shape[-3], tuple(query.shape[:-3])
    if not isinstance(slopes, Tensor) or not slopes.is_floating_point():
        found = slopes.dtype if isinstance(slopes, Tensor) else type(slopes).__name__
        raise invalid("alibi_slopes", "a floating tensor", found, "Convert it by torch.tensor.")
    _check_device("alibi_slopes", slopes, query)
    if slopes.requires_grad and torch.is_grad_enabled():
        remedy = "Pass -slopes * distance as the bias to train them."
        raise invalid("alibi_slopes", "without gradient", "requires_grad=True", remedy)
    if tuple(slopes.shape) == (heads,):
        return slopes[None]
    if tuple(slopes.shape) != (*batch, heads):
        rule = f"of shape ({heads},) or {(*batch, heads)}"
        raise invalid("alibi_slopes", rule, tuple(slopes.shape), "Give one slope for each head.")
    return slopes.flatten(0, -2)


def check_mask(mask: object, query: Tensor, n_keys: int) -> Tensor | None:
    """Return the mask with four axes that broadcast to (B, Hq, L, S), None without one."""
    if mask is None:
        return None
    if not isinstance(mask, Tensor):
        rule = "a boolean or floating tensor"
        raise invalid("attn_mask", rule, type(mask).__name__, "Convert it by torch.as_tensor.")
    if mask.dtype != torch.bool and not mask.is_floating_point():
        rule = "boolean (True = visible) or floating (added to the scores)"
        raise invalid("attn_mask", rule, mask.dtype, "Convert it: attn_mask.bool().")
    return _four_axes("attn_mask", mask, query, n_keys)


def check_bias(bias: Tensor, query: Tensor, n_keys: int) -> Tensor:
    """Return a bias with four axes that broadcast to (B, Hq, L, S)."""
    if not bias.is_floating_point():
        raise invalid("bias", "floating", bias.dtype, "Pass what hides keys as attn_mask.")
    return _four_axes("bias", bias, query, n_keys)


def _four_axes(name: str, part: Tensor, query: Tensor, n_keys: int) -> Tensor:
    """Return a tensor that broadcasts to (batch..., Hq, L, S) as one that does to (B, Hq, L, S)."""
    _check_device(name, part, query)
    target = (*query.shape[:-1], n_keys)
    shape = (1,) * (len(target) - part.ndim) + tuple(part.shape)
    # Not "size in (1, whole)": torch.compile does not look inside a size that it keeps open.
    fits = len(shape) == len(target) and all(
        size == 1 or size == whole for size, whole in zip(shape, target, strict=True)
    )
    if not fits:
        rule = f"broadcastable to (batch..., heads, L, S) = {target}"
        raise invalid(name, rule, tuple(part.shape), "Add axes of size 1 where it is shared.")
    aligned = part.reshape(shape)
    if all(size == 1 for size in shape[:-3]):
        return aligned.reshape(1, *shape[-3:])
    return one_batch(aligned.expand(*target[:-3], *shape[-3:]))


def one_batch(part: Tensor) -> Tensor:
    """Return a tensor of shape (batch..., a, b, c) as (B, a, b, c)."""
    return part.unsqueeze(0) if part.ndim == 3 else part.flatten(0, -4)


def _check_device(name: str, part: Tensor, query: Tensor) -> None:
    if part.device != query.device:
        rule = f"on the device of query, {query.device}"
        raise invalid(name, rule, part.device, f"Move it: {name}.to(query.device).")
