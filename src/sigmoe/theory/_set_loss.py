"""The loss to a set of measures: to its nearest member."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sigmoe._base.errors import invalid
from sigmoe.moe import MixingMeasure
from sigmoe.theory._loss import VoronoiLoss
from sigmoe.theory._voronoi import voronoi_loss


@dataclass(frozen=True, eq=False)
class SetLoss:
    """A loss between a fit and the nearest of several measures.

    Attributes
    ----------
    names : tuple of str
        The members' names.
    losses : tuple of VoronoiLoss
        The loss to each member.
    """

    names: tuple[str, ...]
    losses: tuple[VoronoiLoss, ...]

    @property
    def value(self) -> Tensor:
        """Return the loss to the nearest member, shape (*batch)."""
        return torch.stack([loss.value for loss in self.losses]).amin(dim=0)

    @property
    def position(self) -> Tensor:
        """Return which member is nearest, as a position in ``names``, shape (*batch)."""
        return torch.stack([loss.value for loss in self.losses]).argmin(dim=0)

    @property
    def nearest(self) -> str:
        """Return the name of the nearest member of a single fit."""
        return self.names[int(self.position)]

    @property
    def loss(self) -> VoronoiLoss:
        """Return the loss to the nearest member of a single fit, with its parts."""
        return self.losses[int(self.position)]

    def __float__(self) -> float:
        return float(self.loss)


def set_loss(
    fitted: MixingMeasure,
    members: Mapping[str, MixingMeasure] | Sequence[MixingMeasure],
    kind: str = "L3",
) -> SetLoss:
    """Return the loss between a fit and the nearest member of a set.

    Parameters
    ----------
    fitted : MixingMeasure
        A measure, or a batch.
    members : mapping or sequence of MixingMeasure
        The members that are considered, such as those of ``nearest_representations`` or
        ``project``; those of a sequence are named "0", "1", ...
    kind : str
        A loss of ``voronoi_loss``; L3 and L5 are meant for it.

    Returns
    -------
    SetLoss

    Raises
    ------
    InputError
        If there is no member, or as in ``voronoi_loss``.

    Examples
    --------
    >>> from sigmoe.moe import Architecture, draw_truth
    >>> truth = draw_truth(Architecture(dim=2), 2, seed=0)
    >>> other = draw_truth(Architecture(dim=2), 2, seed=1)
    >>> set_loss(truth, {"other": other, "itself": truth}).nearest
    'itself'
    """
    named = members if isinstance(members, Mapping) else {str(k): m for k, m in enumerate(members)}
    if not named:
        raise invalid("members", "at least one measure", members, "See project for members.")
    losses = tuple(voronoi_loss(fitted, member, kind) for member in named.values())
    return SetLoss(tuple(named), losses)
