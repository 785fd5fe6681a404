"""Sigmoid and softmax attention, eqs. (1) and (2), on CPU and GPU, with the same options."""

# The import registers the rules of the operators under torch.vmap.
import sigmoe.attention._vmap  # noqa: F401 - for what it registers
from sigmoe.attention._functional import attention_weights, sigmoid_attention, softmax_attention
from sigmoe.attention._mixture import AttentionMixture, as_mixture
from sigmoe.attention._mixture_heads import HeadWeights
from sigmoe.attention._mixture_plot import plot_gates
from sigmoe.attention._native import native_status
from sigmoe.attention._packed import packed_attention
from sigmoe.attention._parallel import context_parallel_attention
from sigmoe.attention.layers import (
    Diagnosis,
    FeedForward,
    KeyValueCache,
    SelfAttention,
    TransformerBlock,
    diagnose,
    recipe,
)

__all__ = [
    "AttentionMixture",
    "Diagnosis",
    "FeedForward",
    "HeadWeights",
    "KeyValueCache",
    "SelfAttention",
    "TransformerBlock",
    "as_mixture",
    "attention_weights",
    "context_parallel_attention",
    "diagnose",
    "native_status",
    "packed_attention",
    "plot_gates",
    "recipe",
    "sigmoid_attention",
    "softmax_attention",
]
