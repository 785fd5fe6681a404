"""Random starts against each other: all run briefly, the better ones longer, the best one goes on.

Successive halving: early rounds use few iterations and a random part of a large sample. The starts
are ranked by the objective on the whole sample, which is cheap and, unlike the objective of the
part they were run on, does not reward following its noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, inf, isfinite

import numpy as np
import torch

from sigmoe._base.seeds import Seed, child_seeds, generator
from sigmoe.estimation._bounds import Bounds
from sigmoe.estimation._levenberg_marquardt import Settings
from sigmoe.estimation._sample import Sample
from sigmoe.estimation._solve import solve
from sigmoe.estimation._starts import draw_start
from sigmoe.moe import Architecture, MixingMeasure


@dataclass(frozen=True)
class Round:
    """One round of the race: iterations, rows per free parameter, share of the starts kept."""

    iterations: int
    rows: int
    kept: float


ROUNDS = (Round(5, 16, 0.5), Round(5, 16, 0.6), Round(10, 24, 0.0))


@dataclass(frozen=True)
class Race:
    """How the race ended.

    Attributes
    ----------
    winner : int
        Position of the best start.
    starts : list of MixingMeasure
        Where each one began.
    reached : MixingMeasure
        Where the winner's last round ended.
    objectives : list of float
        On the whole sample, where each start's last round ended.
    """

    winner: int
    starts: list[MixingMeasure]
    reached: MixingMeasure
    objectives: list[float]


def race(
    sample: Sample,
    architecture: Architecture,
    n_experts: int,
    n_starts: int,
    seed: Seed,
    bounds: Bounds,
    settings: Settings,
    ridge: float = 0.0,
) -> Race:
    """Run random starts against each other; ties go to the earliest start."""
    *seeds, rows_seed = child_seeds(seed, "random-starts", n_starts + 1)
    starts = [
        draw_start(sample, architecture, n_experts, bounds, generator(child, role="random"))
        for child in seeds
    ]
    problem = sample.problem(architecture, n_experts, ridge)
    points, objectives = list(starts), [inf] * n_starts
    order = torch.from_numpy(np.random.default_rng(rows_seed).permutation(len(sample)))
    alive = list(range(n_starts))
    for leg in ROUNDS:
        if len(alive) == 1:
            break
        # Nested subsamples: a later round adds rows to those of the earlier ones.
        rows = order[: leg.rows * architecture.n_parameters(n_experts)].sort().values
        part = sample.rows(rows.to(sample.device))
        short = replace(settings, max_iterations=min(leg.iterations, settings.max_iterations))
        for k in alive:
            theta = solve(part, points[k], bounds, short, ridge=ridge).theta
            objectives[k] = _or_infinite(problem.objective(theta))
            points[k] = MixingMeasure.from_coordinates(architecture, theta.cpu())
        best_first = sorted(alive, key=lambda k: (objectives[k], k))
        alive = best_first[: max(1, ceil(leg.kept * len(alive)))]
    return Race(alive[0], starts, points[alive[0]], objectives)


def _or_infinite(objective: float) -> float:
    return objective if isfinite(objective) else inf
