"""What the ridge penalty that a table decides is worth, beside penalties that are given.

R^2 by 5-fold cross-validation of mixtures of 2 and 3 experts with sigmoid and softmax gates, the
mean of the four, on simulated tables with little and much noise and on real ones. A process a
processor, one thread each.

    python benchmarks/ridge.py [--expert linear] [--out ridge.json]
"""

import argparse
import json
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_diabetes, make_friedman1
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold, cross_validate

from sigmoe.estimation import MoERegressor

Pair = tuple[NDArray[np.float64], NDArray[np.float64]]
RIDGES: tuple[float | str, ...] = ("auto", 0.03, 0.3, 3.0)


def sigmoid(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1.0 / (1.0 + np.exp(-z))


def bend(n: int, noise: float) -> Pair:
    """Return a table of two rules, one input that decides and one that adds."""
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.uniform(-2, 2, n), rng.normal(size=n)])
    right = sigmoid(4 * X[:, 0] - 1.2)
    y = (1 - right) * (1 + X[:, 0]) + right * (4 - 3 * X[:, 0]) + 0.5 * X[:, 1]
    return X, y + rng.normal(0, noise, n)


def nested(n: int, noise: float) -> Pair:
    """Return a table of two experts that add up, with steep gates."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, n)
    y = sigmoid(5 * x - 3) * (1 - 2 * x) + sigmoid(3 * x + 3) * 2 * x
    return x[:, None], y + rng.normal(0, noise, n)


def friedman(n: int, noise: float) -> Pair:
    """Return Friedman's first table, with one input that has no effect."""
    X, y = make_friedman1(n, 6, noise=noise, random_state=0)
    return X, y


def diabetes(n: int) -> Pair:
    """Return the first rows of scikit-learn's table."""
    X, y = load_diabetes(return_X_y=True)
    return X[:n], y[:n]


TABLES: dict[str, Callable[[], Pair]] = {
    "bend, 60 rows, noise 0.1": partial(bend, 60, 0.1),
    "bend, 60 rows, noise 0.5": partial(bend, 60, 0.5),
    "bend, 60 rows, noise 1.5": partial(bend, 60, 1.5),
    "bend, 300 rows, noise 0.5": partial(bend, 300, 0.5),
    "nested, 100 rows, noise 0.1": partial(nested, 100, 0.1),
    "nested, 100 rows, noise 0.5": partial(nested, 100, 0.5),
    "friedman, 60 rows, noise 3": partial(friedman, 60, 3.0),
    "friedman, 100 rows, noise 1": partial(friedman, 100, 1.0),
    "friedman, 300 rows, noise 1": partial(friedman, 300, 1.0),
    "friedman, 300 rows, noise 3": partial(friedman, 300, 3.0),
    "diabetes, 100 rows": partial(diabetes, 100),
    "diabetes, 442 rows": partial(diabetes, 442),
}


def scores(name: str, ridge: float | str, gate: str, n_experts: int, expert: str) -> dict[str, Any]:
    """Return R^2 and penalties of the five folds."""
    torch.set_num_threads(1)
    # Folds that hit the limit of iterations count as they are.
    warnings.simplefilter("ignore", ConvergenceWarning)
    X, y = TABLES[name]()
    model = MoERegressor(n_experts, gate=gate, expert=expert, ridge=ridge, random_state=0)
    folds = KFold(5, shuffle=True, random_state=0)
    found = cross_validate(model, X, y, cv=folds, scoring="r2", return_estimator=True)
    return {
        "table": name,
        "ridge": ridge,
        "gate": gate,
        "n_experts": n_experts,
        "r2": found["test_score"].tolist(),
        "penalties": [fit.ridge_ for fit in found["estimator"]],
        "seconds": found["fit_time"].tolist(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--expert", default="linear")
    parser.add_argument("--out", type=Path, help="write all folds to this JSON file")
    options = parser.parse_args()
    print(f"{'table':<30}" + "".join(f"{ridge!s:>9}" for ridge in RIDGES) + "   penalties of auto")
    everything: list[dict[str, Any]] = []
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for name in TABLES:
            asked = list(product([name], RIDGES, ["sigmoid", "softmax"], [2, 3], [options.expert]))
            rows = list(pool.map(scores, *zip(*asked, strict=True)))
            means = [np.mean([r["r2"] for r in rows if r["ridge"] == ridge]) for ridge in RIDGES]
            own = [value for r in rows if r["ridge"] == "auto" for value in r["penalties"]]
            line = "".join(f"{mean:>9.3f}" for mean in means)
            print(f"{name:<30}{line}   {min(own):.2g} to {max(own):.2g}", flush=True)
            everything += rows
    seconds = {
        ridge: np.mean([r["seconds"] for r in everything if r["ridge"] == ridge])
        for ridge in RIDGES
    }
    print("mean seconds a fit: " + ", ".join(f"{k} {v:.2f}" for k, v in seconds.items()))
    if options.out:
        options.out.write_text(json.dumps(everything, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
