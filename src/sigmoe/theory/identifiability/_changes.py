"""How the atoms of a stratum differ from atoms drawn at random."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

from sigmoe.theory.identifiability._evaluate import Atom

Atoms = list[Atom]
Change = Callable[[Atoms], Atoms]


def constant_gates(atoms: Atoms) -> Atoms:
    zero = Fraction(0)
    return [replace(atom, A=(zero,) * len(atom.A), b=(zero,) * len(atom.b)) for atom in atoms]


def first_c_zero(atoms: Atoms) -> Atoms:
    return [replace(atoms[0], c=Fraction(0)), *atoms[1:]]


def same_c(atoms: Atoms) -> Atoms:
    return [replace(atom, c=atoms[0].c) for atom in atoms]


def same_gates(atoms: Atoms) -> Atoms:
    return [replace(atoms[0], eta=atom.eta) for atom in atoms]


def same_A_and_b(atoms: Atoms) -> Atoms:
    return [replace(atom, A=atoms[0].A, b=atoms[0].b) for atom in atoms]


def opposite_gates(atoms: Atoms) -> Atoms:
    """Let the second score be minus the first: sigma(s) + sigma(-s) = 1."""
    first = atoms[0]
    second = replace(
        atoms[1], A=tuple(-a for a in first.A), b=tuple(-b for b in first.b), c=-first.c
    )
    return [first, second, *atoms[2:]]


def same_experts(atoms: Atoms) -> Atoms:
    return [replace(atom, eta=atoms[0].eta) for atom in atoms]


def proportional(scaling: str) -> Change:
    """Return the change that doubles lambda, or (alpha, beta), of the first expert."""

    def change(atoms: Atoms) -> Atoms:
        eta = atoms[0].eta
        if scaling == "lambda":
            doubled = (*eta[:-1], 2 * eta[-1])
        else:
            doubled = tuple(2 * value for value in eta)
        return [atoms[0], replace(atoms[1], eta=doubled), *atoms[2:]]

    return change


def second_expert_as_first(atoms: Atoms) -> Atoms:
    return [atoms[0], replace(atoms[1], eta=atoms[0].eta), *atoms[2:]]


def second_as_first_but_for_c(atoms: Atoms) -> Atoms:
    return [atoms[0], replace(atoms[0], c=atoms[1].c), *atoms[2:]]
