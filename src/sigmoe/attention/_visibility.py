"""Who sees whom: diagonals, boolean masks, and how many keys each query sees."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sigmoe.attention._rules import Band, Rules


def columns_seen(band: Band, rows: range, n_keys: int) -> range:
    """Return the keys that at least one of these queries may see."""
    start = 0 if band.low is None else max(0, rows.start + band.low)
    stop = n_keys if band.high is None else min(n_keys, rows.stop + band.high)
    return range(start, max(start, stop))


def band_mask(band: Band, rows: range, columns: range, device: torch.device) -> Tensor | None:
    """Return which keys of a tile the band shows, of shape (rows, columns); None: all of them."""
    lowest, highest = columns.start - (rows.stop - 1), columns.stop - 1 - rows.start
    seen = None
    if band.low is not None and lowest < band.low:
        seen = _diagonals(rows, columns, device) >= band.low
    if band.high is not None and highest > band.high:
        below = _diagonals(rows, columns, device) <= band.high
        seen = below if seen is None else seen & below
    return seen


def _diagonals(rows: range, columns: range, device: torch.device) -> Tensor:
    i = torch.arange(rows.start, rows.stop, device=device)
    j = torch.arange(columns.start, columns.stop, device=device)
    return j - i[:, None]


def dense_visible(rules: Rules, n_queries: int, n_keys: int, device: torch.device) -> Tensor | None:
    """Return the whole mask, broadcastable to (B, Hq, L, S); None if every key is visible."""
    seen = band_mask(rules.band, range(n_queries), range(n_keys), device)
    if rules.visible is None:
        return seen
    return rules.visible if seen is None else rules.visible & seen


def shown_by(mask: Tensor | None) -> Tensor | None:
    """Return which keys a boolean or additive mask leaves visible."""
    if mask is None or mask.dtype == torch.bool:
        return mask
    return mask > -math.inf


def visible_counts(
    band: Band, visible: Tensor | None, n_queries: int, n_keys: int, device: torch.device
) -> Tensor:
    """Return how many keys each query sees.

    Parameters
    ----------
    band : Band
    visible : Tensor, bool, broadcastable to (B, Hq, L, S), optional
    n_queries, n_keys : int
    device : torch.device

    Returns
    -------
    Tensor of shape (1 or B, 1 or Hq, L, 1), int64
        Memory grows like that of ``visible``, not like L S.
    """
    i = torch.arange(n_queries, device=device)
    start = torch.zeros_like(i) if band.low is None else (i + band.low).clamp(0, n_keys)
    stop = torch.full_like(i, n_keys) if band.high is None else (i + band.high + 1).clamp(0, n_keys)
    stop = torch.maximum(start, stop)
    if visible is None:
        return (stop - start)[None, None, :, None]
    shape = (*visible.shape[:2], n_queries, n_keys)
    before = visible.expand(*visible.shape[:3], n_keys).cumsum(-1)
    before = torch.nn.functional.pad(before, (1, 0)).expand(*shape[:3], n_keys + 1)
    ends = torch.stack([start, stop], dim=-1)[None, None].expand(*shape[:3], 2)
    counts = torch.take_along_dim(before, ends, dim=-1)
    return counts[..., 1:] - counts[..., :1]
