"""The common translation of softmax gates: a loss's minimum over it, jointly with the cells.

Adding one (T_A, T_b, t_c) to all atoms leaves softmax gates as they are, so a loss between
softmax measures is the minimum over that translation. The cells move with it. For fixed cells
the problem is convex and splits by block (``_median``); the cells are found by trying many
translations, and by alternating from the best of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sigmoe.theory._blocks import AtomBlocks, PairNorms, pair_norms
from sigmoe.theory._median import weighted_centre

#: Translations kept for the alternation after all candidates were evaluated once.
_KEPT = 8
#: Rounds of the alternation; it mostly stands still after two or three.
_ROUNDS = 12
#: Numbers in one block of the candidates' differences, so that memory stays near 100 MB.
_BLOCK = 4_000_000


@dataclass(frozen=True)
class Rule:
    """What the search needs to know of a loss.

    Attributes
    ----------
    value : callable
        (norms, cells, slice of the batch) to the loss (batch, M) of M translations.
    weights : Tensor of shape (batch, N)
        Weights of the fitted atoms' distances.
    over : callable
        Cells (batch, M, N*, N) to the true atoms whose distances enter squared, (batch, M, N*).
    moves_c : bool
        Whether the loss has distances of c, so that t_c is searched too.
    """

    value: Callable[[PairNorms, Tensor, slice], Tensor]
    weights: Tensor
    over: Callable[[Tensor], Tensor]
    moves_c: bool


@dataclass(frozen=True)
class Shift:
    """A translation of all fitted atoms: A (..., d^2), b (..., d), c (..., 1)."""

    A: Tensor
    b: Tensor
    c: Tensor

    def map(self, change: Callable[[Tensor], Tensor]) -> Shift:
        """Return the shift with every block changed in the same way."""
        return Shift(change(self.A), change(self.b), change(self.c))

    @staticmethod
    def join(shifts: list[Shift], axis: int) -> Shift:
        """Return several shifts one after the other along an axis."""
        return Shift(
            *(torch.cat([getattr(s, name) for s in shifts], dim=axis) for name in ("A", "b", "c"))
        )


def moved(fitted: AtomBlocks, shift: Shift) -> AtomBlocks:
    """Return the fitted atoms (..., N, .) after the shifts (..., .)."""
    return AtomBlocks(
        A=fitted.A + shift.A.unsqueeze(-2),
        b=fitted.b + shift.b.unsqueeze(-2),
        c=fitted.c + shift.c.unsqueeze(-2),
        eta=fitted.eta,
        eta_columns=fitted.eta_columns,
    )


def cells_of(norms: PairNorms) -> Tensor:
    """Return the cells of eqs. (9), (51); a tied atom lies in every tied cell."""
    distance = norms.theta_squared()
    return distance <= distance.amin(dim=-2, keepdim=True)


def best_shift(fitted: AtomBlocks, truth: AtomBlocks, dim: int, rule: Rule) -> Shift:
    """Return the translation of the fitted atoms with the smallest loss that was found.

    Parameters
    ----------
    fitted, truth : AtomBlocks
        Both with one batch axis of the same length: (batch, N, .) and (batch, N*, .).
    dim : int
        Input dimension.
    rule : Rule
        The loss.

    Returns
    -------
    Shift
        Blocks of shape (batch, .).
    """
    count, atoms, trues = fitted.A.shape[0], fitted.A.shape[-2], truth.A.shape[-2]
    size = (atoms * trues + 2) * atoms * trues * (dim * dim + dim)
    step = max(1, _BLOCK // size)
    found = [
        _search(fitted, truth, dim, rule, slice(start, start + step))
        for start in range(0, count, step)
    ]
    return Shift.join(found, 0)


def _search(
    all_fitted: AtomBlocks, all_truth: AtomBlocks, dim: int, rule: Rule, part: slice
) -> Shift:
    fitted, truth = all_fitted.map(lambda t: t[part]), all_truth.map(lambda t: t[part])
    tried = _evaluate(fitted, truth, dim, rule, part, _candidates(fitted, truth, dim, rule, part))
    kept = tried.value.argsort(dim=1, stable=True)[:, :_KEPT]
    cells = torch.take_along_dim(tried.cells, kept[:, :, None, None], dim=1)
    best, value = _lowest(tried)
    for _ in range(_ROUNDS):
        centres = _centre_of_cells(fitted, truth, cells, rule, part)
        tried = _evaluate(fitted, truth, dim, rule, part, centres)
        challenger, challenge = _lowest(tried)
        wins = (challenge < value).unsqueeze(-1)
        best = Shift(
            torch.where(wins, challenger.A, best.A),
            torch.where(wins, challenger.b, best.b),
            torch.where(wins, challenger.c, best.c),
        )
        value = torch.minimum(value, challenge)
        if torch.equal(tried.cells, cells):
            break
        cells = tried.cells
    return best


def _candidates(fitted: AtomBlocks, truth: AtomBlocks, dim: int, rule: Rule, part: slice) -> Shift:
    """Return every difference theta_j* - theta_i, the means' difference, and a match by eta.

    All of them move with a translation of either side, so that the result does not depend on how
    the measures are stored; zero, say, would not.
    """

    def differences(ours: Tensor, theirs: Tensor) -> Tensor:
        pairs = (theirs.unsqueeze(-2) - ours.unsqueeze(-3)).flatten(-3, -2)
        means = theirs.mean(dim=-2, keepdim=True) - ours.mean(dim=-2, keepdim=True)
        return torch.cat([pairs, means], dim=1)

    plain = Shift(
        differences(fitted.A, truth.A),
        differences(fitted.b, truth.b),
        differences(fitted.c, truth.c),
    )
    eta = pair_norms(fitted, truth, dim).eta.unsqueeze(1)
    by_eta = eta <= eta.amin(dim=-2, keepdim=True)
    return Shift.join([plain, _centre_of_cells(fitted, truth, by_eta, rule, part)], 1)


@dataclass(frozen=True)
class _Tried:
    """M translations with their losses (batch, M) and cells (batch, M, N*, N)."""

    shift: Shift
    value: Tensor
    cells: Tensor


def _evaluate(
    fitted: AtomBlocks, truth: AtomBlocks, dim: int, rule: Rule, part: slice, shift: Shift
) -> _Tried:
    """Return the loss of M translations; t_c, on which no cell depends, is always the best one."""
    ours, theirs = fitted.map(lambda t: t.unsqueeze(1)), truth.map(lambda t: t.unsqueeze(1))
    norms = pair_norms(moved(ours, shift), theirs, dim)
    cells = cells_of(norms)
    if rule.moves_c:
        c = _centre_of_block(fitted.c, truth.c, cells, rule, part)
        shift = Shift(shift.A, shift.b, c)
        norms = pair_norms(moved(ours, shift), theirs, dim)
    return _Tried(shift, rule.value(norms, cells, part), cells)


def _centre_of_cells(
    fitted: AtomBlocks, truth: AtomBlocks, cells: Tensor, rule: Rule, part: slice
) -> Shift:
    """Return the minimisers of the convex problems that remain when the cells are fixed."""
    A = _centre_of_block(fitted.A, truth.A, cells, rule, part)
    return Shift(
        A, _centre_of_block(fitted.b, truth.b, cells, rule, part), torch.zeros_like(A[..., :1])
    )


def _centre_of_block(
    ours: Tensor, theirs: Tensor, cells: Tensor, rule: Rule, part: slice
) -> Tensor:
    """Return the best translation (batch, M, length) of one block for fixed cells.

    An atom tied between cells is given to the first of them here; the loss of the result is
    evaluated with the paper's cells.
    """
    owner = cells.to(torch.int8).argmax(dim=-2)
    squared = torch.take_along_dim(rule.over(cells), owner, dim=-1).flatten(0, 1)
    weights = rule.weights[part].unsqueeze(1).expand(owner.shape).flatten(0, 1)
    goal = torch.take_along_dim(theirs.unsqueeze(1), owner.unsqueeze(-1), dim=-2)
    points = (goal - ours.unsqueeze(1)).flatten(0, 1)
    return weighted_centre(points, weights, squared).reshape(*owner.shape[:2], -1)


def _lowest(tried: _Tried) -> tuple[Shift, Tensor]:
    value, which = tried.value.min(dim=1)
    take = which[:, None, None]
    return tried.shift.map(lambda t: torch.take_along_dim(t, take, dim=1).squeeze(1)), value
