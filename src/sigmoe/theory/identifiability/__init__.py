"""Identifiability of experts, Definitions 1-4: ranks of derivative functions, and equations."""

from sigmoe.theory.identifiability._analyse import StratumReport
from sigmoe.theory.identifiability._check import CONDITIONS, check_identifiability
from sigmoe.theory.identifiability._relations import Monomial, Relation, Symbol
from sigmoe.theory.identifiability._report import IdentifiabilityReport

__all__ = [
    "CONDITIONS",
    "IdentifiabilityReport",
    "Monomial",
    "Relation",
    "StratumReport",
    "Symbol",
    "check_identifiability",
]
