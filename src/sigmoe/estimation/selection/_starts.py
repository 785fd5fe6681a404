"""Starts for one expert more, grown from a fit: where its residuals are large."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from sigmoe._base.seeds import child_seeds
from sigmoe.estimation._bounds import Bounds, coordinate_limits
from sigmoe.estimation._sample import Sample
from sigmoe.estimation.starts._draw import draw_start
from sigmoe.moe import MixingMeasure
from sigmoe.moe._experts import get_expert
from sigmoe.moe._gates import get_gate

#: How far apart the two halves of an atom are set, in units of a random start's scores.
_APART = 0.5


def grown_starts(
    measure: MixingMeasure,
    sample: Sample,
    bounds: Bounds,
    count: int,
    seed: np.random.SeedSequence,
) -> Iterator[MixingMeasure]:
    """Yield starts with one atom more than the measure, inside the bounds.

    Softmax gates share a weight of one, so that room has to be made: an atom is split into two
    halves, exp(c) / 2 each, whose gates part along a random direction. The atoms take turns, those
    with the largest share of the squared residuals first. Sigmoid gates leave the other atoms
    alone: a random atom is added whose expert has the size of the residuals.

    Parameters
    ----------
    measure : MixingMeasure
    sample : Sample
    bounds : Bounds
    count : int
    seed : SeedSequence
    """
    measure, architecture = measure.to(sample.device), measure.architecture
    residual = (measure.predict(sample.X) - sample.y).reshape(len(sample), -1).square().mean(1)
    invariant = get_gate(architecture.gate).invariant
    order = _worst_first(measure, sample, residual)
    size = float(sample.mean(residual.unsqueeze(1)).mean().sqrt())
    for k, child in enumerate(child_seeds(seed, "grown", count)):
        rng = np.random.default_rng(child)
        drawn = draw_start(sample, architecture, 1, bounds, rng).coordinates[0]
        if invariant:
            theta = _split(measure, order[k % len(order)], drawn)
        else:
            ratio = size / sample.response_scale if sample.response_scale > 0 else 1.0
            theta = _added(measure, drawn, ratio)
        lower, upper = coordinate_limits(bounds, architecture, measure.n_experts + 1)
        flat = torch.minimum(torch.maximum(theta.flatten(), lower), upper)
        yield MixingMeasure.from_coordinates(architecture, flat.view_as(theta))


def _worst_first(measure: MixingMeasure, sample: Sample, residual: Tensor) -> list[int]:
    """Return the atoms in order of their share of the squared residuals, the largest first."""
    share = sample.mean(measure.gates(sample.X) * residual.unsqueeze(1))
    return [int(k) for k in share.argsort(descending=True)]


def _split(measure: MixingMeasure, atom: int, drawn: Tensor) -> Tensor:
    """Return coordinates in which an atom became two, the second one at the end."""
    g, theta = measure.architecture.n_score_coefficients, measure.coordinates.cpu()
    # The drawn constant would not part the gates but shift weight from one half to the other.
    apart = _APART * drawn[:g]
    apart[0] = 0.0
    half = theta[atom].clone()
    half[0] -= float(np.log(2.0))
    theta[atom] = half
    theta[atom, :g] += apart
    half[:g] -= apart
    return torch.cat([theta, half.unsqueeze(0)])


def _added(measure: MixingMeasure, drawn: Tensor, ratio: float) -> Tensor:
    """Return coordinates with one more atom, its expert scaled by the ratio."""
    architecture, new = measure.architecture, drawn.clone()
    g, q = architecture.n_score_coefficients, architecture.n_expert_parameters
    if get_expert(architecture.expert).scaled:
        new[g:].view(-1, q)[:, -1] *= ratio
    else:
        new[g:] *= ratio
    return torch.cat([measure.coordinates.cpu(), new.unsqueeze(0)])
