"""The public function: verdicts, users' experts, refusals, and the report."""

import json
import math
from dataclasses import replace

import mpmath
import pytest
import sympy
import torch

from sigmoe._base.errors import InputError
from sigmoe.moe import Architecture, register_expert
from sigmoe.moe._experts import EXPERTS
from sigmoe.theory import check_identifiability
from sigmoe.theory.identifiability._display import _row
from sigmoe.theory.identifiability._evaluate import Model
from sigmoe.theory.identifiability._experts import ridge_expert
from sigmoe.theory.identifiability._report import equations, legend, verdict
from sigmoe.theory.identifiability._strata import strata

ONE = Architecture(score="partial", dim=1)


def with_expert(function, q=2, library="sympy", condition="partial-weak", architecture=ONE):
    return check_identifiability(
        architecture, condition, expert=function, n_expert_parameters=q, library=library
    )


def written(stratum):
    return {relation.equation for relation in stratum.identities}


def bump(library):
    def gaussian_bump(x, eta):
        return eta[1] * library.exp(-((x[0] - eta[0]) ** 2))

    return gaussian_bump


@pytest.mark.parametrize(
    ("library", "module", "digits"),
    [("sympy", sympy, 60), ("mpmath", mpmath, 60), ("torch", torch, 15)],
)
def test_a_users_expert_gets_the_same_report_from_every_library(library, module, digits):
    report = with_expert(bump(module), library=library, condition="partial-strong")
    assert report.expert == "gaussian_bump"
    found = report.strata[0]
    assert (found.rank, found.n_functions, found.digits) == (10, 18, digits)
    assert found.float64_rank == 10
    assert "∂F/∂eta1 = eta2 ∂²F/∂eta1∂eta2" in written(found)
    assert "∂²F/∂eta2∂eta2 = 0" in written(found)
    assert (report.identifiable, report.generic) == (False, False)


def test_only_what_the_data_see_of_a_quotient_is_identifiable():
    report = with_expert(lambda x, eta: x[0] / (eta[0] * eta[1]))
    assert report.generic is False
    generic = next(s for s in report.strata if s.generic)
    assert written(generic) == {"∂F/∂eta1 = eta2/eta1 ∂F/∂eta2"}


@pytest.mark.parametrize(
    "kinked",
    [
        lambda x, eta: sympy.Max(0, eta[0] * x[0] + eta[1]),
        lambda x, eta: sympy.Abs(eta[0] * x[0] + eta[1]),
    ],
)
def test_kinks_have_derivatives_almost_everywhere(kinked):
    report = with_expert(kinked, condition="partial-strong")
    relations = written(report.strata[0])
    assert "∂²F/∂eta1∂eta1 = 0" in relations
    assert "∂F/∂A11 = eta1 ∂²F/∂A11∂eta1 + eta2 ∂²F/∂A11∂eta2" in relations


def test_the_precision_that_others_set_stays():
    mpmath.mp.dps = 21
    try:
        with_expert(bump(mpmath), library="mpmath")
        with_expert(bump(sympy))
        assert mpmath.mp.dps == 21
    finally:
        mpmath.mp.dps = 15


def test_float64_alone_may_leave_a_verdict_open():
    register_expert("sine", torch.sin, torch.cos, lambda z: -torch.sin(z))
    try:
        report = check_identifiability(
            Architecture(score="linear", expert="sine", dim=1), "weak", n_atoms=4
        )
    finally:
        EXPERTS.unregister("sine")
    constant = next(s for s in report.strata if s.name == "constant gates")
    assert constant.digits == 15
    assert constant.independent is None
    assert constant.essential is None
    assert "not decided in float64" in report.summary


@pytest.mark.parametrize(
    ("found", "wanted"),
    [([], True), ([True, None], None), ([True, True], True), ([None, False, True], False)],
)
def test_verdicts_combine(found, wanted):
    assert verdict(found) is wanted


