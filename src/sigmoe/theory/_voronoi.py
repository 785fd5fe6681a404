"""Voronoi losses between mixing measures: what the formulas need is assembled here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sigmoe._base.constraints import Choice, Interval, check
from sigmoe._base.errors import invalid
from sigmoe.moe import MixingMeasure, voronoi_cells
from sigmoe.theory import _formulas
from sigmoe.theory._blocks import AtomBlocks, pair_norms
from sigmoe.theory._formulas import Comparison, Parts
from sigmoe.theory._loss import VoronoiLoss
from sigmoe.theory._softmax import translated_loss

_FORMULAS: dict[str, Callable[[Comparison], Parts]] = {
    "L1": _formulas.l1,
    "L2": _formulas.l2,
    "L3": _formulas.l3,
    "L4": _formulas.l4,
    "L5": _formulas.l5,
    "softmax": _formulas.softmax_loss,
}
#: The losses that ``voronoi_loss`` knows.
KINDS = tuple(_FORMULAS)
_ALL_ATOMS_ALIKE = ("L3", "L5")
_FOR_SOFTMAX = ("softmax", "L3", "L5")


def voronoi_loss(
    fitted: MixingMeasure,
    truth: MixingMeasure,
    kind: str = "L1",
    r: float | None = None,
    over_specified: Sequence[int] | None = None,
) -> VoronoiLoss:
    """Return a Voronoi loss between a fitted and a true mixing measure.

    Parameters
    ----------
    fitted : MixingMeasure
        G with N atoms; batch axes first.
    truth : MixingMeasure
        G* with N* atoms, or Gbar (any number of atoms) for L3 and L5; batch axes broadcast.
    kind : {"L1", "L2", "L3", "L4", "L5", "softmax"}
        L1 of Section 4.1.1; L2 of eq. (11); L3 of Section 4.2; L4 of eq. (52) and L5 of eq. (53)
        for the partial score; "softmax", the loss of the softmax quadratic-gating literature.
    r : float, optional
        The exponent of L2, >= 1; for no other loss.
    over_specified : sequence of int, optional
        True atoms to treat as over-specified. By default those whose cell holds at least two
        fitted atoms, in each measure of the batch. L3 and L5 treat all atoms alike.

    Returns
    -------
    VoronoiLoss
        With the loss by true atom and by block, the cells and the number of empty cells.

    Raises
    ------
    InputError
        For an unknown kind, an exponent where there is none or below 1, atoms that do not exist,
        measures that cannot be compared, L1, L2 or L4 between softmax measures, "softmax" between
        others, and L4 or L5 with a score that is not partial: they have no term in b, so that a
        fit with a wrong b could have a loss of zero.

    Notes
    -----
    An empty cell contributes zero, so a fit that leaves true atoms without fitted ones can have a
    small loss: read ``empty_cells`` beside it. A fitted atom at equal distance from two true ones
    counts in both cells. True atoms that agree in (A, b, eta) should be merged first.

    Softmax gates do not see a common translation of all atoms. For them "softmax", L3 and L5 are
    the smallest value over that translation, with which the cells move ("softmax" after both sides
    are scaled to sum exp(c) = 1). For given cells the minimum is exact, also where it lies at the
    boundary of the translations that keep these cells: then it is approached, not attained. Which
    cells are looked at follows from N N* + 2 trial translations and the minima that they lead to;
    for fits near the truth that settles it, for measures that have little in common smaller values
    can be missed.

    Examples
    --------
    >>> from sigmoe.moe import Architecture, draw_truth
    >>> from sigmoe.theory import voronoi_loss
    >>> truth = draw_truth(Architecture(dim=2), 3)
    >>> float(voronoi_loss(truth.permute([1, 2, 0]), truth, "L1"))
    0.0
    """
    _check_kind(kind, r)
    _check_measures(fitted, truth, kind)
    over = _over_rule(over_specified, truth.n_experts, kind)
    formula = _FORMULAS[kind]
    # The cells are computed first for their check that the atoms can be compared at all.
    cells = voronoi_cells(fitted, truth)
    if truth.architecture.gate == "softmax":
        return translated_loss(fitted, truth, kind, formula, over)
    comparison = Comparison(
        norms=pair_norms(AtomBlocks.of(fitted), AtomBlocks.of(truth), truth.architecture.dim),
        cells=cells,
        over=over(cells),
        fitted_weights=torch.sigmoid(fitted.c),
        true_weights=torch.sigmoid(truth.c),
        exponent=1.0 if r is None else float(r),
    )
    return VoronoiLoss(kind, formula(comparison), cells, comparison.over)


def _over_rule(
    over_specified: Sequence[int] | None, n_true: int, kind: str
) -> Callable[[Tensor], Tensor]:
    """Return the map from cells (..., N*, N) to the over-specified true atoms (..., N*)."""
    if over_specified is None and kind not in _ALL_ATOMS_ALIKE:
        return lambda cells: cells.sum(dim=-1) >= 2
    named = torch.zeros(n_true, dtype=torch.bool)
    if over_specified is not None:
        if kind in _ALL_ATOMS_ALIKE:
            raise invalid(
                "over_specified",
                f"None for {kind}",
                list(over_specified),
                f"{kind} treats all atoms alike.",
            )
        for index in over_specified:
            check(
                "over_specified",
                index,
                Interval("integer", 0, n_true - 1),
                "Name true atoms by their positions, from 0.",
            )
            named[index] = True
    return lambda cells: named.to(cells.device).expand(cells.shape[:-1])


def _check_kind(kind: str, r: float | None) -> None:
    check("kind", kind, Choice(KINDS), "Choose one of these losses.")
    if kind == "L2":
        check("r", r, Interval("number", 1.0), "Pass the exponent of eq. (11), such as r=2.")
    elif r is not None:
        raise invalid("r", f"None for {kind}", r, "Only L2 has an exponent.")


def _check_measures(fitted: MixingMeasure, truth: MixingMeasure, kind: str) -> None:
    gate, score = truth.architecture.gate, truth.architecture.score
    if fitted.architecture.gate != gate:
        raise invalid(
            "fitted",
            f"of the truth's gate {gate!r}",
            fitted.architecture.gate,
            "Compare with a member of project(truth, architecture, n_experts) instead.",
        )
    if gate == "softmax" and kind not in _FOR_SOFTMAX:
        raise invalid(
            "kind",
            "'softmax', 'L3' or 'L5' for softmax gates",
            kind,
            "The others change with the common translation that softmax gates do not see.",
        )
    if gate != "softmax" and kind == "softmax":
        raise invalid("kind", f"one of 'L1' to 'L5' for {gate} gates", kind, "Choose 'L1' or 'L3'.")
    if kind in ("L4", "L5") and score != "partial":
        same = "L1" if kind == "L4" else "L3"
        raise invalid(
            "kind",
            f"a loss with a term in b for the {score} score",
            kind,
            f"Use {same!r}, which is {kind} with that term.",
        )
