"""Many fits at once beside a loop of single fits: the same starts, one thread, the same optima.

Seconds are those of the processor, medians of a few repetitions that alternate between the two.
No time is shown unless the fits agree: the best objective to 1e-4 and half of all to 1e-6 (fits
from random starts may part on the way, by rounding).

    python benchmarks/batch.py [--cases starts-small ...] [--repetitions 3]
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch

from sigmoe.estimation import fit_batch, fit_least_squares, near_truth_start, random_start
from sigmoe.moe import Architecture, MixingMeasure, draw_sample, draw_truth


@dataclass(frozen=True)
class Case:
    """Sizes, and how many fits of how many iterations at most; ``own`` gives each its sample."""

    dim: int
    n_experts: int
    n: int
    expert: str
    fits: int
    iterations: int = 200
    own: bool = False


CASES = {
    "starts-small-relu": Case(2, 3, 2_000, "relu", 64),
    "starts-small-linear": Case(2, 3, 2_000, "linear", 64),
    "starts-medium-relu": Case(4, 4, 5_000, "relu", 64),
    "starts-medium-linear": Case(4, 4, 5_000, "linear", 64),
    "tiny-replications": Case(1, 2, 200, "linear", 256, own=True),
    "race-small": Case(2, 3, 2_000, "relu", 10, iterations=5),
    "race-medium": Case(4, 4, 4_096, "relu", 10, iterations=5),
    "replications-large": Case(8, 8, 10_000, "relu", 8, iterations=10, own=True),
}


def problem(case: Case) -> tuple[torch.Tensor, torch.Tensor, MixingMeasure]:
    """Return inputs and responses, for each fit if it has its own, and the starts."""
    architecture = Architecture("sigmoid", "full", case.expert, case.dim)
    truth = draw_truth(architecture, case.n_experts, seed=0)
    if case.own:
        pairs = [draw_sample(truth, case.n, 0.01, seed) for seed in range(case.fits)]
        X, y = (torch.stack(parts) for parts in zip(*pairs, strict=True))
        starts = [
            near_truth_start(truth, case.n_experts, scale=0.1, seed=k) for k in range(case.fits)
        ]
    else:
        X, y = draw_sample(truth, case.n, 0.01, seed=0)
        starts = [
            random_start(X, y, architecture, case.n_experts, seed=k) for k in range(case.fits)
        ]
    return X, y, MixingMeasure.stack(starts)


def runs(case: Case) -> tuple[Callable[[], torch.Tensor], Callable[[], torch.Tensor]]:
    """Return the two ways to the objectives of all fits: in a batch, and one after the other."""
    X, y, starts = problem(case)
    options = {"max_iterations": case.iterations}

    def batch() -> torch.Tensor:
        return fit_batch(X, y, starts, **options).objective

    def loop() -> torch.Tensor:
        return torch.tensor(
            [
                fit_least_squares(
                    X[k] if case.own else X,
                    y[k] if case.own else y,
                    start.architecture,
                    start.n_experts,
                    start,
                    **options,
                ).objective
                for k, start in enumerate(starts)
            ],
            dtype=torch.float64,
        )

    return batch, loop


def seconds(run: Callable[[], torch.Tensor]) -> tuple[float, torch.Tensor]:
    began = time.process_time()
    found = run()
    return time.process_time() - began, found


def measured(case: Case, repetitions: int) -> str:
    """Return one line on a case, or raise if the fits do not agree."""
    ways = runs(case)
    times: list[list[float]] = [[], []]
    for _ in range(repetitions):
        (batch, together), (loop, alone) = (seconds(way) for way in ways)
        times[0].append(batch)
        times[1].append(loop)
        apart = (together / alone - 1.0).abs()
        best = abs(float(together.min() / alone.min()) - 1.0)
        if best > 1e-4 or float(apart.median()) > 1e-6:
            raise SystemExit(f"the fits do not agree: best {best:.1e}, median {apart.median():.1e}")
    batch, loop = (median(part) for part in times)
    alike = float((apart <= 1e-6).double().mean())
    return f"batch {batch:8.2f} s   loop {loop:8.2f} s   x{loop / batch:5.2f}   alike {alike:4.0%}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.cases:
        print(f"{name:<22}{measured(CASES[name], options.repetitions)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
