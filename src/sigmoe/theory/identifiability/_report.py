"""The report of an identifiability check: verdicts, strata and equations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sigmoe.theory.identifiability._analyse import StratumReport
from sigmoe.theory.identifiability._experts import FLOAT64_DIGITS
from sigmoe.theory.identifiability._relations import Relation

#: Kinds of relations that a summary shows of each stratum.
_SHOWN = 12

Verdict = bool | None


@dataclass(frozen=True)
class IdentifiabilityReport:
    """What ``check_identifiability`` found.

    Attributes
    ----------
    gate, score, expert : str
    dim : int
    condition : str
    extended : bool
        Whether strata beyond the definition were added; verdicts never rest on those.
    n_atoms : int
        Largest number of atoms tried; the definitions want every number.
    identifiable : bool or None
        The verdict as the definition reads: no relation in any stratum. True says that none was
        found with this many atoms; None that the digits at hand could not tell.
    generic : bool or None
        The verdict for generic parameters: no essential relation there. Second derivatives that
        vanish and functions that occur twice are left out of it (``Relation.trivial``).
    strata : tuple of StratumReport
        The cases of "any distinct parameters".
    """

    gate: str
    score: str
    expert: str
    dim: int
    condition: str
    extended: bool
    n_atoms: int
    identifiable: Verdict
    generic: Verdict
    strata: tuple[StratumReport, ...]

    @property
    def identities(self) -> tuple[Relation, ...]:
        """Return all relations, essential ones before trivial ones, the sparsest first."""
        found = [relation for stratum in self.strata for relation in stratum.identities]
        return tuple(sorted(found, key=lambda r: (r.trivial, len(r.functions))))

    @property
    def summary(self) -> str:
        """Return the report as text: verdicts, then the equations of each stratum."""
        lines = [self.title, *self.verdicts]
        for stratum in self.strata:
            lines += ["", f"{stratum.name}, {stratum.at}: {standing(stratum)}"]
            lines += [f"  {line}" for line in equations(stratum)]
        if notes := legend(lines):
            lines += ["", *notes]
        return "\n".join(lines)

    @property
    def title(self) -> str:
        """Return what was checked."""
        return (
            f"{self.condition} identifiability: {self.gate} gates, {self.score} score, "
            f"{self.expert} experts, d = {self.dim}"
        )

    @property
    def verdicts(self) -> tuple[str, str]:
        """Return both verdicts as sentences."""
        words = {True: "holds", False: "fails", None: _undecided(self.strata[0])}
        limit = f" (no relation with up to {self.n_atoms} atoms)" if self.identifiable else ""
        left_out = f" ({without})" if self.generic and (without := self._left_out()) else ""
        return (
            f"as the definition reads (any distinct parameters): {words[self.identifiable]}{limit}",
            f"for generic parameters, trivial relations left out: {words[self.generic]}{left_out}",
        )

    def _left_out(self) -> str:
        """Return what the verdict for generic parameters leaves out, in words; "" if nothing."""
        sizes = [
            len(relation.functions)
            for stratum in self.strata
            if stratum.generic and not stratum.extended
            for relation in stratum.identities
        ]
        kinds = ((1, "second derivatives that vanish"), (2, "functions that occur twice"))
        return ", ".join(f"{sizes.count(n)} {words}" for n, words in kinds if n in sizes)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as numbers, strings and lists, for JSON."""
        return {
            "gate": self.gate,
            "score": self.score,
            "expert": self.expert,
            "dim": self.dim,
            "condition": self.condition,
            "extended": self.extended,
            "n_atoms": self.n_atoms,
            "identifiable": self.identifiable,
            "generic": self.generic,
            "strata": [_stratum_dict(stratum) for stratum in self.strata],
        }


def verdict(found: Sequence[Verdict]) -> Verdict:
    """Return False if any is False, None if any is unknown, and else True."""
    if False in found:
        return False
    return None if None in found else True


def _undecided(stratum: StratumReport) -> str:
    digits = "float64" if stratum.digits == FLOAT64_DIGITS else f"{stratum.digits} digits"
    return f"not decided in {digits}"


