"""Equations with known answers: eq. (8), constant gates, homogeneity, closed forms in d = 1."""

from functools import cache

import numpy as np
import pytest

from sigmoe.moe import Architecture
from sigmoe.theory import check_identifiability
from sigmoe.theory.identifiability import _analyse
from sigmoe.theory.identifiability._analyse import analyse
from sigmoe.theory.identifiability._evaluate import Model
from sigmoe.theory.identifiability._experts import ridge_expert
from sigmoe.theory.identifiability._strata import strata

SMOOTH = ("gelu", "tanh", "polynomial:2")


def stratum(report, name, at):
    (found,) = (s for s in report.strata if s.name == name and s.at == at)
    return found


def written(found):
    return {relation.equation for relation in found.identities}


@cache
def check(condition, extended=False, **parts):
    return check_identifiability(Architecture(**parts), condition, extended=extended)


CONSTANT = "second order at constant gates"


@pytest.mark.parametrize("expert", ["polynomial:1", "relu"])
def test_all_of_equation_8_is_found_with_derivatives_in_c(expert):
    report = check("weak", extended=True, expert=expert, dim=2)
    relations = written(stratum(report, "generic atoms, with c", "second order"))
    for u in (1, 2):
        assert f"∂²F/∂A{u}{u}∂c = ∂²F/∂b{u}∂b{u}" in relations
        assert f"∂²F/∂b{u}∂beta = ∂²F/∂c∂alpha{u}" in relations
        assert f"∂²F/∂A{u}{u}∂beta = ∂²F/∂b{u}∂alpha{u}" in relations
    # Off the diagonal dF/dA12 counts x1 x2 twice.
    assert "∂²F/∂A12∂c = 2 ∂²F/∂b1∂b2" in relations
    assert "∂²F/∂A12∂beta = 2 ∂²F/∂b1∂alpha2" in relations
    assert "∂²F/∂A12∂beta = 2 ∂²F/∂b2∂alpha1" in relations
    names = {r.known_as for r in report.identities}
    assert names == {"", "eq. (8), first", "eq. (8), second", "eq. (8), third"}


def test_the_linear_family_has_no_further_kinds_of_relations():
    report = check("weak", extended=True, expert="polynomial:1", dim=2)
    found = stratum(report, "generic atoms, with c", "second order")
    essential = {r.pattern for r in found.identities if not r.trivial}
    euler = {
        "A, A alpha, A beta",
        "b, A beta, b beta",
        "c, b beta, c beta",
    }
    eight = {"A c, b b", "A beta, b alpha", "b beta, c alpha"}
    assert {", ".join(sorted(p.split(", "))) for p in essential} == {
        ", ".join(sorted(p.split(", "))) for p in euler | eight
    }
    # A: 3 coordinates, b: 2, c, alpha: 2, beta; only s', s'' times polynomials times alpha'x+beta.
    assert (found.rank, found.n_functions) == (56, 108)
    assert found.n_unwritten == 0


@pytest.mark.parametrize("expert", ["relu", "gelu", "tanh", "polynomial:2", "linear"])
def test_a_constant_gate_ties_curvature_in_b_to_the_slope_in_A(expert):
    report = check("strong", expert=expert, dim=1)
    generic = stratum(report, "generic c and eta", CONSTANT)
    if expert == "linear":
        generic = stratum(report, "equal experts, different c", CONSTANT)
    relations = written(generic)
    assert "∂²F/∂b1∂b1 = σ''(c)/σ'(c) ∂F/∂A11" in relations
    assert report.generic is False
    assert "∂²F/∂A11∂beta = ∂²F/∂b1∂alpha1" in relations


def test_the_factor_of_a_symmetric_matrix_off_the_diagonal():
    report = check("strong", expert="tanh", dim=2)
    relations = written(stratum(report, "generic c and eta", CONSTANT))
    assert "∂²F/∂b2∂b2 = σ''(c)/σ'(c) ∂F/∂A22" in relations
    assert "∂²F/∂b1∂b2 = σ''(c)/(2 σ'(c)) ∂F/∂A12" in relations
    assert "∂²F/∂A12∂A12 = 4 ∂²F/∂A11∂A22" in relations


def test_at_c_zero_the_second_derivative_of_the_gate_vanishes():
    report = check("strong", expert="gelu", dim=1)
    found = stratum(report, "c = 0 in one atom", CONSTANT)
    vanishing = {r.functions[0] for r in found.identities if len(r.functions) == 1}
    assert {f.atom for f in vanishing} == {0}
    assert {f.blocks for f in vanishing} == {("A", "A"), ("A", "b"), ("b", "b")}
    assert "∂²F/∂b1∂beta = 1/2 ∂F/∂alpha1" in written(found)