@pytest.mark.parametrize(
    ("parts", "arguments", "message"),
    [
        (
            {},
            {"condition": "partial-strong"},
            "condition must be one for the score 'full'; got 'partial-strong'. "
            "Choose 'strong' or 'weak'.",
        ),
        (
            {"score": "partial"},
            {"condition": "weak"},
            "condition must be one for the score 'partial'; got 'weak'. "
            "Choose 'partial-strong' or 'partial-weak'.",
        ),
        (
            {},
            {"condition": "firm"},
            "condition must be one of 'strong', 'weak', 'partial-strong', 'partial-weak'; got "
            "'firm'. Choose one of Definitions 1-4.",
        ),
        (
            {"dim": 8},
            {},
            "dim must be small enough for a family of at most 500 functions; got 8. This one has "
            "2968; dimension 2 shows all kinds of relations.",
        ),
        (
            {"n_outputs": 2},
            {},
            "n_outputs must be None or 1 for this check; got 2. The definitions are for a scalar "
            "response; columns of the response are alike.",
        ),
        (
            {},
            {"n_atoms": 1},
            "n_atoms must be an integer >= 2; got 1. Take 2 or more; most strata compare atoms.",
        ),
        (
            {"dim": 10**20},
            {},
            "dim must be small enough for a family of at most 500 functions; got "
            "100000000000000000000. Dimension 2 shows all kinds of relations.",
        ),
        (
            {"dim": 1},
            {"n_atoms": 10**9},
            "n_atoms must be small enough for a family of at most 500 functions; got 1000000000. "
            "This one has 14000000000; 2 atoms show all kinds of relations.",
        ),
        (
            {},
            {"extended": "yes"},
            "extended must be True or False; got 'yes'. Say whether to add strata.",
        ),
        (
            {},
            {"n_expert_parameters": 3},
            "expert must be given with n_expert_parameters; got None. Pass the function as "
            "expert=, or leave n_expert_parameters out.",
        ),
        (
            {"expert": "polynomial:1000000"},
            {},
            "expert must be 'polynomial:P' with P <= 30 for this check; got "
            "'polynomial:1000000'. Take a smaller degree.",
        ),
        (
            {},
            {"expert": 3},
            "expert must be a function E(x, eta); got 3. Pass a callable.",
        ),
        (
            {},
            {"expert": max},
            "n_expert_parameters must be an integer >= 1 and <= 30; got None. Say how many entries "
            "eta has for your expert.",
        ),
        (
            {},
            {"expert": max, "n_expert_parameters": 2, "library": "numpy"},
            "library must be one of 'sympy', 'mpmath', 'torch'; got 'numpy'. Name what the "
            "function is written with.",
        ),
    ],
)
def test_refusals(parts, arguments, message):
    architecture = Architecture(**{"dim": 2, **parts})
    with pytest.raises(InputError) as caught:
        check_identifiability(architecture, **arguments)
    assert str(caught.value) == message


def test_what_is_no_architecture_is_refused():
    with pytest.raises(InputError) as caught:
        check_identifiability("sigmoid")
    assert str(caught.value) == (
        "architecture must be an Architecture; got 'sigmoid'. "
        "Write Architecture(gate=..., dim=...)."
    )


