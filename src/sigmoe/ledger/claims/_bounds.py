"""Theorems 1 to 5 and Lemma 2: how parameters follow the function."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from sigmoe.ledger import _constructions as build
from sigmoe.ledger._claim import Evidence, Numbers, Reading
from sigmoe.ledger.claims import _symbols
from sigmoe.ledger.claims._identifiability import generic_fails, halves_fail, relation
from sigmoe.ledger.claims._reading import (
    equality_refutes,
    equality_supports,
    vanishing_refutes,
    vanishing_supports,
)
from sigmoe.moe import Architecture, MixingMeasure
from sigmoe.theory import local_modulus

_FACTORS = (0.25, 0.5, 0.75)


def _power_two(numbers: Numbers) -> Reading:
    powers = [numbers[f"p = {degree}"] for degree in (2, 3)]
    text = (
        f"the functions' difference begins with n^-{powers[0]} for p = 2 and n^-{powers[1]} for "
        "p = 3, and the loss is 2 n^-r: for r >= 2 the ratio does not vanish"
    )
    return Reading("against" if powers == [2, 2] else "open", text)


def _stays(numbers: Numbers) -> Reading:
    ratios = numbers["ratios"]
    power = -build.order(numbers)
    text = f"distance / loss goes from {ratios[0]:.2g} to {ratios[-1]:.2g}, like n^{power:.2f}"
    return Reading("against" if ratios[-1] > 0.3 * ratios[0] else "open", text)


def _sequence(degree: int, r: float) -> partial[Numbers]:
    return partial(build.follow, partial(build.lemma_two, degree, r), build.HALVINGS, "L2", r)


def _split(degree: int, r: float) -> partial[Numbers]:
    expert = f"polynomial:{degree}"
    return partial(build.follow, partial(build.unequal_sizes, "full", expert), _FACTORS, "L2", r)


def _gates_apart(score: str, expert: str) -> Evidence:
    loss = "L3" if score == "full" else "L5"
    return Evidence(
        f"one {expert} expert shared by two gates that move apart",
        "construction",
        partial(
            build.follow,
            partial(build.gates_apart, score, expert),
            build.HALVINGS,
            loss,
            representations=True,
        ),
        vanishing_refutes,
    )


def _opposite(expert: str) -> Evidence:
    return Evidence(
        f"two atoms with opposite b, {expert}",
        "construction",
        partial(build.follow, partial(build.opposite_slopes, expert), build.HALVINGS, "L1"),
        vanishing_refutes,
    )


def _shared(score: str, expert: str, loss: str) -> Evidence:
    return Evidence(
        f"unequal shares, {expert}",
        "construction",
        partial(build.follow, partial(build.unequal_sizes, score, expert), _FACTORS, loss),
        equality_refutes,
    )


def _unequal(degree: int, r: float) -> Evidence:
    return Evidence(
        f"unequal shares, p = {degree}, r = {r:g}",
        "construction",
        _split(degree, r),
        equality_supports,
    )


def _exponent_of_b() -> Numbers:
    shape = Architecture(expert="tanh", dim=1)
    truth = MixingMeasure(shape, [[[0.0]]], [[0.0]], [-1.4], [[0.8, 0.4]])
    found = local_modulus(truth, 2, blocks=("b",), n_starts=3)["b"]
    return {"exponent": found.exponent, "low": found.low, "high": found.high}


def _slower_than_squared(numbers: Numbers) -> Reading:
    exponent, low = numbers["exponent"], numbers["low"]
    text = (
        f"the smallest distance with b held at t falls like t^{exponent:.2f} (local slopes "
        f"{low:.2f} to {numbers['high']:.2f}); L1 needs t^2"
    )
    return Reading("against" if low > 2.5 else "open", text)


_SCALED = ("scaled-relu", "scaled-gelu", "linear")

EVIDENCE = {
    "theorem-1": (
        _opposite("relu"),
        _opposite("scaled-gelu"),
        relation("strong", "relu", generic_fails),
        Evidence("local modulus of b, tanh", "modulus", _exponent_of_b, _slower_than_squared),
    ),
    "lemma-2-linear": tuple(
        Evidence(
            f"the proof's sequence, r = {r}", "construction", _sequence(1, r), vanishing_supports
        )
        for r in (1, 2, 3)
    ),
    "lemma-2-polynomial": (
        Evidence("expansion of the sequence", "algebra", _symbols.lemma_two_orders, _power_two),
        Evidence("the proof's sequence, p = 2, r = 2", "construction", _sequence(2, 2), _stays),
        Evidence("the proof's sequence, p = 3, r = 3", "construction", _sequence(3, 3), _stays),
        replace(_unequal(2, 2), of_correction=True),
        replace(_unequal(3, 3), of_correction=True),
    ),
    "theorem-2": (_unequal(1, 1), _unequal(2, 2), _unequal(3, 3)),
    "theorem-3": (
        *(_gates_apart("full", expert) for expert in (*_SCALED, "polynomial:2")),
        relation("weak", "scaled-gelu", halves_fail),
    ),
    "theorem-4": (
        *(_shared("partial", expert, "L4") for expert in (*_SCALED, "polynomial:2")),
        relation("partial-strong", "scaled-gelu", generic_fails),
        relation("partial-strong", "polynomial:2", generic_fails),
    ),
    "theorem-5": (
        *(_gates_apart("partial", expert) for expert in (*_SCALED, "polynomial:2")),
        relation("partial-weak", "scaled-gelu", halves_fail),
    ),
}
