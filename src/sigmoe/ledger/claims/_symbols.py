"""Identities proved symbolically."""

from __future__ import annotations

import sympy
from sympy import Expr

from sigmoe.ledger._claim import Numbers

x, y, a, b, c, alpha, beta, scale, s, t = sympy.symbols(
    "x y a b c alpha beta lambda s t", real=True
)


def sigmoid(z: Expr) -> Expr:
    """Return 1 / (1 + exp(-z))."""
    return 1 / (1 + sympy.exp(-z))


def is_zero(expression: Expr) -> bool:
    """Return whether an expression simplifies to zero."""
    return bool(sympy.simplify(expression) == 0)


def representations() -> Numbers:
    """Return which identities give one function two mixing measures (d = 1)."""
    score = a * x**2 + b * x + c
    line = alpha * x + beta
    return {
        "sigma(s) E = sigma(c') E / sigma(c') - sigma(-s) E for linear E": is_zero(
            sigmoid(score) * line - (sigmoid(t) * line / sigmoid(t) - sigmoid(-score) * line)
        ),
        "two atoms of one gate split a linear expert": is_zero(
            sigmoid(score) * (s * line + (1 - s) * line) - sigmoid(score) * line
        ),
        "sigma(s) + sigma(-s) = 1 for every s": is_zero(sigmoid(score) + sigmoid(-score) - 1),
    }


def limits() -> Numbers:
    """Return the limits of a sigmoid that Proposition 3 turns on."""
    return {
        "c -> +infinity": float(sympy.limit(sigmoid(c), c, sympy.oo)),
        "c -> -infinity": float(sympy.limit(sigmoid(c), c, -sympy.oo)),
    }


def lemma_two_orders() -> Numbers:
    """Return the leading order in 1/n of f_Gn - f_G* along Lemma 2's sequence, for p = 1, 2, 3.

    The weights are w = (sigma(c*) + n^-(r+1)) / 2 each, the experts (beta +- 1/n)^p with alpha = 0;
    t = 1/n, and r is taken large enough that the weights' change is of higher order.
    """
    weight = sympy.symbols("w", positive=True)
    found = {}
    for degree in (1, 2, 3):
        parts = (beta + t) ** degree + (beta - t) ** degree
        change = sympy.expand(weight * (parts - 2 * beta**degree))
        powers = [term.as_coeff_exponent(t)[1] for term in sympy.Add.make_args(change)]
        # Zero means that the experts' change cancels exactly.
        found[f"p = {degree}"] = 0 if change == 0 else int(min(powers))
    return found


def equation_eight(degree: int = 1) -> Numbers:
    """Return whether the relations of eq. (8) hold for experts (alpha'x + beta)^degree, d = 2.

    All four entries of A are free, as the equation has them.
    """
    A = sympy.Matrix(2, 2, sympy.symbols("A11 A12 A21 A22"))
    v = sympy.Matrix([x, y])
    B = sympy.Matrix(sympy.symbols("b1 b2"))
    al = sympy.Matrix(sympy.symbols("alpha1 alpha2"))
    F = sigmoid((v.T * A * v)[0] + (B.T * v)[0] + c) * ((al.T * v)[0] + beta) ** degree
    pairs = [(i, j) for i in range(2) for j in range(2)]

    def same(left: tuple[Expr, Expr], right: tuple[Expr, Expr]) -> bool:
        return is_zero(sympy.diff(F, *left) - sympy.diff(F, *right))

    return {
        "d2F/dA dc = d2F/db db'": all(same((A[i, j], c), (B[i], B[j])) for i, j in pairs),
        "d2F/dA dbeta = d2F/db dalpha": all(same((A[i, j], beta), (B[i], al[j])) for i, j in pairs),
        "d2F/db dbeta = d2F/dc dalpha": all(same((B[i], beta), (c, al[i])) for i in range(2)),
    }
