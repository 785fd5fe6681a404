"""How often the 95 % intervals of a mixture's coefficients hold the truth, on simulated tables.

Two linear experts of one input are fitted by ``MoERegressor`` with its defaults to 100 tables of
each case. "withheld" counts the tables without intervals from the sandwich. The error of a
coverage is 1.96 standard errors over tables, as the intervals of one table hang together. "led
astray" counts the tables whose fit leads, once its penalty is left out, to an optimum more than 1 %
above the one near the truth. A process a processor, one thread each.

    python -m benchmarks.coverage [--tables 100] [--out coverage.json]
"""

import sys
from dataclasses import dataclass
from itertools import permutations
from math import nan

import numpy as np
import torch
from benchmarks.cases import run_cases
from numpy.typing import NDArray

from sigmoe.estimation import MoERegressor, fit_least_squares
from sigmoe.moe import Architecture, MixingMeasure, draw_sample

CASES = (
    ("softmax", 300, 0.2),
    ("softmax", 1000, 0.3),
    ("sigmoid, apart", 300, 0.1),
    ("sigmoid, apart", 300, 0.2),
    ("sigmoid, apart", 1000, 0.1),
    ("sigmoid, apart", 1000, 0.3),
    ("sigmoid, nested", 300, 0.1),
    ("sigmoid, nested", 1000, 0.1),
    ("sigmoid, nested", 1000, 0.3),
)
#: Inputs are uniform on [-RANGE, RANGE].
RANGE = 2.0
ASTRAY = 1.01

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """One table: the share of intervals that hold the truth, NaN where they were withheld.

    ``excess`` is the optimum that the fit leads to without its penalty, over that of the truth.
    """

    truth: str
    rows: int
    noise: float
    seed: int
    share: float
    reason: str
    excess: float


def truth_of(name: str) -> MixingMeasure:
    """Return a truth by its name.

    The estimator subtracts the mean response, which sigmoid gates cannot take up: theirs is 0.
    """
    model = Architecture(name.split(",")[0], "linear", "linear", 1)
    b, c, eta = {
        "softmax": ([[4.0], [0.0]], [-2.0, 0.0], [[-3.0, 4.0], [1.0, 1.0]]),
        "sigmoid, apart": ([[4.0], [-4.0]], [-2.0, -2.0], [[3.0, -1.0], [3.0, 1.0]]),
        "sigmoid, nested": ([[5.0], [3.0]], [-3.0, 3.0], [[-2.0, 1.0], [2.0, 0.0]]),
    }[name]
    truth = MixingMeasure(model, None, b, c, eta)
    if model.gate == "softmax":
        return truth
    grid = torch.linspace(-RANGE, RANGE, 100_001, dtype=torch.float64)[:, None]
    eta = truth.eta.clone()
    eta[1, 1] -= truth.predict(grid).mean() / truth.gates(grid)[:, 1].mean()
    return MixingMeasure(model, None, b, c, eta)


def nearest(names: tuple[str, ...], estimate: Values, truth: MixingMeasure) -> Values:
    """Return the true coefficients of those names, experts in the order nearest the estimate."""
    orders = [_coefficients(names, truth.permute(order)) for order in permutations(range(2))]
    return min(orders, key=lambda values: float(np.linalg.norm(values - estimate)))


def _coefficients(names: tuple[str, ...], truth: MixingMeasure) -> Values:
    gates = np.column_stack([truth.c.numpy(), truth.b.numpy()])
    # Softmax weights know differences: one gate has no coefficients, and is the origin of all.
    pinned = [k for k in range(2) if f"gate {k}: const" not in names]
    gates = gates - gates[pinned].sum(0)
    experts = truth.eta.numpy()[:, ::-1]
    every = {
        f"{part} {k}: {name}": value
        for part, rows in (("gate", gates), ("expert", experts))
        for k, row in enumerate(rows)
        for name, value in zip(("const", "x0"), row, strict=True)
    }
    return np.array([every[name] for name in names])


def one_table(name: str, rows: int, noise: float, seed: int) -> Table:
    """Return what the intervals of one table are worth."""
    torch.set_num_threads(1)
    truth = truth_of(name)
    X, y = draw_sample(
        truth, rows, noise**2, seed, lambda rng, n: rng.uniform(-RANGE, RANGE, (n, 1))
    )
    model = MoERegressor(2, gate=truth.architecture.gate, score="linear", random_state=seed).fit(
        X.numpy(), y.numpy()
    )
    found = model.confidence_intervals(X.numpy(), y.numpy(), method="sandwich")
    rest = y - model.intercept_
    ends = [
        fit_least_squares(X, rest, truth.architecture, 2, start=start).objective
        for start in (model.measure_, truth)
    ]
    share = nan
    if found.method == "sandwich":
        share = float(found.covers(nearest(found.names, found.estimate, truth)).mean())
    return Table(name, rows, noise, seed, share, found.reason, ends[0] / ends[1])


def summary(tables: list[Table]) -> str:
    """Return one line on the tables of one case."""
    first = tables[0]
    shares = np.array([table.share for table in tables])
    given = shares[~np.isnan(shares)]
    coverage = "none given"
    if len(given) > 1:
        error = 1.96 * given.std(ddof=1) / len(given) ** 0.5
        coverage = f"coverage {given.mean():.1%} +- {error:.1%}"
    astray = sum(table.excess > ASTRAY for table in tables)
    return (
        f"{first.truth:<16} {first.rows:>5} rows, noise {first.noise}: withheld "
        f"{len(tables) - len(given)} of {len(tables)}, {coverage}, "
        f"led astray {astray} of {len(tables)}"
    )


if __name__ == "__main__":
    sys.exit(run_cases(__doc__.splitlines()[0], CASES, one_table, summary, tables=100))
