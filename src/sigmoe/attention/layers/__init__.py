"""Layers around the attention functions: settings by name, a cache, a block, a report."""

from sigmoe.attention.layers._block import FeedForward, TransformerBlock
from sigmoe.attention.layers._cache import KeyValueCache
from sigmoe.attention.layers._diagnose import Diagnosis, diagnose
from sigmoe.attention.layers._recipes import recipe
from sigmoe.attention.layers._self_attention import SelfAttention

__all__ = [
    "Diagnosis",
    "FeedForward",
    "KeyValueCache",
    "SelfAttention",
    "TransformerBlock",
    "diagnose",
    "recipe",
]
