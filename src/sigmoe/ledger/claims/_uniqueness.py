"""Propositions 2, 3 and 5: when two mixing measures have one function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from sigmoe.ledger import _constructions as build
from sigmoe.ledger._claim import Evidence, Numbers, Reading
from sigmoe.ledger.claims import _symbols
from sigmoe.ledger.claims._reading import equality_refutes, facts_refute

_FACTORS = (0.25, 0.5, 0.75)
_SIZES = (0.5, 1.0, 2.0)


def _either_limit(numbers: Numbers) -> Reading:
    up, down = numbers["c -> +infinity"], numbers["c -> -infinity"]
    text = f"sigma(c) goes to {up:g} as c goes to +infinity, and to {down:g} as c goes to -infinity"
    return Reading("against" if up != 0 and down == 0 else "open", text)


def _stays_apart(numbers: Numbers) -> Reading:
    apart = min(numbers["distances"])
    text = f"with c2 up to {1 / numbers['steps'][-1]:g} the functions stay {apart:.2f} apart"
    return Reading("against" if apart > 0.1 else "open", text)


def _approaches(numbers: Numbers) -> Reading:
    last = numbers["distances"][-1]
    text = f"with c2 down to {-1 / numbers['steps'][-1]:g} they come within {last:.0e}"
    return Reading("for" if last < 1e-12 else "against", text)


def _equal(
    name: str, pair: Callable[[float], build.Pair], steps: Sequence[float], loss: str
) -> Evidence:
    return Evidence(
        name, "construction", partial(build.follow, pair, steps, loss), equality_refutes
    )


def _second(name: str, sign: float, read: Callable[[Numbers], Reading]) -> Evidence:
    pair = partial(build.second_gate, sign)
    measure = partial(build.follow, pair, build.HALVINGS, "L3")
    return Evidence(name, "construction", measure, read, of_correction=sign < 0)


_IDENTITIES = Evidence("symbolic identities", "algebra", _symbols.representations, facts_refute)

EVIDENCE = {
    "proposition-2": (
        _IDENTITIES,
        _equal("an atom with a zero expert", build.null_expert, _SIZES, "L3"),
        _equal("a gate turned over", build.turned, _SIZES, "L3"),
    ),
    "proposition-3": (
        Evidence("limits of the gate", "algebra", _symbols.limits, _either_limit),
        _second("a second gate with c to +infinity", 1.0, _stays_apart),
        _second("a second gate with c to -infinity", -1.0, _approaches),
    ),
    "proposition-5": (
        _IDENTITIES,
        *(
            _equal(
                f"a {expert} expert split",
                partial(build.unequal_sizes, "partial", expert),
                _FACTORS,
                "L5",
            )
            for expert in ("linear", "scaled-gelu")
        ),
    ),
}
