"""The operators ``sigmoe::attention`` and ``sigmoe::attention_backward`` of ``torch.library``.

To torch.compile and torch.export a call is one operation with known shapes; its derivatives are in
``_derivatives``, its rules under vmap in ``_vmap``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from sigmoe.attention._backends import choose
from sigmoe.attention._rules import Rules, has_minus_infinity, hide_minus_infinity

_INPUTS = "Tensor query, Tensor key, Tensor value, Tensor? added, Tensor? visible, Tensor? slopes"
_OPTIONS = (
    "Tensor? seed, str gate, float scale, float? constant, bool is_causal, "
    "SymInt offset, SymInt[]? window, float dropout"
)


def rules_of(
    n_keys: int,
    added: Tensor | None,
    visible: Tensor | None,
    slopes: Tensor | None,
    seed: Tensor | None,
    gate: str,
    scale: float,
    constant: float | None,
    is_causal: bool,
    offset: int,
    window: Sequence[int] | None,
    dropout: float,
) -> Rules:
    """Return the rules of an operator's arguments; a constant of None stands for -log(n_keys)."""
    if constant is None:
        constant = -math.log(max(n_keys, 1))
    return Rules(
        gate=gate,
        scale=scale,
        constant=constant,
        added=added,
        visible=visible,
        causal_offset=offset if is_causal else None,
        window=None if window is None else (window[0], window[1]),
        offset=offset,
        slopes=slopes,
        dropout=dropout,
        seed=seed,
    )


def _settled(rules: Rules) -> Rules:
    """Return rules without -inf in ``added``."""
    return hide_minus_infinity(rules) if has_minus_infinity(rules) else rules


@torch.library.custom_op(
    "sigmoe::attention", mutates_args=(), schema=f"({_INPUTS}, {_OPTIONS}) -> Tensor"
)
def attention(
    query: Tensor, key: Tensor, value: Tensor, added: Tensor | None, *others: Any
) -> Tensor:
    """Return the output of attention, contiguous; all inputs have four axes."""
    if is_empty(query, key, value):
        return query.new_zeros(*query.shape[:3], value.shape[3])
    with _as_given(query):
        rules = _settled(rules_of(key.shape[2], added, *others))
        return choose(query, key, value, rules).forward(query, key, value, rules)


@torch.library.custom_op(
    "sigmoe::attention_backward",
    mutates_args=(),
    schema=(
        f"(Tensor gradient, {_INPUTS}, {_OPTIONS}, bool with_added)"
        " -> (Tensor, Tensor, Tensor, Tensor)"
    ),
)
def attention_backward(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, added: Tensor | None, *others: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of query, key, value and added; the last is empty if not wanted."""
    *settings, with_added = others
    if is_empty(query, key, value):
        return _zero_gradients(query, key, value, added if with_added else None)
    with _as_given(query):
        rules = _settled(rules_of(key.shape[2], added, *settings))
        run = choose(query, key, value, rules).backward
        d_query, d_key, d_value, d_added = run(
            gradient, query, key, value, rules, with_added=with_added
        )
    return d_query, d_key, d_value, query.new_zeros(0) if d_added is None else d_added


def _as_given(query: Tensor) -> torch.autocast:
    """Return a context in which the dtypes of the work are those that the code asks for."""
    return torch.autocast(query.device.type, enabled=False)


def is_empty(*parts: Tensor) -> bool:
    """Return whether a tensor has no elements: there is nothing to see, and gradients are 0."""
    return any(part.numel() == 0 for part in parts)


def _zero_gradients(
    query: Tensor, key: Tensor, value: Tensor, added: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    of_added = query.new_zeros(0) if added is None else added.new_zeros(added.shape)
    d_query, d_key, d_value = (part.new_zeros(part.shape) for part in (query, key, value))
    return d_query, d_key, d_value, of_added


@attention.register_fake
def _(query: Tensor, _key: Tensor, value: Tensor, *_: Any) -> Tensor:
    return query.new_empty(*query.shape[:3], value.shape[3])


@attention_backward.register_fake
def _(
    _gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, added: Tensor | None, *others: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    wanted = added if others[-1] else None
    of_added = query.new_empty(0) if wanted is None else wanted.new_empty(wanted.shape)
    d_query, d_key, d_value = (part.new_empty(part.shape) for part in (query, key, value))
    return d_query, d_key, d_value, of_added


def _products(query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...]) -> int:
    """Return the flops of one product with each width: 2 B Hq L S (E + Ev)."""
    return 2 * math.prod(query[:3]) * key[2] * (query[3] + value[3])


@register_flop_formula(torch.ops.sigmoe.attention)
def _(
    query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...], *_: Any, **__: Any
) -> int:
    # As torch counts its own attention: masks take nothing away.
    return _products(query, key, value)


@register_flop_formula(torch.ops.sigmoe.attention_backward)
def _(
    _gradient: tuple[int, ...],
    query: tuple[int, ...],
    key: tuple[int, ...],
    value: tuple[int, ...],
    *_: Any,
    **__: Any,
) -> int:
    # Scores again, then one product for each of dP, dV, dQ and dK.
    scores = 2 * math.prod(query[:3]) * key[2] * query[3]
    return 2 * _products(query, key, value) + scores
