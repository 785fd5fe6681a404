"""The public fit of many problems at once: checks, solver, result."""

from __future__ import annotations

import time
from dataclasses import replace
from math import prod

import numpy as np
import torch
from torch import Tensor

from sigmoe._base.arrays import ArrayLike
from sigmoe._base.errors import invalid
from sigmoe.estimation._bounds import Bounds, coordinate_limits, coordinate_name, resolve_bounds
from sigmoe.estimation._device import usable_device
from sigmoe.estimation._fit import checked
from sigmoe.estimation._sample import Sample
from sigmoe.estimation.batch._box import Box
from sigmoe.estimation.batch._least_squares import BatchLeastSquares
from sigmoe.estimation.batch._levenberg_marquardt import STATUSES, Callback, State, minimise
from sigmoe.estimation.batch._result import BatchFit
from sigmoe.estimation.batch._samples import Samples
from sigmoe.estimation.engine._chunks import refinements
from sigmoe.estimation.engine._levenberg_marquardt import Settings
from sigmoe.moe import MixingMeasure


def fit_batch(
    X: ArrayLike,
    y: ArrayLike,
    starts: MixingMeasure,
    *,
    bounds: Bounds | str | None = "default",
    max_iterations: int = 200,
    gradient_tolerance: float = 1e-8,
    relative_tolerance: float = 1e-8,
    ridge: float = 0.0,
    sample_weight: ArrayLike | None = None,
    device: torch.device | str | None = None,
    callback: Callback | None = None,
) -> BatchFit:
    """Fit a mixture of experts from each of many starts, on one sample or many, at once.

    Every fit is what ``fit_least_squares`` does from that start, eqs. (6), (49): a fit does not
    depend on the others, up to rounding. One pass over the rows serves all fits that still run,
    which saves what a pass costs beside its arithmetic: most of the time on small samples, and
    nearly all of it on a GPU.

    Parameters
    ----------
    X : array_like of shape (*first, n, d)
        Inputs; ``first`` is empty for one sample that all starts share, or the first axes of the
        starts' batch shape. For R replications and S starts each, X has shape (R, n, d) and the
        starts batch shape (R, S). Shared samples are not copied.
    y : array_like of shape (*first, n), or (*first, n, m) with ``Architecture(n_outputs=m)``
        Responses; their ``first`` need not be that of X: a fixed design has one X and many y.
    starts : MixingMeasure
        With any batch axes; brings the architecture and the number of experts.
    bounds : Bounds, "default" or None
        Box of the parameters: at the scale of each sample, given, or none.
    max_iterations, gradient_tolerance, relative_tolerance, ridge
        As in ``fit_least_squares``, for each fit.
    sample_weight : array_like of shape (*first, n), optional
        Non-negative weights of the rows, not all zero in any sample. Samples of different lengths
        may be padded by copies of a row with weight 0.
    device : torch.device or str, optional
        Where to compute; default the device of X.
    callback : callable, optional
        Called after each round, in which every fit that runs makes an iteration, with the number
        of rounds and what is minimised, a Tensor of shape (B,), one value a fit in row order.
        With very many fits some wait for others to end.

    Returns
    -------
    BatchFit

    Raises
    ------
    InputError
        For wrong shapes, NaN or infinity, numbers out of range, or a start outside its bounds.

    Examples
    --------
    >>> from sigmoe.estimation import near_truth_start
    >>> from sigmoe.moe import Architecture, draw_sample, draw_truth
    >>> truth = draw_truth(Architecture(expert="tanh", score="linear", dim=1), 2, seed=3)
    >>> X, y = draw_sample(truth, 500, noise_variance=0.01, seed=0)
    >>> starts = MixingMeasure.stack(
    ...     [near_truth_start(truth, 2, scale=0.1, seed=k) for k in range(4)]
    ... )
    >>> fit = fit_batch(X, y, starts)
    >>> fit.batch_shape, bool(fit.converged.all()), bool(fit.best().objective < 0.011)
    ((4,), True, True)
    """
    began = time.perf_counter()
    settings = Settings(
        max_iterations=int(checked("max_iterations", max_iterations)),
        gradient_tolerance=checked("gradient_tolerance", gradient_tolerance),
        relative_tolerance=checked("relative_tolerance", relative_tolerance),
    )
    checked("ridge", ridge)
    _check_starts(starts)
    place = None if device is None else usable_device(device)
    architecture, batch_shape = starts.architecture, starts.batch_shape
    samples = Samples.checked(X, y, sample_weight, architecture, batch_shape, place)
    theta = starts.coordinates.reshape(prod(batch_shape), -1).to(samples.device)
    box = _box(bounds, samples, starts)
    _require_inside(theta, box, starts)
    problems = BatchLeastSquares(samples, architecture, starts.n_experts, ridge)
    settings = replace(
        settings, refinements=refinements(settings.refinements, samples.n, problems.layout)
    )
    state, norm = minimise(problems, theta, box, samples.response_scale(), settings, callback)
    return _result(state, norm, starts, ridge, began)


