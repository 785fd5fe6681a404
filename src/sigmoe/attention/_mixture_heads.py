"""The weights of attention heads, read from tensors, from torch's layer, or from projections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from sigmoe._base.arrays import ArrayLike, as_float64
from sigmoe._base.errors import invalid
from sigmoe.attention.layers import SelfAttention


class HeadWeights(NamedTuple):
    """The weights of one head; a plain tuple in this order does as well.

    Parameters
    ----------
    query, key : array_like of shape (d, d_k)
        W_Q and W_K: queries are ``X @ query + query_bias``.
    value : array_like of shape (d, d_v)
        W_V.
    output : array_like of shape (d_v, d_out), optional
        W_O: what the head adds to the output is ``head @ output``. Without it the outputs of the
        heads stand side by side.
    query_bias, key_bias : array_like of shape (d_k,), optional
    value_bias : array_like of shape (d_v,), optional
    """

    query: ArrayLike
    key: ArrayLike
    value: ArrayLike
    output: ArrayLike | None = None
    query_bias: ArrayLike | None = None
    key_bias: ArrayLike | None = None
    value_bias: ArrayLike | None = None


@runtime_checkable
class Projections(Protocol):
    """A layer of attention with plain linear projections and nothing between them and attention.

    Attributes
    ----------
    query, key, value : torch.nn.Linear
        Their outputs hold head after head; there may be fewer heads of keys and values.
    output : torch.nn.Linear or None
    heads : int
        Number of heads of queries.
    gate : str
        "sigmoid" or "softmax".
    """

    query: torch.nn.Linear
    key: torch.nn.Linear
    value: torch.nn.Linear
    output: torch.nn.Linear | None
    heads: int
    gate: str


#: What ``as_mixture`` takes.
Layer = HeadWeights | tuple[ArrayLike, ...] | list[Any] | torch.nn.MultiheadAttention | Projections


@dataclass(frozen=True)
class Heads:
    """All heads of a layer, float64, stacked.

    Shapes: query, key (H, d, d_k); value (H, d, d_v); query_bias, key_bias (H, d_k); value_bias
    (H, d_v); output (H, d_v, d_out); offset (d_out,), what is added after all heads.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    query_bias: Tensor
    key_bias: Tensor
    value_bias: Tensor
    output: Tensor
    offset: Tensor


def read_heads(layer: Layer) -> tuple[Heads, str]:
    """Return the heads of a layer, and the gate that goes with it.

    Raises
    ------
    InputError
        For another kind of layer, or weights that do not fit each other.
    """
    if isinstance(layer, torch.nn.MultiheadAttention):
        return _of_torch(layer), "softmax"
    if isinstance(layer, tuple):
        return _of_weights([layer]), "sigmoid"
    if isinstance(layer, list) and layer and all(isinstance(head, tuple) for head in layer):
        return _of_weights(layer), "sigmoid"
    if isinstance(layer, SelfAttention) and layer.settings.beyond_projections:
        rule, found = "made of projections and attention only", layer.settings.beyond_projections
        remedy = "Build it without these, or give the weights of each head."
        raise invalid("layer_or_weights", rule, found, remedy)
    if isinstance(layer, Projections):
        return _of_projections(layer), layer.gate
    rule = "(W_Q, W_K, W_V[, W_O]), a list of such tuples, or a layer with linear projections"
    remedy = "Give the weights of each head, each of shape (inputs, outputs)."
    raise invalid("layer_or_weights", rule, type(layer).__name__, remedy)


def _of_weights(layer: Sequence[tuple[ArrayLike, ...]]) -> Heads:
    if not all(3 <= len(head) <= len(HeadWeights._fields) for head in layer):
        rule = "of 3 to 7 arrays a head: " + ", ".join(HeadWeights._fields)
        found = [len(head) for head in layer]
        raise invalid("layer_or_weights", rule, found, "Put several heads into a list.")
    heads = [HeadWeights(*head) for head in layer]
    query, key, value = (
        _stack(name, [getattr(head, name) for head in heads]) for name in ("query", "key", "value")
    )
    if query.shape != key.shape or query.shape[1] != value.shape[1]:
        rule = f"of the shape of query, {tuple(query.shape[1:])}, value of as many rows"
        shapes = (tuple(key.shape[1:]), tuple(value.shape[1:]))
        raise invalid("key", rule, shapes, "All three take the tokens of X.")
    given = [head.output is not None for head in heads]
    if any(given) and not all(given):
        raise invalid("output", "given for every head or for none", given, "Add the missing ones.")
    if all(given):
        output = _stack("output", [head.output for head in heads])
        if output.shape[1] != value.shape[2]:
            rule = f"of as many rows as value has columns, {value.shape[2]}"
            raise invalid("output", rule, output.shape[1], "W_O takes the head's output.")
    else:
        side_by_side = len(heads) * value.shape[2]
        identity = torch.eye(side_by_side, dtype=torch.float64, device=query.device)
        output = identity.unflatten(0, (len(heads), -1))
    query_bias, key_bias, value_bias = (
        _biases(name, [getattr(head, name) for head in heads], part)
        for name, part in (("query_bias", query), ("key_bias", key), ("value_bias", value))
    )
    offset = output.new_zeros(output.shape[2])
    return Heads(query, key, value, query_bias, key_bias, value_bias, output, offset)


