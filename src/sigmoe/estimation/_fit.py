"""The public least squares fit: checks, starts, Levenberg-Marquardt, result."""

from __future__ import annotations

import time
import warnings
from dataclasses import replace

import torch

from sigmoe._base.arrays import ArrayLike
from sigmoe._base.constraints import Flag, Interval, check
from sigmoe._base.errors import SigmoeWarning, invalid
from sigmoe._base.seeds import Seed
from sigmoe.estimation._bounds import (
    Bounds,
    coordinate_limits,
    describe_active,
    require_inside,
    resolve_bounds,
)
from sigmoe.estimation._device import usable_device
from sigmoe.estimation._result import FitResult, message_for
from sigmoe.estimation._sample import Sample
from sigmoe.estimation._solve import solve
from sigmoe.estimation.engine._levenberg_marquardt import Callback, Outcome, Settings
from sigmoe.estimation.starts._race import race
from sigmoe.moe import Architecture, MixingMeasure

#: Constraints of the numbers a user may pass, with the remedy that goes into the message.
CONSTRAINTS = {
    "n_experts": (Interval("integer", 1), "Ask for at least one expert."),
    "n_starts": (Interval("integer", 1), "Ask for at least one start."),
    "max_iterations": (Interval("integer", 1), "Allow at least one iteration."),
    "gradient_tolerance": (Interval("number", 0.0), "Use 0 to switch this test off."),
    "relative_tolerance": (Interval("number", 0.0), "Use 0 to switch this test off."),
    "ridge": (Interval("number", 0.0), "Use 0 for plain least squares."),
}


def fit_least_squares(
    X: ArrayLike,
    y: ArrayLike,
    architecture: Architecture,
    n_experts: int,
    start: MixingMeasure | str = "random",
    *,
    n_starts: int = 10,
    bounds: Bounds | str | None = "default",
    seed: Seed = 0,
    device: torch.device | str | None = None,
    max_iterations: int = 200,
    gradient_tolerance: float = 1e-8,
    relative_tolerance: float = 1e-8,
    callback: Callback | None = None,
    sample_weight: ArrayLike | None = None,
    ridge: float = 0.0,
    intercept: bool = False,
) -> FitResult:
    """Fit a mixture of experts by least squares, eqs. (6), (49).

    Levenberg-Marquardt on structured normal equations: memory is the data plus a few tens of
    megabytes at any n.

    Parameters
    ----------
    X : array_like of shape (n, d)
        Inputs.
    y : array_like of shape (n,), or (n, m) with ``Architecture(n_outputs=m)``
        Responses.
    architecture : Architecture
        Gate, score, expert and dimensions.
    n_experts : int
        Number of fitted atoms N.
    start : MixingMeasure or "random"
        Where to begin. "random" draws ``n_starts`` starts that know only the scale of the data,
        runs them against each other in rounds (first briefly, on part of a large sample),
        exchanges atoms of the best one while that helps, and continues it on the whole sample.
    n_starts : int
        Number of random starts.
    bounds : Bounds, "default" or None
        Box of the parameters: at the scale of the data, given, or none.
    seed : int or SeedSequence
        Decides the random starts and the subsample.
    device : torch.device or str, optional
        Where to compute; default the device of X.
    max_iterations : int
        Limit on the iterations, each of which forms J'J once.
    gradient_tolerance : float
        Converged when every free column of the Jacobian is orthogonal to the residual up to this
        cosine.
    relative_tolerance : float
        Converged when two iterations in a row lower the objective by less than this share. Far
        below 1/n already 1e-6 leaves nothing that matters beside the statistical error.
    callback : callable, optional
        Called after each iteration with the number of iterations and the objective.
    sample_weight : array_like of shape (n,), optional
        Non-negative weights of the rows, not all zero: the objective is the weighted mean. A
        weight of k counts a row k times, and rows of weight 0 are as if they were not there.
    ridge : float
        What is minimised is the mean squared residual plus ``ridge`` times the sum of squared
        canonical coordinates (``MixingMeasure.coordinates``); 0 for plain least squares. It makes
        sense for data of size 1.
    intercept : bool
        Whether to fit an intercept for each column beside the mixture, free of bounds and penalty.
        Softmax gates with linear experts need none: their weights sum to 1, so that the experts'
        constants take it up.

    Returns
    -------
    FitResult

    Raises
    ------
    InputError
        For wrong shapes, NaN or infinity, unknown names, numbers out of range, or a start that
        does not fit the model or lies outside the bounds.

    Warns
    -----
    SigmoeWarning
        If there are fewer responses than free parameters.

    Examples
    --------
    >>> from sigmoe.moe import Architecture, draw_sample, draw_truth
    >>> truth = draw_truth(Architecture(expert="tanh", score="linear", dim=1), 2, seed=3)
    >>> X, y = draw_sample(truth, 500, noise_variance=0.01, seed=0)
    >>> fit = fit_least_squares(X, y, truth.architecture, 2, start=truth)
    >>> fit.converged, fit.objective < 0.011
    (True, True)
    """
    began = time.perf_counter()
    settings = Settings(
        max_iterations=int(checked("max_iterations", max_iterations)),
        gradient_tolerance=checked("gradient_tolerance", gradient_tolerance),
        relative_tolerance=checked("relative_tolerance", relative_tolerance),
    )
    checked("n_experts", n_experts)
    checked("n_starts", n_starts)
    checked("ridge", ridge)
    check("intercept", intercept, Flag(), "It is fitted, and needs no start.")
    sample = replace(_sample(X, y, architecture, device, sample_weight), intercept=bool(intercept))
    box = resolve_bounds(bounds, sample)
    _warn_if_too_few(sample, architecture, n_experts)
    if isinstance(start, MixingMeasure):
        _check_start(start, architecture, n_experts)
        require_inside(start, box)
        outcome = solve(sample, start, box, settings, callback, ridge)
        return _result(outcome, start, outcome.history[0], box, began, ridge, sample)
    if start != "random":
        raise invalid(
            "start", "a MixingMeasure or 'random'", start, "Pass a measure to begin from it."
        )

    ended = race(sample, architecture, n_experts, n_starts, seed, box, settings, ridge)
    outcome = solve(sample, ended.reached, box, settings, callback, ridge)
    first = ended.starts[ended.winner]
    problem = sample.problem(architecture, n_experts, ridge)
    first_objective = problem.objective(first.coordinates.to(sample.device))
    ended.objectives[ended.winner] = outcome.objective
    result = _result(outcome, first, first_objective, box, began, ridge, sample)
    return replace(result, start_objectives=tuple(ended.objectives), n_agreed=ended.agreed)


