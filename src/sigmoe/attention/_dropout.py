"""Which weights are dropped: a function of the seed and the weight's place alone.

A generator would give other numbers for other tiles. Here the forward and the backward pass, the
reference and any tiling drop the same weights, and nothing has to be stored.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Constants of the finaliser of splitmix64 (Steele, Lea and Flood, 2014), as signed integers.
_STEP = -7046029254386353131
_FIRST = -4658895280553007687
_SECOND = -7723592293110705685

#: Bits of the hash that are compared with the dropout probability.
_BITS = 32


def kept(
    seed: Tensor, dropout: float, batches: range, heads: range, rows: range, columns: range
) -> Tensor:
    """Return which weights of a block stay.

    Parameters
    ----------
    seed : Tensor of shape (), int64
    dropout : float
        Share of the weights that are dropped, in [0, 1).
    batches, heads, rows, columns : range
        The block's place in the whole.

    Returns
    -------
    Tensor of shape (batches, heads, rows, columns), bool

    Examples
    --------
    >>> whole = kept(torch.tensor(7), 0.25, range(1), range(2), range(50), range(60))
    >>> part = kept(torch.tensor(7), 0.25, range(1), range(1, 2), range(9, 20), range(4, 8))
    >>> bool((whole[:, 1:, 9:20, 4:8] == part).all())
    True
    """
    key = seed
    for axis, places in enumerate((batches, heads, rows, columns)):
        place = torch.arange(places.start, places.stop, device=seed.device)
        place = place.reshape(-1, *[1] * (3 - axis))
        key = _mix(key + (place + 1) * _STEP)
    return (key & ((1 << _BITS) - 1)) >= round(dropout * (1 << _BITS))


def _mix(bits: Tensor) -> Tensor:
    """Return a hash of 64-bit integers, a bijection."""
    bits = (bits ^ _shift(bits, 30)) * _FIRST
    bits = (bits ^ _shift(bits, 27)) * _SECOND
    return bits ^ _shift(bits, 31)


def _shift(bits: Tensor, count: int) -> Tensor:
    # The shift of a signed integer copies its sign; the mask takes the copies away.
    return (bits >> count) & ((1 << (64 - count)) - 1)
