"""Propositions 1 and 4, Corollaries 1 and 2: the rate of the regression function."""

from __future__ import annotations

from functools import partial

from sigmoe.ledger._claim import Evidence
from sigmoe.ledger._rates import bounded, function_rate


def _fits(score: str, regime: str) -> tuple[Evidence, ...]:
    measure = partial(function_rate, score, "relu", regime)
    return (Evidence("ReLU experts, global fits", "fits", measure, bounded),)


EVIDENCE = {
    "proposition-1": _fits("full", "sparse"),
    "corollary-1": _fits("full", "dense"),
    "proposition-4": _fits("partial", "sparse"),
    "corollary-2": _fits("partial", "dense"),
}
