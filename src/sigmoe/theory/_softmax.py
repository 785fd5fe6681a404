"""Losses between softmax measures, taken modulo the translation that their gates do not see."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sigmoe.moe import MixingMeasure
from sigmoe.theory._blocks import AtomBlocks, PairNorms, pair_norms
from sigmoe.theory._formulas import Comparison, Parts
from sigmoe.theory._loss import Translation, VoronoiLoss
from sigmoe.theory._translation import Rule, Shift, best_shift, cells_of, moved


def translated_loss(
    fitted: MixingMeasure,
    truth: MixingMeasure,
    kind: str,
    formula: Callable[[Comparison], Parts],
    over: Callable[[Tensor], Tensor],
) -> VoronoiLoss:
    """Return a loss between softmax measures at the best common translation that was found.

    Parameters
    ----------
    fitted, truth : MixingMeasure
        Softmax measures; batch axes broadcast.
    kind : str
        "softmax", where both sides are scaled to sum exp(c) = 1 and c enters by these weights
        alone, or a loss with distances of c, which then takes its translation of c too.
    formula : callable
        The loss.
    over : callable
        Cells (..., N*, N) to the true atoms (..., N*) that count as over-specified.
    """
    batch = torch.broadcast_shapes(fitted.batch_shape, truth.batch_shape)
    dim = truth.architecture.dim
    ours, theirs = AtomBlocks.of(fitted).flat(batch), AtomBlocks.of(truth).flat(batch)
    w, v = ours.c.squeeze(-1).softmax(dim=-1), theirs.c.squeeze(-1).softmax(dim=-1)
    weighted = kind == "softmax"

    def value(norms: PairNorms, cells: Tensor, rows: Tensor) -> Tensor:
        parts = formula(Comparison(norms, cells, over(cells), w[rows], v[rows]))
        return torch.stack(list(parts.values())).sum(dim=(0, -1))

    rule = Rule(value, w if weighted else torch.ones_like(w), over, moves_c=not weighted)
    shift = best_shift(ours, theirs, dim, rule)
    norms = pair_norms(moved(ours, shift), theirs, dim)
    cells = cells_of(norms)
    parts = formula(Comparison(norms, cells, over(cells), w, v))
    if weighted:
        # The scaling of exp(c) to the sum 1 on both sides, written as a shift of the fit's c.
        shift = Shift(shift.A, shift.b, theirs.c.logsumexp(dim=-2) - ours.c.logsumexp(dim=-2))
    return VoronoiLoss(
        kind,
        {name: part.reshape(*batch, -1) for name, part in parts.items()},
        cells.reshape(*batch, *cells.shape[1:]),
        over(cells).reshape(*batch, -1),
        Translation(
            shift.A.reshape(*batch, dim, dim), shift.b.reshape(*batch, dim), shift.c.reshape(batch)
        ),
    )
