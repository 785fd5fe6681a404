"""The common translation of softmax gates: a loss's minimum over it, jointly with the cells.

Adding one (T_A, T_b, t_c) to all atoms leaves softmax gates as they are, so a loss between
softmax measures is the minimum over that translation, and the cells move with it. For fixed cells
the problem is convex and splits by block (``_median``). Its minimum is a lower bound of the loss
wherever the translated atoms lie in those cells, and the loss itself if they do at the minimum;
otherwise the minimum within these cells is sought too, at their boundary (``_region``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sigmoe.theory._blocks import AtomBlocks, PairNorms, pair_distance, pair_norms
from sigmoe.theory._median import weighted_centre
from sigmoe.theory._region import lowest_within_cells

#: Rounds of the alternation between cells and translations; two or three mostly suffice.
_ROUNDS = 12
#: Pairs of a true and a fitted atom up to which their differences are combined in all ways.
_FEW = 12
#: Candidates of each measure that are followed before the others.
_FIRST = 4
#: Numbers in one block of the candidates' atoms, so that memory stays near 100 MB.
_BLOCK = 4_000_000


@dataclass(frozen=True)
class Rule:
    """What the search needs to know of a loss.

    Attributes
    ----------
    value : callable
        (norms, cells, rows of the batch) to the loss, one number a row.
    weights : Tensor of shape (batch, N)
        Weights of the fitted atoms' distances.
    over : callable
        Cells (..., N*, N) to the true atoms (..., N*) whose distances enter squared.
    moves_c : bool
        Whether the loss has distances of c, so that t_c is searched too.
    """

    value: Callable[[PairNorms, Tensor, Tensor], Tensor]
    weights: Tensor
    over: Callable[[Tensor], Tensor]
    moves_c: bool


@dataclass(frozen=True)
class Shift:
    """Translations of all atoms of a measure, one a row: A (K, d^2), b (K, d), c (K, 1)."""

    A: Tensor
    b: Tensor
    c: Tensor

    def take(self, index: Tensor) -> Shift:
        """Return some rows."""
        return Shift(self.A[index], self.b[index], self.c[index])

    @staticmethod
    def join(shifts: list[Shift]) -> Shift:
        """Return the rows of several."""
        return Shift(*(torch.cat([getattr(s, name) for s in shifts]) for name in ("A", "b", "c")))


@dataclass(frozen=True)
class Trials:
    """Translations with what they lead to; row k belongs to measure ``rows[k]`` of the batch."""

    rows: Tensor
    shift: Shift
    value: Tensor
    cells: Tensor

    def take(self, index: Tensor) -> Trials:
        """Return some rows."""
        return Trials(
            self.rows[index], self.shift.take(index), self.value[index], self.cells[index]
        )


def moved(fitted: AtomBlocks, shift: Shift) -> AtomBlocks:
    """Return the fitted atoms (K, N, .) after the shifts (K, .)."""
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
        One row for each measure of the batch.
    """
    count, atoms, trues = fitted.A.shape[0], fitted.A.shape[-2], truth.A.shape[-2]
    pairs = atoms * trues
    tries = 3 * pairs**2 if pairs <= _FEW else pairs
    size = (tries + 2) * (atoms + trues) * (dim * dim + dim)
    search = _Search(fitted, truth, dim, rule)
    parts = torch.arange(count, device=fitted.A.device).split(max(1, _BLOCK // size))
    return Shift.join([search.run(rows) for rows in parts])


@dataclass
class _Log:
    """What a search has found so far.

    Attributes
    ----------
    best : Trials
        The best trial of each measure.
    seen : set
        Pairs of a measure and an allocation that were looked at.
    visited : list of Trials
        A translation with these cells, for each of them.
    bounds : list of Tensor
        The smallest value of the loss if the cells stayed so.
    """

    best: Trials
    seen: set[tuple[int, bytes]]
    visited: list[Trials]
    bounds: list[Tensor]

    def limit(self, rows: Tensor) -> Tensor:
        """Return the best value so far of the measures named by ``rows``."""
        return self.best.value[torch.searchsorted(self.best.rows, rows)]

    def unseen(self, trials: Trials) -> Tensor:
        """Return one trial for each new pair of a measure and an allocation, and note it."""
        cells = trials.cells.flatten(1).to(torch.uint8).cpu().numpy()
        new = []
        for position, (row, cell) in enumerate(zip(trials.rows.tolist(), cells, strict=True)):
            key = row, cell.tobytes()
            if key not in self.seen:
                self.seen.add(key)
                new.append(position)
        return torch.tensor(new, dtype=torch.int64, device=trials.rows.device)


class _Search:
    """The search for the best translation of each measure of a batch."""

    def __init__(self, fitted: AtomBlocks, truth: AtomBlocks, dim: int, rule: Rule) -> None:
        self.fitted, self.truth, self.rule = fitted, truth, rule
        # What no translation changes, eta's part, is computed once.
        self.still = pair_norms(fitted, truth, dim)

    def run(self, rows: Tensor) -> Shift:
        """Return the best translation that was found for some measures of the batch."""
        tried = self._candidates(rows)
        log = _Log(_best_of_each(tried), set(), [], [])
        # The best few first: with what they lead to, most of the others need no look.
        self._alternate(_best_of_each(tried, _FIRST), log)
        self._alternate(tried.take(self._floor(tried) < log.limit(tried.rows)), log)
        return self._at_boundaries(log).shift

    def _alternate(self, trials: Trials, log: _Log) -> None:
        """Go from cells to the best translation for them, on to its cells, and so on."""
        for _ in range(_ROUNDS):
            new = trials.take(log.unseen(trials))
            if not len(new.rows):
                return
            centres = self._centres(new.rows, new.cells)
            log.visited.append(new)
            log.bounds.append(self._value_in_cells(new.rows, centres, new.cells))
            trials = self._try(new.rows, centres)
            log.best = _best_of_each(_joined([log.best, trials]))

    def _floor(self, trials: Trials) -> Tensor:
        """Return a lower bound of the loss in each trial's cells: what no translation can change.

        That is the gap of the weights and the distances of eta.
        """
        norms = self._still(trials.rows)
        nothing = torch.zeros_like(norms.A)
        norms = replace(norms, A=nothing, b=nothing, c=nothing)
        return self.rule.value(norms, trials.cells, trials.rows)

    def _still(self, rows: Tensor) -> PairNorms:
        """Return the norms without a translation."""
        still = self.still
        parts = tuple(part[rows] for part in still.eta_parts)
        return PairNorms(still.A[rows], still.b[rows], still.c[rows], still.eta[rows], parts)

    def _norms(self, rows: Tensor, shift: Shift) -> PairNorms:
        """Return the norms after translations."""
        fitted, truth = self._pair(rows)
        fitted = moved(fitted, shift)
        return replace(
            self._still(rows),
            A=pair_distance(fitted.A, truth.A),
            b=pair_distance(fitted.b, truth.b),
            c=pair_distance(fitted.c, truth.c),
        )

    def _at_boundaries(self, log: _Log) -> Trials:
        """Return the best trials after a look at cells whose own minimum lies outside of them."""
        visited, bounds = _joined(log.visited), torch.cat(log.bounds)
        promising = (bounds < log.limit(visited.rows) * (1.0 - 1e-9)).nonzero()[:, 0]
        if not len(promising):
            return log.best
        found = visited.take(promising)
        fitted, truth = self._pair(found.rows)
        owner = _owner(found.cells)
        A, b = lowest_within_cells(
            fitted,
            truth,
            owner,
            self.rule.weights[found.rows],
            self._squared(found.cells, owner),
            (found.shift.A, found.shift.b),
        )
        trials = self._try(found.rows, Shift(A, b, torch.zeros_like(b[:, :1])))
        return _best_of_each(_joined([log.best, trials]))

    def _pair(self, rows: Tensor) -> tuple[AtomBlocks, AtomBlocks]:
        return self.fitted.map(lambda t: t[rows]), self.truth.map(lambda t: t[rows])

    def _candidates(self, rows: Tensor) -> Trials:
        """Try every difference theta_j* - theta_i, the means' difference, and a match by eta.

        If there are few atoms, the differences' A and b are combined in all ways, and the points
        between two differences and beyond them are tried. All of these move with a translation
        of either side, so that the result does not depend on how the measures are stored; zero,
        say, would not.
        """
        fitted, truth = self._pair(rows)

        def pairs(ours: Tensor, theirs: Tensor) -> Tensor:
            return (theirs.unsqueeze(-2) - ours.unsqueeze(-3)).flatten(-3, -2)

        A, b = pairs(fitted.A, truth.A), pairs(fitted.b, truth.b)
        means = (
            truth.A.mean(dim=-2, keepdim=True) - fitted.A.mean(dim=-2, keepdim=True),
            truth.b.mean(dim=-2, keepdim=True) - fitted.b.mean(dim=-2, keepdim=True),
        )
        count = A.shape[1]
        first, second = torch.arange(count), torch.arange(count)
        if count <= _FEW:
            first, second = torch.cartesian_prod(first, first).T
        A1, A2, b1, b2 = A[:, first], A[:, second], b[:, first], b[:, second]
        A = torch.cat([A1, means[0], (A1 + A2) / 2, 2 * A1 - A2], dim=1)
        b = torch.cat([b2, means[1], (b1 + b2) / 2, 2 * b1 - b2], dim=1)
        plain = Shift(A.flatten(0, 1), b.flatten(0, 1), torch.zeros_like(b[..., :1]).flatten(0, 1))
        many = rows.repeat_interleave(A.shape[1])
        eta = self.still.eta[rows]
        matched = self._centres(rows, eta <= eta.amin(dim=-2, keepdim=True))
        return _joined([self._try(many, plain), self._try(rows, matched)])

    def _try(self, rows: Tensor, shift: Shift) -> Trials:
        """Return the losses of translations; t_c, on which no cell depends, is the best one."""
        norms = self._norms(rows, shift)
        cells = cells_of(norms)
        if self.rule.moves_c:
            shift = Shift(shift.A, shift.b, self._centre(rows, cells, "c"))
            c = self.fitted.c[rows] + shift.c.unsqueeze(-2)
            norms = replace(norms, c=pair_distance(c, self.truth.c[rows]))
        return Trials(rows, shift, self.rule.value(norms, cells, rows), cells)

    def _value_in_cells(self, rows: Tensor, shift: Shift, cells: Tensor) -> Tensor:
        """Return what the loss would be if the translated atoms lay in the given cells."""
        return self.rule.value(self._norms(rows, shift), cells, rows)

    def _centres(self, rows: Tensor, cells: Tensor) -> Shift:
        """Return the minimisers of the convex problems that remain when the cells are fixed."""
        A, b = self._centre(rows, cells, "A"), self._centre(rows, cells, "b")
        c = self._centre(rows, cells, "c") if self.rule.moves_c else torch.zeros_like(b[:, :1])
        return Shift(A, b, c)

    def _centre(self, rows: Tensor, cells: Tensor, block: str) -> Tensor:
        """Return the best translation (K, length) of one block for fixed cells.

        An atom tied between cells is given to the first of them here; the loss of the result is
        evaluated with the paper's cells.
        """
        owner = _owner(cells)
        ours, theirs = getattr(self.fitted, block)[rows], getattr(self.truth, block)[rows]
        points = torch.take_along_dim(theirs, owner.unsqueeze(-1), dim=-2) - ours
        return weighted_centre(points, self.rule.weights[rows], self._squared(cells, owner))

    def _squared(self, cells: Tensor, owner: Tensor) -> Tensor:
        """Return whether each fitted atom's distance enters squared, shape (K, N)."""
        return torch.take_along_dim(self.rule.over(cells), owner, dim=-1)


def _owner(cells: Tensor) -> Tensor:
    """Return the first cell (K, N) that holds each fitted atom."""
    return cells.to(torch.int8).argmax(dim=-2)


def _joined(trials: list[Trials]) -> Trials:
    return Trials(
        torch.cat([t.rows for t in trials]),
        Shift.join([t.shift for t in trials]),
        torch.cat([t.value for t in trials]),
        torch.cat([t.cells for t in trials]),
    )


def _best_of_each(trials: Trials, count: int = 1) -> Trials:
    """Return the best trials of each measure, in the order of the measures; first ones win ties."""
    by_value = trials.value.argsort(stable=True)
    order = by_value[trials.rows[by_value].argsort(stable=True)]
    rows = trials.rows[order]
    kept = torch.ones_like(rows, dtype=torch.bool)
    kept[count:] = rows[count:] != rows[:-count]
    return trials.take(order[kept])