def test_the_partial_score_has_no_relation_for_smooth_experts_in_one_dimension():
    report = check("partial-strong", expert="gelu", score="partial", dim=1)
    found = stratum(report, "generic c and eta", CONSTANT)
    assert found.independent is True
    assert found.rank == found.n_functions == 2 * (3 + 6)
    assert report.generic is True
    assert report.identifiable is False


def test_rectifiers_are_homogeneous():
    report = check("partial-strong", expert="relu", score="partial", dim=2)
    found = stratum(report, "generic c and eta", CONSTANT)
    euler = "∂F/∂A11 = alpha1 ∂²F/∂A11∂alpha1 + alpha2 ∂²F/∂A11∂alpha2 + beta ∂²F/∂A11∂beta"
    assert euler in written(found)
    vanishing = [r for r in found.identities if len(r.functions) == 1]
    # Second derivatives in (alpha, beta) vanish almost everywhere: 6 for each atom.
    assert len(vanishing) == 12
    assert all(r.trivial for r in vanishing)
    assert report.generic is False


def test_a_scaled_rectifier_trades_its_scale_for_alpha_and_beta():
    report = check("weak", expert="scaled-relu", dim=1)
    found = stratum(report, "generic atoms", "first order")
    (relation, _) = found.identities
    assert relation.equation == "∂F/∂alpha1 = -beta/alpha1 ∂F/∂beta + lambda/alpha1 ∂F/∂lambda"
    assert report.generic is False


@pytest.mark.parametrize("expert", ["scaled-gelu", "scaled-relu"])
def test_a_scale_makes_second_derivatives_multiples_of_first_ones(expert):
    report = check("partial-strong", expert=expert, score="partial", dim=1)
    relations = written(stratum(report, "generic c and eta", CONSTANT))
    assert "∂F/∂alpha1 = lambda ∂²F/∂alpha1∂lambda" in relations
    assert "∂F/∂A11 = lambda ∂²F/∂A11∂lambda" in relations
    assert "∂²F/∂lambda∂lambda = 0" in relations
    assert report.generic is False


@pytest.mark.parametrize("expert", ["relu", "gelu", "tanh", "polynomial:2", "scaled-gelu"])
def test_every_definition_fails_for_constant_gates_that_differ_in_c_alone(expert):
    report = check("weak", expert=expert, dim=1)
    found = stratum(report, "constant gates that differ in c alone", "first order")
    assert "∂F1/∂beta = σ(c1)/σ(c2) ∂F2/∂beta" in written(found)
    assert "∂F1/∂A11 = σ'(c1)/σ'(c2) ∂F2/∂A11" in written(found)
    assert report.identifiable is False


@pytest.mark.parametrize("expert", ["relu", "gelu"])
def test_opposite_gates_share_their_slope(expert):
    found = stratum(
        check("weak", expert=expert, dim=1), "opposite gates, equal experts", "first order"
    )
    assert {"∂F1/∂A11 = ∂F2/∂A11", "∂F1/∂b1 = ∂F2/∂b1", "∂F1/∂c = ∂F2/∂c"} <= written(found)
    # The experts' derivatives stay apart: sigma(s) and sigma(-s) differ.
    assert len(found.identities) == 3
    assert not any(r.trivial for r in found.identities)


def test_two_linear_experts_of_constant_gates_in_closed_form():
    report = check("strong", expert="linear", score="linear", dim=1)
    relations = written(stratum(report, "generic c and eta", CONSTANT))
    assert "∂F1/∂alpha1 = σ(c1)/σ(c2) ∂F2/∂alpha1" in relations
    # x (alpha1 x + beta) of two atoms, solved for x: the determinant of their eta.
    assert (
        "∂F1/∂b1 = alpha1^(1) σ'(c1)/(alpha1^(2) σ'(c2)) ∂F2/∂b1"
        " - det(alpha1, beta) σ'(c1)/(σ(c1) alpha1^(2)) ∂F1/∂alpha1"
    ) in relations


def test_equal_gates_with_linear_experts_add_up():
    report = check("weak", expert="linear", dim=1)
    relations = written(stratum(report, "equal gates, different experts", "first order"))
    assert {"∂F1/∂alpha1 = ∂F2/∂alpha1", "∂F1/∂beta = ∂F2/∂beta"} <= relations
    assert stratum(report, "equal gates, different experts", "first order").essential


