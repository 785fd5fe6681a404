"""Biases of the scores: a number, a tensor with gradient, or a named schedule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sigmoe._base.errors import invalid
from sigmoe._base.registry import Registry
from sigmoe.attention._inputs import is_finite_number
from sigmoe.attention._rules import Band, work_dtype
from sigmoe.attention._visibility import visible_counts

#: What the public functions take as a bias.
Bias = float | str | Tensor


@dataclass(frozen=True)
class Visible:
    """Which keys a call shows, as far as a schedule has to know.

    Parameters
    ----------
    band : Band
    mask : Tensor, bool, broadcastable to (B, Hq, L, S), optional
    n_queries, n_keys : int
    device : torch.device
    dtype : torch.dtype
        Of the queries.
    """

    band: Band
    mask: Tensor | None
    n_queries: int
    n_keys: int
    device: torch.device
    dtype: torch.dtype


def _of_each_row(visible: Visible) -> Tensor:
    return visible_counts(
        visible.band, visible.mask, visible.n_queries, visible.n_keys, visible.device
    )


def _of_each_sequence(visible: Visible) -> Tensor:
    if visible.mask is None:
        return torch.full((1, 1, 1, 1), visible.n_keys, device=visible.device)
    shown = visible.mask.any(dim=2, keepdim=True)
    return shown.expand(*shown.shape[:3], visible.n_keys).sum(dim=3, keepdim=True)


#: Schedules that count keys: each takes what is visible and returns a count, (B, Hq, L, S)-like.
#: "auto", -log S, needs no count and is not among them.
SCHEDULES: Registry[Callable[[Visible], Tensor]] = Registry("bias")
SCHEDULES.register("length", _of_each_sequence)
SCHEDULES.register("log-visible", _of_each_row)


def split_bias(bias: object, gate: str) -> tuple[float | None, str | Tensor | None]:
    """Return a bias as a constant and the rest: a schedule, a tensor or None.

    A constant of None stands for -log S. Softmax does not see what is the same for a whole row,
    so that all schedules are 0 there.

    Raises
    ------
    InputError
        For an unknown schedule, a number that is not finite, or another type.
    """
    if isinstance(bias, Tensor):
        return 0.0, bias
    if isinstance(bias, str):
        if bias != "auto" and bias not in SCHEDULES:
            raise invalid(
                "bias",
                "one of 'auto', 'length', 'log-visible', a number or a tensor",
                bias,
                "Choose one of these.",
            )
        if gate == "softmax":
            return 0.0, None
        return (None, None) if bias == "auto" else (0.0, bias)
    if not is_finite_number(bias):
        raise invalid(
            "bias",
            "one of 'auto', 'length', 'log-visible', a finite number or a tensor",
            bias,
            "Leave it out for -log S.",
        )
    return float(bias), None


def schedule_bias(name: str, visible: Visible) -> Tensor:
    """Return a schedule as a bias that broadcasts to (B, Hq, L, S); rows without keys get 0."""
    counts = SCHEDULES.get(name)(visible)
    return -counts.clamp(min=1).to(work_dtype(visible.dtype)).log()
