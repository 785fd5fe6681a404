"""How often starts that know nothing of the truth find the best optimum that is known.

For each gate, expert and size, truths are drawn from 20 seeds. A fit with default settings
succeeds if its training error lies within 2 % of the best of: the fit from the truth itself, and
the default fit. The shares have Wilson intervals of 95 %. One thread.

    python benchmarks/random_starts.py [--sizes small medium large] [--truths 20] [--experts relu]
"""

import argparse
import json
import sys
import time
import warnings
from pathlib import Path

import torch
from scipy.stats import binomtest

from sigmoe.estimation import fit_least_squares
from sigmoe.moe import Architecture, draw_sample, draw_truth

SIZES = {"small": (2, 3, 2_000), "medium": (4, 4, 5_000), "large": (8, 8, 20_000)}
WITHIN = 1.02
NOISE = 0.01


def one_case(gate: str, expert: str, size: str, seed: int) -> dict[str, object]:
    """Return how one default fit ended, beside the fit from the truth."""
    dim, n_experts, n = SIZES[size]
    architecture = Architecture(gate, "full", expert, dim)
    truth = draw_truth(architecture, n_experts, seed=seed)
    X, y = draw_sample(truth, n, noise_variance=NOISE, seed=seed)
    near = fit_least_squares(X, y, architecture, n_experts, start=truth, relative_tolerance=1e-6)
    began = time.perf_counter()
    fit = fit_least_squares(X, y, architecture, n_experts, seed=seed)
    seconds = time.perf_counter() - began
    best = min(near.objective, fit.objective)
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
        "seconds": seconds,
        "start_objectives": fit.start_objectives,
    }


def summary(cases: list[dict[str, object]]) -> str:
    """Return one line on the cases of one gate, expert and size."""
    hits, seconds = sum(bool(c["success"]) for c in cases), sorted(c["seconds"] for c in cases)
    interval = binomtest(hits, len(cases)).proportion_ci(method="wilson")
    worst = max(c["excess"] for c in cases)
    first = cases[0]
    return (
        f"{first['size']:<8}{first['gate']:<9}{first['expert']:<13}{hits:>3} of {len(cases):<4}"
        f"[{interval.low:.2f}, {interval.high:.2f}]   worst {worst:8.1%}"
        f"   median {seconds[len(seconds) // 2]:6.2f} s"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--gates", nargs="+", default=["sigmoid", "softmax"])
    parser.add_argument("--experts", nargs="+", default=["relu", "linear"])
    parser.add_argument("--truths", type=int, default=20)
    parser.add_argument("--out", type=Path, help="write all cases to this JSON file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    everything = []
    for size in options.sizes:
        for gate in options.gates:
            for expert in options.experts:
                cases = [one_case(gate, expert, size, seed) for seed in range(options.truths)]
                print(summary(cases), flush=True)
                everything += cases
                if options.out:
                    options.out.write_text(json.dumps(everything, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