def test_a_polynomial_degree_two_is_homogeneous_of_degree_two():
    report = check("weak", extended=True, expert="polynomial:2", dim=1)
    relations = written(stratum(report, "generic atoms, with c", "second order"))
    assert "∂F/∂beta = alpha1 ∂²F/∂alpha1∂beta + beta ∂²F/∂beta∂beta" in relations
    assert "∂F/∂A11 = alpha1/2 ∂²F/∂A11∂alpha1 + beta/2 ∂²F/∂A11∂beta" in relations


def test_softmax_gates_have_equation_8_at_any_gates():
    report = check("strong", gate="softmax", expert="gelu", dim=1)
    relations = written(stratum(report, "generic atoms", "second order"))
    assert {"∂²H/∂b1∂b1 = ∂H/∂A11", "∂²H/∂b1∂beta = ∂H/∂alpha1"} <= relations
    assert report.generic is False
    partial = check("partial-strong", gate="softmax", score="partial", expert="gelu", dim=1)
    assert partial.generic is True


def test_softmax_first_order_is_independent_modulo_the_translation():
    report = check("weak", gate="softmax", expert="gelu", dim=2)
    found = stratum(report, "generic atoms", "first order")
    # Three atoms of 9 coordinates, less the translation of 6.
    assert found.rank == found.n_functions == 21
    assert (report.generic, report.identifiable) == (True, False)
    equal = stratum(report, "equal experts in all atoms", "first order")
    assert {r.equation for r in equal.identities} >= {"∂H/∂A11 = 0", "∂H/∂c = 0"}


def test_every_relation_holds_at_fresh_parameters():
    report = check("strong", expert="relu", dim=1)
    assert max(r.residual for r in report.identities) < -50


def test_float64_loses_what_more_digits_keep():
    report = check("strong", expert="tanh", dim=1)
    found = stratum(report, "generic c and eta", CONSTANT)
    assert found.rank == 22
    assert found.float64_rank < 22
    assert found.gap[0] < -45
    assert -25 < found.gap[1] < -12
    assert len(found.singular_values) == found.n_functions
    assert found.singular_values[0] == 1.0


def test_relations_of_too_few_inputs_are_not_believed(monkeypatch):
    few = _analyse.draw_inputs
    monkeypatch.setattr(
        _analyse, "draw_inputs", lambda d, n, rng: few(d, max(n // 5, 19) if n > 48 else n, rng)
    )
    report = check("weak", expert="tanh", dim=2)
    found = stratum(report, "generic atoms", "first order")
    assert found.rank == 18


@pytest.mark.parametrize(("expert", "dim", "seed"), [("relu", 1, 1), ("tanh", 1, 2)])
def test_ranks_do_not_depend_on_the_draws(expert, dim, seed):
    architecture = Architecture(expert=expert, score="partial", dim=dim)
    ranks = [
        [s.rank for s in check_identifiability(architecture, "partial-strong", seed=k).strata]
        for k in (0, seed)
    ]
    assert ranks[0] == ranks[1]
    sequence = np.random.SeedSequence(seed)
    again = check_identifiability(architecture, "partial-weak", seed=sequence)
    assert [s.rank for s in again.strata] == ranks[0][-len(again.strata) :]


@pytest.mark.parametrize("expert", ["linear", "polynomial:2"])
def test_equations_do_not_depend_on_the_draws(expert):
    model = Model("softmax", "full", 1, ridge_expert(expert, 1))
    case = next(
        s for s in strata(model, "weak", 3, extended=False) if s.name.startswith("equal A and b")
    )
    found = [analyse(model, case, np.random.SeedSequence(k)) for k in range(4)]
    written = [[r.equation for r in each.identities] for each in found]
    assert written[0]
    assert all(each == written[0] for each in written)


def test_two_softmax_atoms_that_differ_in_c_alone_are_proportional():
    report = check("weak", gate="softmax", expert="gelu", dim=1)
    found = stratum(report, "two atoms that differ in c alone", "first order")
    assert "∂H1/∂beta = exp(c1)/exp(c2) ∂H2/∂beta" in written(found)
    assert "∂H1/∂A11 = exp(c1)/exp(c2) ∂H2/∂A11" in written(found)


def test_softmax_atoms_of_one_gate_and_proportional_rectifiers_depend():
    report = check("weak", gate="softmax", expert="relu", dim=1)
    found = stratum(report, "proportional experts, equal A and b", "first order")
    assert "∂H1/∂beta = exp(c1)/exp(c2) ∂H2/∂beta" in written(found)
