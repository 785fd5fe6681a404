"""How long a task will take, roughly: long tasks go first, and the time left is told by it.

The numbers are those of one core of a laptop. Only their ratios matter once some tasks are done.
"""

from __future__ import annotations

from math import comb

from sigmoe.lab._tasks import AnyTask, FirstOrder, Minpack, ModulusTask, ProjectTask

#: Operations a second of the products that dominate, and seconds of overhead an iteration.
_SPEED = 8e9
_OVERHEAD = 3e-3
#: Seconds a number of the gates and experts, whose functions are not products.
_ELEMENT = 2e-8
#: Iterations that least squares needs from near the truth, and from random starts.
_NEAR, _RANDOM, _RACE = 25, 50, 12
#: Iterations that each fit of an approximation needs.
_APPROXIMATION = 100
#: Rows of a sample at nodes, and seconds of one of MINPACK's evaluations there.
_NODES, _EVALUATION = 400, 7e-4
#: Seconds of a local modulus, a coordinate, start and decade.
_MODULUS = 0.4


def cost(task: AnyTask) -> float:
    """Return a rough number of seconds on one core."""
    dim, model = task.truth.dim, task.model
    if isinstance(task, ProjectTask):
        coarse, fine = (
            _newton(dim, model.n_fitted, n) for n in (task.n_points // 4, task.n_points)
        )
        return task.n_starts * min(_APPROXIMATION, task.max_iterations) * (coarse + fine)
    if isinstance(task, ModulusTask):
        coordinates = model.n_fitted * _parameters(dim, 1)
        return _MODULUS * coordinates * task.effort.n_starts * task.effort.decades
    if isinstance(task.optimiser, Minpack):
        return _EVALUATION * task.optimiser.max_evaluations
    n = task.n if task.nodes is None else min(task.n, _NODES)
    if isinstance(task.optimiser, FirstOrder):
        return task.optimiser.steps * _gradient(dim, model.n_fitted, n)
    limit = task.optimiser.max_iterations
    iteration = _newton(dim, model.n_fitted, n)
    if task.start.kind == "near-truth":
        return min(_NEAR, limit) * iteration
    rows = min(n, 6 * _parameters(dim, model.n_fitted))
    race = task.start.n_starts * _RACE * _newton(dim, model.n_fitted, rows)
    return min(_RANDOM, limit) * iteration + race


def _newton(dim: int, atoms: int, n: int) -> float:
    """Return the seconds of one iteration of least squares on structured normal equations."""
    pairs = atoms * (atoms + 1) / 2
    moments = pairs * (comb(dim + 4, 4) + comb(dim + 2, 2)) + atoms**2 * comb(dim + 3, 3)
    solve = _parameters(dim, atoms) ** 3 / 3
    return _OVERHEAD + (2 * n * moments + solve) / _SPEED + n * atoms * _ELEMENT


def _gradient(dim: int, atoms: int, n: int) -> float:
    """Return the seconds of one first-order step."""
    return 4e-4 + 4 * n * _parameters(dim, atoms) / _SPEED + n * atoms * _ELEMENT


def _parameters(dim: int, atoms: int) -> int:
    return atoms * (comb(dim + 2, 2) + dim + 1)
