"""Sentences that cannot be printed without the numbers they rest on."""

from __future__ import annotations

import math
import string
from dataclasses import dataclass
from typing import Literal

Role = Literal["verdict", "cause", "context"]
Style = Literal["slope", "value", "count", "times", "share", "text"]

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Evidence:
    """One stored number (or word) behind a sentence.

    Parameters
    ----------
    name : str
        What the number is; the sentence refers to it as ``{name}``.
    value : float, int or str
        The value as stored or computed from stored values.
    source : str
        File and quantity that it comes from.
    style : {"slope", "value", "count", "times", "share", "text"}, default "value"
        How it is written in the sentence.

    Examples
    --------
    >>> Evidence("slope", -0.507, "slopes.csv: slope", "slope").text
    '−0.51'
    """

    name: str
    value: float | int | str
    source: str
    style: Style = "value"

    @property
    def text(self) -> str:
        """The value as the sentence prints it."""
        return format_value(self.value, self.style)

    @property
    def stored(self) -> str:
        """The value with six significant digits, for a reader who checks it."""
        if isinstance(self.value, str) or math.isnan(self.value):
            return self.text
        return f"{self.value:.6g}"


@dataclass(frozen=True)
class Finding:
    """A sentence, the rule that chose it, and its evidence.

    Every number of the sentence is a placeholder filled from `evidence`, so no number can be
    printed that is not stored; a sentence without evidence is refused.

    Parameters
    ----------
    rule : str
        Name of the rule in `sigmoe.lab._explain`.
    role : {"verdict", "cause", "context"}
        A verdict compares with the paper; a cause explains a difference; context helps to read.
    template : str
        The sentence, with ``{name}`` for each piece of evidence that it quotes.
    evidence : tuple of Evidence
        At least one; names are unique.

    Raises
    ------
    ValueError
        If there is no evidence, or the template names evidence that is not there.

    Examples
    --------
    >>> slope = Evidence("slope", -0.07, "slopes.csv: slope", "slope")
    >>> Finding("verdict", "verdict", "Measured slope {slope}.", (slope,)).text
    'Measured slope −0.07.'
    """

    rule: str
    role: Role
    template: str
    evidence: tuple[Evidence, ...]

    def __post_init__(self) -> None:
        known = {piece.name for piece in self.evidence}
        fields = string.Formatter().parse(self.template)
        missing = {name for _, name, _, _ in fields if name is not None} - known
        if not self.evidence or missing:
            raise ValueError(f"sentence of rule {self.rule!r} lacks evidence: {sorted(missing)}")

    @property
    def text(self) -> str:
        """The sentence with its numbers."""
        words = {piece.name: piece.text for piece in self.evidence}
        return self.template.format(**words).replace("'", "’")


def format_value(value: float | int | str, style: Style = "value") -> str:
    """Write a number for a reader: three significant digits, true minus signs, thin groups.

    Parameters
    ----------
    value : float, int or str
        Any value; words pass unchanged.
    style : {"slope", "value", "count", "times", "share", "text"}, default "value"
        "slope" two decimals, "value" three significant digits, "count" an integer with thousands
        separators, "times" two significant digits, "share" a percentage.

    Returns
    -------
    str
        "not available" for a value that is not a number.

    Examples
    --------
    >>> [format_value(x) for x in (0.0123456, 12.345, 123456.0, 1.5e-7)]
    ['0.0123', '12.3', '123,456', '1.5·10⁻⁷']
    >>> format_value(0.837, "share"), format_value(10000, "count"), format_value(2.68, "times")
    ('84 %', '10,000', '2.7')
    """
    if isinstance(value, str):
        return value
    if math.isnan(value):
        return "not available"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if style == "slope":
        # A slope of -0.001 is written 0.00, never with a sign that says nothing.
        return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")
    if style == "count":
        return f"{value:,.0f}".replace("-", "−")
    if style == "share":
        return f"{100 * value:.0f} %".replace("-", "−")
    return _significant(value, 2 if style == "times" else 3)


def _significant(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    # Rounded first: 0.9996 has the digits of 1.00.
    exponent = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    if exponent < -4 or exponent > 6:
        mantissa = f"{value / 10**exponent:.{digits - 1}g}".replace("-", "−")
        return f"{mantissa}·10{str(exponent).translate(_SUPERSCRIPTS)}"
    decimals = max(0, digits - 1 - exponent)
    text = f"{value:,.{decimals}f}"
    return text.replace("-", "−")
