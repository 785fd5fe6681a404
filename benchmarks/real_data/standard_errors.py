"""On whole tables: how many experts BIC picks, and whether standard errors mean anything."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from benchmarks.real_data.datasets import Table
from benchmarks.real_data.models import MOST_EXPERTS

from sigmoe.estimation import parameter_covariance, select_by_criterion
from sigmoe.moe import Architecture


@dataclass(frozen=True)
class StandardErrors:
    """What was chosen on a table, and whether it has standard errors or why not."""

    table: str
    gate: str
    n_experts: int
    available: bool
    reason: str


def standard_errors(table: Table, gate: str) -> StandardErrors:
    """Return whether the fit that BIC picks on all rows has standard errors."""
    X = (table.X - table.X.mean(0)) / table.X.std(0)
    y = (table.y - table.y.mean()) / table.y.std()
    architecture = Architecture(gate, score="linear", expert="linear", dim=X.shape[1])
    path = select_by_criterion(X, y, architecture, range(1, MOST_EXPERTS + 1), seed=0)
    inference = parameter_covariance(path.best.measure, X, np.asarray(y))
    return StandardErrors(
        table.name, gate, path.chosen, inference.available, inference.reason or ""
    )


def sentence(found: StandardErrors) -> str:
    """Return the finding in one line."""
    verdict = "available" if found.available else f"withheld: {found.reason}"
    noun = "expert" if found.n_experts == 1 else "experts"
    return f"- {found.table}, {found.gate}, {found.n_experts} {noun}: {verdict}"
