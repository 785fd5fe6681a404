"""From what the user passes to what the operators take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sigmoe.attention import _inputs
from sigmoe.attention._bias import Bias, Visible, schedule_bias, split_bias
from sigmoe.attention._rules import band, work_dtype
from sigmoe.attention._visibility import shown_by

#: What autocast changes: float64 stays.
AUTOCAST_DTYPES = (torch.float16, torch.bfloat16, torch.float32)


@dataclass(frozen=True)
class Options:
    """The keyword arguments of ``sigmoid_attention``, as the user passed them."""

    bias: Bias
    attn_mask: Tensor | None
    is_causal: bool
    causal_offset: int
    window: tuple[int, int] | None
    alibi_slopes: Tensor | None
    dropout_p: float
    scale: float | None
    enable_gqa: bool


@dataclass(frozen=True)
class Arguments:
    """What the operators take: tensors with four axes, and the settings in the operators' order."""

    query: Tensor
    key: Tensor
    value: Tensor
    added: Tensor | None
    visible: Tensor | None
    slopes: Tensor | None
    seed: Tensor | None
    gate: str
    scale: float
    constant: float | None
    is_causal: bool
    offset: int
    window: tuple[int, int] | None
    dropout: float
    batch_shape: tuple[int, ...]

    @property
    def settings(self) -> tuple[Any, ...]:
        """Return all that follows query, key and value."""
        tensors = (self.added, self.visible, self.slopes, self.seed)
        numbers = (self.gate, self.scale, self.constant, self.is_causal, self.offset)
        return (*tensors, *numbers, self.window, self.dropout)

    @classmethod
    def checked(cls, gate: str, query: Any, key: Any, value: Any, options: Options) -> Arguments:
        """Check what the user passed, and bring it into the operators' form.

        Raises
        ------
        InputError
            For inputs that do not fit each other, naming what to change.
        """
        query, key, value = (as_autocast_wants(part) for part in (query, key, value))
        _inputs.check_tensors(query, key, value)
        _inputs.check_shapes(query, key, value, options.enable_gqa)
        n_keys = key.shape[-2]
        scale = _inputs.check_scale(options.scale, query.shape[-1])
        dropout = _inputs.check_dropout(options.dropout_p)
        offset = _inputs.check_offset(options.causal_offset)
        window = _inputs.check_window(options.window)
        slopes = _inputs.check_slopes(options.alibi_slopes, query)
        mask = _inputs.check_mask(options.attn_mask, query, n_keys)
        constant, rest = split_bias(options.bias, gate)
        if isinstance(rest, str):
            seen = band(offset if options.is_causal else None, window, offset)
            shown = Visible(
                seen, shown_by(mask), query.shape[-2], n_keys, query.device, query.dtype
            )
            rest = schedule_bias(rest, shown)
        elif rest is not None:
            rest = _inputs.check_bias(rest, query, n_keys)
        visible, added = _split_mask(mask)
        if rest is not None:
            added = rest if added is None else _sum(added, rest, work_dtype(query.dtype))
        return cls(
            query=_inputs.one_batch(query),
            key=_inputs.one_batch(key),
            value=_inputs.one_batch(value),
            added=added,
            visible=visible,
            slopes=slopes,
            seed=_draw_seed(query.device) if dropout > 0.0 else None,
            gate=gate,
            scale=scale,
            constant=constant,
            is_causal=bool(options.is_causal),
            offset=offset,
            window=window,
            dropout=dropout,
            batch_shape=tuple(query.shape[:-3]),
        )


def _split_mask(mask: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Return a mask as what is visible and what is added to the scores."""
    if mask is None or mask.dtype == torch.bool:
        return mask, None
    return None, mask


def _sum(mask: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what both add to the scores, not rounded to a half precision that both may have."""
    return mask.to(torch.promote_types(mask.dtype, dtype)) + bias


def as_autocast_wants(part: Any) -> Any:
    """Return a tensor in the dtype of autocast, where it is on, as torch's attention does."""
    if not isinstance(part, Tensor) or part.dtype not in AUTOCAST_DTYPES:
        return part
    kind = part.device.type
    if kind == "meta" or not torch.is_autocast_enabled(kind):
        return part
    return part.to(torch.get_autocast_dtype(kind))


def _draw_seed(device: torch.device) -> Tensor:
    """Return a seed from torch's generator, which ``torch.manual_seed`` sets."""
    return torch.randint(torch.iinfo(torch.int64).max, (), device=device)
