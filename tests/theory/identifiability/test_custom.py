"""Users' experts: what goes wrong in them is refused in one line, and never looks independent."""

import math

import mpmath
import pytest
import sympy
import torch

from sigmoe._base.errors import InputError
from sigmoe.moe import Architecture
from sigmoe.theory import check_identifiability
from sigmoe.theory.identifiability._custom import custom_expert

ONE = Architecture(score="partial", dim=1)


def check(function, library="sympy"):
    return check_identifiability(
        ONE, "partial-weak", expert=function, n_expert_parameters=2, library=library
    )


VALUES = "whose value is one finite real number, for entries of eta of both signs; got "


@pytest.mark.parametrize(
    ("library", "function", "complaint"),
    [
        ("sympy", lambda _, __: sympy.nan, "ValueError: the value nan is not finite"),
        ("sympy", lambda x, eta: eta[0] / (x[0] * 0), "KeyError: 'ComplexInfinity'"),
        ("sympy", lambda x, eta: sympy.log(eta[0]) * x[0], "TypeError: cannot create mpf from mpc"),
        ("sympy", lambda _, eta: eta[5], "IndexError: tuple index out of range"),
        ("sympy", lambda _, eta: torch.tanh(eta[0]), "TypeError: tanh(): argument 'input'"),
        ("mpmath", lambda _, __: mpmath.nan, "ValueError: the value nan is not finite"),
        ("mpmath", lambda _, __: [1, 2], "TypeError: cannot create mpf from [1, 2]"),
        ("torch", lambda _, eta: eta[0] * math.nan, "ValueError: cannot convert NaN"),
        ("torch", lambda x, eta: (eta[0] * x[0]).float(), "the value has dtype torch.float32"),
        ("torch", lambda x, eta: eta[:1] * x, "Expected f(*args) to return a scalar"),
        ("torch", lambda x, eta: x[:, 0] * eta[0], "IndexError: too many indices"),
        ("torch", lambda x, eta: eta[0] if x[0] > 0 else eta[1], "RuntimeError: vmap"),
        ("torch", lambda _, __: 1.0, "must only return Tensors"),
    ],
)
def test_functions_without_a_value_are_refused(library, function, complaint):
    with pytest.raises(InputError) as caught:
        check(function, library)
    message = str(caught.value)
    assert message.startswith("expert must be a function E(x, eta) of ")
    assert VALUES in message
    assert complaint in message
    assert message.endswith("Check library=, and write exp(eta) for a parameter that is positive.")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("library", "function", "place"),
    [
        ("mpmath", lambda x, eta: eta[0] * math.tanh(eta[1] * x[0]), 1),
        ("torch", lambda x, eta: (eta[0] * torch.tanh(eta[1] * x[0])).float().double(), 0),
        ("torch", lambda x, eta: eta[0].detach() * x[0] + eta[1], 0),
        ("torch", lambda x, eta: eta[0] + eta[1].item() * x[0], 1),
    ],
)
def test_functions_with_less_digits_inside_are_refused(library, function, place):
    with pytest.raises(InputError) as caught:
        check(function, library)
    message = str(caught.value)
    assert message.startswith("expert must be a function that computes with ")
    assert f"The derivative in eta[{place}] is off by " in message
    assert message.endswith(
        "use the functions of library=, and no float(), float32, NumPy or detach() in between."
    )


@pytest.mark.parametrize(
    ("library", "function"),
    [
        ("sympy", lambda x, eta: sympy.Max(0, eta[0] * x[0] + eta[1])),
        ("mpmath", lambda x, eta: max(0, eta[0] * x[0] + eta[1])),
        ("torch", lambda x, eta: torch.relu(eta[0] * x[0] + eta[1])),
    ],
)
def test_kinks_are_no_reason_to_refuse(library, function):
    assert custom_expert(function, 1, 2, library).n_parameters == 2


@pytest.mark.parametrize(
    "function", [lambda x, __: x[0] ** 2, lambda _, __: 3, lambda x, __: sympy.Max(0, x[0] - 5)]
)
def test_parameters_that_the_expert_does_not_show_are_not_identifiable(function):
    report = check(function)
    assert (report.identifiable, report.generic) == (False, False)
    generic = next(s for s in report.strata if s.generic)
    hidden = {r.equation: r.trivial for r in generic.identities}
    assert hidden["∂F/∂eta1 = 0"] is hidden["∂F/∂eta2 = 0"] is False


@pytest.mark.parametrize("scale", ["1", "1e-40", "1e30"])
def test_the_scale_of_an_expert_does_not_matter(scale):
    factor = sympy.Float(scale, 60)
    report = check(lambda x, eta: factor * eta[0] * sympy.exp(eta[1] * x[0]))
    ranks = {s.name: s.rank for s in report.strata}
    assert ranks["generic atoms"] == 8
    assert ranks["constant gates"] == 6
    assert (report.identifiable, report.generic) == (False, True)


def test_the_scale_of_an_expert_does_not_matter_in_float64():
    report = check(lambda x, eta: 1e-20 * eta[0] * torch.exp(eta[1] * x[0]), "torch")
    ranks = {s.name: s.rank for s in report.strata}
    assert (ranks["generic atoms"], ranks["constant gates"]) == (8, 6)


def test_a_text_is_not_run():
    with pytest.raises(InputError) as caught:
        check(lambda _, __: "x1 * eta1")
    assert "got 'TypeError: the value is a text'." in str(caught.value)


@pytest.mark.parametrize(("library", "module"), [("sympy", sympy), ("mpmath", mpmath)])
def test_values_that_float64_does_not_hold_are_refused(library, module):
    with pytest.raises(InputError) as caught:
        check(lambda x, eta: module.exp(module.exp(10 + eta[0] * x[0])), library)
    assert str(caught.value) == (
        "expert must be a function E(x, eta) of values below 1e+100 at inputs in [-1, 1]; got "
        "'<lambda>'. Divide it by its size."
    )
