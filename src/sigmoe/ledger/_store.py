"""Evidence as it is stored: one JSON file, shipped with the package; a check writes another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sigmoe._base.errors import invalid
from sigmoe._base.files import write_atomically
from sigmoe.ledger._claim import Numbers

#: The evidence that comes with the package.
SHIPPED = Path(__file__).with_name("evidence.json")
_RULE = "a file of `sigmoe claims --check`"


def load(path: Path = SHIPPED) -> dict[str, Any]:
    """Return stored evidence: {"claims": {claim: {evidence: numbers}}, "made": {...}}.

    Raises
    ------
    InputError
        If the file cannot be read as evidence.
    """
    try:
        stored: Any = json.loads(path.read_text(), parse_constant=_no_number)
    except (OSError, ValueError) as error:
        raise invalid("evidence", _RULE, path, f"It cannot be read: {error}") from None
    if not isinstance(stored, dict) or not isinstance(stored.get("claims"), dict):
        raise invalid("evidence", _RULE, path, "It has no claims.")
    for claim, entries in stored["claims"].items():
        if not isinstance(entries, dict) or not all(map(_is_entry, entries.values())):
            raise invalid("evidence", _RULE, path, f"Claim {claim!r} has no numbers there.")
    return {**stored}


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number of a measurement")


def _is_entry(entry: object) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("numbers"), dict)


def of_claim(stored: Mapping[str, Any], claim: str) -> dict[str, Numbers]:
    """Return the stored numbers of a claim, by the name of the evidence."""
    return {name: entry["numbers"] for name, entry in stored["claims"].get(claim, {}).items()}


def merged(stored: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stored evidence with what was measured in its place; the rest stays."""
    claims = {name: dict(entries) for name, entries in stored["claims"].items()}
    for name, entries in measured["claims"].items():
        claims.setdefault(name, {}).update(entries)
    return {"claims": claims}


def dump(evidence: Mapping[str, Any], path: Path) -> None:
    """Write evidence so that a change of one number is a change of one line.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    text = json.dumps(evidence, indent=1, sort_keys=True, allow_nan=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
    except OSError as error:
        raise invalid("--out", "a file that can be written", path, f"{error.strerror}.") from None