def _check_starts(starts: MixingMeasure) -> None:
    if not isinstance(starts, MixingMeasure):
        raise invalid(
            "starts", "a MixingMeasure", starts, "Make a batch with MixingMeasure.stack(...)."
        )
    if 0 in starts.batch_shape:
        raise invalid("starts", "at least one", f"batch shape {starts.batch_shape}", "Pass some.")


def _box(bounds: Bounds | str | None, samples: Samples, starts: MixingMeasure) -> Box:
    """Return the limits of each problem; default bounds differ between samples."""
    scales = torch.stack([samples.reach(), samples.response_scale()], 1)
    distinct, kind = scales.unique(dim=0, return_inverse=True)
    # The bounds of a sample depend on its two scales only: one row of that size stands for it.
    rows = [Sample(row[:1].view(1, 1), row[1:]) for row in distinct.cpu()]
    resolved = [resolve_bounds(bounds, row) for row in rows]
    limits = {
        box: coordinate_limits(box, starts.architecture, starts.n_experts) for box in resolved
    }
    lower, upper = (
        torch.stack([limits[box][side] for box in resolved]).to(samples.device)[kind]
        for side in (0, 1)
    )
    return Box(lower, upper)


def _require_inside(theta: Tensor, box: Box, starts: MixingMeasure) -> None:
    outside = (theta < box.lower) | (theta > box.upper)
    if not bool(outside.any()):
        return
    problem, position = outside.nonzero()[0].tolist()
    name, factor, _ = coordinate_name(starts.architecture, position)
    value, low, high = (
        float(side[problem, position]) / factor for side in (theta, box.lower, box.upper)
    )
    index = tuple(int(k) for k in np.unravel_index(problem, starts.batch_shape))
    raise invalid(
        "starts",
        "inside the bounds",
        f"{name} = {value:g} outside [{low:g}, {high:g}] at index {index}",
        "Move the start, or pass wider bounds=.",
    )


def _result(
    state: State, norm: Tensor, starts: MixingMeasure, ridge: float, began: float
) -> BatchFit:
    shape = starts.batch_shape
    theta, minimised = state.point.theta, state.point.objective
    objective = minimised - ridge * theta.square().sum(1)
    return BatchFit(
        measure=MixingMeasure.from_coordinates(
            starts.architecture, theta.view(*shape, starts.n_experts, -1).cpu()
        ),
        objective=objective.view(shape).cpu(),
        minimised=minimised.view(shape).cpu(),
        status=np.array(STATUSES)[state.status.cpu().numpy()].reshape(shape),
        n_iterations=state.n_iterations.view(shape).cpu(),
        gradient_norm=norm.view(shape).cpu(),
        seconds=time.perf_counter() - began,
    )
