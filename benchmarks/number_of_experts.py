"""How often BIC over a sweep, and along merged atoms, finds the true number of experts.

Tables of 2000 rows of random truths, fitted with 1 to 5 experts; merging begins at the fit with 5.
"auto" is that of ``MoERegressor``, whose fits have a ridge penalty; like the truths, without an
intercept.
A rule that misses is not always at fault: "supported" says in how many of the sweep's misses the
fit that starts at the truth has a larger BIC than what was chosen, so that the rows themselves
speak for another number. In the others the search missed a better fit. Shares have Wilson
intervals of 95 %. A process a processor, one thread each.

    python -m benchmarks.number_of_experts [--tables 20] [--out counts.json]
"""

import sys
from collections import Counter
from dataclasses import dataclass
from math import log

import numpy as np
import torch
from benchmarks.cases import run_cases
from scipy.stats import binomtest
from torch import Tensor

from sigmoe.estimation import (
    MoERegressor,
    fit_least_squares,
    merge_atoms,
    select_by_criterion,
)
from sigmoe.moe import Architecture, MixingMeasure, draw_sample

ROWS, NOISE, MOST = 2_000, 0.01, 5
CASES = (
    ("softmax", "linear", 2, 3),
    ("sigmoid", "linear", 2, 3),
    ("softmax", "linear", 1, 2),
    ("sigmoid", "linear", 1, 2),
    ("softmax", "tanh", 2, 3),
    ("sigmoid", "tanh", 2, 3),
)


@dataclass(frozen=True)
class Choice:
    """What each rule chose for one table; ``supported`` is None where the sweep was right."""

    gate: str
    expert: str
    dim: int
    n_experts: int
    seed: int
    sweep: int
    auto: int
    merging: int
    dendrogram: int
    supported: bool | None


def well_apart(gate: str, expert: str, dim: int, n_experts: int, seed: int) -> MixingMeasure:
    """Return a random truth: b is 3 N(0, 1), c is N(0, 1) and eta is 1.5 N(0, 1)."""
    rng = np.random.default_rng([seed, n_experts, dim])
    return MixingMeasure(
        Architecture(gate, "linear", expert, dim),
        None,
        3.0 * rng.standard_normal((n_experts, dim)),
        rng.standard_normal(n_experts),
        1.5 * rng.standard_normal((n_experts, dim + 1)),
    )


def choose(gate: str, expert: str, dim: int, n_experts: int, seed: int) -> Choice:
    """Return what each rule makes of one table."""
    torch.set_num_threads(1)
    truth = well_apart(gate, expert, dim, n_experts, seed)
    model = truth.architecture
    X, y = draw_sample(truth, ROWS, NOISE, seed)
    sweep = select_by_criterion(X, y, model, range(1, MOST + 1), seed=seed)
    many = fit_least_squares(X, y, model, MOST, seed=seed).measure
    supported = None
    if sweep.chosen != n_experts:
        near = fit_least_squares(X, y, model, n_experts, start=truth).objective
        bic = sweep.values[n_experts] + ROWS * log(near / sweep.fit(n_experts).objective)
        supported = bic > sweep.values[sweep.chosen]
    return Choice(
        gate,
        expert,
        dim,
        n_experts,
        seed,
        sweep.chosen,
        _auto(model, X, y, seed),
        merge_atoms(many, X, y).chosen,
        merge_atoms(many, X, y, criterion="dsc").chosen,
        supported,
    )


def _auto(model: Architecture, X: Tensor, y: Tensor, seed: int) -> int:
    kind = {"gate": model.gate, "expert": model.expert, "fit_intercept": False}
    auto = MoERegressor("auto", max_experts=MOST, random_state=seed, **kind)
    return int(auto.fit(X.numpy(), y.numpy()).n_experts_)


def summary(choices: list[Choice]) -> str:
    """Return one line on the tables of one case."""
    first = choices[0]
    parts = [f"{first.gate:<8} {first.expert:<7} d={first.dim} N*={first.n_experts}"]
    for rule in ("sweep", "auto", "merging", "dendrogram"):
        counts = Counter(getattr(choice, rule) for choice in choices)
        hits = counts[first.n_experts]
        interval = binomtest(hits, len(choices)).proportion_ci(method="wilson")
        spread = " ".join(f"{size}:{count}" for size, count in sorted(counts.items()))
        parts.append(
            f"{rule} {hits} of {len(choices)} [{interval.low:.2f}, {interval.high:.2f}] ({spread})"
        )
    misses = [choice.supported for choice in choices if choice.supported is not None]
    return "   ".join([*parts, f"supported {sum(misses)} of {len(misses)}"])


if __name__ == "__main__":
    sys.exit(run_cases(__doc__.splitlines()[0], CASES, choose, summary, tables=20))
