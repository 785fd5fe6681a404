"""The samples of many fits: one for all of them, or one for every few neighbours.

A batch of B problems is a row of positions 0 .. B - 1. Inputs, responses and weights each come in
some number k of samples that divides B, and problem b uses sample b // (B / k): what problems
share is stored once.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from sigmoe._base.arrays import ArrayLike, as_float64, require_finite
from sigmoe._base.errors import invalid
from sigmoe.moe import Architecture


@dataclass(frozen=True)
class Samples:
    """Checked samples: float64, finite, on one device.

    The numbers of samples k, k' and k'' divide each other.

    Attributes
    ----------
    Xt : Tensor of shape (k, d, n)
    Yt : Tensor of shape (k', m, n)
    weight : Tensor of shape (k'', n), or None
        Not negative, some above zero in each sample; None if all rows count alike.
    n_problems : int
        B, a multiple of k, k' and k''.
    """

    Xt: Tensor
    Yt: Tensor
    weight: Tensor | None
    n_problems: int

    @classmethod
    def checked(
        cls,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        architecture: Architecture,
        batch_shape: tuple[int, ...],
        device: torch.device | None,
    ) -> Samples:
        """Return the samples without the rows that count in none of them, or raise InputError."""
        inputs = as_float64(X, "X")
        place = inputs.device if device is None else device
        n = inputs.shape[-2] if inputs.ndim >= 2 else 0
        outputs = () if architecture.n_outputs is None else (architecture.n_outputs,)
        inputs = _samples("X", inputs.to(place), (n, architecture.dim), batch_shape)
        responses = as_float64(y, "y").to(place)
        responses = _samples("y", responses, (n, *outputs), batch_shape)
        Xt = inputs.mT.contiguous()
        Yt = responses.reshape(len(responses), n, -1).mT.contiguous()
        if sample_weight is None:
            return cls(Xt, Yt, None, prod(batch_shape))
        weight = as_float64(sample_weight, "sample_weight").to(place)
        weight = _samples("sample_weight", weight, (n,), batch_shape)
        _require_weights(weight)
        counts = (weight > 0).any(0)
        return cls(Xt, Yt, weight, prod(batch_shape)).rows(counts)

    @property
    def n(self) -> int:
        """Return the number of rows of a sample."""
        return self.Xt.shape[-1]

    @property
    def device(self) -> torch.device:
        """Return where the samples lie."""
        return self.Xt.device

    def total_weight(self) -> Tensor:
        """Return what sums over rows are divided by, shape (1,) or (k'',)."""
        if self.weight is None:
            return self.Xt.new_full((1,), float(self.n))
        return self.weight.sum(-1)

    def rows(self, chosen: Tensor) -> Samples:
        """Return some rows of every sample, by position or by a mask."""
        weight = None if self.weight is None else self.weight[:, chosen]
        return Samples(self.Xt[..., chosen], self.Yt[..., chosen], weight, self.n_problems)

    def mostly_weighted(self) -> bool:
        """Return whether at least half of each sample's rows have a weight above zero."""
        return self.weight is None or bool(((self.weight > 0).double().mean(-1) >= 0.5).all())

    def of_problems(self, values: Tensor, which: Tensor) -> Tensor:
        """Return the entries of ``values``, one a sample, that belong to some problems.

        Shape (1, ...) if there is one sample for all, else (b, ...).
        """
        return values if len(values) == 1 else values[which // (self.n_problems // len(values))]

    def reach(self) -> Tensor:
        """Return the largest input in absolute value, shape (B,)."""
        largest = self.Xt.abs().amax(1)
        if self.weight is not None:
            largest, weight = _aligned(largest, self.weight)
            largest = largest * (weight > 0)
        return self._repeated(largest.amax(-1))

    def response_scale(self) -> Tensor:
        """Return the root mean square of the responses, shape (B,)."""
        squares = self.Yt.square().mean(1)
        if self.weight is not None:
            squares, weight = _aligned(squares, self.weight)
            squares = squares * weight
        mean = self._repeated(squares.sum(-1)) / self._repeated(self.total_weight())
        return mean.sqrt()

    def _repeated(self, values: Tensor) -> Tensor:
        return values.repeat_interleave(self.n_problems // len(values), 0)


def _aligned(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Return two tensors of k and k' samples with as many samples as the larger number."""
    most = max(len(left), len(right))
    return (
        left.repeat_interleave(most // len(left), 0),
        right.repeat_interleave(most // len(right), 0),
    )


def _samples(
    name: str, value: Tensor, rows: tuple[int, ...], batch_shape: tuple[int, ...]
) -> Tensor:
    """Return the value as (k, *rows) if its leading axes are the first of the batch's."""
    split = value.ndim - len(rows)
    lead, tail = tuple(value.shape[: max(split, 0)]), tuple(value.shape[max(split, 0) :])
    if split < 0 or tail != rows or rows[0] == 0 or lead != batch_shape[:split]:
        wanted = ", ".join(map(str, ("n" if name == "X" else rows[0], *rows[1:])))
        raise invalid(
            name,
            f"of shape (*first, {wanted}), first being none or the first axes of the starts' "
            f"batch shape {batch_shape}",
            f"shape {tuple(value.shape)}",
            "Put replications before starts.",
        )
    k = prod(lead)
    flat = value.reshape(k * rows[0], -1)
    require_finite(flat, name if k == 1 else f"{name}, its samples one below the other,")
    return value.reshape(k, *rows)


def _require_weights(weight: Tensor) -> None:
    if bool((weight < 0).any()):
        raise invalid("sample_weight", ">= 0", float(weight.min()), "Use 0 to leave a row out.")
    if not bool((weight > 0).any(-1).all()):
        raise invalid(
            "sample_weight",
            "above 0 for at least one row of each sample",
            "zeros",
            "Leave it out to weight alike.",
        )