def standing(stratum: StratumReport) -> str:
    """Return rank and verdict of a stratum in words."""
    count = f"{stratum.rank} of {stratum.n_functions} independent"
    if stratum.independent is None:
        return f"{count}; {_undecided(stratum)}"
    if stratum.independent:
        return f"all {stratum.n_functions} independent"
    return f"{count}; {'essential' if stratum.essential else 'only trivial'} relations"


def equations(stratum: StratumReport, shown: int = _SHOWN) -> list[str]:
    """Return one equation of each kind, essential ones first, and how many are like it."""
    kinds: dict[tuple[bool, str], list[Relation]] = {}
    for relation in stratum.identities:
        kinds.setdefault((relation.trivial, relation.pattern), []).append(relation)
    lines = [
        _line(alike, stratum.n_atoms)
        for _, alike in sorted(kinds.items(), key=lambda item: item[0][0])
    ]
    if len(lines) > shown:
        lines = [*lines[:shown], f"and {len(lines) - shown} more kinds"]
    return lines + _unwritten(stratum)


def _unwritten(stratum: StratumReport) -> list[str]:
    """Return lines on the relations that are not written."""
    lines = []
    if stratum.longer:
        low, high = min(stratum.longer), max(stratum.longer)
        size = f"{low}" if low == high else f"{low} to {high}"
        lines.append(f"and {_counted(len(stratum.longer))} between {size} functions")
    if missing := stratum.n_unwritten - len(stratum.longer):
        lines.append(f"and {_counted(missing)} that could not be verified at fresh parameters")
    return lines


def _counted(number: int) -> str:
    return "1 relation" if number == 1 else f"{number} relations"


def _line(alike: Sequence[Relation], n_atoms: int) -> str:
    first = alike[0]
    marks = [first.known_as] if first.known_as else []
    marks += ["trivial"] if first.trivial else []
    marks += [] if first.recognised else ["k1, ... depend on the parameters"]
    marks += [f"and {len(alike) - 1} like it"] if len(alike) > 1 else []
    marks += [f"of atom {only}"] if (only := _only_atom(alike, n_atoms)) else []
    return first.equation + (f"   [{'; '.join(marks)}]" if marks else "")


def _only_atom(alike: Sequence[Relation], n_atoms: int) -> int:
    """Return the atom, from 1, if all relations of a kind are within one of several; 0 if not.

    Softmax families leave functions of their last atom out, so that it lacks some relations.
    """
    atoms = {function.atom for relation in alike for function in relation.functions}
    alone = len(atoms) == 1 and n_atoms > 1 and alike[0].letter == "F"
    return 1 + min(atoms) if alone else 0


def legend(lines: Sequence[str]) -> list[str]:
    """Return what the signs in these lines mean, where they are not the paper's."""
    text = "\n".join(lines)
    notes = {
        "^(": "F1 and F2 are the terms of two atoms, and alpha1^(2) is alpha1 of the second.",
        "det(": "det(u, v) = u^(1) v^(2) - v^(1) u^(2).",
    }
    return [note for sign, note in notes.items() if sign in text]


def _stratum_dict(stratum: StratumReport) -> dict[str, Any]:
    return {
        "name": stratum.name,
        "at": stratum.at,
        "generic": stratum.generic,
        "extended": stratum.extended,
        "n_atoms": stratum.n_atoms,
        "n_functions": stratum.n_functions,
        "rank": stratum.rank,
        "float64_rank": stratum.float64_rank,
        "digits": stratum.digits,
        "gap": [value if math.isfinite(value) else None for value in stratum.gap],
        "independent": stratum.independent,
        "essential": stratum.essential,
        "n_unwritten": stratum.n_unwritten,
        "longer": list(stratum.longer),
        "identities": [
            {
                "equation": relation.equation,
                "trivial": relation.trivial,
                "recognised": relation.recognised,
                "known_as": relation.known_as,
                "residual": relation.residual if math.isfinite(relation.residual) else None,
            }
            for relation in stratum.identities
        ],
    }
