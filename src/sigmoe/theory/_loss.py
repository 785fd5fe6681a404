"""What ``voronoi_loss`` returns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sigmoe._base.errors import invalid
from sigmoe.theory._formulas import Parts


@dataclass(frozen=True, eq=False)
class Translation:
    """The common translation of a fitted softmax measure, to be added to each of its atoms.

    Attributes
    ----------
    A : Tensor of shape (*batch, d, d)
    b : Tensor of shape (*batch, d)
    c : Tensor of shape (*batch)
    """

    A: Tensor
    b: Tensor
    c: Tensor


@dataclass(frozen=True, eq=False)
class VoronoiLoss:
    """A Voronoi loss, or a batch of them, with its parts.

    Attributes
    ----------
    kind : str
        Which loss.
    parts : dict of str to Tensor
        Contributions (*batch, N*) of the true atoms by block of parameters: "A", "b", "c" (the
        gap of the weights where the loss has that instead of |c_i - c_j*|) and "eta".
    cells : Tensor of shape (*batch, N*, N), bool
        The Voronoi cells.
    over_specified : Tensor of shape (*batch, N*), bool
        The true atoms that were treated as over-specified (all False for L3 and L5).
    translation : Translation or None
        For softmax gates, the common translation of the fitted atoms at the minimum.
    """

    kind: str
    parts: Parts
    cells: Tensor
    over_specified: Tensor
    translation: Translation | None = None

    @property
    def by_atom(self) -> Tensor:
        """Return the contribution of each true atom, shape (*batch, N*)."""
        return torch.stack(list(self.parts.values())).sum(dim=0)

    @property
    def by_block(self) -> dict[str, Tensor]:
        """Return the contribution of each block of parameters, each of shape (*batch)."""
        return {name: part.sum(dim=-1) for name, part in self.parts.items()}

    @property
    def value(self) -> Tensor:
        """Return the loss, shape (*batch)."""
        return self.by_atom.sum(dim=-1)

    @property
    def empty_cells(self) -> Tensor:
        """Return how many true atoms have an empty cell, which counts zero; shape (*batch)."""
        return (~self.cells.any(dim=-1)).sum(dim=-1)

    def __repr__(self) -> str:
        shape = tuple(self.value.shape)
        what = f"batch of shape {shape}" if shape else f"{float(self.value):.6g}"
        return f"VoronoiLoss({self.kind}: {what}, empty cells: {int(self.empty_cells.sum())})"

    def __float__(self) -> float:
        value = self.value
        if value.ndim:
            raise invalid(
                "loss",
                "one number for float()",
                f"a batch of shape {tuple(value.shape)}",
                "Read the batch from the attribute value.",
            )
        return float(value)