def test_the_sizes_that_are_refused_are_those_of_the_families():
    for score, condition, extended in (
        ("full", "strong", False),
        ("partial", "partial-weak", True),
        ("linear", "weak", False),
    ):
        architecture = Architecture(score=score, expert="linear", dim=1)
        report = check_identifiability(architecture, condition, extended=extended)
        largest = max(s.n_functions for s in report.strata)
        variables = {"full": 4, "partial": 3, "linear": 3}[score]
        count = variables + extended
        wanted = 2 * (count + count * (count + 1) // 2)
        assert largest == (wanted if condition == "strong" or extended else 2 * (variables + 1))


def test_the_report_reads_and_serialises():
    report = check_identifiability(Architecture(expert="relu", dim=1), "weak")
    lines = report.summary.splitlines()
    assert lines[:3] == [
        "weak identifiability: sigmoid gates, full score, relu experts, d = 1",
        "as the definition reads (any distinct parameters): fails",
        "for generic parameters, trivial relations left out: holds",
    ]
    assert "generic atoms, first order: all 10 independent" in lines
    assert "  ∂F1/∂c = ∂F2/∂c" in lines
    stored = json.loads(json.dumps(report.as_dict()))
    assert stored["strata"][0]["rank"] == 10
    assert stored["strata"][0]["gap"][0] is None
    equations = [r["equation"] for s in stored["strata"] for r in s["identities"]]
    assert len(equations) == len(report.identities)
    kinds = [(r.trivial, len(r.functions)) for r in report.identities]
    assert kinds == sorted(kinds)


def test_extended_strata_do_not_decide_verdicts():
    architecture = Architecture(expert="gelu", score="partial", dim=1)
    plain = check_identifiability(architecture, "partial-weak")
    extended = check_identifiability(architecture, "partial-weak", extended=True)
    assert plain.generic is extended.generic is True
    assert [s.extended for s in extended.strata] == [False] * len(plain.strata) + [True]


def test_the_report_says_what_the_verdict_leaves_out():
    report = check_identifiability(
        Architecture(gate="softmax", score="partial", expert="linear", dim=1), "partial-strong"
    )
    assert report.generic is True
    assert report.verdicts[1].endswith("left out: holds (9 second derivatives that vanish)")


def test_relations_too_long_to_write_are_verified_and_counted():
    report = check_identifiability(Architecture(expert="scaled-gelu", dim=1), "strong")
    found = report.strata[0]
    # GELU: (2 - z^2)(z phi' - phi) = z^2 phi'', ten functions of each atom.
    assert (found.n_unwritten, found.longer) == (2, (10, 10))
    assert "  and 2 relations between 10 functions" in report.summary.splitlines()
    assert report.as_dict()["strata"][0]["longer"] == [10, 10]


def test_equations_of_one_special_atom_say_so_and_signs_are_explained():
    report = check_identifiability(Architecture(expert="linear", score="linear", dim=1), "strong")
    special = next(s for s in report.strata if s.name == "c = 0 in one atom")
    assert "∂²F/∂b1∂b1 = 0   [trivial; of atom 1]" in equations(special)
    assert report.summary.splitlines()[-2:] == [
        "F1 and F2 are the terms of two atoms, and alpha1^(2) is alpha1 of the second.",
        "det(u, v) = u^(1) v^(2) - v^(1) u^(2).",
    ]
    assert legend(["∂F/∂c = 0"]) == []


def test_the_table_tells_no_zeros_from_exact_ones():
    report = check_identifiability(
        Architecture(expert="gelu", score="partial", dim=1), "partial-weak"
    )
    rows = {s.name: _row(s) for s in report.strata}
    assert rows["generic atoms"][5] == "none"
    # Multiples of a function are zeros, too, and are not exact in many digits.
    assert rows["constant gates that differ in c alone"][5].startswith("1e-")
    empty = replace(report.strata[0], rank=0, gap=(-math.inf, math.inf))
    assert _row(empty)[5:7] == ("exact", "none")


def test_only_experts_that_are_proportional_are_called_so():
    for expert, wanted in (("relu", "experts"), ("tanh", "alpha and beta")):
        model = Model("sigmoid", "full", 1, ridge_expert(expert, 1))
        names = [s.name for s in strata(model, "weak", 2, extended=False)]
        assert names[-2:] == [f"proportional {wanted}", f"proportional {wanted}, equal gates"]
    homogeneous = ("linear", "relu", "polynomial:3", "scaled-gelu")
    assert all(ridge_expert(name, 1).homogeneous for name in homogeneous)
    assert not any(ridge_expert(name, 1).homogeneous for name in ("gelu", "tanh"))
