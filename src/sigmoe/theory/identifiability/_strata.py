"""Strata of "any distinct parameters": each with its family, and how its atoms are drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np

from sigmoe.theory.identifiability._evaluate import Atom, Model
from sigmoe.theory.identifiability._functions import (
    Derivative,
    Function,
    derivatives,
    family,
    score_variables,
)

Atoms = list[Atom]
Change = Callable[[Atoms], Atoms]

#: Parameters are multiples of this.
_UNIT = Fraction(1, 2**12)

#: Kinks of two experts are at least so far apart in one dimension.
_ROOM = Fraction(1, 8)


@dataclass(frozen=True)
class Stratum:
    """One case of "any distinct parameters".

    Attributes
    ----------
    name : str
    at : str
        Which functions: "second order at A = b = 0", "first order", "second order".
    functions : tuple of Function
    changes : tuple of callable
        Applied to atoms drawn at random, in turn.
    generic : bool
        Whether it stands for almost all parameters.
    extended : bool
        Whether it goes beyond the definition's own family.
    tied_c, tied_eta : tuple of int
        Atoms whose c and whose eta follow from those of the first atom.
    fixed_c : tuple of int
        Atoms whose c is 0.
    """

    name: str
    at: str
    functions: tuple[Function, ...] = field(repr=False)
    changes: tuple[Change, ...] = field(repr=False)
    generic: bool = False
    extended: bool = False
    tied_c: tuple[int, ...] = ()
    tied_eta: tuple[int, ...] = ()
    fixed_c: tuple[int, ...] = ()

    @property
    def n_atoms(self) -> int:
        """Return the number of atoms."""
        return 1 + max(function.atom for function in self.functions)


def draw_atoms(
    model: Model, stratum: Stratum, n_atoms: int, rng: np.random.Generator, *, positive: bool
) -> Atoms:
    """Return rational atoms of a stratum.

    Parameters
    ----------
    positive : bool
        Take positive parameters but for c, which is negative, so that sigma''(c) is positive:
        then the logarithms of all symbols exist. Otherwise signs are drawn too.
    """

    def number(low: float, high: float) -> Fraction:
        size = int(rng.integers(int(low / _UNIT), int(high / _UNIT)))
        sign = 1 if positive or rng.random() < 0.5 else -1
        return sign * size * _UNIT

    d = model.dim
    blocks = [variable.block for variable in model.expert.variables]
    # beta stays small beside alpha, so that kinks lie inside the box.
    ranges = {"alpha": (0.5, 1.5), "beta": (0.05, 0.25)}

    def atom() -> Atom:
        return Atom(
            A=tuple(number(0.25, 1.0) for _ in range(d * (d + 1) // 2)),
            b=tuple(number(0.25, 1.0) for _ in range(d)),
            c=-number(0.25, 1.5),
            eta=tuple(number(*ranges.get(block, (0.5, 1.5))) for block in blocks),
        )

    atoms = [atom() for _ in range(n_atoms)]
    while d == 1 and not _kinks_apart(atoms, blocks):
        atoms = [atom() for _ in range(n_atoms)]
    for change in stratum.changes:
        atoms = change(atoms)
    return atoms


def _kinks_apart(atoms: Atoms, blocks: Sequence[str]) -> bool:
    """Return whether the kinks of experts phi(alpha x + beta), d = 1, leave room for inputs.

    In more dimensions the places between two kinks are large for almost all parameters.
    """
    if not {"alpha", "beta"} <= set(blocks):
        return True
    alpha, beta = blocks.index("alpha"), blocks.index("beta")
    kinks = sorted(-atom.eta[beta] / atom.eta[alpha] for atom in atoms)
    return all(right - left > _ROOM for left, right in pairwise(kinks))


def _constant_gates(atoms: Atoms) -> Atoms:
    zero = Fraction(0)
    return [replace(atom, A=(zero,) * len(atom.A), b=(zero,) * len(atom.b)) for atom in atoms]


def _first_c_zero(atoms: Atoms) -> Atoms:
    return [replace(atoms[0], c=Fraction(0)), *atoms[1:]]


def _same_c(atoms: Atoms) -> Atoms:
    return [replace(atom, c=atoms[0].c) for atom in atoms]


def _same_gates(atoms: Atoms) -> Atoms:
    return [replace(atoms[0], eta=atom.eta) for atom in atoms]


def _same_A_and_b(atoms: Atoms) -> Atoms:
    return [replace(atom, A=atoms[0].A, b=atoms[0].b) for atom in atoms]


def _opposite_gates(atoms: Atoms) -> Atoms:
    """Let the second score be minus the first: sigma(s) + sigma(-s) = 1."""
    first = atoms[0]
    second = replace(
        atoms[1], A=tuple(-a for a in first.A), b=tuple(-b for b in first.b), c=-first.c
    )
    return [first, second, *atoms[2:]]


def _same_experts(atoms: Atoms) -> Atoms:
    return [replace(atom, eta=atoms[0].eta) for atom in atoms]


def _proportional(scaling: str) -> Change:
    """Return the change that doubles lambda, or (alpha, beta), of the first expert."""

    def change(atoms: Atoms) -> Atoms:
        eta = atoms[0].eta
        if scaling == "lambda":
            doubled = (*eta[:-1], 2 * eta[-1])
        else:
            doubled = tuple(2 * value for value in eta)
        return [atoms[0], replace(atoms[1], eta=doubled), *atoms[2:]]

    return change


def strata(model: Model, condition: str, n_atoms: int, *, extended: bool) -> tuple[Stratum, ...]:
    """Return the strata of a condition ("strong" or "weak"), in the order of the report."""
    if model.gate == "softmax":
        return _softmax_strata(model, condition, n_atoms, extended=extended)
    found = []
    if condition == "strong":
        found += _second_order_strata(model, n_atoms)
    found += _first_order_strata(model, n_atoms)
    if extended:
        listed = _listed(model, (1, 2), with_c=True)
        functions = family(listed, n_atoms, modulo_translation=False)
        places: dict[str, tuple[Change, ...]] = {"second order": ()}
        if condition == "strong":
            places = {"second order at constant gates": (_constant_gates,), **places}
        found += [
            Stratum("generic atoms, with c", at, functions, steps, generic=True, extended=True)
            for at, steps in places.items()
        ]
    return tuple(found)


def _listed(model: Model, orders: tuple[int, ...], *, with_c: bool) -> list[Derivative]:
    variables = [
        *score_variables(model.score, model.dim, with_c=with_c),
        *model.expert.variables,
    ]
    return derivatives(variables, orders)


def _second_order_strata(model: Model, n_atoms: int) -> list[Stratum]:
    """Return the cases of the first family of Definitions 1 and 3: all gates constant."""
    functions = family(_listed(model, (1, 2), with_c=False), n_atoms, modulo_translation=False)
    others = tuple(range(1, n_atoms))

    def case(name: str, *changes: Change, **ties: Any) -> Stratum:
        steps = (_constant_gates, *changes)
        return Stratum(name, "second order at constant gates", functions, steps, **ties)

    found = [
        case("generic c and eta", generic=True),
        case("c = 0 in one atom", _first_c_zero, fixed_c=(0,)),
        case("equal c, different experts", _same_c, tied_c=others),
        case("equal experts, different c", _same_experts, tied_eta=others),
    ]
    if model.expert.scaling is not None:
        change = _proportional(model.expert.scaling)
        found.append(case("proportional experts", change, tied_eta=(1,)))
    return found


def _first_order_strata(model: Model, n_atoms: int) -> list[Stratum]:
    """Return the cases of the second family of Definitions 1 and 3, and of 2 and 4."""
    functions = family(_listed(model, (1,), with_c=True), n_atoms, modulo_translation=False)
    others = tuple(range(1, n_atoms))

    def case(name: str, *changes: Change, **ties: Any) -> Stratum:
        return Stratum(name, "first order", functions, changes, **ties)

    found = [
        case("generic atoms", generic=True),
        case("constant gates", _constant_gates),
        case(
            "constant gates that differ in c alone", _constant_gates, _same_experts, tied_eta=others
        ),
        case("c = 0 in one atom", _first_c_zero, fixed_c=(0,)),
        case("equal gates, different experts", _same_gates, tied_c=others),
        case("equal experts, different gates", _same_experts, tied_eta=others),
        case(
            "opposite gates, equal experts",
            _opposite_gates,
            _same_experts,
            tied_c=(1,),
            tied_eta=others,
        ),
    ]
    if model.expert.scaling is not None:
        change = _proportional(model.expert.scaling)
        found.append(case("proportional experts", change, tied_eta=(1,)))
        found.append(
            case(
                "proportional experts, equal gates",
                change,
                _same_gates,
                tied_c=others,
                tied_eta=(1,),
            )
        )
    return found


def _softmax_strata(
    model: Model, condition: str, n_atoms: int, *, extended: bool
) -> tuple[Stratum, ...]:
    """Return the cases for softmax gates: the derivatives of H, modulo the translation."""
    first = _listed(model, (1,), with_c=True)
    listed, at = first, "first order"
    if condition == "strong":
        # H = dH/dc stands for the weights; the second derivatives in c repeat lower ones.
        weights = [derivative for derivative in first if derivative[0].block == "c"]
        listed, at = [*weights, *_listed(model, (1, 2), with_c=False)], "second order"
    functions = family(listed, n_atoms, modulo_translation=True)
    others = tuple(range(1, n_atoms))

    def case(name: str, *changes: Change, **ties: Any) -> Stratum:
        return Stratum(name, at, functions, changes, **ties)

    found = [
        case("generic atoms", generic=True),
        case("equal A and b, different experts", _same_A_and_b),
        case("equal experts in two atoms", _second_expert_as_first, tied_eta=(1,)),
        case("equal experts in all atoms", _same_experts, tied_eta=others),
        case("atoms that differ in c alone", _same_A_and_b, _same_experts, tied_eta=others),
    ]
    if model.expert.scaling is not None:
        change = _proportional(model.expert.scaling)
        found.append(case("proportional experts", change, tied_eta=(1,)))
    if extended:
        everything = family(_listed(model, (1, 2), with_c=True), n_atoms, modulo_translation=True)
        found.append(
            Stratum(
                "generic atoms, with c", "second order", everything, (), generic=True, extended=True
            )
        )
    return tuple(found)


def _second_expert_as_first(atoms: Atoms) -> Atoms:
    return [atoms[0], replace(atoms[1], eta=atoms[0].eta), *atoms[2:]]