def _stack(name: str, parts: Sequence[ArrayLike]) -> Tensor:
    tensors = [as_float64(part, name) for part in parts]
    shapes = {tuple(part.shape) for part in tensors}
    if len(shapes) > 1 or tensors[0].ndim != 2:
        rule = "of one shape (inputs, outputs) for all heads"
        raise invalid(name, rule, sorted(shapes), "Transpose the weights of a torch.nn.Linear.")
    return torch.stack(tensors)


def _biases(name: str, parts: Sequence[ArrayLike | None], weights: Tensor) -> Tensor:
    zero = weights.new_zeros(weights.shape[2])
    tensors = [zero if part is None else as_float64(part, name) for part in parts]
    for part in tensors:
        if part.shape != zero.shape:
            rule = f"of shape {tuple(zero.shape)}"
            raise invalid(name, rule, tuple(part.shape), "Give one number for each column.")
    return torch.stack(tensors)


def _of_torch(layer: torch.nn.MultiheadAttention) -> Heads:
    added_keys = layer.bias_k is not None or layer.add_zero_attn
    if not layer.kdim == layer.vdim == layer.embed_dim or added_keys:
        rule = "of one width for query, key and value, without added keys"
        found = f"kdim={layer.kdim}, vdim={layer.vdim}, added keys: {added_keys}"
        raise invalid("layer_or_weights", rule, found, "Give the weights of each head.")
    weights = layer.in_proj_weight.chunk(3)
    joint = layer._parameters["in_proj_bias"]
    biases = [None] * 3 if joint is None else joint.chunk(3)
    parts = [
        _split(weight, bias, layer.num_heads) for weight, bias in zip(weights, biases, strict=True)
    ]
    return _joined(parts, layer.out_proj)


def _of_projections(layer: Projections) -> Heads:
    width = layer.query.out_features // layer.heads
    parts = []
    for name in ("query", "key", "value"):
        linear: torch.nn.Linear = getattr(layer, name)
        n_heads = layer.heads if name == "query" else layer.key.out_features // max(width, 1)
        if n_heads == 0 or linear.out_features % n_heads or layer.heads % n_heads:
            rule = f"a projection to heads of width {width} whose number divides {layer.heads}"
            raise invalid(name, rule, linear.out_features, "Change out_features or heads.")
        weight, bias = _split(linear.weight, _bias_of(linear), n_heads)
        group = layer.heads // n_heads
        parts.append((weight.repeat_interleave(group, 0), bias.repeat_interleave(group, 0)))
    return _joined(parts, layer.output)


def _split(weight: Tensor, bias: Tensor | None, heads: int) -> tuple[Tensor, Tensor]:
    """Return a linear layer's weight as (H, d, width), its bias as (H, width)."""
    # A copy: the layer may be trained on.
    weight = as_float64(weight, "weight").clone()
    flat = weight.new_zeros(len(weight)) if bias is None else as_float64(bias, "bias").clone()
    return weight.unflatten(0, (heads, -1)).mT, flat.unflatten(0, (heads, -1))


def _joined(parts: list[tuple[Tensor, Tensor]], out: torch.nn.Linear | None) -> Heads:
    (query, query_bias), (key, key_bias), (value, value_bias) = parts
    width = value.shape[0] * value.shape[2]
    if out is None:
        matrix, bias = torch.eye(width, dtype=torch.float64, device=value.device), None
    else:
        matrix, bias = as_float64(out.weight, "weight").mT.clone(), _bias_of(out)
    output = matrix.unflatten(0, (len(value), -1))
    offset = output.new_zeros(output.shape[2]) if bias is None else as_float64(bias, "bias").clone()
    return Heads(query, key, value, query_bias, key_bias, value_bias, output, offset)


def _bias_of(linear: torch.nn.Linear) -> Tensor | None:
    # torch declares the bias as a tensor, but it is None with bias=False.
    bias: Tensor | None = linear._parameters["bias"]
    return bias
