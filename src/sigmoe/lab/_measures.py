"""Mixing measures in and out of the rows of the tasks' table, and those that tasks begin with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from sigmoe.lab._tasks import Model, TruthSpec
from sigmoe.moe import Architecture, MixingMeasure, draw_truth

BLOCKS = ("A", "b", "c", "eta")


def truth_of(spec: TruthSpec) -> MixingMeasure:
    """Draw the truth: the same for every n and replication of a study; or take its atoms."""
    if spec.atoms:
        return _given(spec)
    return draw_truth(
        spec.architecture(),
        spec.n_true,
        regime=spec.regime,
        seed=spec.seed,
        n_sparse=spec.n_sparse,
    )


def _given(spec: TruthSpec) -> MixingMeasure:
    """Return the truth that the study gives; in the sparse regime the last gates are constant."""
    architecture = spec.architecture()
    d, score = architecture.dim, architecture.score
    A, b, c, eta = (
        torch.tensor([getattr(atom, name) for atom in spec.atoms], dtype=torch.float64)
        for name in BLOCKS
    )
    if spec.regime == "sparse":
        A[-spec.n_sparse :] = 0.0
        b[-spec.n_sparse :] = 0.0
    has_A, has_b = score != "linear", score != "partial"
    return MixingMeasure(
        architecture, A.reshape(-1, d, d) if has_A else None, b if has_b else None, c, eta
    )


def architecture_of(model: Model, dim: int) -> Architecture:
    """Return the architecture of what is fitted."""
    return Architecture(gate=model.gate, score=model.score, expert=model.expert, dim=dim)


def flatten(measure: MixingMeasure, prefix: str = "") -> dict[str, list[float]]:
    """Return the blocks of a measure, or a batch of them, as columns of the tasks' table."""
    return {f"{prefix}{name}": getattr(measure, name).flatten().tolist() for name in BLOCKS}


def unflatten(
    row: Mapping[str, Any], architecture: Architecture, n_experts: int, prefix: str = ""
) -> MixingMeasure:
    """Return the measures of a row, a batch of shape (members,): the inverse of `flatten`.

    Parameters
    ----------
    row : mapping
        A row of the tasks' table, of a task that did not fail.
    architecture : Architecture
        Of the measures.
    n_experts : int
        Their number of atoms.
    prefix : {"", "start_", "truth_"}
        Which measures.
    """
    d, q = architecture.dim, architecture.n_expert_parameters
    shapes = {"A": (d, d), "b": (d,), "c": (), "eta": (q,)}
    A, b, c, eta = (
        torch.tensor(row[f"{prefix}{name}"], dtype=torch.float64).reshape(-1, n_experts, *shape)
        for name, shape in shapes.items()
    )
    has_A, has_b = architecture.score != "linear", architecture.score != "partial"
    return MixingMeasure(architecture, A if has_A else None, b if has_b else None, c, eta)
