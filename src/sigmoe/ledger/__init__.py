"""The ledger: every claim of the paper, how it is checked, the evidence, and the verdict."""

from sigmoe.ledger._check import measured
from sigmoe.ledger._claim import VERDICTS, Claim, Evidence, Reading, readings, verdict
from sigmoe.ledger._page import as_data, full_text, markdown, overview
from sigmoe.ledger._store import SHIPPED, dump, load, merged, of_claim
from sigmoe.ledger.claims import CLAIMS, claims_named

__all__ = [
    "CLAIMS",
    "SHIPPED",
    "VERDICTS",
    "Claim",
    "Evidence",
    "Reading",
    "as_data",
    "claims_named",
    "dump",
    "full_text",
    "load",
    "markdown",
    "measured",
    "merged",
    "of_claim",
    "overview",
    "readings",
    "verdict",
]
