"""Cost of one iteration against its matrix products, its memory, and a fit against scipy.

The products are the three that J'J consists of, on the same chunks and in the same memory. The
peer of the fit is scipy's `trf` with the dense Jacobian, made from the package's own factors, so
that it pays for its size and its linear algebra only. One thread, as in sweeps; medians.

Before it times anything the script compares J'J with that Jacobian, and says nothing else if they
differ.
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import least_squares

from sigmoe.estimation import fit_least_squares, near_truth_start, normal_equations
from sigmoe.estimation._normal_equations import LeastSquares
from sigmoe.moe import Architecture, MixingMeasure, draw_sample, draw_truth
from sigmoe.moe._monomials import monomials

REPEATS = 9
PEER = {"dim": 4, "n_experts": 4, "n": 4000}


def dense_jacobian(measure: MixingMeasure, X: torch.Tensor) -> torch.Tensor:
    """Return the n x p Jacobian of a scalar response, column block by column block."""
    problem = LeastSquares(X, measure.predict(X), measure.architecture, measure.n_experts, len(X))
    parameters = problem._parameters(measure.coordinates)
    forward = problem._forward(parameters, slice(0, len(X)))
    factors = problem._factors(parameters, forward, slice(0, len(X)))
    powers = monomials(X.T.contiguous(), 2)
    score = powers[problem.layout.score_rows]
    ridge = powers[problem.layout.ridge_rows]
    atoms = [
        torch.cat([u * score, v * ridge]) for u, v in zip(factors["u"], factors["v"], strict=True)
    ]
    return torch.cat(atoms).T


def median_time(work: Callable[[], object]) -> float:
    work()
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def products_alone(problem: LeastSquares) -> None:
    """Form the moments of all chunks from whatever the buffers hold."""
    moments = torch.zeros(problem.layout.n_moments, dtype=torch.float64)
    rows = problem.layout.segments[0].monomials
    for columns in problem._chunks(problem.chunk):
        length = columns.stop - columns.start
        powers = problem._monomials[: rows * length].view(rows, length)
        for segment in problem.layout.segments:
            block = moments[segment.start : segment.stop].view(segment.monomials, segment.pairs)
            pairs = problem._products[: segment.pairs, :length]
            block.addmm_(powers[: segment.monomials], pairs.T)


def iteration_table() -> None:
    print(f"{'N':>3}{'n':>9}{'products':>12}{'iteration':>12}{'ratio':>8}{'gradient':>11}", end="")
    print(f"{'objective':>11}")
    for n_experts, n in ((8, 1_000), (8, 10_000), (9, 10_000), (8, 100_000)):
        truth = draw_truth(Architecture(dim=8), n_experts, seed=0)
        X, y = draw_sample(truth, n, seed=0)
        problem, theta = LeastSquares(X, y, truth.architecture, n_experts), truth.coordinates
        full = median_time(lambda p=problem, t=theta: p.normal_equations(t))
        alone = median_time(lambda p=problem: products_alone(p))
        gradient = median_time(lambda p=problem, t=theta: p.gradient(t))
        objective = median_time(lambda p=problem, t=theta: p.objective(t))
        print(f"{n_experts:>3}{n:>9}{alone * 1e3:>9.1f} ms{full * 1e3:>9.1f} ms", end="")
        print(f"{full / alone:>8.2f}{gradient * 1e3:>8.1f} ms{objective * 1e3:>8.1f} ms")


def resident(kind: str) -> float:
    """Return this process's memory in MB from Linux's account: VmRSS now, VmHWM at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) / 1024


def memory() -> str:
    """Return by how much a fit with n = 300 000 raises the memory at its peak."""
    truth = draw_truth(Architecture(dim=8), 8, seed=0)
    X, y = draw_sample(truth, 300_000, seed=0)
    # Linux forgets the peak so far, which drawing the sample has raised.
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    fit_least_squares(X, y, truth.architecture, 8, truth, max_iterations=1)
    grown = resident("VmHWM") - before
    return f"a fit of n = 300000 adds {grown:.0f} MB at its peak; X has {X.nbytes / 2**20:.0f} MB"


def peer_table() -> None:
    print(f"\nfits, {PEER}")
    print(f"{'model':<18}{'fit':>10}{'scipy trf':>12}{'ratio':>8}   objective over the fit's")
    for gate, expert in (("sigmoid", "linear"), ("softmax", "relu"), ("sigmoid", "tanh")):
        truth = draw_truth(Architecture(gate, expert=expert, dim=PEER["dim"]), PEER["n_experts"])
        X, y = draw_sample(truth, PEER["n"], seed=1)
        start = near_truth_start(truth, truth.n_experts, scale=0.05, seed=1)
        fit = fit_least_squares(X, y, truth.architecture, truth.n_experts, start, bounds=None)

        def measure(flat: np.ndarray, start: MixingMeasure = start) -> MixingMeasure:
            theta = torch.from_numpy(flat).view(start.coordinates.shape)
            return MixingMeasure.from_coordinates(start.architecture, theta)

        began = time.perf_counter()
        peer = least_squares(
            lambda flat, X=X, y=y: (measure(flat).predict(X) - y).numpy(),
            start.coordinates.flatten().numpy(),
            jac=lambda flat, X=X: dense_jacobian(measure(flat), X).numpy(),
            x_scale="jac",
            ftol=1e-8,
        )
        seconds = time.perf_counter() - began
        print(f"{gate + '/' + expert:<18}{fit.seconds:>8.2f} s{seconds:>10.2f} s", end="")
        print(f"{seconds / fit.seconds:>8.1f}   {2 * peer.cost / len(y) / fit.objective:.8f}")


def largest_error() -> float:
    """Return the largest relative error of J'J against the dense Jacobian."""
    truth = draw_truth(Architecture(dim=5), 4, seed=0)
    X, y = draw_sample(truth, 3_001, seed=0)
    J = dense_jacobian(truth, X)
    matrix = normal_equations(truth, X, y).matrix
    return float((matrix - J.T @ J / len(X)).abs().max() / matrix.abs().max())


def main() -> int:
    torch.set_num_threads(1)
    error = largest_error()
    if not error < 1e-12:
        print(f"normal equations differ from the dense Jacobian by {error:.1e}; nothing is timed")
        return 1
    print(f"sigmoid/relu, d = 8, one thread, torch {torch.__version__}, median of {REPEATS}")
    print(memory())
    iteration_table()
    peer_table()
    return 0


if __name__ == "__main__":
    sys.exit(main())
