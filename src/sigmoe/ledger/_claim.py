"""Claims, the evidence for and against them, and the rule that turns evidence into a verdict.

A piece of evidence measures numbers, which are stored, and reads them: the reading is a pure
function of the stored numbers, and the verdict a pure function of the readings. Nothing is typed
in, and nothing has to be measured again to see why a verdict is what it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sigmoe._base.errors import invalid

#: What a piece of evidence measured: plain data, as it is stored.
Numbers = Mapping[str, Any]
Says = Literal["for", "against", "open"]
Kind = Literal["algebra", "construction", "fits", "first-order fits", "modulus", "count"]

HOLDS = "holds"
CORRECTED = "holds as corrected"
FAILS = "fails"
OPEN = "not decided here"
VERDICTS = (HOLDS, CORRECTED, FAILS, OPEN)

#: A verdict against the paper needs evidence of so many kinds.
KINDS_AGAINST = 2


@dataclass(frozen=True)
class Reading:
    """What numbers say: for the claim, against it, or neither, and one sentence with numbers."""

    says: Says
    text: str


@dataclass(frozen=True)
class Evidence:
    """One way to look at a claim.

    Attributes
    ----------
    name : str
        Unique within its claim.
    kind : {"algebra", "construction", "fits", "first-order fits", "modulus", "count"}
        How it looks: relations found by the identifiability checker or proved symbolically; a
        sequence of mixing measures written down and evaluated; least squares fits to samples;
        fixed budgets of gradient steps; the local modulus; operations counted. Evidence of two
        kinds is independent.
    measure : callable
        Returns plain numbers; deterministic.
    read : callable
        What such numbers say.
    of_correction : bool
        Whether it speaks of the corrected claim.
    deep : bool
        Whether measuring takes longer than minutes.
    """

    name: str
    kind: Kind
    measure: Callable[[], Numbers]
    read: Callable[[Numbers], Reading]
    of_correction: bool = False
    deep: bool = False


@dataclass(frozen=True)
class Claim:
    """One claim of the paper.

    Attributes
    ----------
    name : str
        Unique, as in ``sigmoe claims NAME``.
    place : str
        Where in the paper it stands.
    sentence : str
        The claim in one sentence.
    explanation : str
        What was found, in plain words.
    evidence : tuple of Evidence
    correction : str, optional
        What is true instead.
    """

    name: str
    place: str
    sentence: str
    explanation: str
    evidence: tuple[Evidence, ...]
    correction: str | None = None

    def __post_init__(self) -> None:
        """Check that names are unique and that a correction has evidence of its own."""
        assert len({piece.name for piece in self.evidence}) == len(self.evidence), self.name
        corrected = any(piece.of_correction for piece in self.evidence)
        assert corrected == (self.correction is not None), self.name


def readings(claim: Claim, stored: Mapping[str, Numbers]) -> dict[str, Reading]:
    """Return what the stored numbers of a claim say, by the name of the evidence.

    Evidence that has not been measured is open.

    Raises
    ------
    InputError
        If stored numbers are not those of the evidence.
    """
    missing = Reading("open", "not measured yet")
    return {
        piece.name: _read(claim, piece, stored[piece.name]) if piece.name in stored else missing
        for piece in claim.evidence
    }


def _read(claim: Claim, piece: Evidence, numbers: Numbers) -> Reading:
    """Return what numbers of a file say; whoever wrote it may have left some out."""
    try:
        return piece.read(numbers)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise invalid(
            "evidence",
            f"the numbers of claim {claim.name!r}, {piece.name!r}",
            f"{type(error).__name__}: {error}",
            f"Measure them again: sigmoe claims {claim.name} --check.",
        ) from None


def verdict(claim: Claim, read: Mapping[str, Reading]) -> str:
    """Return the verdict on a claim.

    Against the paper it takes evidence of two kinds against the claim. The claim then holds as
    corrected if there is a correction and all evidence of it speaks for it, and fails otherwise.
    It holds if something speaks for it, and nothing against it.
    """
    direct = [piece for piece in claim.evidence if not piece.of_correction]
    against = {piece.kind for piece in direct if read[piece.name].says == "against"}
    if len(against) >= KINDS_AGAINST:
        corrected = [read[piece.name].says for piece in claim.evidence if piece.of_correction]
        return CORRECTED if corrected and _all_for(corrected) else FAILS
    if against or not any(read[piece.name].says == "for" for piece in direct):
        return OPEN
    return HOLDS


def _all_for(says: Sequence[Says]) -> bool:
    return all(word == "for" for word in says)
