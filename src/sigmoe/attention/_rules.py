"""What a call of attention asks for, apart from its queries, keys and values."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor


class Band(NamedTuple):
    """The diagonals that are visible: low <= j - i <= high; None leaves a side open."""

    low: int | None
    high: int | None


@dataclass(frozen=True)
class Rules:
    """How scores are made and which of them count.

    Query i and key j have the score
    ``scale q_i.k_j + constant + added_ij - slope |i + offset - j|``.

    Parameters
    ----------
    gate : str
        A name of ``GATES``: "sigmoid", eq. (2), or "softmax", eq. (1).
    scale : float
        Factor of the products q_i.k_j.
    constant : float
        A bias that is one number.
    added : Tensor, broadcastable to (B, Hq, L, S), optional
        Floating: a bias that is a tensor, an additive mask, or their sum. It has a gradient.
    visible : Tensor, bool, broadcastable to (B, Hq, L, S), optional
        False hides a key from a query.
    causal_offset : int, optional
        Query i sees keys j <= i + causal_offset only; None does not hide later keys.
    window : (int, int), optional
        Query i sees keys from i + offset - left to i + offset + right only.
    offset : int
        Position of query 0 among the keys, for the window and the slopes.
    slopes : Tensor of shape (1 or B, Hq), optional
        ALiBi: what a unit of distance takes from the score.
    dropout : float
        Share of the weights that are dropped, in [0, 1).
    seed : Tensor of shape (), int64, optional
        What the dropped weights are drawn from; needed where dropout > 0.
    """

    gate: str
    scale: float
    constant: float = 0.0
    added: Tensor | None = None
    visible: Tensor | None = None
    causal_offset: int | None = None
    window: tuple[int, int] | None = None
    offset: int = 0
    slopes: Tensor | None = None
    dropout: float = 0.0
    seed: Tensor | None = None

    @property
    def band(self) -> Band:
        """Return the diagonals that causality and the window leave visible."""
        return band(self.causal_offset, self.window, self.offset)

    @property
    def hides(self) -> bool:
        """Return whether any key may be hidden from any query."""
        return self.visible is not None or self.band != Band(None, None)


def band(causal_offset: int | None, window: tuple[int, int] | None, offset: int) -> Band:
    """Return the diagonals that causality and a window leave visible."""
    if window is None:
        return Band(None, causal_offset)
    high = offset + window[1]
    if causal_offset is not None:
        high = min(high, causal_offset)
    return Band(offset - window[0], high)


def has_minus_infinity(rules: Rules) -> bool:
    """Return whether ``added`` hides keys; reads the tensor, so it cannot be traced."""
    return rules.added is not None and bool((rules.added == -math.inf).any())


def hide_minus_infinity(rules: Rules) -> Rules:
    """Return the same rules with -inf in ``added`` written as False in ``visible``.

    The sigmoid of -inf is 0 already, but -inf + NaN is NaN, and tiles that are hidden from end to
    end can be left out only if they are known.
    """
    if rules.added is None:
        return rules
    hidden = rules.added == -math.inf
    visible = ~hidden if rules.visible is None else rules.visible & ~hidden
    return replace(rules, added=rules.added.masked_fill(hidden, 0.0), visible=visible)


def work_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which scores, weights and sums are kept: at least float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32
