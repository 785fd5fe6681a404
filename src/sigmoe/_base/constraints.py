"""Constraints declared once: the check, the message and the bad values for tests come from them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Literal, Protocol, TypeVar

import numpy as np

from sigmoe._base.errors import invalid

T = TypeVar("T")


class Constraint(Protocol):
    """What a constraint brings: the rule in words, a test, and values that break it."""

    @property
    def rule(self) -> str:
        """Return the rule as words that complete "must be"."""

    def accepts(self, value: object) -> bool:
        """Return whether the value obeys the rule."""

    def bad_values(self) -> Iterator[object]:
        """Yield values that must be refused, for tests."""


@dataclass(frozen=True)
class Interval:
    """A finite number between two limits; booleans and NaN are refused."""

    kind: Literal["integer", "number"]
    low: float
    high: float = math.inf
    closed: Literal["both", "left", "right", "neither"] = "both"

    @property
    def rule(self) -> str:
        """Return the rule in words."""
        article = "an integer" if self.kind == "integer" else "a number"
        left = ">=" if self.closed in ("both", "left") else ">"
        right = "<=" if self.closed in ("both", "right") else "<"
        if math.isinf(self.high):
            return f"{article} {left} {self.low:g}"
        return f"{article} {left} {self.low:g} and {right} {self.high:g}"

    def accepts(self, value: object) -> bool:
        """Return whether the value is a finite number of the kind between the limits."""
        wanted = Integral if self.kind == "integer" else Real
        if isinstance(value, bool) or not isinstance(value, wanted):
            return False
        number = float(value)
        above = number >= self.low if self.closed in ("both", "left") else number > self.low
        below = number <= self.high if self.closed in ("both", "right") else number < self.high
        return math.isfinite(number) and above and below

    def bad_values(self) -> Iterator[object]:
        """Yield values just outside the limits and of the wrong kind."""
        yield from (True, "1", None, math.nan, math.inf)
        if math.isfinite(self.low):
            yield self.low - 1
            if self.closed in ("right", "neither"):
                yield int(self.low) if self.kind == "integer" else self.low
        if math.isfinite(self.high):
            yield self.high + 1
        if self.kind == "integer":
            yield self.low + 0.5


@dataclass(frozen=True)
class Choice:
    """One of a few named values."""

    names: tuple[str, ...]

    @property
    def rule(self) -> str:
        """Return the rule in words."""
        return "one of " + ", ".join(repr(name) for name in self.names)

    def accepts(self, value: object) -> bool:
        """Return whether the value is one of the names."""
        return isinstance(value, str) and value in self.names

    def bad_values(self) -> Iterator[object]:
        """Yield a name that is not known, and things that are no names."""
        yield from ("no-such-name", "", None, 1)


@dataclass(frozen=True)
class Flag:
    """True or False, and nothing that is merely true."""

    @property
    def rule(self) -> str:
        """Return the rule in words."""
        return "True or False"

    def accepts(self, value: object) -> bool:
        """Return whether the value is a boolean, of Python or NumPy."""
        return isinstance(value, bool | np.bool_)

    def bad_values(self) -> Iterator[object]:
        """Yield numbers, words and nothing."""
        yield from (0, 1.0, "True", None)


def check(parameter: str, value: T, constraint: Constraint, remedy: str) -> T:
    """Return the value if it obeys the constraint, else raise.

    Raises
    ------
    InputError
        Naming parameter, rule, value and remedy.

    Examples
    --------
    >>> check("n", 3, Interval("integer", 1), "Ask for at least one sample.")
    3
    """
    if not constraint.accepts(value):
        raise invalid(parameter, constraint.rule, value, remedy)
    return value
