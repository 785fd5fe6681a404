"""The paper's claims in its order: their texts from ``claims.toml``, and the evidence."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path

from sigmoe._base.errors import invalid
from sigmoe.ledger._claim import Claim
from sigmoe.ledger.claims import (
    _bounds,
    _counted,
    _figures,
    _identifiability,
    _regression,
    _table1,
    _uniqueness,
)

_TEXTS = Path(__file__).parents[1] / "claims.toml"
_EVIDENCE = {
    **_counted.EVIDENCE,
    **_regression.EVIDENCE,
    **_identifiability.EVIDENCE,
    **_bounds.EVIDENCE,
    **_uniqueness.EVIDENCE,
    **_figures.EVIDENCE,
    **_table1.EVIDENCE,
}


def _all() -> tuple[Claim, ...]:
    texts = tomllib.loads(_TEXTS.read_text())
    assert set(texts) == set(_EVIDENCE)
    return tuple(Claim(name=name, evidence=_EVIDENCE[name], **text) for name, text in texts.items())


CLAIMS: tuple[Claim, ...] = _all()


def claims_named(names: Sequence[str]) -> tuple[Claim, ...]:
    """Return the claims of these names, in the order of the paper; all of them without names.

    Raises
    ------
    InputError
        For a name that no claim has.
    """
    known = [claim.name for claim in CLAIMS]
    for name in names:
        if name not in known:
            remedy = "`sigmoe claims` lists all; there are " + ", ".join(known) + "."
            raise invalid("the argument of claims", "the name of a claim", name, remedy)
    return tuple(claim for claim in CLAIMS if not names or claim.name in names)
