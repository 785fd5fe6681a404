"""The functions that a definition wants to be independent: derivatives of F = gate x expert.

A derivative is a sorted tuple of variables; a function is a derivative of the term of one atom.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

from sigmoe.moe._scores import SCORES

#: Blocks of an atom in the order in which the paper writes them; others come last.
BLOCK_ORDER = ("A", "b", "c", "alpha", "beta", "lambda")


@dataclass(frozen=True)
class Variable:
    """One coordinate of an atom.

    Attributes
    ----------
    block : str
        "A", "b" or "c" in the score; "alpha", "beta" or "lambda" in a ridge expert; "eta1",
        "eta2", ... in an expert of the user's.
    index : tuple of int
        Where in the block, from 0; (u, v) with u <= v for the symmetric A.
    place : int or None
        Position in eta; None for the score.
    """

    block: str
    index: tuple[int, ...] = ()
    place: int | None = None

    @property
    def in_score(self) -> bool:
        """Return whether the score depends on it."""
        return self.place is None

    @property
    def label(self) -> str:
        """Return the name in equations, counted from 1: A12, b1, c, alpha2."""
        return self.block + "".join(str(k + 1) for k in self.index)


Derivative = tuple[Variable, ...]


@dataclass(frozen=True)
class Function:
    """A derivative of the term F of one atom (counted from 0)."""

    atom: int
    derivative: Derivative

    @property
    def blocks(self) -> tuple[str, ...]:
        """Return the blocks that it differentiates by, sorted."""
        return tuple(sorted((v.block for v in self.derivative), key=_block_order))

    def text(self, letter: str, marked: bool) -> str:
        """Return it as written in an equation, with the number of its atom if ``marked``."""
        name = f"{letter}{self.atom + 1}" if marked else letter
        below = "".join(f"∂{variable.label}" for variable in self.derivative)
        return f"∂{'²' if len(self.derivative) == 2 else ''}{name}/{below}"


def _block_order(block: str) -> tuple[int, str]:
    known = block in BLOCK_ORDER
    return BLOCK_ORDER.index(block) if known else len(BLOCK_ORDER), block


def score_variables(score: str, dim: int, *, with_c: bool) -> list[Variable]:
    """Return the coordinates of one atom's score; A by its d(d+1)/2 symmetric entries."""
    piece = SCORES.get(score)
    found = []
    if piece.has_quadratic:
        found += [Variable("A", (u, v)) for u in range(dim) for v in range(u, dim)]
    if piece.has_linear:
        found += [Variable("b", (u,)) for u in range(dim)]
    return [*found, Variable("c")] if with_c else found


def derivatives(variables: Sequence[Variable], orders: Iterable[int]) -> list[Derivative]:
    """Return all derivatives of the given orders, lower orders first."""
    return [
        derivative
        for order in sorted(orders)
        for derivative in combinations_with_replacement(variables, order)
    ]


def family(
    listed: Sequence[Derivative], n_atoms: int, *, modulo_translation: bool
) -> tuple[Function, ...]:
    """Return the functions of all atoms, lower orders first.

    Parameters
    ----------
    listed : sequence of derivatives
        Those of every atom.
    n_atoms : int
    modulo_translation : bool
        Leave out, for the last atom, the derivatives in the score alone: softmax gates see
        scores modulo a common one, and these are minus the sums of those of the other atoms.
    """
    found = [
        Function(atom, derivative)
        for derivative in listed
        for atom in range(n_atoms)
        if not (modulo_translation and atom == n_atoms - 1 and all(v.in_score for v in derivative))
    ]
    return tuple(sorted(found, key=lambda function: len(function.derivative)))
