"""Relations are believed only where they hold; ranks do not depend on order or scale."""

from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from sigmoe.theory.identifiability import _analyse
from sigmoe.theory.identifiability._analyse import _relation, _sample, analyse
from sigmoe.theory.identifiability._evaluate import Model, draw_inputs
from sigmoe.theory.identifiability._experts import RidgeExpert, ridge_expert
from sigmoe.theory.identifiability._fixed import precise
from sigmoe.theory.identifiability._functions import Function
from sigmoe.theory.identifiability._recognise import recognise, residual
from sigmoe.theory.identifiability._reduce import reduce_family
from sigmoe.theory.identifiability._relations import Monomial, Relation, Symbol, monomial
from sigmoe.theory.identifiability._strata import crowding, draw_atoms, strata

SIXTY = precise(60)
MODEL = Model("sigmoid", "full", 1, ridge_expert("tanh", 1))
STRONG = strata(MODEL, "strong", 2, extended=False)[0]
C = [Symbol(0, "σ(c", ")"), Symbol(0, "σ'(c", ")"), Symbol(0, "σ''(c", ")")]


def place(text):
    """Return where a function of the first atom stands in the family."""
    (found,) = (
        k for k, f in enumerate(STRONG.functions) if f.atom == 0 and f.text("F", False) == text
    )
    return found


def sample(seed, positive=False):
    return _sample(MODEL, STRONG, np.random.default_rng(seed), SIXTY, positive=positive)


PAIR = (place("∂F/∂A11"), place("∂²F/∂b1∂b1"))
RIGHT = (monomial(Fraction(1), {C[2]: 1}), monomial(Fraction(-1), {C[1]: 1}))


def test_a_right_relation_passes_and_its_neighbours_do_not():
    assert residual(PAIR, RIGHT, sample(5), SIXTY.bits) < -55
    wrong = [
        (RIGHT[0], monomial(Fraction(1), {C[1]: 1})),
        (RIGHT[0], monomial(Fraction(-1000, 1001), {C[1]: 1})),
        (RIGHT[0], monomial(Fraction(-1), {C[0]: 1})),
    ]
    for coefficients in wrong:
        assert residual(PAIR, coefficients, sample(5), SIXTY.bits) > -5


def test_coefficients_are_recognised_from_samples():
    samples = [sample(k, positive=True) for k in range(6)]
    found = recognise(PAIR, C, samples, SIXTY)
    assert found is not None
    assert found[0].over(found[1]) == RIGHT[0].over(RIGHT[1])


def test_samples_that_tell_functions_not_apart_are_passed_over():
    samples = [sample(k, positive=True) for k in range(6)]
    blind = replace(samples[0], values=np.repeat(samples[0].values[:1], 9, axis=0))
    three = (*PAIR, place("∂²F/∂A11∂beta"))
    assert (
        recognise(PAIR, C, [replace(blind, values=blind.values * 0), *samples], SIXTY) is not None
    )
    assert recognise(three, C, [blind, *samples], SIXTY) is None
    assert recognise(PAIR, C, samples[:4], SIXTY) is None


def test_wrong_coefficients_are_replaced_by_numbers(monkeypatch):
    monkeypatch.setattr(
        _analyse, "recognise", lambda *_: (RIGHT[0], monomial(Fraction(-2), {C[1]: 1}))
    )
    samples, fresh = [sample(0, positive=True)], [sample(8), sample(9)]
    relation = _relation(MODEL, STRONG, PAIR, samples, fresh, SIXTY)
    assert relation is not None
    assert not relation.recognised
    assert not relation.trivial
    slope, curvature = (float(fresh[0].symbols[symbol]) for symbol in C[1:])
    assert relation.numbers[0] / relation.numbers[1] == pytest.approx(-curvature / slope)


@pytest.mark.parametrize("other", ["∂F/∂b1", "∂²F/∂alpha1∂beta"])
def test_functions_that_are_independent_make_no_relation(other):
    samples = [sample(k, positive=True) for k in range(12)]
    pair = (PAIR[0], place(other))
    assert _relation(MODEL, STRONG, pair, samples, [sample(20), sample(21)], SIXTY) is None


def test_a_relation_with_a_needless_function_is_none():
    samples = [sample(k, positive=True) for k in range(12)]
    three = (*PAIR, place("∂F/∂beta"))
    assert _relation(MODEL, STRONG, three, samples, [sample(20), sample(21)], SIXTY) is None


def test_a_function_that_does_not_vanish_is_not_said_to():
    fresh = [sample(20), sample(21)]
    assert _relation(MODEL, STRONG, (PAIR[0],), [], fresh, SIXTY) is None


def rank(stratum, atoms, X):
    _, _, found = reduce_family(MODEL, stratum.functions, atoms, X)
    return len(found.elimination.pivots)


def test_ranks_do_not_depend_on_the_order_of_atoms_or_functions_or_on_scale():
    rng = np.random.default_rng(4)
    atoms = draw_atoms(MODEL, STRONG, 2, rng, positive=False)
    X = draw_inputs(1, 90, rng)
    first = rank(STRONG, atoms, X)
    assert first == 22
    assert rank(STRONG, atoms[::-1], X) == first
    order = rng.permutation(len(STRONG.functions))
    shuffled = replace(STRONG, functions=tuple(STRONG.functions[k] for k in order))
    assert rank(shuffled, atoms, X) == first
    assert rank(STRONG, atoms, [tuple(v / 2 for v in x) for x in X]) == first
    assert rank(STRONG, atoms, X[::-1]) == first
    scaled = [replace(a, eta=tuple(3 * v for v in a.eta)) for a in atoms]
    assert rank(STRONG, scaled, X) == first


