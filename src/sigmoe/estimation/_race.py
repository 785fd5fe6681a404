"""Random starts against each other: all run briefly, the best one goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import isfinite

import numpy as np
import torch
from torch import Tensor

from sigmoe._base.seeds import seed_sequence
from sigmoe.estimation._bounds import Bounds
from sigmoe.estimation._levenberg_marquardt import Outcome, Settings
from sigmoe.estimation._starts import Seed, random_start
from sigmoe.moe import Architecture, MixingMeasure

#: Fits a start to a sample: (X, y, start, settings).
Solver = Callable[[Tensor, Tensor, MixingMeasure, Settings], Outcome]

#: Iterations of each start in the race.
RACE_ITERATIONS = 12
#: Rows per free parameter that the race uses of a larger sample.
_ROWS_PER_PARAMETER = 6


def child_seeds(seed: Seed, role: str, count: int) -> list[np.random.SeedSequence]:
    """Return seed sequences that depend on the seed, the role and their position only."""
    if isinstance(seed, np.random.SeedSequence):
        # spawn() would count up inside the caller's object, and a second call would differ.
        marker = seed_sequence(0, role=role).spawn_key
        root = np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, *marker))
    else:
        root = seed_sequence(seed, role=role)
    return root.spawn(count)


def race(
    X: Tensor,
    y: Tensor,
    architecture: Architecture,
    n_experts: int,
    n_starts: int,
    seed: Seed,
    bounds: Bounds,
    settings: Settings,
    solve: Solver,
) -> tuple[MixingMeasure, MixingMeasure, tuple[float, ...]]:
    """Return the winning start, where its short run ended, and every short run's objective.

    The short runs use a random part of the sample if it has many rows for each parameter: enough
    to tell good basins from bad ones. Ties and non-finite objectives go to the earliest start.
    """
    rows_seed, *seeds = child_seeds(seed, "random-starts", n_starts + 1)
    starts = [
        random_start(X, y, architecture, n_experts, seed=child, bounds=bounds) for child in seeds
    ]
    if n_starts == 1:
        return starts[0], starts[0], ()
    wanted = _ROWS_PER_PARAMETER * architecture.n_parameters(n_experts)
    if len(X) > wanted:
        order = np.random.default_rng(rows_seed).permutation(len(X))[:wanted]
        rows = torch.from_numpy(np.sort(order)).to(X.device)
        X, y = X[rows], y[rows]
    short = replace(settings, max_iterations=min(RACE_ITERATIONS, settings.max_iterations))
    outcomes = [solve(X, y, start, short) for start in starts]
    objectives = [
        outcome.objective if isfinite(outcome.objective) else float("inf") for outcome in outcomes
    ]
    winner = objectives.index(min(objectives))
    reached = MixingMeasure.from_coordinates(architecture, outcomes[winner].theta)
    return starts[winner], reached, tuple(objectives)
