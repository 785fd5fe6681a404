"""Expert functions and their derivatives in eta, to any number of digits.

Every expert here answers one question: its value and derivatives up to the second order at given
inputs and parameters, as fixed-point integers. Where a function has a kink, its derivatives are
those that hold almost everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from typing import Any, Protocol

import mpmath
import numpy as np
import torch

from sigmoe.moe._experts import Expert, get_expert
from sigmoe.theory.identifiability._fixed import Integers
from sigmoe.theory.identifiability._functions import Variable

#: Extra bits in which functions are evaluated before they are rounded.
_GUARD = 40

#: Decimal digits of experts that are known in float64 alone.
FLOAT64_DIGITS = 15

#: Positions in eta by which the expert is differentiated, sorted; () is its value.
Places = tuple[int, ...]


class PreciseExpert(Protocol):
    """What the check needs of an expert.

    Attributes
    ----------
    name : str
        In reports.
    variables : tuple of Variable
        The coordinates of eta.
    digits : int or None
        Decimal digits that values are good for; None if as many as asked.
    scaling : str or None
        "lambda" or "alpha, beta": the parameters whose multiples give proportional experts, or
        experts with proportional parameters; None if there is no such notion.
    homogeneous : bool
        Whether doubling those multiplies the expert by a number.
    """

    @property
    def name(self) -> str: ...
    @property
    def variables(self) -> tuple[Variable, ...]: ...
    @property
    def digits(self) -> int | None: ...
    @property
    def scaling(self) -> str | None: ...
    @property
    def homogeneous(self) -> bool: ...

    def table(
        self, X: Sequence[Sequence[Fraction]], eta: Sequence[Fraction], bits: int, order: int
    ) -> dict[Places, Integers]:
        """Return value and derivatives up to that order (0-2) at all inputs, shape (n,) each."""


def fixed(value: Any, bits: int) -> int:
    """Return a number of mpmath as a fixed-point integer.

    Raises
    ------
    ValueError
        If it is infinite or no number: mpmath itself would return 0.
    """
    if not mpmath.isfinite(value):
        raise ValueError(f"the value {value} is not finite")
    return int(mpmath.libmp.to_fixed(value._mpf_, bits))


def rational(value: Fraction, bits: int) -> int:
    """Return a rational number as a fixed-point integer."""
    return (value.numerator << bits) // value.denominator


@lru_cache(maxsize=16)
def context(bits: int) -> Any:
    """Return an arithmetic of its own: the precision that others have set stays as it is."""
    arithmetic = mpmath.MPContext()
    arithmetic.prec = bits + _GUARD
    return arithmetic


Phi = Callable[[Any, Any], tuple[Any, Any, Any]]


def _linear(mp: Any, z: Any) -> tuple[Any, Any, Any]:
    return z, mp.one, mp.zero


def _relu(mp: Any, z: Any) -> tuple[Any, Any, Any]:
    return (z, mp.one, mp.zero) if z > 0 else (mp.zero, mp.zero, mp.zero)


def _gelu(mp: Any, z: Any) -> tuple[Any, Any, Any]:
    # Twice as fast as mpmath's own normal distribution, which guards against large arguments.
    density = mp.exp(-z * z / 2) / mp.sqrt(2 * mp.pi)
    distribution = (1 + mp.erf(z / mp.sqrt(2))) / 2
    return z * distribution, distribution + z * density, (2 - z * z) * density


def _tanh(mp: Any, z: Any) -> tuple[Any, Any, Any]:
    value = mp.tanh(z)
    return value, 1 - value**2, -2 * value * (1 - value**2)


def _polynomial(degree: int) -> Phi:
    def phi(mp: Any, z: Any) -> tuple[Any, Any, Any]:
        second = degree * (degree - 1) * z ** (degree - 2) if degree > 1 else mp.zero
        return z**degree, degree * z ** (degree - 1), second

    return phi


#: phi, phi' and phi'' of the registered experts that are known to all digits.
_PHI: dict[str, Phi] = {
    "linear": _linear,
    "relu": _relu,
    "gelu": _gelu,
    "tanh": _tanh,
    "scaled-relu": _relu,
    "scaled-gelu": _gelu,
    "scaled-tanh": _tanh,
}


def ridge_variables(dim: int, scaled: bool) -> tuple[Variable, ...]:
    """Return the coordinates (alpha, beta) or (alpha, beta, lambda)."""
    listed = [Variable("alpha", (u,), u) for u in range(dim)] + [Variable("beta", (), dim)]
    return (*listed, Variable("lambda", (), dim + 1)) if scaled else tuple(listed)


@dataclass(frozen=True)
class RidgeExpert:
    """lambda phi(alpha'x + beta) of the registry."""

    name: str
    dim: int
    expert: Expert = field(repr=False)
    phi: Phi | None = field(repr=False)

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Return the coordinates of eta."""
        return ridge_variables(self.dim, self.expert.scaled)

    @property
    def digits(self) -> int | None:
        """Return 15 for a function that is registered in float64 alone."""
        return FLOAT64_DIGITS if self.phi is None else None

    @property
    def scaling(self) -> str | None:
        """Return the parameters whose multiples are tried as proportional experts."""
        return "lambda" if self.expert.scaled else "alpha, beta"

    @property
    def homogeneous(self) -> bool:
        """Return whether phi(2z) is a multiple of phi(z), or lambda is there to multiply."""
        if self.expert.scaled:
            return True
        z = torch.linspace(-1, 1, 11, dtype=torch.float64)
        once, twice = self.expert.value(z), self.expert.value(2 * z)
        crossed = torch.outer(once, twice)
        return torch.allclose(crossed, crossed.T, rtol=1e-9, atol=1e-9 * float(crossed.abs().max()))

    def table(
        self, X: Sequence[Sequence[Fraction]], eta: Sequence[Fraction], bits: int, order: int
    ) -> dict[Places, Integers]:
        """Return value and derivatives at all inputs."""
        d = self.dim
        z = [sum((a * x for a, x in zip(eta, row, strict=False)), eta[d]) for row in X]
        phi, slope, curvature = self._phi(z, bits)
        one: Any = np.full(len(X), 1 << bits, dtype=object)
        lifts: list[Any] = [
            np.array([rational(row[u], bits) for row in X], dtype=object) for u in range(d)
        ]
        lifts.append(one)
        scale = rational(eta[d + 1], bits) if self.expert.scaled else 1 << bits
        found: dict[Places, Any] = {(): (phi * scale) >> bits}
        for u in range(d + 1):
            lifted = (slope * lifts[u]) >> bits
            found[u,] = (lifted * scale) >> bits
            for v in range(u, d + 1):
                both = (lifts[u] * lifts[v]) >> bits
                found[u, v] = (((curvature * both) >> bits) * scale) >> bits
            if self.expert.scaled:
                found[u, d + 1] = lifted
        if self.expert.scaled:
            found[d + 1,] = phi
            found[d + 1, d + 1] = phi * 0
        return {places: values for places, values in found.items() if len(places) <= order}

    def _phi(self, z: Sequence[Fraction], bits: int) -> tuple[Any, Any, Any]:
        if self.phi is None:
            at = torch.tensor([float(value) for value in z], dtype=torch.float64)
            parts = (self.expert.value(at), self.expert.slope(at), self.expert.curvature(at))
            return tuple(
                np.array([rational(Fraction(float(v)), bits) for v in part], dtype=object)
                for part in parts
            )  # type: ignore[return-value]  # three in, three out
        mp = context(bits)
        rows = [self.phi(mp, mp.mpf(v.numerator) / v.denominator) for v in z]
        return tuple(
            np.array([fixed(row[k], bits) for row in rows], dtype=object) for k in range(3)
        )  # type: ignore[return-value]  # rows have three entries


def ridge_expert(name: str, dim: int) -> RidgeExpert:
    """Return the registered expert of that name."""
    expert = get_expert(name)
    phi = _PHI.get(name)
    if name.startswith("polynomial:"):
        phi = _polynomial(int(name.removeprefix("polynomial:")))
    return RidgeExpert(name, dim, expert, phi)
