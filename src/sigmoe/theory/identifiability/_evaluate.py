"""Values of a family at inputs, to a given precision: exact derivatives by the product rule.

Every derivative of F = g(s) E in the score brings one more derivative of g and one monomial of x;
every derivative in eta acts on E alone. For softmax gates g = exp and E is replaced by E - f(x),
f being the prediction of all atoms, held fixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from sigmoe.moe._scores import SCORES
from sigmoe.theory.identifiability._experts import PreciseExpert, context, fixed, rational
from sigmoe.theory.identifiability._fixed import Integers, multiply
from sigmoe.theory.identifiability._functions import Function, Variable

Inputs = Sequence[Sequence[Fraction]]


@dataclass(frozen=True)
class Atom:
    """Parameters of one atom as rational numbers; A as its upper triangle, row by row."""

    A: tuple[Fraction, ...]
    b: tuple[Fraction, ...]
    c: Fraction
    eta: tuple[Fraction, ...]


@dataclass(frozen=True)
class Model:
    """Gate, score, expert and dimension: what is needed to evaluate a family."""

    gate: str
    score: str
    dim: int
    expert: PreciseExpert


def draw_inputs(dim: int, n: int, rng: np.random.Generator) -> list[tuple[Fraction, ...]]:
    """Return rational inputs from the uniform distribution on [-1, 1]^d, denominators 2^16."""
    whole = rng.integers(-(2**16), 2**16, size=(n, dim), endpoint=True)
    return [tuple(Fraction(int(k), 2**16) for k in row) for row in whole]


def evaluate(
    model: Model, functions: Sequence[Function], atoms: Sequence[Atom], X: Inputs, bits: int
) -> Integers:
    """Return the values of the functions, shape (n, m), as fixed-point integers."""
    scores = [_scores(model, atom, X) for atom in atoms]
    gates = [_gate(model.gate, s, bits) for s in scores]
    order = max(sum(not v.in_score for v in f.derivative) for f in functions)
    tables = [model.expert.table(X, atom.eta, bits, order) for atom in atoms]
    if model.gate == "softmax":
        prediction = _prediction([g[0] for g in gates], [t[()] for t in tables], bits)
        tables = [{**table, (): table[()] - prediction} for table in tables]
    monomials = _Monomials(X, bits)
    columns = [
        _column(function, gates[function.atom], tables[function.atom], monomials, bits)
        for function in functions
    ]
    return np.array(columns, dtype=object).T.reshape(len(X), len(functions))


def _scores(model: Model, atom: Atom, X: Inputs) -> list[Fraction]:
    """Return x'Ax + b'x + c, exactly."""
    piece = SCORES.get(model.score)
    found = []
    for x in X:
        value = atom.c
        if piece.has_linear:
            value += sum(b * u for b, u in zip(atom.b, x, strict=True))
        if piece.has_quadratic and any(atom.A):
            places = [(u, v) for u in range(model.dim) for v in range(u, model.dim)]
            value += sum(
                a * x[u] * x[v] * (1 if u == v else 2)
                for a, (u, v) in zip(atom.A, places, strict=True)
            )
        found.append(value)
    return found


def _gate(gate: str, scores: Sequence[Fraction], bits: int) -> list[Any]:
    """Return g(s), g'(s) and g''(s), each an array of integers of shape (n,)."""
    mp = context(bits)
    rows = []
    known: dict[Fraction, tuple[int, int, int]] = {}
    for s in scores:
        if s not in known:
            power = mp.exp(mp.mpf(s.numerator) / s.denominator)
            values = (power, power, power)
            if gate == "sigmoid":
                value = power / (1 + power)
                slope = value * (1 - value)
                values = (value, slope, slope * (1 - 2 * value))
            known[s] = (fixed(values[0], bits), fixed(values[1], bits), fixed(values[2], bits))
        rows.append(known[s])
    return [np.array([row[k] for row in rows], dtype=object) for k in range(3)]


def _prediction(weights: Sequence[Any], experts: Sequence[Any], bits: int) -> Any:
    total = sum(weights)
    return (sum(multiply(w, e, bits) for w, e in zip(weights, experts, strict=True)) << bits) // (
        total
    )


class _Monomials:
    """Products of the derivatives of the score, each evaluated once; A_uv, u < v, counts twice."""

    def __init__(self, X: Inputs, bits: int) -> None:
        self._known: dict[tuple[int, ...], Any] = {
            (): np.array([1 << bits] * len(X), dtype=object),
            **{(u,): np.array([rational(x[u], bits) for x in X], object) for u in range(len(X[0]))},
        }
        self._bits = bits

    def __call__(self, score: Sequence[Variable]) -> Any:
        twice = sum(v.block == "A" and v.index[0] != v.index[1] for v in score)
        return self._power(tuple(sorted(u for v in score for u in v.index))) << twice

    def _power(self, factors: tuple[int, ...]) -> Any:
        if factors not in self._known:
            shorter, one = self._power(factors[1:]), self._known[factors[:1]]
            self._known[factors] = multiply(shorter, one, self._bits)
        return self._known[factors]


def _column(
    function: Function, gate: list[Any], table: Any, monomials: _Monomials, bits: int
) -> Any:
    score = [v for v in function.derivative if v.in_score]
    places = tuple(sorted(v.place for v in function.derivative if v.place is not None))
    return multiply(multiply(gate[len(score)], table[places], bits), monomials(score), bits)
