"""Which problems a pass evaluates together, and how many rows at a time.

Products for problems that share a sample want to be one product: a tile is a rectangle of R
samples with S problems each. Problems leave the batch one by one, so samples are grouped by the
number of problems that they have left, which needs no padding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

#: Numbers in the temporaries of one chunk: on a CPU they should stay in its caches.
CHUNK_NUMBERS = 2**19
#: A GPU wants larger products (256 MiB).
CHUNK_NUMBERS_GPU = 2**25
#: Rows in a chunk: as many as this leave room for problems, ...
_WANTED_ROWS = 512
#: ... at least this (on either) and at most this (on a CPU).
_LEAST_ROWS, _MOST_ROWS = 64, 8192


@dataclass(frozen=True)
class Tile:
    """Problems that are evaluated together.

    Attributes
    ----------
    rows : Tensor of shape (R * S,), or None
        Where they stand in the list of problems that was asked for; None for all of it in order.
    samples : Tensor of shape (R,), or None
        Samples of their inputs; None if there is only one.
    n_samples, n_each : int
        R and S; S neighbours share a sample.
    """

    rows: Tensor | None
    samples: Tensor | None
    n_samples: int
    n_each: int


def tiles(which: Tensor, per_sample: int, n_samples: int, most: int) -> Iterator[Tile]:
    """Yield tiles of at most ``most`` problems that cover a list of problems.

    Parameters
    ----------
    which : Tensor of shape (b,), int64
        Positions in the batch, ascending.
    per_sample : int
        Problems of one sample in the whole batch.
    n_samples : int
        Samples of the whole batch; where there are many, the list is read on the host.
    most : int
    """
    if n_samples == 1:
        for start in range(0, len(which), most):
            stop = min(start + most, len(which))
            whole = stop - start == len(which)
            rows = None if whole else torch.arange(start, stop, device=which.device)
            yield Tile(rows, None, 1, stop - start)
        return
    owners, counts = torch.unique_consecutive(which.cpu() // per_sample, return_counts=True)
    first = counts.cumsum(0) - counts
    for count in counts.unique().tolist():
        chosen = (counts == count).nonzero()[:, 0]
        for group in chosen.split(max(1, most // count)):
            for columns in torch.arange(count).split(most):
                rows = (first[group].unsqueeze(1) + columns).flatten()
                whole = len(rows) == len(which)
                yield Tile(
                    None if whole else rows.to(which.device),
                    owners[group].to(which.device),
                    len(group),
                    len(columns),
                )


def most_problems(n: int, numbers: int, device: torch.device) -> int:
    """Return how many problems of n rows a tile may hold if each needs so many numbers a row."""
    return max(1, _budget(device) // (min(n, _WANTED_ROWS) * numbers))


def chunks(n: int, numbers: int, device: torch.device) -> Iterator[slice]:
    """Yield slices of about equal length that cover n rows of so many numbers each."""
    longest = max(_LEAST_ROWS, _budget(device) // numbers)
    if device.type == "cpu":
        longest = min(longest, _MOST_ROWS)
    length = ceil(n / ceil(n / longest))
    for start in range(0, n, length):
        yield slice(start, min(start + length, n))


def _budget(device: torch.device) -> int:
    return CHUNK_NUMBERS if device.type == "cpu" else CHUNK_NUMBERS_GPU
