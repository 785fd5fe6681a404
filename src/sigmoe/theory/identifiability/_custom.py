"""Experts that are a user's function E(x, eta), written with SymPy, mpmath or PyTorch."""

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
    Places,
    PreciseExpert,
    fixed,
    rational,
)
from sigmoe.theory.identifiability._fixed import Integers
from sigmoe.theory.identifiability._functions import Variable

#: Extra bits in which functions are evaluated before they are rounded.
_GUARD = 40

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

    def places(self, order: int) -> list[Places]:
        """Return the derivatives up to an order."""
        return [
            places
            for k in range(order + 1)
            for places in combinations_with_replacement(range(self.n_parameters), k)
        ]


@dataclass(frozen=True)
class SympyExpert(_Custom):
    """A function of SymPy symbols: derivatives are symbolic."""

    def table(
        self, X: Sequence[Sequence[Fraction]], eta: Sequence[Fraction], bits: int, order: int
    ) -> dict[Places, Integers]:
        """Return value and derivatives at all inputs."""
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
        value = sympy.sympify(self.function(x, eta)).rewrite(sympy.Piecewise)
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

    def table(
        self, X: Sequence[Sequence[Fraction]], eta: Sequence[Fraction], bits: int, order: int
    ) -> dict[Places, Integers]:
        """Return value and derivatives at all inputs."""
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
    def digits(self) -> int | None:
        """Return the digits of float64."""
        return 15

    def table(
        self, X: Sequence[Sequence[Fraction]], eta: Sequence[Fraction], bits: int, order: int
    ) -> dict[Places, Integers]:
        """Return value and derivatives at all inputs."""
        inputs = torch.tensor([[float(v) for v in row] for row in X], dtype=torch.float64)
        at = torch.tensor([float(v) for v in eta], dtype=torch.float64)
        slope = torch.func.grad(self.function, 1)
        each = (self.function, slope, torch.func.jacrev(slope, 1))
        orders = [torch.func.vmap(f, in_dims=(0, None))(inputs, at) for f in each[: order + 1]]
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
        Interval("integer", 1),
        "Say how many entries eta has for your expert.",
    )
    check("library", library, Choice(tuple(_LIBRARIES)), "Name what the function is written with.")
    expert: Any = _LIBRARIES[library](function, dim, int(n_parameters or 0))
    return expert  # type: ignore[no-any-return]  # each of the three has the method


def _mpf(value: Fraction | int) -> Any:
    number = Fraction(value)
    return mpmath.mpf(number.numerator) / number.denominator
