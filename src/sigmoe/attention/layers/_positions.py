"""Positions: rotary pairs, and the slopes of ALiBi."""

from __future__ import annotations

import torch
from torch import Tensor

from sigmoe.attention._rules import work_dtype


def rotate(x: Tensor, first: int, base: float) -> Tensor:
    """Return queries or keys turned by angles that grow with their position.

    Feature i and feature i + width / 2 are a pair; it turns by position * base^(-2 i / width).
    Products of a query and a key then depend on the distance of their positions only.

    Parameters
    ----------
    x : Tensor of shape (batch, heads, length, width)
        The width is even.
    first : int
        Position of the first row.
    base : float
        Above 0; 10000 is usual.

    Returns
    -------
    Tensor of shape (batch, heads, length, width)
        In float32, or float64 for float64 inputs.

    Notes
    -----
    Source: Su et al., "RoFormer: enhanced transformer with rotary position embedding", 2021, with
    the pairs of the Llama models.
    """
    dtype, half = work_dtype(x.dtype), x.shape[-1] // 2
    exponents = torch.arange(half, device=x.device, dtype=dtype) / half
    positions = torch.arange(first, first + x.shape[-2], device=x.device, dtype=dtype)
    angles = positions[:, None] * base**-exponents
    left, right = x.to(dtype).split(half, dim=-1)
    cosine, sine = angles.cos(), angles.sin()
    return torch.cat([left * cosine - right * sine, right * cosine + left * sine], dim=-1)


def alibi_slopes(heads: int) -> Tensor:
    """Return what each head takes from a score for a unit of distance, of shape (heads,).

    For a power of two the slopes are 2^(-8 h / heads), h = 1, ..., heads. Otherwise they are those
    of the next lower power of two, and then every other one of the next higher power.

    Notes
    -----
    Source: Press, Smith and Lewis, "Train short, test long", 2022.
    """
    lower = 1 << (heads.bit_length() - 1)
    slopes = _geometric(lower) + _geometric(2 * lower)[::2]
    return torch.tensor(slopes[:heads])


def _geometric(heads: int) -> list[float]:
    return [2.0 ** (-8.0 * h / heads) for h in range(1, heads + 1)]
