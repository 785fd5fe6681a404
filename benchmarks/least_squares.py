"""Time of a least squares fit against L-BFGS with the same gradient, `make bench`.

Both start near the truth, on the same sample, in the setting of the paper's Appendix E. What
counts is the time until the objective lies within 1e-6 of the best that either of them found; a
run that never gets there is a miss, and is counted as one. The gradient that L-BFGS is given is
the package's own, chunked and analytic, so that only the methods differ. One thread, as in sweeps.

Before it times anything the script compares the normal equations with a dense Jacobian, and
says nothing else if they differ.
"""

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import minimize

from sigmoe.estimation import fit_least_squares, near_truth_start, normal_equations
from sigmoe.estimation._normal_equations import LeastSquares
from sigmoe.moe import Architecture, MixingMeasure, draw_sample, draw_truth

PAIRS = (("sigmoid", "linear"), ("softmax", "linear"), ("sigmoid", "relu"))
SEEDS = (1, 2, 3)
N_SAMPLES = 10_000
WITHIN = 1e-6
EVALUATIONS = 2_000

Trace = list[tuple[float, float]]


def largest_error() -> float:
    """Return the largest relative error of J'J against a dense Jacobian by autograd."""
    errors = []
    for gate, expert in PAIRS:
        truth = draw_truth(Architecture(gate, expert=expert, dim=3), 3, seed=0)
        X, y = draw_sample(truth, 200, seed=0)

        def predict(theta: torch.Tensor, truth: MixingMeasure = truth, X: torch.Tensor = X):
            from sigmoe.moe._forward import forward

            return forward(truth.architecture, theta, X.T).prediction.flatten()

        J = torch.autograd.functional.jacobian(predict, truth.coordinates).reshape(200, -1)
        matrix = normal_equations(truth, X, y).matrix
        errors.append(float((matrix - J.T @ J / 200).abs().max() / matrix.abs().max()))
    return max(errors)


def levenberg_marquardt(X: torch.Tensor, y: torch.Tensor, start: MixingMeasure) -> Trace:
    """Return (seconds, objective) after each iteration of the package's fit."""
    trace: Trace = []
    began = time.perf_counter()

    def record(_: int, objective: float) -> None:
        trace.append((time.perf_counter() - began, objective))

    fit_least_squares(
        X, y, start.architecture, start.n_experts, start=start, bounds=None, callback=record
    )
    return trace


def l_bfgs(X: torch.Tensor, y: torch.Tensor, start: MixingMeasure) -> Trace:
    """Return (seconds, objective) after each evaluation of L-BFGS."""
    trace: Trace = []
    began = time.perf_counter()
    problem = LeastSquares(X, y, start.architecture, start.n_experts)

    def evaluate(flat: np.ndarray) -> tuple[float, np.ndarray]:
        theta = torch.from_numpy(flat).view(start.coordinates.shape)
        objective, gradient = problem.gradient(theta)
        trace.append((time.perf_counter() - began, objective))
        return objective, gradient.numpy().astype(float)

    limits = {"maxfun": EVALUATIONS, "maxiter": EVALUATIONS, "ftol": 0.0, "gtol": 0.0, "maxcor": 20}
    flat = start.coordinates.flatten().numpy()
    minimize(evaluate, flat, jac=True, method="L-BFGS-B", options=limits)
    return trace


def seconds_to(objective: float, trace: Trace) -> float:
    """Return the first time at which a trace is at or below the objective; infinity if never."""
    return next((seconds for seconds, value in trace if value <= objective), float("inf"))


def compare(gate: str, expert: str, seed: int) -> dict[str, float]:
    """Return the seconds that each method takes on one problem."""
    truth = draw_truth(Architecture(gate, expert=expert, dim=8), 8, seed=seed)
    X, y = draw_sample(truth, N_SAMPLES, noise_variance=0.01, seed=seed)
    start = near_truth_start(truth, 8, scale=0.005, seed=seed)
    methods: dict[str, Callable[..., Trace]] = {"fit": levenberg_marquardt, "L-BFGS": l_bfgs}
    traces = {name: method(X, y, start) for name, method in methods.items()}
    best = min(value for trace in traces.values() for _, value in trace)
    return {name: seconds_to(best * (1 + WITHIN), trace) for name, trace in traces.items()}


def shown(seconds: float) -> str:
    """Return a time, or that there is none."""
    return f"{seconds:.2f} s" if seconds < float("inf") else "missed"


def main() -> int:
    torch.set_num_threads(1)
    error = largest_error()
    if not error < 1e-12:
        print(f"normal equations differ from the dense Jacobian by {error:.1e}; nothing is timed")
        return 1
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors,", end=" ")
    print(f"one thread, torch {torch.__version__}, n = {N_SAMPLES}, median of {len(SEEDS)} seeds")
    print(f"{'model':<18}{'fit':>10}{'L-BFGS':>10}   misses (fit, L-BFGS)")
    for gate, expert in PAIRS:
        runs = [compare(gate, expert, seed) for seed in SEEDS]
        fit, peer = (statistics.median(run[name] for run in runs) for name in ("fit", "L-BFGS"))
        misses = [sum(run[name] == float("inf") for run in runs) for name in ("fit", "L-BFGS")]
        print(f"{gate + '/' + expert:<18}{shown(fit):>10}{shown(peer):>10}   {misses}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
