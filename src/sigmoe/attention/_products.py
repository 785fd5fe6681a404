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


def pair_product(left: Tensor, right: Tensor) -> Tensor:
    """Return left @ right.mT, whose derivative leaves out pairs that get no gradient.

    NaN and infinities reach their pairs as constants, so that a hidden pair adds 0 to a gradient,
    and not 0 * NaN.

    Parameters
    ----------
    left : Tensor of shape (..., n, p)
    right : Tensor of shape (..., m, p)

    Returns
    -------
    Tensor of shape (..., n, m)

    Examples
    --------
    >>> left = torch.ones(1, 1, requires_grad=True)
    >>> pairs = pair_product(left, torch.tensor([[2.0], [math.nan]]))
    >>> pairs
    tensor([[2., nan]], grad_fn=<AddBackward0>)
    >>> torch.autograd.grad(pairs.masked_fill(pairs.isnan(), 0.0).sum(), left)
    (tensor([[2.]]),)
    """
    clean = left.nan_to_num(0.0, 0.0, 0.0) @ right.nan_to_num(0.0, 0.0, 0.0).mT
    whole = (left @ right.mT).detach()
    return clean + whole.masked_fill(whole.isfinite(), 0.0)


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
