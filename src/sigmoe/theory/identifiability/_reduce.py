"""A family of functions by its values: what vanishes, what occurs twice, what else is dependent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sigmoe.theory.identifiability._circuits import sparse_supports
from sigmoe.theory.identifiability._evaluate import Atom, Inputs, Model, evaluate
from sigmoe.theory.identifiability._fixed import (
    DIGIT,
    Elimination,
    Integers,
    Precision,
    as_float,
    eliminate,
    exponent,
    precise,
    scale_columns,
)
from sigmoe.theory.identifiability._functions import Function

#: Digits that are tried in turn until zeros and independence lie apart.
_DIGITS = (60, 120, 240, 480)

#: Reading of pivots for functions that are known in float64 alone.
_FLOAT64 = Precision(60, zero=-13.0, independent=-8.0)


@dataclass(frozen=True)
class Reduced:
    """A family without vanishing functions and multiples, and what elimination says of the rest.

    Attributes
    ----------
    vanishing : list of int
        Positions of the functions that vanish, beside the largest of the family.
    multiples : list of (int, int)
        A function and a later one that is a multiple of it.
    kept : list of int
        The others.
    elimination : Elimination
        Of those kept.
    largest_zero : float
        Decimal exponent of the largest number that was taken as zero; -inf if exact or none.
    clear : bool
        Whether the precision is enough: for the pivots, and for the functions' own sizes.
    """

    vanishing: list[int]
    multiples: list[tuple[int, int]]
    kept: list[int]
    elimination: Elimination
    largest_zero: float
    clear: bool


def reduce_family(
    model: Model, functions: Sequence[Function], atoms: Sequence[Atom], X: Inputs
) -> tuple[Integers, Precision, Reduced]:
    """Return the scaled values and what is independent, at the first precision that is clear."""
    precisions = [precise(digits) for digits in _DIGITS]
    if model.expert.digits is not None:
        precisions = [_FLOAT64]
    for precision in precisions:
        raw = evaluate(model, functions, atoms, X, precision.bits)
        scaled, found = _reduced(raw, precision)
        if found.clear:
            break
    return scaled, precision, found


def _reduced(raw: Integers, precision: Precision) -> tuple[Integers, Reduced]:
    scaled, tops = scale_columns(raw, precision.bits)
    sizes = [exponent(top, precision.bits) for top in tops]
    # Beside the largest: the scale of an expert makes no function vanish.
    limit = precision.zero + max(sizes) if any(tops) else np.inf
    vanishing = [j for j, size in enumerate(sizes) if size < limit]
    zeros = [sizes[j] - max(sizes) for j in vanishing if tops[j]]
    scaled[:, vanishing] = 0
    rest = [j for j in range(len(tops)) if j not in vanishing]
    multiples, differences = _multiples(scaled, rest, precision)
    doubles = {later for _, later in multiples}
    kept = [j for j in rest if j not in doubles]
    elimination = eliminate(scaled[:, kept], precision)
    largest_zero = max([*zeros, *differences, elimination.largest_zero])
    # A function that is small beside the last digit is blurred by it once it is scaled.
    smallest = min((sizes[j] for j in rest), default=-np.inf)
    clear = elimination.clear and smallest > -(precision.digits + precision.zero)
    return scaled, Reduced(vanishing, multiples, kept, elimination, largest_zero, clear)


def _multiples(
    scaled: Integers, columns: Sequence[int], precision: Precision
) -> tuple[list[tuple[int, int]], list[float]]:
    """Return (first, later) for each column that is a multiple of an earlier one.

    Columns are scaled alike: to the value 1 where they are largest. The second list has the
    decimal exponents of what the two differ by.
    """
    tolerance = int(2.0 ** (DIGIT * (precision.digits + precision.zero)))
    firsts: list[int] = []
    found, differences = [], []
    for j in columns:
        for first in firsts:
            if abs(int(scaled[0, j] - scaled[0, first])) > tolerance:
                continue
            difference = int(np.max(np.abs(scaled[:, j] - scaled[:, first])))
            if difference <= tolerance:
                found.append((first, j))
                differences.append(exponent(difference, precision.bits))
                break
        else:
            firsts.append(j)
    return found, differences


def supports_of(
    functions: Sequence[Function], found: Reduced, precision: Precision
) -> list[tuple[int, ...]]:
    """Return the supports of independent relations, as many as there are.

    Relations are looked for in orders that are always the same, so that those found do not depend
    on the draws of parameters and inputs.
    """
    null = as_float(found.elimination.null, precision.bits)
    null[np.abs(null) < 10.0 ** (precision.zero / 2)] = 0.0
    groups = [functions[j].atom for j in found.kept]
    longer = sparse_supports(null, groups, np.random.default_rng(0))
    return [
        *((j,) for j in found.vanishing),
        *found.multiples,
        *(tuple(found.kept[j] for j in support) for support in longer),
    ]