def _result(
    outcome: Outcome,
    start: MixingMeasure,
    start_objective: float,
    bounds: Bounds,
    began: float,
    ridge: float,
    sample: Sample,
) -> FitResult:
    theta = outcome.theta.cpu()
    measure = MixingMeasure.from_coordinates(start.architecture, theta)
    lower, upper = coordinate_limits(bounds, start.architecture, start.n_experts)
    active = describe_active(start.architecture, theta, lower, upper)
    return FitResult(
        measure=measure,
        objective=outcome.objective - ridge * float(theta.square().sum()),
        status=outcome.status,
        message=message_for(outcome.status, active),
        n_iterations=outcome.n_iterations,
        gradient_norm=outcome.gradient_norm,
        history=outcome.history,
        active_bounds=active,
        start=start,
        start_objective=start_objective,
        seconds=time.perf_counter() - began,
        intercept=sample.best_intercept(measure).cpu(),
    )


def checked(name: str, value: float) -> float:
    """Return a number of the user's, or raise InputError; all fits in memory share this."""
    constraint, remedy = CONSTRAINTS[name]
    return check(name, value, constraint, remedy)


def require_architecture(architecture: object) -> None:
    """Raise InputError for anything else."""
    if not isinstance(architecture, Architecture):
        raise invalid(
            "architecture",
            "an Architecture",
            architecture,
            "Write Architecture(gate=..., dim=...).",
        )


def _sample(
    X: ArrayLike,
    y: ArrayLike,
    architecture: Architecture,
    device: torch.device | str | None,
    sample_weight: ArrayLike | None,
) -> Sample:
    require_architecture(architecture)
    sample = Sample.checked(X, y, architecture, sample_weight)
    return sample if device is None else sample.to(usable_device(device))


def _warn_if_too_few(sample: Sample, architecture: Architecture, n_experts: int) -> None:
    free = architecture.n_parameters(n_experts) - architecture.n_invisible
    if sample.y.numel() < free:
        warnings.warn(
            f"{sample.y.numel()} responses are fewer than the {free} free parameters of "
            f"{n_experts} experts: the fit can follow the noise. Use more samples or fewer "
            "experts.",
            SigmoeWarning,
            stacklevel=3,
        )


def _check_start(start: MixingMeasure, architecture: Architecture, n_experts: int) -> None:
    remedy = "Make the start with the architecture and n_experts of the fit."
    if start.architecture != architecture:
        raise invalid("start", f"of architecture {architecture}", start.architecture, remedy)
    if start.batch_shape:
        raise invalid("start", "a single measure", f"a batch {start.batch_shape}", remedy)
    if start.n_experts != n_experts:
        raise invalid("start", f"of {n_experts} experts", start.n_experts, remedy)
