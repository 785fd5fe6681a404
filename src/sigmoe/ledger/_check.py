"""Measure the evidence of claims anew."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from sigmoe.lab._versions import now, versions
from sigmoe.ledger._claim import Claim, Evidence


def measured(
    claims: Sequence[Claim],
    deep: bool,
    tell: Callable[[str], object] = lambda _: None,
) -> dict[str, Any]:
    """Return fresh evidence of the claims, in the form in which it is stored.

    Parameters
    ----------
    claims : sequence of Claim
    deep : bool
        Whether to measure what takes longer than minutes, too.
    tell : callable
        Called with a line before each piece of evidence.
    """
    found: dict[str, dict[str, Any]] = {}
    for claim in claims:
        for piece in claim.evidence:
            if piece.deep and not deep:
                continue
            tell(f"{claim.name}: {piece.name}")
            found.setdefault(claim.name, {})[piece.name] = _entry(piece)
    return {"claims": found}


def _entry(piece: Evidence) -> dict[str, Any]:
    began = time.perf_counter()
    numbers = piece.measure()
    return {
        "numbers": dict(numbers),
        "seconds": round(time.perf_counter() - began, 1),
        "made": now(),
        "versions": {name: versions()[name] for name in ("sigmoe", "torch", "numpy")},
    }
