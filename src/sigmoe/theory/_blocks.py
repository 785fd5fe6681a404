"""The parameters of atoms as flat vectors, and the norms of their differences, block by block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, cdist

from sigmoe.moe import MixingMeasure


@dataclass(frozen=True)
class PairNorms:
    """Norms of the differences between true atom j and fitted atom i, each (*batch, N*, N).

    Attributes
    ----------
    A : Tensor
        Frobenius norm of the symmetric matrix A_i - A_j*.
    b : Tensor
        Euclidean norm of b_i - b_j*; zero if the score has no linear part.
    c : Tensor
        Absolute value of c_i - c_j*.
    eta : Tensor
        Euclidean norm of eta_i - eta_j* over all parameters and all response columns.
    eta_parts : tuple of Tensor
        Norms of the parts of eta that eq. (11) keeps apart: alpha, beta and, for scaled experts,
        lambda; each over all response columns.
    """

    A: Tensor
    b: Tensor
    c: Tensor
    eta: Tensor
    eta_parts: tuple[Tensor, ...]

    def theta_squared(self) -> Tensor:
        """Return the squared distance that defines the cells, eqs. (9) and (51): c is left out."""
        return self.A**2 + self.b**2 + self.eta**2


@dataclass(frozen=True)
class AtomBlocks:
    """The blocks of a measure's atoms, each (*batch, N, length).

    A symmetric matrix is kept whole (d^2 entries), so that its Euclidean norm is the Frobenius
    norm; eta holds the columns of the response one after the other.
    """

    A: Tensor
    b: Tensor
    c: Tensor
    eta: Tensor
    eta_columns: int

    @classmethod
    def of(cls, measure: MixingMeasure) -> AtomBlocks:
        """Return the blocks of a measure."""
        eta = measure.eta
        flat = eta if measure.architecture.n_outputs is None else eta.flatten(-2)
        columns = measure.architecture.n_columns
        return cls(measure.A.flatten(-2), measure.b, measure.c.unsqueeze(-1), flat, columns)

    def map(self, change: Callable[[Tensor], Tensor]) -> AtomBlocks:
        """Return the blocks, each changed in the same way."""
        return AtomBlocks(
            change(self.A), change(self.b), change(self.c), change(self.eta), self.eta_columns
        )

    def flat(self, batch: tuple[int, ...]) -> AtomBlocks:
        """Return the blocks with their batch axes broadcast to ``batch`` and joined to one."""
        return self.map(
            lambda block: block.expand(*batch, *block.shape[-2:]).reshape(-1, *block.shape[-2:])
        )


def pair_norms(fitted: AtomBlocks, truth: AtomBlocks, dim: int) -> PairNorms:
    """Return the norms of all pairs of a true and a fitted atom, O(N N*).

    Parameters
    ----------
    fitted : AtomBlocks
        N atoms; batch axes broadcast against those of ``truth``.
    truth : AtomBlocks
        N* atoms.
    dim : int
        Input dimension, where alpha ends within eta.
    """
    ours = fitted.eta.unflatten(-1, (fitted.eta_columns, -1))
    theirs = truth.eta.unflatten(-1, (truth.eta_columns, -1))
    cuts = (slice(0, dim), *(slice(k, k + 1) for k in range(dim, ours.shape[-1])))
    return PairNorms(
        A=pair_distance(fitted.A, truth.A),
        b=pair_distance(fitted.b, truth.b),
        c=pair_distance(fitted.c, truth.c),
        eta=pair_distance(fitted.eta, truth.eta),
        eta_parts=tuple(
            pair_distance(ours[..., cut].flatten(-2), theirs[..., cut].flatten(-2)) for cut in cuts
        ),
    )


def pair_distance(ours: Tensor, theirs: Tensor) -> Tensor:
    """Return the distances (*batch, N*, N) of vectors (*batch, N, D) to (*batch, N*, D).

    Differences first, never by the expanded square, which would lose small distances.
    """
    return cdist(theirs, ours, compute_mode="donot_use_mm_for_euclid_dist")
