"""Sigmoid attention written out in float64: the weights as one array, the gradients by autograd."""

import torch
from torch import Tensor


def naive_weights(query: Tensor, key: Tensor, terms: dict) -> Tensor:
    """Return sigmoid(scores), exactly 0 where a pair is hidden."""
    group = query.shape[1] // key.shape[1]
    key = key.repeat_interleave(group, 1)
    scores = terms["scale"] * query @ key.transpose(-1, -2) + terms.get("constant", 0.0)
    queries, keys = scores.shape[-2:]
    diagonal = torch.arange(keys) - torch.arange(queries).unsqueeze(1)
    offset = terms.get("offset", 0)
    visible = torch.ones(scores.shape, dtype=torch.bool)
    if terms.get("slopes") is not None:
        scores = scores - terms["slopes"].double()[..., None, None] * (diagonal - offset).abs()
    if terms.get("added") is not None:
        scores = scores + terms["added"].double()
        visible = visible & (terms["added"] != -torch.inf)
    if terms.get("visible") is not None:
        visible = visible & terms["visible"]
    if terms.get("causal_offset") is not None:
        visible = visible & (diagonal <= terms["causal_offset"])
    if terms.get("window") is not None:
        left, right = terms["window"]
        visible = visible & (diagonal >= offset - left) & (diagonal <= offset + right)
    return torch.where(visible, torch.sigmoid(scores), 0.0)


def naive_attention(query: Tensor, key: Tensor, value: Tensor, terms: dict) -> Tensor:
    """Return the output, in float64."""
    query, key, value = (part.double() for part in (query, key, value))
    group = query.shape[1] // key.shape[1]
    return naive_weights(query, key, terms) @ value.repeat_interleave(group, 1)


def naive_gradients(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, terms: dict
) -> list[Tensor]:
    """Return the gradients of query, key, value and, if given, ``added``, in float64."""
    parts = [part.detach().double().requires_grad_() for part in (query, key, value)]
    terms = dict(terms)
    if terms.get("added") is not None:
        terms["added"] = terms["added"].detach().double().requires_grad_()
        parts.append(terms["added"])
    out = naive_attention(*parts[:3], terms)
    return list(torch.autograd.grad(out, parts, gradient.double()))


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Return the rms of the error over the rms of what is expected."""
    error = (found.double() - expected).square().mean().sqrt()
    size = expected.square().mean().sqrt()
    return float(error / size) if size > 0 else float(error)


def randoms(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def operands(
    batch: int = 2,
    heads: int = 2,
    queries: int = 131,
    keys: int = 131,
    width: int = 24,
    value_width: int = 24,
    key_heads: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradient of the output, and query, key, value."""
    key_heads = key_heads or heads
    return (
        randoms(batch, heads, queries, value_width, dtype=dtype, seed=1),
        randoms(batch, heads, queries, width, dtype=dtype, seed=2),
        randoms(batch, key_heads, keys, width, dtype=dtype, seed=3),
        randoms(batch, key_heads, keys, value_width, dtype=dtype, seed=4),
    )
