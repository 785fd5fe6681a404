"""One stratum: its rank in float64 and in many digits, and the relations behind what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from sigmoe._base.seeds import child_seeds
from sigmoe.theory.identifiability._evaluate import Model, draw_inputs, evaluate
from sigmoe.theory.identifiability._fixed import Precision, as_float
from sigmoe.theory.identifiability._recognise import (
    Sample,
    evaluate_coefficients,
    null_vector,
    recognise,
    relevant,
    residual,
    symbol_values,
)
from sigmoe.theory.identifiability._reduce import reduce_family, supports_of
from sigmoe.theory.identifiability._relations import Monomial, Relation, Symbol
from sigmoe.theory.identifiability._strata import Stratum, crowding, draw_atoms

#: Draws of the parameters that are tried before a relation is left unverified.
_ATTEMPTS = 4

#: Samples beyond those that recognition needs, in place of those that are passed over.
_SPARE = 4

#: Relations with more functions than this are verified and counted, not written.
MAX_TERMS = 8

#: More inputs than this take too long; a relation that is missed by them fails at fresh ones.
_MOST_INPUTS = 1000

#: Float64 singular values below this, beside the largest, count as zeros there.
_FLOAT64_ZERO = 1e-13


@dataclass(frozen=True)
class StratumReport:
    """What was found in one stratum.

    Attributes
    ----------
    name, at : str
        The case, and which derivatives at which gates.
    generic, extended : bool
        Whether it stands for almost all parameters, and whether it goes beyond the definition.
    n_atoms, n_functions, rank : int
        Atoms, functions in the family, and how many of them are independent.
    independent : bool or None
        Whether the functions are linearly independent, read literally; None if the precision
        could not tell.
    essential : bool or None
        Whether a relation was found that is not trivial (``Relation.trivial``); None if the
        precision could not tell.
    identities : tuple of Relation
        Independent relations that hold at fresh parameters, the sparsest first; none longer than
        8 functions.
    n_unwritten : int
        Further independent relations, which are longer or could not be verified.
    longer : tuple of int
        Those of them that hold at fresh parameters: how many functions each of them has.
    float64_rank : int
        Rank as float64 sees it: too low where independence is ill-conditioned.
    singular_values : tuple of float
        In float64, of the functions scaled to largest value 1, beside the largest.
    digits : int
        Decimal digits behind ``rank``.
    gap : tuple of two floats
        Decimal exponents of the largest number taken as zero (-inf if exact or none) and of the
        smallest pivot taken as independence.
    """

    name: str
    at: str
    generic: bool
    extended: bool
    n_atoms: int
    n_functions: int
    rank: int
    independent: bool | None
    essential: bool | None
    identities: tuple[Relation, ...]
    n_unwritten: int
    float64_rank: int
    singular_values: tuple[float, ...] = field(repr=False)
    digits: int
    gap: tuple[float, float]
    longer: tuple[int, ...] = ()


def analyse(model: Model, stratum: Stratum, seed: np.random.SeedSequence) -> StratumReport:
    """Return rank, gap and relations of one stratum.

    Too few inputs in the place where a kinked expert differs from a smooth one look like a
    relation. Such relations fail at fresh parameters, and more inputs are then drawn.
    """
    best = _attempt(model, stratum, seed, 0)
    for number in range(1, _ATTEMPTS):
        if best.n_unwritten == len(best.longer):
            break
        other = _attempt(model, stratum, seed, number)
        agree = other.rank == best.rank and other.n_unwritten == best.n_unwritten
        best = max(best, other, key=lambda found: (found.rank, -found.n_unwritten))
        if agree:
            break
    return best


def _attempt(
    model: Model, stratum: Stratum, seed: np.random.SeedSequence, number: int
) -> StratumReport:
    """Return what one draw of parameters shows."""
    streams = child_seeds(seed, f"attempt {number}", 3)
    main, signs, draws = (np.random.default_rng(stream) for stream in streams)
    n_atoms = stratum.n_atoms
    atoms = draw_atoms(model, stratum, n_atoms, main, positive=False)
    n_inputs = (2 * len(stratum.functions) + _inputs(model, n_atoms)) * (1 + number)
    X = draw_inputs(model.dim, n_inputs, main)
    values, precision, found = reduce_family(model, stratum.functions, atoms, X)
    singular = torch.linalg.svdvals(torch.from_numpy(as_float(values, precision.bits)))
    singular = singular / singular[0] if singular[0] > 0 else singular
    supports = supports_of(stratum.functions, found, precision)
    samples = _samples(model, stratum, draws, supports, precision)
    fresh = [
        _sample(model, stratum, signs, precision, positive=False)
        for _ in range(2 if supports else 0)
    ]
    identities = [
        relation
        for support in supports
        if len(support) <= MAX_TERMS
        and (relation := _relation(model, stratum, support, samples, fresh, precision)) is not None
    ]
    longer = tuple(
        len(support)
        for support in supports
        if len(support) > MAX_TERMS
        and all(null_vector(s.values[:, list(support)], precision) for s in fresh)
    )
    clear = found.clear
    n_unwritten = len(supports) - len(identities)
    # What was verified holds whether or not the rest is clear. A relation that is too long to be
    # written is not one of the trivial ones, which are short.
    essential = any(not relation.trivial for relation in identities) or (
        bool(longer) or (n_unwritten > 0 if clear else None)
    )
    return StratumReport(
        stratum.name,
        stratum.at,
        stratum.generic,
        stratum.extended,
        n_atoms,
        len(stratum.functions),
        len(found.elimination.pivots),
        False if identities or longer else (not supports if clear else None),
        essential,
        tuple(sorted(identities, key=lambda r: (len(r.functions), r.pattern))),
        n_unwritten,
        int((singular > _FLOAT64_ZERO).sum()),
        tuple(singular.tolist()),
        precision.digits if model.expert.digits is None else model.expert.digits,
        (found.largest_zero, found.elimination.smallest_pivot),
        longer,
    )


def _sample(
    model: Model,
    stratum: Stratum,
    rng: np.random.Generator,
    precision: Precision,
    *,
    positive: bool,
) -> Sample:
    atoms = draw_atoms(model, stratum, stratum.n_atoms, rng, positive=positive)
    # Samples with positive parameters serve the recognition of coefficients, fresh ones judge it.
    X = draw_inputs(model.dim, 8 * MAX_TERMS if positive else _inputs(model, stratum.n_atoms), rng)
    return Sample(
        evaluate(model, stratum.functions, atoms, X, precision.bits),
        symbol_values(model, atoms, precision.bits),
    )


def _inputs(model: Model, n_atoms: int) -> int:
    """Return how many inputs are enough; in one dimension some lie between any two kinks."""
    return 48 if model.dim > 1 else min(_MOST_INPUTS, int(160 * crowding(n_atoms)))


def _samples(
    model: Model,
    stratum: Stratum,
    rng: np.random.Generator,
    supports: Sequence[tuple[int, ...]],
    precision: Precision,
) -> list[Sample]:
    """Return as many samples as the recognition of coefficients needs; none if it has no work."""
    if not any(1 < len(support) <= MAX_TERMS for support in supports):
        return []
    first = _sample(model, stratum, rng, precision, positive=True)
    most = max(
        len(_names(stratum, support, first))
        for support in supports
        if 1 < len(support) <= MAX_TERMS
    )
    return [first] + [
        _sample(model, stratum, rng, precision, positive=True) for _ in range(most + 2 + _SPARE)
    ]


def _names(stratum: Stratum, support: Sequence[int], sample: Sample) -> list[Symbol]:
    atoms = {stratum.functions[j].atom for j in support}
    return relevant(stratum, atoms, sample.symbols)


def _relation(
    model: Model,
    stratum: Stratum,
    support: tuple[int, ...],
    samples: Sequence[Sample],
    fresh: Sequence[Sample],
    precision: Precision,
) -> Relation | None:
    """Return a relation that holds at fresh parameters, or None if it does not."""
    coefficients: tuple[Monomial, ...] | None = None
    if samples or len(support) == 1:
        names = _names(stratum, support, fresh[0])
        coefficients = recognise(support, names, samples, precision)
    left = precision.zero
    if coefficients is not None:
        left = max(residual(support, coefficients, sample, precision.bits) for sample in fresh)
        if left > precision.zero / 2:
            coefficients = None
    if coefficients is not None:
        numbers = evaluate_coefficients(coefficients, fresh[0], precision.bits)
    else:
        vectors = [null_vector(s.values[:, list(support)], precision) for s in fresh]
        if vectors[0] is None or vectors[1] is None:
            return None
        numbers, left = vectors[0], precision.zero
    return Relation(
        tuple(stratum.functions[j] for j in support),
        coefficients,
        tuple(float(value) for value in numbers),
        left,
        stratum.name,
        "H" if model.gate == "softmax" else "F",
    )
