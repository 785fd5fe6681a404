"""Equation (8) and Definitions 1 to 4: which experts are identifiable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial

from sigmoe.ledger import _constructions as build
from sigmoe.ledger._claim import Evidence, Numbers, Reading
from sigmoe.ledger.claims import _symbols
from sigmoe.ledger.claims._reading import equality_refutes, facts_support, vanishing_refutes
from sigmoe.moe import Architecture
from sigmoe.theory import IdentifiabilityReport, check_identifiability

_FACTORS = (0.25, 0.5, 0.75)
#: Equations that are stored of a stratum.
_SHOWN = 3
#: The stratum of atoms that share one expert behind one gate.
_HALVES = "proportional experts, equal gates"


@cache
def _report(condition: str, expert: str) -> IdentifiabilityReport:
    score = "partial" if condition.startswith("partial") else "full"
    return check_identifiability(Architecture(score=score, expert=expert, dim=2), condition)


def checked(condition: str, expert: str) -> Numbers:
    """Return both verdicts of the checker and the sparsest essential equations of each reading."""
    report = _report(condition, expert)
    equations: dict[bool, list[str]] = {True: [], False: []}
    halves: list[str] = []
    for stratum in report.strata:
        essential = [r.equation for r in stratum.identities if not r.trivial]
        equations[stratum.generic] += essential[:1]
        if stratum.name == _HALVES:
            halves = essential[:_SHOWN]
    return {
        "expert": expert,
        "condition": condition,
        "literal": report.identifiable,
        "generic": report.generic,
        "generic_equations": equations[True][:_SHOWN],
        "special_equations": equations[False][:_SHOWN],
        "halves_equations": halves,
    }


def _equations(numbers: Numbers, which: str) -> str:
    return "; ".join(numbers[which]) or "none"


def generic_fails(numbers: Numbers) -> Reading:
    """Read against a claim of identifiability for generic parameters, and so for any."""
    text = f"for generic parameters: {_equations(numbers, 'generic_equations')}"
    return Reading("against" if numbers["generic"] is False else "open", text)


def literal_fails(numbers: Numbers) -> Reading:
    """Read against a claim of identifiability for any distinct parameters."""
    text = f"for some distinct parameters: {_equations(numbers, 'special_equations')}"
    return Reading("against" if numbers["literal"] is False else "open", text)


def halves_fail(numbers: Numbers) -> Reading:
    """Read against a bound of first order around atoms that share one expert behind one gate."""
    found = numbers["halves_equations"]
    text = f"two atoms that share an expert behind one gate: {'; '.join(found) or 'no relation'}"
    return Reading("against" if found else "open", text)


def generic_holds(numbers: Numbers) -> Reading:
    """Read for a claim of identifiability for generic parameters."""
    if numbers["generic"] is True:
        return Reading("for", "no essential relation for generic parameters (0 found)")
    return Reading("against", f"relations: {_equations(numbers, 'generic_equations')}")


def not_identifiable(numbers: Numbers) -> Reading:
    """Read for a claim that an expert is not identifiable."""
    reading = generic_fails(numbers)
    return Reading("for" if reading.says == "against" else "open", reading.text)


def relation(
    condition: str, expert: str, read: Callable[[Numbers], Reading], correction: bool = False
) -> Evidence:
    """Return what the checker finds for an expert as evidence."""
    name = f"{condition} check of {expert} experts"
    return Evidence(name, "algebra", partial(checked, condition, expert), read, correction)


def _sequence(
    name: str, pair: Callable[[float], build.Pair], loss: str, steps: Sequence[float]
) -> Evidence:
    read = vanishing_refutes if steps is build.HALVINGS else equality_refutes
    return Evidence(name, "construction", partial(build.follow, pair, steps, loss), read)


def _traded(score: str, expert: str, loss: str) -> Evidence:
    pair = partial(build.traded_weights, score, expert)
    return _sequence(f"two constant gates trade weight, {expert}", pair, loss, _FACTORS)


def _unequal(expert: str) -> Evidence:
    pair = partial(build.unequal_sizes, "partial", expert)
    return _sequence(f"unequal shares, {expert}", pair, "L4", _FACTORS)


EVIDENCE = {
    "equation-8": (Evidence("derivatives", "algebra", _symbols.equation_eight, facts_support),),
    "definition-1-networks": (
        relation("strong", "scaled-relu", generic_fails),
        relation("strong", "scaled-gelu", generic_fails),
        *(
            _sequence(
                f"two atoms with opposite b, {expert}",
                partial(build.opposite_slopes, expert),
                "L1",
                build.HALVINGS,
            )
            for expert in ("scaled-relu", "scaled-gelu")
        ),
    ),
    "definition-1-polynomials": tuple(
        relation("strong", f"polynomial:{degree}", not_identifiable) for degree in (1, 2)
    ),
    "definition-2-networks": (
        relation("weak", "scaled-relu", literal_fails),
        _traded("full", "scaled-relu", "L3"),
        _traded("full", "scaled-gelu", "L3"),
        relation("weak", "scaled-gelu", generic_holds, correction=True),
        relation("weak", "relu", generic_holds, correction=True),
        relation("weak", "gelu", generic_holds, correction=True),
    ),
    "definition-2-polynomials": (
        relation("weak", "polynomial:3", literal_fails),
        _traded("full", "polynomial:2", "L3"),
        *(
            relation("weak", f"polynomial:{degree}", generic_holds, correction=True)
            for degree in (1, 2, 4)
        ),
    ),
    "definition-3-networks": (
        relation("partial-strong", "scaled-relu", generic_fails),
        relation("partial-strong", "scaled-gelu", generic_fails),
        *(_unequal(expert) for expert in ("scaled-relu", "scaled-gelu")),
        relation("partial-strong", "gelu", generic_holds, correction=True),
        relation("partial-strong", "tanh", generic_holds, correction=True),
    ),
    "definition-3-polynomials": (
        relation("partial-strong", "polynomial:1", generic_fails),
        relation("partial-strong", "polynomial:2", generic_fails),
        *(_unequal(expert) for expert in ("linear", "polynomial:2")),
    ),
    "definition-4": (
        relation("partial-weak", "scaled-relu", literal_fails),
        _traded("partial", "scaled-gelu", "L5"),
        _traded("partial", "polynomial:2", "L5"),
        relation("partial-weak", "scaled-gelu", generic_holds, correction=True),
        relation("partial-weak", "relu", generic_holds, correction=True),
        *(
            relation("partial-weak", f"polynomial:{degree}", generic_holds, correction=True)
            for degree in (1, 2, 3)
        ),
    ),
}
