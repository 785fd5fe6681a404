"""How often the 95 % intervals of a mixture's coefficients hold the truth, on simulated tables.

Two linear experts of one input are fitted by ``MoERegressor`` with its defaults to 100 tables of
each case, with its defaults or without an intercept. "withheld" counts the tables without
intervals from the sandwich. The error of a coverage is 1.96 standard errors over tables, as the
intervals of one table hang together. "led astray" counts the tables whose fit leads, once its
penalty is left out, to an optimum more than 1 % above the one near the truth. A process a
processor, one thread each.

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
    ("softmax", True, 300, 0.2),
    ("softmax", True, 1000, 0.3),
    ("sigmoid, apart", True, 1000, 0.1),
    ("sigmoid, apart", True, 4000, 0.1),
    ("sigmoid, nested", True, 1000, 0.1),
    ("sigmoid, nested", True, 4000, 0.1),
    ("sigmoid, apart", False, 300, 0.1),
    ("sigmoid, apart", False, 300, 0.2),
    ("sigmoid, apart", False, 1000, 0.1),
    ("sigmoid, apart", False, 1000, 0.3),
    ("sigmoid, nested", False, 300, 0.1),
    ("sigmoid, nested", False, 1000, 0.1),
    ("sigmoid, nested", False, 1000, 0.3),
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
    fit_intercept: bool
    rows: int
    noise: float
    seed: int
    share: float
    reason: str
    excess: float


def truth_of(name: str) -> MixingMeasure:
    """Return a truth by its name; its intercept is 0."""
    model = Architecture(name.split(",")[0], "linear", "linear", 1)
    b, c, eta = {
        "softmax": ([[4.0], [0.0]], [-2.0, 0.0], [[-3.0, 4.0], [1.0, 1.0]]),
        "sigmoid, apart": ([[4.0], [-4.0]], [-2.0, -2.0], [[3.0, -1.0], [3.0, 1.0]]),
        "sigmoid, nested": ([[5.0], [3.0]], [-3.0, 3.0], [[-2.0, 1.0], [3.0, 0.0]]),
    }[name]
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
    every["intercept"] = 0.0
    return np.array([every[name] for name in names])


def one_table(name: str, fit_intercept: bool, rows: int, noise: float, seed: int) -> Table:
    """Return what the intervals of one table are worth."""
    torch.set_num_threads(1)
    truth = truth_of(name)
    X, y = draw_sample(
        truth, rows, noise**2, seed, lambda rng, n: rng.uniform(-RANGE, RANGE, (n, 1))
    )
    model = MoERegressor(
        2, gate=truth.architecture.gate, fit_intercept=fit_intercept, random_state=seed
    ).fit(X.numpy(), y.numpy())
    found = model.confidence_intervals(X.numpy(), y.numpy(), method="sandwich")
    free = fit_intercept and truth.architecture.gate == "sigmoid"
    rest = y if free else y - model.intercept_
    # The box of the estimator is that of standardised units.
    ends = [
        fit_least_squares(
            X, rest, truth.architecture, 2, start=start, bounds=None, intercept=free
        ).objective
        for start in (model.measure_, truth)
    ]
    share = nan
    if found.method == "sandwich":
        share = float(found.covers(nearest(found.names, found.estimate, truth)).mean())
    return Table(name, fit_intercept, rows, noise, seed, share, found.reason, ends[0] / ends[1])


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
    kind = "" if first.fit_intercept else "no intercept"
    return (
        f"{first.truth:<16} {kind:<13}{first.rows:>5} rows, noise {first.noise}: withheld "
        f"{len(tables) - len(given)} of {len(tables)}, {coverage}, "
        f"led astray {astray} of {len(tables)}"
    )


if __name__ == "__main__":
    sys.exit(run_cases(__doc__.splitlines()[0], CASES, one_table, summary, tables=100))
