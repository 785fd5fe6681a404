"""Experts that are a user's function E(x, eta), written with SymPy, mpmath or PyTorch.

What the function gets wrong would look like independence, since noise is independent of
everything: so it is tried before use, and every value has to be a finite number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from itertools import combinations_with_replacement
from typing import Any

import mpmath
import numpy as np
import torch

from sigmoe._base.constraints import Choice, Interval, check
from sigmoe._base.errors import invalid
from sigmoe.theory.identifiability._experts import (
    FLOAT64_DIGITS,
    Places,
    PreciseExpert,
    fixed,
    rational,
)
from sigmoe.theory.identifiability._fixed import DIGIT, Integers, as_float
from sigmoe.theory.identifiability._functions import Variable

#: Extra bits in which functions are evaluated before they are rounded.
_GUARD = 40

#: Step of the differences that derivatives are compared with, and how far these may be off
#: beside the largest value: float64 errs by 1e-10 there, float32 by 0.1.
_STEP, _OFF = Fraction(1, 2**20), 1e-3

#: Entries of eta, at most: derivatives of the second order are taken in all pairs of them.
_MOST_PARAMETERS = 30

#: Values of an expert beyond this are no numbers for float64, with their derivatives.
_LARGEST = 10**100

#: The user's function.
ExpertFunction = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class _Custom:
    """What experts of all libraries share."""

    function: ExpertFunction = field(repr=False)
    dim: int
    n_parameters: int

    @property
    def name(self) -> str:
        """Return the function's name."""
        return str(getattr(self.function, "__name__", type(self.function).__name__))

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Return eta1, eta2, ..., each a block of its own."""
        return tuple(Variable(f"eta{k + 1}", (), k) for k in range(self.n_parameters))

    @property
    def digits(self) -> int | None:
        """Return None: values are good for as many digits as asked."""
        return None

    @property
    def scaling(self) -> str | None:
        """Return None: which multiples of eta matter is not known."""
        return None

    @property
    def homogeneous(self) -> bool:
        """Return False: there is nothing to multiply."""
        return False

    def places(self, order: int) -> list[Places]:
        """Return the derivatives up to an order."""
        return [
            places
            for k in range(order + 1)
            for places in combinations_with_replacement(range(self.n_parameters), k)
        ]

    def table(
        self, X: Sequence[Sequence[Fraction]], eta: Sequence[Fraction], bits: int, order: int
    ) -> dict[Places, Integers]:
        """Return value and derivatives at all inputs.

        Raises
        ------
        InputError
            If the function fails, or a value is not one finite real number.
        """
        try:
            return self._table(X, eta, bits, order)
        # The function is the user's: it may raise anything.
        except Exception as error:
            raise invalid(
                "expert",
                f"a function E(x, eta) of {self.arguments} whose value is one finite real number, "
                "for entries of eta of both signs",
                f"{type(error).__name__}: {error}",
                "Check library=, and write exp(eta) for a parameter that is positive.",
            ) from error

    @property
    def arguments(self) -> str:
        """Return what the function is called with."""
        raise NotImplementedError

    def _table(
        self, X: Sequence[Sequence[Fraction]], eta: Sequence[Fraction], bits: int, order: int
    ) -> dict[Places, Integers]:
        raise NotImplementedError


@dataclass(frozen=True)
class SympyExpert(_Custom):
    """A function of SymPy symbols: derivatives are symbolic."""

    @property
    def arguments(self) -> str:
        """Return what the function is called with."""
        return "SymPy symbols"

    def _table(
        self, X: Sequence[Sequence[Fraction]], eta: Sequence[Fraction], bits: int, order: int
    ) -> dict[Places, Integers]:
        with mpmath.workprec(bits + _GUARD):
            arguments = [[_mpf(value) for value in (*row, *eta)] for row in X]
            return {
                places: np.array(
                    [fixed(mpmath.mpf(function(*row)), bits) for row in arguments], dtype=object
                )
                for places, function in self._compiled.items()
                if len(places) <= order
            }

    @cached_property
    def _compiled(self) -> dict[Places, Callable[..., Any]]:
        # SymPy takes a second to load, and only these experts need it.
        import sympy

        x = sympy.symbols(f"x1:{self.dim + 1}", real=True)
        eta = sympy.symbols(f"eta1:{self.n_parameters + 1}", real=True)
        # Piecewise functions have derivatives that hold almost everywhere, and no point masses.
        given = self.function(x, eta)
        if isinstance(given, str):
            # SymPy would run it as a program.
            raise TypeError("the value is a text")
        value = sympy.sympify(given).rewrite(sympy.Piecewise)
        found = {}
        for places in self.places(2):
            derivative = value
            for place in places:
                derivative = sympy.diff(derivative, eta[place])
            derivative = derivative.replace(sympy.DiracDelta, lambda *_: sympy.Integer(0))
            found[places] = sympy.lambdify([*x, *eta], derivative, modules="mpmath")
        return found


@dataclass(frozen=True)
class MpmathExpert(_Custom):
    """A function of mpmath numbers: derivatives are differences in twice the digits or more."""

    @property
    def arguments(self) -> str:
        """Return what the function is called with."""
        return "mpmath numbers"

    def _table(
        self, X: Sequence[Sequence[Fraction]], eta: Sequence[Fraction], bits: int, order: int
    ) -> dict[Places, Integers]:
        with mpmath.workprec(bits + _GUARD):
            at = tuple(_mpf(value) for value in eta)
            rows = [[_mpf(value) for value in row] for row in X]
            return {
                places: np.array(
                    [fixed(self._derivative(row, at, places), bits) for row in rows], dtype=object
                )
                for places in self.places(order)
            }

    def _derivative(self, x: Sequence[Any], eta: tuple[Any, ...], places: Places) -> Any:
        if not places:
            return mpmath.mpf(self.function(x, eta))
        orders = tuple(places.count(k) for k in range(self.n_parameters))
        return mpmath.diff(lambda *values: self.function(x, values), eta, orders)


@dataclass(frozen=True)
class TorchExpert(_Custom):
    """A function of float64 tensors x (d,) and eta (q,): derivatives are automatic."""

    @property
    def arguments(self) -> str:
        """Return what the function is called with."""
        return f"float64 tensors ({self.dim},) and ({self.n_parameters},)"

    @property
    def digits(self) -> int | None:
        """Return the digits of float64."""
        return FLOAT64_DIGITS

    def _table(
        self, X: Sequence[Sequence[Fraction]], eta: Sequence[Fraction], bits: int, order: int
    ) -> dict[Places, Integers]:
        inputs = torch.tensor([[float(v) for v in row] for row in X], dtype=torch.float64)
        at = torch.tensor([float(v) for v in eta], dtype=torch.float64)
        slope = torch.func.grad(self.function, 1)
        each = (self.function, slope, torch.func.jacrev(slope, 1))
        orders = [torch.func.vmap(f, in_dims=(0, None))(inputs, at) for f in each[: order + 1]]
        if orders[0].dtype != torch.float64:
            raise TypeError(f"the value has dtype {orders[0].dtype}")
        return {
            places: np.array(
                [
                    rational(Fraction(value), bits)
                    for value in orders[len(places)][(slice(None), *places)].tolist()
                ],
                dtype=object,
            )
            for places in self.places(order)
        }


_LIBRARIES: dict[str, type[_Custom]] = {
    "sympy": SympyExpert,
    "mpmath": MpmathExpert,
    "torch": TorchExpert,
}


def custom_expert(
    function: ExpertFunction, dim: int, n_parameters: int | None, library: str
) -> PreciseExpert:
    """Return a user's function as an expert.

    Raises
    ------
    InputError
        If it is not callable, or the number of parameters or the library is not usable.
    """
    if not callable(function):
        raise invalid("expert", "a function E(x, eta)", function, "Pass a callable.")
    check(
        "n_expert_parameters",
        n_parameters,
        Interval("integer", 1, _MOST_PARAMETERS),
        "Say how many entries eta has for your expert.",
    )
    check("library", library, Choice(tuple(_LIBRARIES)), "Name what the function is written with.")
    expert = _LIBRARIES[library](function, dim, int(n_parameters or 0))
    _check_derivatives(expert)
    return expert


def _check_derivatives(expert: _Custom) -> None:
    """Refuse an expert whose derivatives are not those of its values.

    That is so where a step of the function has fewer digits than the library (a float in an mpmath
    function, float32 in a torch one) or cuts the derivative off. Kinks hit few of the inputs.
    """
    rng = np.random.default_rng(0)
    bits = int(240 * DIGIT)
    X = [
        [Fraction(int(k), 2**16) for k in row]
        for row in rng.integers(-(2**16), 2**16, (9, expert.dim))
    ]
    eta = [Fraction(int(k), 2**12) for k in rng.integers(2**11, 2**12, expert.n_parameters)]
    table = expert.table(X, eta, bits, 2)
    if max(abs(value) for value in table[()]) >> bits >= _LARGEST:
        rule = f"a function E(x, eta) of values below {_LARGEST:.0e} at inputs in [-1, 1]"
        raise invalid("expert", rule, expert.name, "Divide it by its size.")
    first = {place: as_float(table[place,], bits) for place in range(expert.n_parameters)}
    size = max(np.abs(values).max() for values in (as_float(table[()], bits), *first.values()))
    for place, slope in first.items():
        sides = [
            as_float(expert.table(X, _moved(eta, place, step), bits, 0)[()], bits)
            for step in (_STEP, -_STEP)
        ]
        difference = (sides[0] - sides[1]) / float(2 * _STEP)
        off = float(np.median(np.abs(difference - slope)))
        if off > _OFF * size:
            raise invalid(
                "expert",
                f"a function that computes with {expert.arguments} throughout, so that its "
                "derivatives are those of its values",
                expert.name,
                f"The derivative in eta[{place}] is off by {off:.2g}: use the functions of "
                "library=, and no float(), float32, NumPy or detach() in between.",
            )


def _moved(eta: Sequence[Fraction], place: int, step: Fraction) -> list[Fraction]:
    return [value + step * (k == place) for k, value in enumerate(eta)]


def _mpf(value: Fraction | int) -> Any:
    number = Fraction(value)
    return mpmath.mpf(number.numerator) / number.denominator
