"""Linear relations between derivative functions, and how they are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from sigmoe.theory.identifiability._functions import Function

#: Patterns of eq. (8).
_EQUATION_8 = {
    "A c, b b": "eq. (8), first",
    "A beta, b alpha": "eq. (8), second",
    "b beta, c alpha": "eq. (8), third",
}


@dataclass(frozen=True, order=True)
class Symbol:
    """What coefficients may depend on: a parameter of an atom, or a function of its c.

    Attributes
    ----------
    atom : int
        -1 for a determinant, which belongs to the first two atoms together:
        det(alpha1, beta) = alpha1^(1) beta^(2) - beta^(1) alpha1^(2).
    stem, tail : str
        The text on both sides of the atom's number: "σ'(c" and ")" for σ'(c1).
    """

    atom: int
    stem: str
    tail: str = ""

    def text(self, marked: bool) -> str:
        """Return the name, with the number of its atom if ``marked``."""
        if self.atom < 0:
            return self.stem
        mark = str(self.atom + 1) if self.tail else f"^({self.atom + 1})"
        return self.stem + (mark if marked else "") + self.tail


@dataclass(frozen=True)
class Monomial:
    """A number times a product of powers of symbols.

    Attributes
    ----------
    number : Fraction
    powers : tuple of (Symbol, int)
        Symbols with their exponents, which are not 0.
    """

    number: Fraction
    powers: tuple[tuple[Symbol, int], ...] = ()

    def over(self, other: Monomial) -> Monomial:
        """Return the quotient."""
        powers = dict(self.powers)
        for symbol, power in other.powers:
            powers[symbol] = powers.get(symbol, 0) - power
        return monomial(self.number / other.number, powers)

    @property
    def is_number(self) -> bool:
        """Return whether no symbol is left."""
        return not self.powers

    def text(self, marked: bool) -> str:
        """Return it as written in an equation, without the sign; "" for 1."""
        above = _factors(abs(self.number.numerator), self.powers, marked)
        inverse = [(symbol, -power) for symbol, power in self.powers]
        below = _factors(self.number.denominator, inverse, marked)
        if not below:
            return " ".join(above)
        quotient = below[0] if len(below) == 1 else f"({' '.join(below)})"
        return f"{' '.join(above) or '1'}/{quotient}"


def monomial(number: Fraction, powers: Mapping[Symbol, int]) -> Monomial:
    """Return a monomial in a canonical order of its symbols."""
    return Monomial(number, tuple((s, p) for s, p in sorted(powers.items()) if p))


def _factors(number: int, powers: Sequence[tuple[Symbol, int]], marked: bool) -> list[str]:
    """Return the factors with positive powers."""
    names = [(symbol.text(marked), power) for symbol, power in powers if power > 0]
    parts = [str(number)] if number != 1 else []
    return parts + [name if power == 1 else f"{name}^{power}" for name, power in names]


@dataclass(frozen=True)
class Relation:
    """A linear relation: the functions times their coefficients add up to zero.

    Attributes
    ----------
    functions : tuple of Function
    coefficients : tuple of Monomial, or None
        As recognised and verified; None where only numbers are known.
    numbers : tuple of float
        The coefficients at one draw of the parameters, up to a common factor.
    residual : float
        Decimal exponent of what is left of the sum at fresh parameters and inputs, beside its
        largest term.
    stratum : str
    letter : str
        The name of what is differentiated: F, or H for softmax gates.
    """

    functions: tuple[Function, ...]
    coefficients: tuple[Monomial, ...] | None = field(repr=False)
    numbers: tuple[float, ...] = field(repr=False)
    residual: float
    stratum: str
    letter: str = field(default="F", repr=False)

    @property
    def recognised(self) -> bool:
        """Return whether the coefficients are known as formulas."""
        return self.coefficients is not None

    @property
    def trivial(self) -> bool:
        """Return whether a second derivative vanishes, or two of the same blocks are multiples.

        The multiple must be a number, the same at all parameters: d2F/dA11 dA22 and
        d2F/dA12 dA12 are one function, counted twice. A first derivative that vanishes is not
        trivial: the function does not show its parameter at all.
        """
        if len(self.functions) == 1:
            return len(self.functions[0].derivative) == 2
        first, *rest = self.functions
        if len(rest) > 1 or first.atom != rest[0].atom or first.blocks != rest[0].blocks:
            return False
        return self.coefficients is not None and (
            self.coefficients[0].over(self.coefficients[1]).is_number
        )

    @property
    def pattern(self) -> str:
        """Return what is left when indices and numbers go; equal for relations of one kind."""
        atoms = {function.atom for function in self.functions}
        blocks = sorted(
            ("" if len(atoms) == 1 else f"{function.atom + 1}:") + " ".join(function.blocks)
            for function in self.functions
        )
        return ", ".join(dict.fromkeys(blocks))

    @property
    def known_as(self) -> str:
        """Return the name under which the paper has it; "" if it has none."""
        numbers = self.coefficients is not None and all(
            c.over(self.coefficients[0]).is_number for c in self.coefficients
        )
        return _EQUATION_8.get(self.pattern, "") if numbers else ""

    @property
    def equation(self) -> str:
        """Return the equation, solved for one function; k1, k2, ... where no formula is known."""
        several = len({function.atom for function in self.functions}) > 1
        names = [f.text(self.letter, several) for f in self.functions]
        if len(names) == 1:
            return f"{names[0]} = 0"
        lead = self._lead()
        terms = [k for k in range(len(names)) if k != lead]
        if self.coefficients is None:
            # Numbers of one draw say nothing without its parameters, and change with the seed.
            parts = [(False, f"k{k + 1}") for k in range(len(terms))]
        else:
            over = [self.coefficients[k].over(self.coefficients[lead]) for k in terms]
            parts = [(m.number > 0, m.text(several)) for m in over]
        return f"{names[lead]} = " + _sum(parts, [names[k] for k in terms])

    def _lead(self) -> int:
        """Return the function to solve for: the one that leaves the fewest divisions."""
        coefficients = self.coefficients
        if coefficients is None:
            return len(self.functions) - 1

        def cost(lead: int) -> tuple[int, int, int]:
            over = [c.over(coefficients[lead]) for c in coefficients]
            below = sum(p < 0 for m in over for _, p in m.powers)
            fractions = sum(m.number.denominator != 1 for m in over)
            return below, -len(self.functions[lead].derivative), fractions

        return min(range(len(self.functions)), key=cost)


def _sum(parts: Sequence[tuple[bool, str]], names: Sequence[str]) -> str:
    """Return a sum from (negative, coefficient) pairs and the names that they multiply."""
    text = ""
    for (negative, coefficient), name in zip(parts, names, strict=True):
        sign = ("-" if negative else "") if not text else (" - " if negative else " + ")
        text += f"{sign}{coefficient + ' ' if coefficient else ''}{name}"
    return text
