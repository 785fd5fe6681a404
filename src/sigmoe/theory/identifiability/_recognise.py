"""Coefficients as formulas: numbers times powers of symbols, from values at several parameters.

The logarithm of such a coefficient is linear in those of the symbols, so that as many draws of the
parameters as there are symbols determine the exponents. Further draws have to agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from math import gcd, lcm
from typing import Any

import numpy as np

from sigmoe.theory.identifiability._evaluate import Atom, Model
from sigmoe.theory.identifiability._experts import context
from sigmoe.theory.identifiability._fixed import (
    Integers,
    Precision,
    eliminate,
    exponent,
    multiply,
    scale_columns,
)
from sigmoe.theory.identifiability._relations import Monomial, Symbol, monomial
from sigmoe.theory.identifiability._strata import Stratum

#: Exponents must be integers up to this, and numbers have denominators up to this.
_INTEGER, _DENOMINATOR = 1e-5, 720


@dataclass(frozen=True)
class Sample:
    """Values of a family at one draw of the parameters.

    Attributes
    ----------
    values : array of int, shape (n, m)
    symbols : dict of Symbol to mpf
        What coefficients may depend on.
    """

    values: Integers
    symbols: dict[Symbol, Any]


def symbol_values(model: Model, atoms: Sequence[Atom], bits: int) -> dict[Symbol, Any]:
    """Return sigma, sigma', sigma'' at each c (e^c for softmax) and each entry of eta."""
    mp = context(bits)
    found = {}

    def number(value: Fraction) -> Any:
        return mp.mpf(value.numerator) / value.denominator

    for k, atom in enumerate(atoms):
        power = mp.exp(number(atom.c))
        value = power / (1 + power)
        slope = value * (1 - value)
        if model.gate == "softmax":
            found[Symbol(k, "exp(c", ")")] = power
        else:
            found[Symbol(k, "σ(c", ")")] = value
            found[Symbol(k, "σ'(c", ")")] = slope
            found[Symbol(k, "σ''(c", ")")] = slope * (1 - 2 * value)
        for variable, entry in zip(model.expert.variables, atom.eta, strict=True):
            found[Symbol(k, variable.label)] = number(entry)
    # Solving for functions of two atoms gives quotients of determinants.
    for (u, first), (v, second) in combinations(enumerate(model.expert.variables), 2):
        if {first.block, second.block} <= {"alpha", "beta"}:
            one, two = atoms[0].eta, atoms[1].eta
            name = f"det({first.label}, {second.label})"
            found[Symbol(-1, name)] = number(one[u] * two[v] - one[v] * two[u])
    return found


def relevant(stratum: Stratum, atoms: set[int], symbols: Iterable[Symbol]) -> list[Symbol]:
    """Return the symbols that vary independently of each other, for a relation of these atoms.

    A relation within one atom is written in its own parameters; between atoms, parameters that
    are tied to those of the first atom are written as those.
    """

    def counts(symbol: Symbol) -> bool:
        if symbol.atom < 0:
            return atoms == {0, 1} and 1 not in stratum.tied_eta
        of_c = bool(symbol.tail)
        if of_c and symbol.atom in stratum.fixed_c:
            return False
        if len(atoms) == 1:
            return symbol.atom in atoms
        tied = stratum.tied_c if of_c else stratum.tied_eta
        if symbol.atom == 0:
            return 0 in atoms or bool(atoms & set(tied))
        return symbol.atom in atoms and symbol.atom not in tied

    return [symbol for symbol in symbols if counts(symbol)]


def null_vector(values: Integers, precision: Precision) -> list[Any] | None:
    """Return the coefficients of the one relation between the columns, as mpf.

    None unless there is exactly one and it involves all columns.
    """
    scaled, tops = scale_columns(values, precision.bits)
    found = eliminate(scaled, precision)
    if len(found.dependent) != 1 or not all(tops):
        return None
    null = found.null[0]
    limit = precision.zero / 2
    if any(exponent(int(entry), precision.bits) < limit for entry in null):
        return None
    mp = context(precision.bits)
    return [mp.mpf(int(entry)) / top for entry, top in zip(null, tops, strict=True)]


