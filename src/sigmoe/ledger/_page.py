"""The ledger as people read it: a table on the terminal, plain data, and a page of the docs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from sigmoe.ledger._claim import VERDICTS, Claim, readings, verdict
from sigmoe.ledger._store import of_claim

_STYLES = dict(zip(VERDICTS, ("green", "yellow", "red", "dim"), strict=True))


def command(claim: Claim, deep: bool = False) -> str:
    """Return the command that checks a claim."""
    return f"sigmoe claims {claim.name} --check" + (" --deep" if deep else "")


def as_data(claims: Sequence[Claim], stored: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the ledger as plain data: one dict for each claim.

    Parameters
    ----------
    claims : sequence of Claim
    stored : mapping
        As ``sigmoe.ledger._store.load`` returns it.
    """
    return [_row(claim, stored) for claim in claims]


def _row(claim: Claim, stored: Mapping[str, Any]) -> dict[str, Any]:
    read = readings(claim, of_claim(stored, claim.name))
    pieces = [
        {
            "name": piece.name,
            "kind": piece.kind,
            "of": "correction" if piece.of_correction else "claim",
            "says": read[piece.name].says,
            "text": read[piece.name].text,
            "command": command(claim, piece.deep),
            "seconds": stored["claims"].get(claim.name, {}).get(piece.name, {}).get("seconds"),
        }
        for piece in claim.evidence
    ]
    return {
        "claim": claim.name,
        "place": claim.place,
        "sentence": claim.sentence,
        "verdict": verdict(claim, read),
        "correction": claim.correction,
        "explanation": claim.explanation,
        "evidence": pieces,
    }


def overview(claims: Sequence[Claim], stored: Mapping[str, Any]) -> Table:
    """Return one line for each claim."""
    table = Table(title="claims of the paper", title_justify="left")
    table.add_column("claim", no_wrap=True)
    table.add_column("place", no_wrap=True)
    table.add_column("says", ratio=1)
    table.add_column("verdict", no_wrap=True)
    for row in as_data(claims, stored):
        word = f"[{_STYLES[row['verdict']]}]{row['verdict']}[/]"
        table.add_row(row["claim"], row["place"], escape(row["sentence"]), word)
    return table


def full_text(claim: Claim, stored: Mapping[str, Any]) -> str:
    """Return everything about one claim as plain text."""
    row = _row(claim, stored)
    lines = [f"{row['claim']} ({row['place']}): {row['verdict']}", f"  claim: {row['sentence']}"]
    if row["correction"]:
        lines.append(f"  corrected: {row['correction']}")
    lines.append(f"  {row['explanation']}")
    for piece in row["evidence"]:
        about = " the correction" if piece["of"] == "correction" else ""
        lines.append(
            f"  - {piece['says']}{about} ({piece['kind']}, {piece['name']}): {piece['text']}"
        )
    return "\n".join([*lines, f"  check it: {row['evidence'][-1]['command']}"])


def markdown(claims: Sequence[Claim], stored: Mapping[str, Any]) -> str:
    """Return the page of the documentation."""
    rows = as_data(claims, stored)
    counts = ", ".join(f"{sum(row['verdict'] == word for row in rows)} {word}" for word in VERDICTS)
    lines = [
        "# The ledger: which claims hold",
        "",
        _INTRODUCTION.format(count=len(rows), counts=counts),
        "| claim | place | verdict |",
        "|---|---|---|",
        *(
            f"| [{_escaped(row['sentence'])}](#{row['claim']}) "
            f"| {row['place']} | {row['verdict']} |"
            for row in rows
        ),
        "",
    ]
    for row in rows:
        lines += _section(row)
    return "\n".join(lines) + "\n"


_INTRODUCTION = """\
Each claim of the paper, one row each, with the evidence as numbers. A verdict is computed from the
stored evidence: *fails* and *holds as corrected* need evidence of two independent kinds against the
claim as printed (relations that the identifiability checker finds, say, and a sequence of mixing
measures); *holds* means that the evidence speaks for the claim and none against it, which for a
rate is no proof; *not decided here* is the rest. Of {count} claims: {counts}.

`sigmoe claims` prints this table, `sigmoe claims NAME` one row, and `sigmoe claims NAME --check`
measures its evidence again.
"""


def _escaped(text: str) -> str:
    """Return text in which no character is markup."""
    return re.sub(r"([\\|*_\[\]<>`])", r"\\\1", text)


def _section(row: Mapping[str, Any]) -> list[str]:
    lines = [f"({row['claim']})=", f"## {row['place']}: {row['verdict']}", ""]
    lines += [f"*{_escaped(row['sentence'])}*", ""]
    if row["correction"]:
        lines += [f"**What is true instead.** {_escaped(row['correction'])}", ""]
    lines += [_escaped(row["explanation"]), ""]
    lines += ["| evidence | says | numbers |", "|---|---|---|"]
    for piece in row["evidence"]:
        says = piece["says"] + (" the correction" if piece["of"] == "correction" else "")
        cells = (f"{piece['name']} ({piece['kind']})", says, piece["text"])
        lines.append(f"| {' | '.join(map(_escaped, cells))} |")
    commands = sorted({piece["command"] for piece in row["evidence"]})
    lines += ["", "Check it: " + ", ".join(f"`{text}`" for text in commands), ""]
    return lines
