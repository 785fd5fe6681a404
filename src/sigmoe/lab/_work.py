"""Doing one task: draw, fit, and put everything into a row.

Whatever an algorithm finds is a row; so is what it could not do.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping

import torch
from torch import Tensor

from sigmoe import __version__
from sigmoe._base.errors import SigmoeError, SigmoeWarning
from sigmoe._base.seeds import seed_sequence
from sigmoe.estimation import (
    FitResult,
    default_bounds,
    first_order_fit,
    fit_least_squares,
    near_truth_start,
)
from sigmoe.estimation._result import CONVERGED
from sigmoe.estimation.starts._draw import projected
from sigmoe.lab._cost import cost
from sigmoe.lab._engine import Row, Work
from sigmoe.lab._measures import architecture_of, flatten, truth_of, unflatten
from sigmoe.lab._node_work import fit_nodes, modulus_of
from sigmoe.lab._schemas import TASKS
from sigmoe.lab._tasks import AnyTask, FirstOrder, FitTask, LeastSquares, ModulusTask, ProjectTask
from sigmoe.lab._versions import now, versions
from sigmoe.moe import Architecture, MixingMeasure, draw_sample
from sigmoe.theory import project


def execute(task: AnyTask, required: Mapping[str, Row]) -> Row:
    """Do a task; `required` holds the rows of the tasks that it requires."""
    if isinstance(task, ProjectTask):
        return _project(task)
    if isinstance(task, ModulusTask):
        return {**_labels(task), **modulus_of(task)}
    if task.nodes is not None:
        return {**_labels(task), **fit_nodes(task, task.nodes)}
    return _fit(task, required)


def failure(task: AnyTask, text: str) -> Row:
    """Return the row of a task that could not be done."""
    return {**_labels(task), "status": "failed", "converged": False, "failed": True, "error": text}


WORK = Work(execute, failure, cost)


def _fit(task: FitTask, required: Mapping[str, Row]) -> Row:
    truth = truth_of(task.truth)
    axes = {"n": task.n, "replication": task.replication}
    sample_seed = seed_sequence(task.truth.seed, role="sample", **axes)
    X, y = draw_sample(truth, task.n, task.noise_variance, seed=sample_seed)
    with warnings.catch_warnings():
        # That n is below the number of parameters is told once, before the run.
        warnings.simplefilter("ignore", SigmoeWarning)
        result = _estimate(task, truth, required, X, y)
    finite = math.isfinite(result.objective) and bool(result.measure.coordinates.isfinite().all())
    return {
        **_labels(task),
        "status": result.status if finite else "failed",
        "converged": result.converged and finite,
        "failed": not finite,
        "error": "" if finite else f"the fit is not finite: {result.message}",
        "objective": result.objective if finite else None,
        "start_objective": result.start_objective,
        "n_iterations": result.n_iterations,
        "gradient_norm": result.gradient_norm if math.isfinite(result.gradient_norm) else None,
        "seconds": result.seconds,
        "active_bounds": len(result.active_bounds),
        "n_members": 1,
        **flatten(result.measure),
        **flatten(result.start, "start_"),
        **flatten(truth, "truth_"),
    }


def _estimate(
    task: FitTask, truth: MixingMeasure, required: Mapping[str, Row], X: Tensor, y: Tensor
) -> FitResult:
    architecture = architecture_of(task.model, task.truth.dim)
    axes = {"n": task.n, "replication": task.replication}
    seed = seed_sequence(task.truth.seed, role="start", **axes)
    if task.start.kind == "random":
        start: MixingMeasure | str = "random"
    else:
        scale = task.start.noise * task.n**task.start.exponent
        start = _near_start(task, architecture, truth, required, scale)
        if task.start.near != "truth":
            # A best approximation may lie at the edge of the parameter space; the noise of the
            # start must not carry it outside.
            start = projected(start, default_bounds(X, y))
    if isinstance(task.optimiser, FirstOrder):
        # Studies refuse first-order steps from random starts.
        assert isinstance(start, MixingMeasure)
        optimiser = task.optimiser
        return first_order_fit(
            X, y, start, steps=optimiser.steps, learning_rate=optimiser.learning_rate
        )
    # Studies refuse MINPACK where there are no nodes.
    assert isinstance(task.optimiser, LeastSquares)
    return fit_least_squares(
        X,
        y,
        architecture,
        task.model.n_fitted,
        start,
        n_starts=task.start.n_starts,
        seed=seed,
        max_iterations=task.optimiser.max_iterations,
        gradient_tolerance=task.optimiser.gradient_tolerance,
        relative_tolerance=task.optimiser.relative_tolerance,
    )


def _near_start(
    task: FitTask,
    architecture: Architecture,
    truth: MixingMeasure,
    required: Mapping[str, Row],
    scale: float,
) -> MixingMeasure:
    axes = {"n": task.n, "replication": task.replication}
    seed = seed_sequence(task.truth.seed, role="start", **axes)
    target, n_fitted = truth, task.model.n_fitted
    if task.start.near != "truth":
        row = required[task.start.near]
        if row["failed"]:
            raise SigmoeError(f"there is no best approximation to start near: {row['error']}")
        # The members are sorted by distance; the first approximates best.
        target = unflatten(row, architecture, n_fitted)[0]
    if task.truth.regime == "dense" or target is not truth:
        return near_truth_start(target, n_fitted, scale=scale, seed=seed)
    # In the sparse regime the over-specified atoms are those whose gates are zero (Section 3).
    first = task.truth.n_true - task.truth.n_sparse
    others = near_truth_start(_atoms(truth, 0, first), first, scale=scale, seed=seed)
    sparse = near_truth_start(
        _atoms(truth, first, task.truth.n_true), n_fitted - first, scale=scale, seed=seed
    )
    coordinates = torch.cat([others.coordinates, sparse.coordinates])
    return MixingMeasure.from_coordinates(architecture, coordinates)


def _atoms(measure: MixingMeasure, first: int, last: int) -> MixingMeasure:
    coordinates = measure.coordinates[first:last]
    return MixingMeasure.from_coordinates(measure.architecture, coordinates)


def _project(task: ProjectTask) -> Row:
    began = time.perf_counter()
    truth = truth_of(task.truth)
    found = project(
        truth,
        architecture_of(task.model, task.truth.dim),
        task.model.n_fitted,
        n_starts=task.n_starts,
        n_points=task.n_points,
        max_iterations=task.max_iterations,
        seed=seed_sequence(task.truth.seed, role="projection"),
    )
    return {
        **_labels(task),
        "status": found.statuses[0],
        "converged": found.statuses[0] in CONVERGED,
        "failed": False,
        "objective": found.distances[0] ** 2,
        "seconds": time.perf_counter() - began,
        "active_bounds": len(found.active_bounds[0]),
        "n_members": len(found.members),
        "distances": list(found.distances),
        **flatten(MixingMeasure.stack(found.members)),
        **flatten(truth, "truth_"),
    }


def _labels(task: AnyTask) -> Row:
    """Return a row with everything that is known before the work is done, and nulls elsewhere."""
    row: Row = dict.fromkeys(TASKS)
    row.update(
        task_id=task.task_id,
        kind=task.kind,
        truth_gate=task.truth.gate,
        truth_score=task.truth.score,
        truth_expert=task.truth.expert,
        regime=task.truth.regime,
        dim=task.truth.dim,
        n_true=task.truth.n_true,
        gate=task.model.gate,
        score=task.model.score,
        expert=task.model.expert,
        n_fitted=task.model.n_fitted,
        noise_variance=task.noise_variance,
        seed=task.truth.seed,
        error="",
        sigmoe_version=__version__,
        torch_version=versions()["torch"],
        numpy_version=versions()["numpy"],
        finished_at=now(),
    )
    if isinstance(task, FitTask):
        row.update(
            protocol=task.protocol,
            start=task.start.kind,
            n=task.n,
            replication=task.replication,
        )
    return row
