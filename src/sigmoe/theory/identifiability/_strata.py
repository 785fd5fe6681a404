"""Strata of "any distinct parameters": each with its family, and how its atoms are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np

from sigmoe.theory.identifiability._changes import (
    Atoms,
    Change,
    constant_gates,
    first_c_zero,
    opposite_gates,
    proportional,
    same_A_and_b,
    same_c,
    same_experts,
    same_gates,
    second_as_first_but_for_c,
    second_expert_as_first,
)
from sigmoe.theory.identifiability._evaluate import Atom, Model
from sigmoe.theory.identifiability._functions import (
    Derivative,
    Function,
    derivatives,
    family,
    score_variables,
)

#: Parameters are multiples of this.
_UNIT = Fraction(1, 2**12)

#: Kinks of two experts are at least so far apart in one dimension, for up to three atoms.
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


def crowding(n_atoms: int) -> Fraction:
    """Return by how much closer kinks in one dimension may lie than those of three atoms.

    The smallest distance between n points of an interval is of the order of 1/n^2.
    """
    return max(Fraction(1), Fraction(n_atoms, 3) ** 2)


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
    room = _ROOM / crowding(len(atoms))
    return all(right - left > room for left, right in pairwise(kinks))


def _proportional_case(model: Model) -> tuple[str, Change] | None:
    """Return the name and the change of the case of proportional experts, if there is one."""
    scaling = model.expert.scaling
    if scaling is None:
        return None
    experts = "experts" if model.expert.homogeneous else "alpha and beta"
    return f"proportional {experts}", proportional(scaling)


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
            places = {"second order at constant gates": (constant_gates,), **places}
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
        steps = (constant_gates, *changes)
        return Stratum(name, "second order at constant gates", functions, steps, **ties)

    found = [
        case("generic c and eta", generic=True),
        case("c = 0 in one atom", first_c_zero, fixed_c=(0,)),
        case("equal c, different experts", same_c, tied_c=others),
        case("equal experts, different c", same_experts, tied_eta=others),
    ]
    if (proportional := _proportional_case(model)) is not None:
        name, change = proportional
        found.append(case(name, change, tied_eta=(1,)))
    return found


def _first_order_strata(model: Model, n_atoms: int) -> list[Stratum]:
    """Return the cases of the second family of Definitions 1 and 3, and of 2 and 4."""
    functions = family(_listed(model, (1,), with_c=True), n_atoms, modulo_translation=False)
    others = tuple(range(1, n_atoms))

    def case(name: str, *changes: Change, **ties: Any) -> Stratum:
        return Stratum(name, "first order", functions, changes, **ties)

    found = [
        case("generic atoms", generic=True),
        case("constant gates", constant_gates),
        case(
            "constant gates that differ in c alone", constant_gates, same_experts, tied_eta=others
        ),
        case("c = 0 in one atom", first_c_zero, fixed_c=(0,)),
        case("equal gates, different experts", same_gates, tied_c=others),
        case("equal experts, different gates", same_experts, tied_eta=others),
        case(
            "opposite gates, equal experts",
            opposite_gates,
            same_experts,
            tied_c=(1,),
            tied_eta=others,
        ),
    ]
    if (proportional := _proportional_case(model)) is not None:
        name, change = proportional
        found.append(case(name, change, tied_eta=(1,)))
        equal = f"{name}, equal gates"
        found.append(case(equal, change, same_gates, tied_c=others, tied_eta=(1,)))
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
        case("equal A and b, different experts", same_A_and_b),
        case("equal experts in two atoms", second_expert_as_first, tied_eta=(1,)),
        case("equal experts in all atoms", same_experts, tied_eta=others),
        case("two atoms that differ in c alone", second_as_first_but_for_c, tied_eta=(1,)),
        case("atoms that differ in c alone", same_A_and_b, same_experts, tied_eta=others),
    ]
    if (proportional := _proportional_case(model)) is not None:
        name, change = proportional
        found.append(case(name, change, tied_eta=(1,)))
        found.append(case(f"{name}, equal A and b", change, same_A_and_b, tied_eta=(1,)))
    if extended:
        everything = family(_listed(model, (1, 2), with_c=True), n_atoms, modulo_translation=True)
        found.append(
            Stratum(
                "generic atoms, with c", "second order", everything, (), generic=True, extended=True
            )
        )
    return tuple(found)