def recognise(
    support: Sequence[int],
    names: Sequence[Symbol],
    samples: Sequence[Sample],
    precision: Precision,
) -> tuple[Monomial, ...] | None:
    """Return the coefficients of a relation as monomials in the symbols, if they are.

    Parameters
    ----------
    support : sequence of int
        Columns of the relation.
    names : sequence of Symbol
        What the coefficients may depend on.
    samples : sequence of Sample
        At least two more than there are symbols, none of which is zero. Those in which too few
        inputs tell the functions apart are passed over.
    precision : Precision
        Of the values.
    """
    if len(support) == 1:
        return (Monomial(Fraction(1)),)
    solved = [
        (sample, vector)
        for sample in samples
        if (vector := null_vector(sample.values[:, list(support)], precision)) is not None
    ][: len(names) + 3]
    if len(solved) < len(names) + 2:
        return None
    samples = [sample for sample, _ in solved]
    mp = context(precision.bits)
    logs = np.array([[1.0] + [float(mp.log(abs(s.symbols[n]))) for n in names] for s in samples])
    terms = []
    for k in range(len(support)):
        ratios = [vector[k] / vector[0] for _, vector in solved]
        term = _monomial(ratios, logs, names, samples, precision)
        if term is None:
            return None
        terms.append(term)
    return _cleared(terms)


def _monomial(
    ratios: Sequence[Any],
    logs: Any,
    names: Sequence[Symbol],
    samples: Sequence[Sample],
    precision: Precision,
) -> Monomial | None:
    mp = context(precision.bits)
    values = np.array([float(mp.log(abs(ratio))) for ratio in ratios])
    fitted = np.linalg.lstsq(logs, values, rcond=None)[0][1:]
    powers = {name: round(float(power)) for name, power in zip(names, fitted, strict=True)}
    if np.abs(fitted - np.array(list(powers.values()))).max(initial=0.0) > _INTEGER:
        return None
    numbers = []
    for ratio, sample in zip(ratios, samples, strict=True):
        for name, power in powers.items():
            ratio = ratio / sample.symbols[name] ** power
        numbers.append(ratio)
    number = Fraction(str(mp.nstr(numbers[0], 30))).limit_denominator(_DENOMINATOR)
    limit = mp.mpf(10) ** (precision.zero / 2)
    off = max(abs(n - mp.mpf(number.numerator) / number.denominator) for n in numbers)
    return monomial(number, powers) if number and off < limit * abs(numbers[0]) else None


def _cleared(terms: Sequence[Monomial]) -> tuple[Monomial, ...]:
    """Return the coefficients with whole numbers and without negative powers."""
    whole = lcm(*(term.number.denominator for term in terms))
    content = gcd(*(int(term.number * whole) for term in terms))
    names = {symbol for term in terms for symbol, _ in term.powers}
    lowest = {name: min(dict(term.powers).get(name, 0) for term in terms) for name in names}
    common = monomial(Fraction(content, whole), lowest)
    return tuple(term.over(common) for term in terms)


def residual(
    support: Sequence[int], coefficients: Sequence[Monomial], sample: Sample, bits: int
) -> float:
    """Return the decimal exponent of the relation's sum beside its largest term.

    A single function is measured beside the largest value of the family. The sample should be one
    that recognition has not seen. A relation holds if this is near minus the digits of the
    precision.
    """
    mp = context(bits)
    total: Any = np.zeros(len(sample.values), dtype=object)
    largest = 0
    factors = evaluate_coefficients(coefficients, sample, bits)
    for column, coefficient in zip(support, factors, strict=True):
        factor = int(mp.nint(mp.ldexp(coefficient, bits)))
        term = multiply(sample.values[:, column], np.array(factor, dtype=object), bits)
        total = total + term
        largest = max(largest, int(np.max(np.abs(term))))
    left = int(np.max(np.abs(total)))
    if len(support) == 1:
        largest = int(np.max(np.abs(sample.values)))
    return exponent(left, bits) - exponent(largest, bits) if largest else -np.inf


def evaluate_coefficients(coefficients: Sequence[Monomial], sample: Sample, bits: int) -> list[Any]:
    """Return the coefficients at the parameters of a sample, as mpf."""
    mp = context(bits)
    found = []
    for coefficient in coefficients:
        value = mp.mpf(coefficient.number.numerator) / coefficient.number.denominator
        for symbol, power in coefficient.powers:
            value = value * sample.symbols[symbol] ** power
        found.append(value)
    return found
