"""What an iteration costs beside its matrix products, and what a fit takes of memory.

The products are the three that J'J consists of, [monomials] x [pairs of atoms], on chunks that
stay in the cache: the least that any implementation of the same method has to do. An iteration
is J'J of all rows, one factorisation with its solve, and one trial's objective and gradient.

    python -m benchmarks.estimation.iteration '{"measure": "cost", ...}'
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from math import ceil, comb

import torch
from benchmarks.estimation.one_run import forget_peak, memory_mb, use_threads

from sigmoe.estimation import fit_least_squares
from sigmoe.estimation.engine._least_squares import LeastSquares
from sigmoe.estimation.engine._rows import Rows
from sigmoe.moe import Architecture, draw_sample, draw_truth

_CHUNKS = (1024, 2048, 4096)
#: Timings are medians over at least this many rounds and this many seconds.
_REPEATS, _SECONDS = 7, 4.0


def product_shapes(architecture: Architecture, n_experts: int) -> list[tuple[int, int]]:
    """Return (monomials, pairs) of each product of J'J, for the full score and unscaled experts.

    Gate by gate goes with monomials of degree <= 4, gate by expert <= 3, expert by expert <= 2;
    the latter two once for each column of the response.
    """
    d = architecture.dim
    unordered, ordered = n_experts * (n_experts + 1) // 2, n_experts**2
    per_column = [(comb(d + 3, 3), ordered), (comb(d + 2, 2), unordered)]
    return [(comb(d + 4, 4), unordered)] + per_column * architecture.n_columns


def products_alone(shapes: list[tuple[int, int]], n: int, chunk: int) -> Callable[[], None]:
    """Return a function that forms the products of n samples from whatever chunks hold."""
    powers = torch.ones((max(rows for rows, _ in shapes), chunk), dtype=torch.float64)
    pairs = torch.ones((max(count for _, count in shapes), chunk), dtype=torch.float64)
    blocks = [torch.zeros(shape, dtype=torch.float64) for shape in shapes]

    def work() -> None:
        for first in range(0, n, chunk):
            length = min(chunk, n - first)
            for block, (rows, count) in zip(blocks, shapes, strict=True):
                block.addmm_(powers[:rows, :length], pairs[:count, :length].T)

    return work


def median_times(works: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median seconds of each call, after one that does not count.

    The calls take turns, so that a disturbance falls on all of them and spares their ratios.
    """
    for work in works.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in works}
    began = time.perf_counter()
    rounds = 0
    while rounds < _REPEATS or time.perf_counter() - began < _SECONDS:
        for name, work in works.items():
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
        rounds += 1
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def cost(gate: str, expert: str, dim: int, n_experts: int, n: int) -> dict[str, float]:
    """Return the seconds of the products, and of J'J and the other parts of an iteration."""
    architecture = Architecture(gate, "full", expert, dim)
    truth = draw_truth(architecture, n_experts, seed=0)
    X, y = draw_sample(truth, n, seed=0)
    problem, theta = LeastSquares(Rows.of(X, y), architecture, n_experts), truth.coordinates
    equations = problem.normal_equations(theta)
    damped = equations.matrix + 1e-3 * torch.diag(equations.matrix.diagonal())
    right = equations.gradient.unsqueeze(1)
    shapes = product_shapes(architecture, n_experts)
    # Chunks of equal lengths: a short last one would cost the products their speed.
    lengths = {ceil(n / ceil(n / chunk)) for chunk in _CHUNKS}
    products = {f"products {m}": products_alone(shapes, n, m) for m in lengths}
    parts: dict[str, Callable[[], object]] = {
        "matrix": lambda: problem.matrix(theta),
        "factorisation": lambda: torch.cholesky_solve(right, torch.linalg.cholesky_ex(damped)[0]),
        "gradient": lambda: problem.gradient(theta),
    }
    times = median_times({**products, **parts})
    return {"products": min(times[name] for name in products), **{k: times[k] for k in parts}}


def memory(n: int) -> dict[str, float]:
    """Return by how many MB a fit raises the memory at its peak, over the data; 0 if unknown."""
    # A first, tiny fit loads code; its own memory is too little to be of use to the next.
    tiny = draw_truth(Architecture(dim=1), 1, seed=0)
    fit_least_squares(*draw_sample(tiny, 50, seed=0), tiny.architecture, 1, tiny)
    truth = draw_truth(Architecture(), 8, seed=0)
    X, y = draw_sample(truth, n, seed=0)
    forget_peak()
    before = memory_mb("VmRSS")
    fit_least_squares(X, y, truth.architecture, 8, truth, max_iterations=3)
    return {"data": (X.nbytes + y.nbytes) / 2**20, "grown": memory_mb("VmHWM") - before}


def main(text: str) -> None:
    request = json.loads(text)
    use_threads(request.pop("threads"))
    if request.pop("measure") == "cost":
        print(json.dumps(cost(**request)))
    else:
        print(json.dumps(memory(**request)))


if __name__ == "__main__":
    main(sys.argv[1])