def test_the_same_seed_gives_the_same_report():
    found = [analyse(MODEL, STRONG, np.random.SeedSequence(3)) for _ in range(2)]
    assert found[0] == found[1]


def test_atoms_in_one_dimension_are_drawn_however_many_there_are():
    model = Model("sigmoid", "linear", 1, ridge_expert("relu", 1))
    stratum = strata(model, "weak", 12, extended=False)[0]
    for positive in (True, False):
        rng = np.random.default_rng(0)
        atoms = draw_atoms(model, stratum, 12, rng, positive=positive)
        kinks = sorted(-atom.eta[1] / atom.eta[0] for atom in atoms)
        assert min(b - a for a, b in pairwise(kinks)) > Fraction(1, 8) / crowding(12)
    assert [crowding(n) for n in (2, 3, 6)] == [1, 1, 4]


def test_a_small_expert_does_not_vanish():
    @dataclass(frozen=True)
    class Small(RidgeExpert):
        def table(self, X, eta, bits, order):
            found = super().table(X, eta, bits + 150, order)
            return {places: values >> 300 for places, values in found.items()}

    large = ridge_expert("scaled-gelu", 1)
    small = Model("sigmoid", "full", 1, Small(large.name, 1, large.expert, large.phi))
    case = strata(small, "weak", 2, extended=False)[1]
    found = analyse(small, case, np.random.SeedSequence(0))
    assert (found.rank, found.n_functions) == (10, 12)
    assert found.digits == 240
    assert [len(r.functions) for r in found.identities] == [2, 2]


def terms(*names):
    return tuple(STRONG.functions[place(name)] for name in names)


def relation(names, coefficients, **changes):
    numbers = (1.0,) * len(names)
    return Relation(terms(*names), coefficients, numbers, -50.0, "s", **changes)


def test_equations_are_solved_for_the_function_that_leaves_no_division():
    one, beta = Monomial(Fraction(1)), monomial(Fraction(-1), {Symbol(0, "beta"): 1})
    names = ("∂F/∂A11", "∂²F/∂A11∂beta")
    assert relation(names, (one, beta)).equation == "∂F/∂A11 = beta ∂²F/∂A11∂beta"
    assert relation(names, (beta, one)).equation == "∂²F/∂A11∂beta = beta ∂F/∂A11"
    assert relation(names, (one, one)).equation == "∂²F/∂A11∂beta = -∂F/∂A11"
    half = Monomial(Fraction(-1, 2))
    assert relation(names, (half, one)).equation == "∂²F/∂A11∂beta = 1/2 ∂F/∂A11"
    assert relation(names[:1], (one,)).equation == "∂F/∂A11 = 0"


def test_unknown_coefficients_have_names_and_no_numbers_that_change_with_the_seed():
    found = relation(("∂F/∂A11", "∂F/∂b1", "∂F/∂beta"), None)
    found = replace(found, numbers=(0.5, -2.0, 1.0))
    assert found.equation == "∂F/∂beta = k1 ∂F/∂A11 + k2 ∂F/∂b1"


def test_trivial_relations_are_within_the_same_blocks():
    one, c = Monomial(Fraction(1)), monomial(Fraction(1), {C[0]: 1})
    twice = ("∂²F/∂alpha1∂alpha1", "∂²F/∂alpha1∂alpha1")
    assert relation(twice, (one, one)).trivial
    assert not relation(twice, (one, c)).trivial
    assert not relation(("∂²F/∂A11∂beta", "∂²F/∂b1∂alpha1"), (one, one)).trivial
    assert relation(("∂²F/∂A11∂beta",), (one,)).trivial
    # A parameter that F does not show is not a trivial matter.
    assert not relation(("∂F/∂beta",), (one,)).trivial
    first = terms("∂F/∂A11")[0]
    apart = (first, Function(1, first.derivative))
    assert not Relation(apart, (one, one), (1.0, 1.0), -50.0, "s").trivial


@pytest.mark.parametrize(
    ("number", "powers", "text"),
    [
        (1, {}, ""),
        (-3, {}, "3"),
        (Fraction(1, 2), {}, "1/2"),
        (2, {C[2]: 1, C[1]: -1}, "2 σ''(c)/σ'(c)"),
        (Fraction(1, 2), {C[2]: 1, C[1]: -1}, "σ''(c)/(2 σ'(c))"),
        (1, {Symbol(0, "beta"): 2}, "beta^2"),
        (1, {Symbol(-1, "det(alpha1, beta)"): -1}, "1/det(alpha1, beta)"),
    ],
)
def test_coefficients_as_text(number, powers, text):
    assert monomial(Fraction(number), powers).text(False) == text


def test_symbols_of_several_atoms_are_marked():
    assert monomial(Fraction(1), {C[1]: 1, Symbol(1, "beta"): -1}).text(True) == "σ'(c1)/beta^(2)"
