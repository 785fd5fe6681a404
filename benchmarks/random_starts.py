"""How often starts that know nothing of the truth find the best optimum that is known.

For each gate, expert and size, truths are drawn from 20 seeds. A fit with default settings
succeeds if its training error lies within 2 % of the best of: the fit from the truth itself, the
default fit, and what earlier runs found on the same samples (``--known``, files that ``--out``
wrote). Any registered expert can be asked for. Shares have Wilson intervals of 95 %. One thread.

    python benchmarks/random_starts.py [--sizes small medium large] [--truths 20]
        [--gates sigmoid softmax] [--experts relu gelu tanh polynomial:2] [--known earlier.json]
"""

import argparse
import json
import sys
import time
import warnings
from math import inf
from pathlib import Path
from typing import Any

import torch
from scipy.stats import binomtest

from sigmoe.estimation import fit_least_squares
from sigmoe.moe import Architecture, draw_sample, draw_truth

SIZES = {"small": (2, 3, 2_000), "medium": (4, 4, 5_000), "large": (8, 8, 20_000)}
WITHIN = 1.02
NOISE = 0.01


#: What makes two cases the same sample.
SAME = ("gate", "expert", "size", "seed")


def best_known(files: list[Path]) -> dict[tuple[object, ...], float]:
    """Return the smallest objective of each case among those of earlier runs."""
    best: dict[tuple[object, ...], float] = {}
    for case in [case for file in files for case in json.loads(file.read_text())]:
        key = tuple(case[name] for name in SAME)
        best[key] = min(best.get(key, inf), case["objective"], case["from_truth"])
    return best


def one_case(gate: str, expert: str, size: str, seed: int, known: float) -> dict[str, Any]:
    """Return how one default fit ended, beside the fit from the truth and what is known."""
    dim, n_experts, n = SIZES[size]
    architecture = Architecture(gate, "full", expert, dim)
    truth = draw_truth(architecture, n_experts, seed=seed)
    X, y = draw_sample(truth, n, noise_variance=NOISE, seed=seed)
    near = fit_least_squares(X, y, architecture, n_experts, start=truth, relative_tolerance=1e-6)
    began = time.process_time()
    fit = fit_least_squares(X, y, architecture, n_experts, seed=seed)
    seconds = time.process_time() - began
    best = min(near.objective, fit.objective, known)
    return {
        "gate": gate,
        "expert": expert,
        "size": size,
        "seed": seed,
        "objective": fit.objective,
        "from_truth": near.objective,
        "excess": fit.objective / best - 1.0,
        "success": fit.objective <= WITHIN * best,
        "status": fit.status,
        "iterations": fit.n_iterations,
        "agreed": fit.n_agreed,
        "processor_seconds": seconds,
        "start_objectives": fit.start_objectives,
    }


def summary(cases: list[dict[str, Any]]) -> str:
    """Return one line on the cases of one gate, expert and size."""
    hits = sum(bool(c["success"]) for c in cases)
    seconds = sum(c["processor_seconds"] for c in cases) / len(cases)
    interval = binomtest(hits, len(cases)).proportion_ci(method="wilson")
    worst = max(c["excess"] for c in cases)
    mean = sum(c["excess"] for c in cases) / len(cases)
    first = cases[0]
    return (
        f"{first['size']:<8}{first['gate']:<9}{first['expert']:<13}{hits:>3} of {len(cases):<4}"
        f"[{interval.low:.2f}, {interval.high:.2f}]   excess: mean {mean:6.2%}, worst {worst:6.1%}"
        f"   {seconds:6.2f} processor s a fit"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--gates", nargs="+", default=["sigmoid", "softmax"])
    parser.add_argument("--experts", nargs="+", default=["relu", "linear"])
    parser.add_argument("--truths", type=int, default=20)
    parser.add_argument("--known", nargs="+", default=[], type=Path, help="files of earlier runs")
    parser.add_argument("--out", type=Path, help="write all cases to this JSON file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    known, everything = best_known(options.known), []
    for size in options.sizes:
        for gate in options.gates:
            for expert in options.experts:
                asked = [(gate, expert, size, seed) for seed in range(options.truths)]
                cases = [one_case(*case, known.get(case, inf)) for case in asked]
                print(summary(cases), flush=True)
                everything += cases
                if options.out:
                    options.out.write_text(json.dumps(everything, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
