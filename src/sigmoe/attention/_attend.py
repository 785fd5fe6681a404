"""One call of attention on ordinary tensors."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sigmoe.attention._arguments import Arguments, Options
from sigmoe.attention._derivatives import attend_with_derivatives
from sigmoe.attention._torch_softmax import can_do, torch_softmax


def attend(gate: str, query: Any, key: Any, value: Any, options: Options) -> Tensor:
    """Return attention with a gate's name; inputs as in ``sigmoid_attention``, but not nested.

    Raises
    ------
    InputError
        For inputs that do not fit each other, naming what to change.
    """
    call = Arguments.checked(gate, query, key, value, options)
    if can_do(call):
        output = torch_softmax(call)
    else:
        output = attend_with_derivatives(call.query, call.key, call.value, *call.settings)
    return output.reshape(*call.batch_shape, *output.shape[1:])
