"""First and second derivatives of the operators, for autograd and for ``torch.func``.

The derivative of the backward pass goes through the reference's differentiable operations, so that
second derivatives need memory like L S.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sigmoe.attention import _reference
from sigmoe.attention._operators import attention, attention_backward, is_empty, rules_of
from sigmoe.attention._rules import hide_minus_infinity

#: Arguments of ``attention`` that are neither query, key, value nor ``added``.
_N_OTHERS = 10


def _keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001 - torch names it
    """Keep the inputs, and nothing else, for the derivative."""
    ctx.save_for_backward(*(part for part in inputs if isinstance(part, Tensor)))
    ctx.is_tensor = tuple(isinstance(part, Tensor) for part in inputs)
    ctx.settings = tuple(None if isinstance(part, Tensor) else part for part in inputs)


def _kept_inputs(ctx: Any) -> list[Any]:
    tensors = iter(ctx.saved_tensors)
    return [
        next(tensors) if is_tensor else setting
        for is_tensor, setting in zip(ctx.is_tensor, ctx.settings, strict=True)
    ]


def _first(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    query, key, value, added, *others = _kept_inputs(ctx)
    apply: Any = AttentionBackward.apply
    with_added = added is not None and ctx.needs_input_grad[3]
    *gradients, d_added = apply(gradient, query, key, value, added, *others, with_added)
    return *gradients, d_added if with_added else None, *[None] * _N_OTHERS


def _second(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
    gradient, query, key, value, added, *others, with_added = _kept_inputs(ctx)
    primals = [part for part in (gradient, query, key, value, added) if part is not None]

    def again(*inputs: Tensor) -> tuple[Tensor, ...]:
        d_out, q, k, v, *rest = inputs
        rules = rules_of(k.shape[2], rest[0] if rest else None, *others)
        rules = hide_minus_infinity(rules)
        results = _reference.backward(d_out, q, k, v, rules, with_added=with_added)
        return tuple(part for part in results if part is not None)

    found: tuple[Tensor, ...]
    if is_empty(query, key, value):
        found = tuple(torch.zeros_like(part) for part in primals)
    else:
        vjp: Any = torch.func.vjp
        results, pull_back = vjp(again, *primals)
        found = pull_back(gradients[: len(results)])
    return *found, *[None] * (6 + _N_OTHERS - len(found))


class Attention(torch.autograd.Function):
    """``sigmoe::attention`` as ``torch.func`` wants it; takes the operator's arguments.

    ``torch.func.grad`` does not know the derivatives that are registered for an operator.
    """

    generate_vmap_rule = True
    setup_context = staticmethod(_keep_inputs)
    backward = staticmethod(_first)

    @staticmethod
    def forward(*inputs: Any) -> Tensor:
        """Call the operator."""
        output: Tensor = attention(*inputs)
        return output


class AttentionBackward(torch.autograd.Function):
    """``sigmoe::attention_backward`` as ``torch.func`` wants it."""

    generate_vmap_rule = True
    setup_context = staticmethod(_keep_inputs)
    backward = staticmethod(_second)

    @staticmethod
    def forward(*inputs: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Call the operator."""
        gradients: tuple[Tensor, Tensor, Tensor, Tensor] = attention_backward(*inputs)
        return gradients


attention.register_autograd(_first, setup_context=_keep_inputs)
attention_backward.register_autograd(_second, setup_context=_keep_inputs)


def attend_with_derivatives(*inputs: Any) -> Tensor:
    """Return attention; takes the operator's arguments."""
    # torch.compile does not follow a Function inside the backward pass of another.
    apply: Any = attention if torch.compiler.is_compiling() else Attention.apply
    output: Tensor = apply(*inputs)
    return output
