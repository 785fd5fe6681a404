"""Random starts against each other: all run briefly, the better ones to the end, the best goes on.

Successive halving, then a local search around the winner (module ``_exchange``). All of this runs
on a random part of a large sample. The starts are ranked by the objective on the whole sample,
which is cheap and, unlike the objective of the part they were run on, does not reward following
its noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, inf, isfinite

import numpy as np
import torch
from torch import Tensor

from sigmoe._base.seeds import Seed, child_seeds, generator
from sigmoe.estimation._bounds import Bounds
from sigmoe.estimation._sample import Sample
from sigmoe.estimation.engine._levenberg_marquardt import Settings
from sigmoe.estimation.starts._draw import draw_start
from sigmoe.estimation.starts._exchange import Search, exchange_atoms
from sigmoe.moe import Architecture, MixingMeasure


@dataclass(frozen=True)
class Round:
    """One round of the race: iterations, rows per free parameter, share of the starts kept."""

    iterations: int
    rows: int
    kept: float


#: The last round runs to convergence.
ROUNDS = (Round(5, 16, 0.5), Round(5, 16, 0.6), Round(100, 24, 0.0))
#: Rows that every round has at least; so few cost next to nothing.
_LEAST_ROWS = 4096
#: Convergence on a part of the sample needs no more digits than this.
_TOLERANCE = 1e-5
#: Starts that end within this share of the best objective have found the same fit.
_SAME = 1e-2


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
        Where the winner's last round, and the search around it, ended.
    objectives : list of float
        On the whole sample, where each start's last round ended.
    agreed : int
        How many of the starts that were run to convergence ended within 1 % of the best.
    """

    winner: int
    starts: list[MixingMeasure]
    reached: MixingMeasure
    objectives: list[float]
    agreed: int


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
    *seeds, rows_seed, exchange_seed = child_seeds(seed, "random-starts", n_starts + 2)
    starts = [
        draw_start(sample, architecture, n_experts, bounds, generator(child, role="random"))
        for child in seeds
    ]
    settings = replace(settings, relative_tolerance=max(_TOLERANCE, settings.relative_tolerance))
    judge = sample.problem(architecture, n_experts, ridge)
    points, objectives = list(starts), [inf] * n_starts
    order = torch.from_numpy(np.random.default_rng(rows_seed).permutation(len(sample)))
    alive = list(range(n_starts))
    finalists = alive
    for leg in ROUNDS:
        rows = _rows(order, leg.rows * architecture.n_parameters(n_experts))
        search = Search(judge, sample.rows(rows.to(sample.device)), bounds, settings, ridge)
        for k in alive:
            points[k], objective = search.run(points[k], leg.iterations)
            objectives[k] = objective if isfinite(objective) else inf
        best_first = sorted(alive, key=lambda k: (objectives[k], k))
        finalists, alive = alive, best_first[: max(1, ceil(leg.kept * len(alive)))]
    winner = alive[0]
    rng = np.random.default_rng(exchange_seed)
    reached, objective = exchange_atoms(search, points[winner], objectives[winner], rng)
    agreed = sum(objectives[k] <= (1.0 + _SAME) * objective for k in finalists)
    return Race(winner, starts, reached, objectives, agreed)


def _rows(order: Tensor, wanted: int) -> Tensor:
    """Return sorted rows; a later round adds rows to those of the earlier ones."""
    return order[: max(wanted, _LEAST_ROWS)].sort().values
