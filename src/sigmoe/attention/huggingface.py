"""Sigmoid attention for the models of Hugging Face's transformers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from sigmoe._base.constraints import Choice, check
from sigmoe._base.errors import SigmoeError, invalid
from sigmoe.attention._bias import split_bias
from sigmoe.attention._functional import sigmoid_attention, softmax_attention
from sigmoe.attention.layers._settings import counted

__all__ = ["register"]

_FUNCTIONS = {"sigmoid": sigmoid_attention, "softmax": softmax_attention}


def register(
    name: str = "sigmoe_sigmoid", *, gate: str = "sigmoid", bias: float | str = "auto"
) -> str:
    """Make attention of this package known to transformers under a name.

    Models built with ``attn_implementation=name`` then use it, in training and in ``generate``.

    Parameters
    ----------
    name : str
        A name that transformers does not use itself. To register it again changes its settings,
        also in models that exist.
    gate : "sigmoid" or "softmax"
    bias : "auto", "length", "log-visible" or float
        "auto" is -log of the number of keys that a query sees, so that generating token by token
        gives what a forward pass over the whole sequence gives. A number such as
        ``-math.log(4096)`` is the same for all. "length" counts the keys of the call, which grow
        while a sequence is generated: use it for encoders only.

    Returns
    -------
    str
        The name.

    Raises
    ------
    SigmoeError
        If transformers is not installed, or too old; the message says what to install.
    InputError
        For a name that is taken, or an unknown gate or bias.

    Notes
    -----
    Masks, sliding windows, grouped heads, caches of fixed or growing size and packed sequences are
    those of transformers: they come as a boolean mask. A position bias such as that of T5 is added
    to the scores. A soft cap (``softcap``) and sinks (``s_aux``) are refused. Weights of a softmax
    model do not carry over: train from the start, or fine-tune.

    Examples
    --------
    >>> from transformers import ViTConfig, ViTModel
    >>> from sigmoe.attention.huggingface import register
    >>> sizes = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
    ...              intermediate_size=32, image_size=8, patch_size=4)
    >>> model = ViTModel(ViTConfig(**sizes, attn_implementation=register()))
    >>> model.config._attn_implementation
    'sigmoe_sigmoid'
    """
    check("gate", gate, Choice(tuple(_FUNCTIONS)), "Choose one of these names.")
    split_bias(bias, gate)
    attention, masks = _interfaces()
    _check_name(name, attention().get(name, None))
    attention.register(name, _Attention(name, gate, bias))
    masks.register(name, _visible)
    return name


def _check_name(name: object, known: object) -> None:
    """Check that a name is new, or one of ours, and that transformers reads nothing else in it."""
    plain = isinstance(name, str) and name.replace("_", "").isalnum() and "flash" not in name
    taken = name == "eager" or not (known is None or isinstance(known, _Attention))
    if not plain or taken:
        rule = "a new name of letters, digits and _, without 'flash'"
        raise invalid("name", rule, name, "'sigmoe_sigmoid' is the usual one.")


def _interfaces() -> tuple[Any, Any]:
    """Return the classes in which transformers looks up attention and masks."""
    try:
        attention = import_module("transformers").AttentionInterface
        masks = import_module("transformers.masking_utils").AttentionMaskInterface
    except (ImportError, AttributeError) as error:
        message = "register needs transformers: pip install 'transformers>=5.24'"
        raise SigmoeError(message) from error
    return attention, masks


@dataclass(frozen=True)
class _Attention:
    """What transformers calls in place of its own attention."""

    name: str
    gate: str
    bias: float | str

    def __call__(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        dropout: float = 0.0,
        scaling: float | None = None,
        is_causal: bool | None = None,
        position_bias: Tensor | None = None,
        **options: Any,
    ) -> tuple[Tensor, None]:
        """Return attention, of shape (batch, length, heads, value_dim), and no weights."""
        for option in ("softcap", "s_aux"):
            if options.get(option) is not None:
                remedy = "This model needs attn_implementation='eager'."
                raise invalid(option, f"None with {self.name!r}", "a value", remedy)
        if is_causal is None:
            is_causal = bool(getattr(module, "is_causal", True))
        attend: Callable[..., Tensor] = _FUNCTIONS[self.gate]
        output = attend(
            query,
            key,
            value,
            bias=counted(self.bias, is_causal or attention_mask is not None),
            attn_mask=_added(position_bias, attention_mask),
            # A mask holds the causal part already; without one, the last query has the last key.
            is_causal=is_causal and attention_mask is None,
            causal_offset=key.shape[2] - query.shape[2],
            dropout_p=dropout,
            scale=scaling,
            enable_gqa=key.shape[1] != query.shape[1],
        )
        return output.transpose(1, 2).contiguous(), None


def _added(position_bias: Tensor | None, mask: Tensor | None) -> Tensor | None:
    """Return the mask with a bias of the model's own, which keeps its gradient."""
    if position_bias is None or mask is None:
        return mask if position_bias is None else position_bias
    if mask.dtype == torch.bool:
        return position_bias.masked_fill(~mask, -math.inf)
    return position_bias + mask


def _visible(
    q_length: int, kv_length: int, *, allow_is_causal_skip: bool = True, **options: Any
) -> Tensor | None:
    """Return the boolean mask of shape (batch, 1, queries, keys) that transformers makes for torch.

    It may be left out only where queries and keys are as many: a cache of fixed size has room
    behind the last key, which the bias must not count.
    """
    make = import_module("transformers.masking_utils").sdpa_mask
    mask: Tensor | None = make(
        q_length=q_length,
        kv_length=kv_length,
        allow_is_causal_skip=allow_is_causal_skip and q_length == kv_length,
        **options,
    )
    return mask
