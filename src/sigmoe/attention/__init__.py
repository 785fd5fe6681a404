"""Sigmoid and softmax attention, eqs. (1) and (2), on CPU and GPU, with the same options."""

# The import registers the rules of the operators under torch.vmap.
import sigmoe.attention._vmap  # noqa: F401
from sigmoe.attention._functional import attention_weights, sigmoid_attention, softmax_attention
from sigmoe.attention._native import native_status
from sigmoe.attention._packed import packed_attention

__all__ = [
    "attention_weights",
    "native_status",
    "packed_attention",
    "sigmoid_attention",
    "softmax_attention",
]
