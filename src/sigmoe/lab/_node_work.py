"""Doing one task at quadrature nodes: a fit, or the local modulus that predicts its rate."""

from __future__ import annotations

import math
import time
from math import inf
from typing import Any

import torch

from sigmoe._base.seeds import generator, seed_sequence
from sigmoe.estimation import fit_least_squares
from sigmoe.estimation._bounds import default_bounds
from sigmoe.estimation._result import CONVERGED
from sigmoe.lab._measures import architecture_of, flatten, truth_of
from sigmoe.lab._minpack import NodeFit, fit_at_nodes
from sigmoe.lab._nodes import draw_at_nodes, node_rule, per_observation
from sigmoe.lab._reference import local_start, reference, splits_weight
from sigmoe.lab._study_inputs import Nodes
from sigmoe.lab._tasks import FitTask, LeastSquares, Minpack, ModulusTask
from sigmoe.moe import MixingMeasure
from sigmoe.theory import local_modulus
from sigmoe.theory._homogeneity import scaling_of
from sigmoe.theory._quadrature import Quadrature

#: Blocks of the modulus that are experts' parameters.
EXPERT_BLOCKS = ("eta", "scale")


def fit_nodes(task: FitTask, nodes: Nodes) -> dict[str, Any]:
    """Return what a fit to a sample at nodes adds to its row."""
    began = time.perf_counter()
    truth = truth_of(task.truth)
    rule = node_rule(truth, nodes)
    axes = {"n": task.n, "replication": task.replication}
    seed = seed_sequence(task.truth.seed, role="sample", **axes)
    y = draw_at_nodes(truth, rule, task.n, task.noise_variance, seed)
    fit, start = _estimate(task, truth, rule, y)
    finite = math.isfinite(fit.objective) and bool(fit.measure.coordinates.isfinite().all())
    return {
        "status": fit.status if finite else "failed",
        "converged": finite and fit.status in CONVERGED,
        "failed": not finite,
        "error": "" if finite else "the fit is not finite",
        "objective": per_observation(fit.objective, rule, task.n) if finite else None,
        "start_objective": per_observation(fit.start_objective, rule, task.n),
        "n_iterations": fit.evaluations,
        "seconds": time.perf_counter() - began,
        "n_members": 1,
        **flatten(fit.measure),
        **flatten(start, "start_"),
        **flatten(truth, "truth_"),
    }


def _estimate(
    task: FitTask, truth: MixingMeasure, rule: Quadrature, y: torch.Tensor
) -> tuple[NodeFit, MixingMeasure]:
    """Return the estimate and where it started."""
    axes = {"n": task.n, "replication": task.replication}
    seed = seed_sequence(task.truth.seed, role="start", **axes)
    if isinstance(task.optimiser, Minpack):
        scale = task.start.noise * task.n**task.start.exponent
        shape = (task.model.n_fitted, truth.architecture.n_atom_parameters)
        noise = torch.from_numpy(generator(seed, role="near-truth-start").standard_normal(shape))
        start = local_start(truth, task.model.n_fitted, scale, noise)
        effort = task.optimiser
        fit = fit_at_nodes(
            rule,
            y,
            start,
            default_bounds(rule.nodes, y),
            max_evaluations=effort.max_evaluations,
            tolerance=effort.tolerance,
        )
        return fit, start
    # Studies refuse first-order steps and other local fits at nodes.
    assert isinstance(task.optimiser, LeastSquares)
    found = fit_least_squares(
        rule.nodes,
        y,
        architecture_of(task.model, task.truth.dim),
        task.model.n_fitted,
        n_starts=task.start.n_starts,
        seed=seed,
        max_iterations=task.optimiser.max_iterations,
        gradient_tolerance=task.optimiser.gradient_tolerance,
        relative_tolerance=task.optimiser.relative_tolerance,
        sample_weight=rule.weights,
    )
    fit = NodeFit(
        found.measure, found.objective, found.start_objective, found.n_iterations, found.status
    )
    return fit, found.start


def modulus_of(task: ModulusTask) -> dict[str, Any]:
    """Return what the local modulus of the experts' parameters adds to its row."""
    began = time.perf_counter()
    truth = truth_of(task.truth)
    n_fitted = task.model.n_fitted
    at = truth if splits_weight(truth) else reference(truth, n_fitted)
    found = local_modulus(
        at,
        n_fitted,
        blocks=[
            name for name in EXPERT_BLOCKS if name == "eta" or scaling_of(at.architecture).scalable
        ],
        half_width=task.half_width,
        n_starts=task.effort.n_starts,
        decades=task.effort.decades,
        seed=seed_sequence(task.truth.seed, role="modulus"),
    )
    return {
        "status": "followed",
        "converged": True,
        "failed": False,
        "seconds": time.perf_counter() - began,
        "exponents": [
            k
            for block in found.blocks
            # Blocks of the other atoms follow those of the atom that is fitted by several.
            if block.specified == found.blocks[0].specified
            for k in (block.exponent, block.low, block.high)
        ],
        "n_members": 1,
        **flatten(at),
        **flatten(truth, "truth_"),
    }


def predicted_slope(exponents: list[float], free_size: bool) -> float:
    """Return the slope -1 / (2 k) of the experts' worst case; 0 where there is no rate.

    Parameters
    ----------
    exponents : list of float
        As a row of the tasks' table has them.
    free_size : bool
        Whether the loss is taken to a set that holds every size of a divided expert, so that the
        size does not count.

    Returns
    -------
    float
        NaN where the modulus has not settled.

    Examples
    --------
    >>> predicted_slope([2.0, 1.9, 2.0], False)
    -0.25
    >>> predicted_slope([2.0, 1.9, 2.0, inf, inf, inf], False)
    0.0
    """
    known = exponents[:1] if free_size else exponents[::3]
    if any(map(math.isnan, known)):
        return math.nan
    # As the rate of a block: slopes below 1 are those of a curve that has not settled.
    return 0.0 if max(known) == inf else -0.5 / max(1.0, *known)
