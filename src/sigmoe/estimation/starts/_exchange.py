"""Better optima by exchanging atoms: one is drawn anew at a time, and what is better is kept.

Least squares of mixtures has many local optima, and most of them differ from a good one by an atom
or two that ended in the wrong place. Starting all over throws away those that are right; this local
search keeps them. Where atoms have sides (module ``_sides``), those that stay are turned to the
sides that suit them without the one that goes. A trial begins with a few iterations, and is given
up unless they bring it near the best so far.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from sigmoe.estimation._bounds import Bounds
from sigmoe.estimation._sample import Sample
from sigmoe.estimation._solve import solve
from sigmoe.estimation.engine._levenberg_marquardt import Problem, Settings
from sigmoe.estimation.starts._draw import draw_start, projected
from sigmoe.estimation.starts._sides import has_sides, on_best_sides
from sigmoe.moe import MixingMeasure
from sigmoe.moe._gates import get_gate

#: Iterations before a trial is judged, how far above the best it may then be, and what it gets.
_FIRST, _HOPEFUL, _MORE = 4, 1.1, 12
#: A smaller gain does not call for another look at all atoms.
_NOTABLE = 5e-3
#: Trials in a row without a notable gain that end the search, if there are fewer atoms than this.
_PATIENCE = 6
#: Trials at most, in units of those that may fail in a row.
_SWEEPS = 3


@dataclass(frozen=True)
class Search:
    """What trials need.

    Attributes
    ----------
    judge : Problem
        On the whole sample; decides what is better.
    part : Sample
        The rows that trials are run on.
    bounds : Bounds
    settings : Settings
    ridge : float
    """

    judge: Problem
    part: Sample
    bounds: Bounds
    settings: Settings
    ridge: float

    def run(self, start: MixingMeasure, iterations: int) -> tuple[MixingMeasure, float]:
        """Return where a fit on the part ends, and its objective on the whole sample."""
        settings = replace(
            self.settings, max_iterations=min(iterations, self.settings.max_iterations)
        )
        theta = solve(self.part, start, self.bounds, settings, ridge=self.ridge).theta
        measure = MixingMeasure.from_coordinates(start.architecture, theta.cpu())
        return measure, self.judge.objective(theta)


def exchange_atoms(
    search: Search, measure: MixingMeasure, objective: float, rng: np.random.Generator
) -> tuple[MixingMeasure, float]:
    """Return a measure that is at least as good, and its objective on the whole sample.

    Every atom in turn is replaced by a random one, until none of them (of few atoms, none in more
    than one turn) brought a notable gain since the last that did.

    Parameters
    ----------
    search : Search
    measure : MixingMeasure
        A local optimum on the part, inside the bounds.
    objective : float
        Its objective on the whole sample.
    rng : Generator
    """
    n_experts = measure.n_experts
    turn = has_sides(measure.architecture)
    patience, since_gain = _patience(n_experts), 0
    for trial in range(_SWEEPS * patience if n_experts > 1 else 0):
        if since_gain >= patience:
            break
        atom = trial % n_experts
        kept = on_best_sides(search.part, measure, atom) if turn else measure
        changed = with_fresh_atom(search, kept, atom, rng)
        new, reached = search.run(changed, _FIRST)
        if reached <= _HOPEFUL * objective:
            new, reached = search.run(new, _MORE)
        since_gain = 0 if reached < objective * (1.0 - _NOTABLE) else since_gain + 1
        if reached < objective:
            measure, objective = new, reached
    return measure, objective


def _patience(n_experts: int) -> int:
    """Return how many trials may fail in a row: one for each atom, and a second turn of a few.

    As many as there are pairs of atoms is enough: up to three atoms are found without more.
    """
    return max(n_experts, min(_PATIENCE, n_experts * (n_experts - 1) // 2))


def with_fresh_atom(
    search: Search, measure: MixingMeasure, atom: int, rng: np.random.Generator
) -> MixingMeasure:
    """Return the measure with one atom drawn anew, as for a random start."""
    architecture = measure.architecture
    drawn = draw_start(search.part, architecture, 1, search.bounds, rng).coordinates[0]
    theta = measure.coordinates
    if get_gate(architecture.gate).invariant:
        # Scores of softmax gates mean something beside those of the other atoms only.
        others = torch.arange(len(theta)) != atom
        g = architecture.n_score_coefficients
        drawn[:g] += theta[others, :g].mean(dim=0)
    theta[atom] = drawn
    return projected(MixingMeasure.from_coordinates(architecture, theta), search.bounds)
