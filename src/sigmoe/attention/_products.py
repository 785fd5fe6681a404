"""Matrix products in which what is hidden does not take part, not even as 0 * NaN."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def all_finite(*tensors: Tensor) -> bool:
    """Return whether no tensor holds NaN or infinity.

    The sum is tested, since it is one fast pass; a sum that overflows gives False, which costs
    time only.
    """
    sums = [
        tensor.sum(dtype=torch.promote_types(tensor.dtype, torch.float32)) for tensor in tensors
    ]
    return all(math.isfinite(float(total)) for total in sums)


def visible_product(weights: Tensor, visible: Tensor, values: Tensor) -> Tensor:
    """Return the product of weights and values, in which hidden pairs do not take part.

    Parameters
    ----------
    weights : Tensor of shape (..., n, m)
        0 wherever ``visible`` is False.
    visible : Tensor of shape (..., n, m), bool
    values : Tensor of shape (..., m, p)
        NaN and infinities reach the rows that see them, and no others.

    Returns
    -------
    Tensor of shape (..., n, p)

    Examples
    --------
    >>> weights, values = torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.tensor([[2.0], [math.nan]])
    >>> (weights @ values).T
    tensor([[nan, nan]])
    >>> visible_product(weights, weights > 0, values).T
    tensor([[2., nan]])
    """
    product = weights @ values.nan_to_num(0.0, 0.0, 0.0)
    seen = visible.to(weights.dtype)
    for special in (math.nan, math.inf, -math.inf):
        found = values.isnan() if math.isnan(special) else values == special
        reached = seen @ found.to(weights.dtype)
        product = product + torch.zeros_like(product).masked_fill(reached > 0, special)
    return product
