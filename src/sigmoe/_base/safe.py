"""Safe primitives: each says what its naive form gets wrong."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_INVERSE_SQRT_2 = 1.0 / math.sqrt(2.0)
_INVERSE_SQRT_2PI = 1.0 / math.sqrt(2.0 * math.pi)


def sigmoid_slope(value: Tensor) -> Tensor:
    """Return the derivative of the sigmoid at z, given its value s = sigmoid(z).

    s (1 - s) loses all digits where s rounds to 1 (z > 37); the true slope there is below 1e-16,
    so the absolute error stays below one unit of rounding, which is what a Jacobian needs.
    """
    return value * (1.0 - value)


def normal_density(z: Tensor) -> Tensor:
    """Return the standard normal density; exp underflows to 0 far out, never overflows."""
    return _INVERSE_SQRT_2PI * torch.exp(-0.5 * z * z)


def normal_cdf(z: Tensor) -> Tensor:
    """Return the standard normal distribution function through erfc.

    (1 + erf(z / sqrt 2)) / 2 cancels to 0 for z < -8; erfc keeps relative accuracy there.
    """
    return 0.5 * torch.erfc(-z * _INVERSE_SQRT_2)


def norm(difference: Tensor, dims: int | tuple[int, ...]) -> Tensor:
    """Return the Euclidean norm over some axes.

    The square root of a sum of squares has an infinite derivative at 0;
    ``torch.linalg.vector_norm`` gives the subgradient 0 there.
    """
    length: Tensor = torch.linalg.vector_norm(difference, dim=dims)
    return length
