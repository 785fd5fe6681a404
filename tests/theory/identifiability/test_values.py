"""The values of the families, against automatic differentiation."""

from fractions import Fraction
from itertools import combinations_with_replacement

import numpy as np
import pytest
import torch

from sigmoe.moe import register_expert
from sigmoe.moe._experts import EXPERTS
from sigmoe.theory.identifiability._evaluate import Atom, Model, draw_inputs, evaluate
from sigmoe.theory.identifiability._experts import ridge_expert
from sigmoe.theory.identifiability._fixed import as_float, precise
from sigmoe.theory.identifiability._functions import Function, derivatives, score_variables

PHI = {
    "linear": lambda z: z,
    "relu": torch.relu,
    "gelu": torch.nn.functional.gelu,
    "tanh": torch.tanh,
    "polynomial:1": lambda z: z,
    "polynomial:3": lambda z: z**3,
    "scaled-relu": torch.relu,
    "scaled-gelu": torch.nn.functional.gelu,
    "scaled-tanh": torch.tanh,
}


def some_atoms(dim, q, rng, n):
    def numbers(k):
        return tuple(Fraction(int(v), 64) for v in rng.integers(-64, 64, size=k))

    return [
        Atom(numbers(dim * (dim + 1) // 2), numbers(dim), numbers(1)[0], numbers(q))
        for _ in range(n)
    ]


def score_and_ridge(theta, x, model):
    """Return the score and the expert of one atom at one input, as the paper writes them."""
    d = model.dim
    k = d * (d + 1) // 2
    A = torch.zeros(d, d, dtype=torch.float64)
    rows, columns = torch.triu_indices(d, d)
    A = A.index_put((rows, columns), theta[:k])
    A = A + A.triu(1).T
    b, c, eta = theta[k : k + d], theta[k + d], theta[k + d + 1 :]
    score = c
    if model.score in ("full", "partial"):
        score = score + x @ A @ x
    if model.score in ("full", "linear"):
        score = score + b @ x
    scale = eta[d + 1] if model.expert.name.startswith("scaled") else 1.0
    return score, PHI[model.expert.name](eta[:d] @ x + eta[d]) * scale


def value(theta, x, model, prediction):
    score, ridge = score_and_ridge(theta, x, model)
    if model.gate == "sigmoid":
        return torch.sigmoid(score) * ridge
    return torch.exp(score) * (ridge - prediction)


def flat(atom):
    numbers = [*atom.A, *atom.b, atom.c, *atom.eta]
    return torch.tensor([float(v) for v in numbers], dtype=torch.float64)


@pytest.mark.parametrize("gate", ["sigmoid", "softmax"])
@pytest.mark.parametrize("score", ["full", "partial", "linear"])
@pytest.mark.parametrize("expert", PHI)
def test_derivatives_are_those_of_automatic_differentiation(gate, score, expert):
    dim, n = 2, 3
    model = Model(gate, score, dim, ridge_expert(expert, dim))
    rng = np.random.default_rng(0)
    atoms = some_atoms(dim, len(model.expert.variables), rng, 2)
    X = draw_inputs(dim, n, rng)
    variables = [*score_variables(score, dim, with_c=True), *model.expert.variables]
    listed = derivatives(variables, (1, 2))
    functions = [Function(atom, each) for atom in range(2) for each in listed]
    bits = precise(60).bits
    found = as_float(evaluate(model, functions, atoms, X, bits), bits)

    places = {(0, 0): 0, (0, 1): 1, (1, 1): 2}

    def place(variable):
        if variable.block == "A":
            return places[variable.index]
        if variable.block == "b":
            return 3 + variable.index[0]
        return 5 if variable.block == "c" else 6 + variable.place

    inputs = torch.tensor([[float(v) for v in x] for x in X], dtype=torch.float64)
    for row, x in zip(found, inputs, strict=True):
        scores, ridges = (
            torch.stack(part)
            for part in zip(*(score_and_ridge(flat(a), x, model) for a in atoms), strict=True)
        )
        prediction = torch.softmax(scores, 0) @ ridges
        for atom in range(2):
            theta = flat(atoms[atom])
            slope = torch.func.grad(value)(theta, x, model, prediction)
            curvature = torch.func.jacrev(torch.func.grad(value))(theta, x, model, prediction)
            for function, number in zip(functions, row, strict=True):
                if function.atom == atom:
                    at = tuple(place(v) for v in function.derivative)
                    wanted = slope[at] if len(at) == 1 else curvature[at]
                    assert number == pytest.approx(float(wanted), rel=1e-9, abs=1e-12), function


def test_a_registered_expert_is_known_in_float64_alone():
    register_expert("sine", torch.sin, torch.cos, lambda z: -torch.sin(z))
    try:
        expert = ridge_expert("sine", 1)
        assert expert.digits == 15
        bits = precise(60).bits
        table = expert.table([(Fraction(1, 2),)], (Fraction(1), Fraction(1, 4)), bits, 2)
        assert as_float(table[0, 1], bits) == pytest.approx(-0.5 * np.sin(0.75))
    finally:
        EXPERTS.unregister("sine")


def test_every_derivative_is_listed_once():
    variables = score_variables("full", 3, with_c=True)
    assert [v.label for v in variables[:4]] == ["A11", "A12", "A13", "A22"]
    listed = derivatives(variables, (2, 1))
    assert len(listed) == len(set(listed)) == 10 + 55
    assert [len(d) for d in listed] == [1] * 10 + [2] * 55
    assert set(listed[10:]) == set(combinations_with_replacement(variables, 2))


def test_inputs_are_uniform_on_the_box():
    X = np.array(draw_inputs(2, 4000, np.random.default_rng(1)), dtype=float)
    assert np.abs(X).max() <= 1.0
    assert np.abs(X.mean(axis=0)).max() < 0.05
    assert np.abs((X**2).mean(axis=0) - 1 / 3).max() < 0.02
