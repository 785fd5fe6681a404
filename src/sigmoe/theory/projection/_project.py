"""Best approximations of a truth by a model that does not hold it: the members of Gbar."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sigmoe._base.constraints import Interval, check
from sigmoe._base.errors import invalid
from sigmoe._base.seeds import Seed, child_seeds
from sigmoe.estimation import Bounds, FitResult, fit_least_squares, random_start
from sigmoe.moe import Architecture, MixingMeasure, Sampler
from sigmoe.theory._function_distance import root_mean_square
from sigmoe.theory._points import integration_points
from sigmoe.theory.projection._distinct import group_measures, label_functions
from sigmoe.theory.projection._exact import exact_member
from sigmoe.theory.projection._result import EXACT, BestApproximations

#: Starts are first fitted to this share of the points, and left there if hopeless.
_COARSE = 4
#: Coarse fits with a mean square above this multiple of the best one's are left.
_HOPELESS = 2.0
#: Independent scrambles of the held-out points, from whose spread the error comes.
_SCRAMBLES = 8
#: Points on which optima are followed through growing boxes, for each input and parameter.
_PER_INPUT, _PER_PARAMETER = 256, 8


@dataclass(frozen=True)
class _Target:
    """What is approximated, and where: points to fit, and held-out ones."""

    truth: MixingMeasure
    X: Tensor
    held_out: list[Tensor]
    size: float

    @property
    def zero(self) -> float:
        """Return the distance below which a fit counts as exact."""
        return EXACT * self.size


@dataclass(frozen=True)
class _Candidate:
    fit: FitResult
    distance: float
    error: float


def project(
    truth: MixingMeasure,
    architecture: Architecture,
    n_experts: int,
    *,
    n_starts: int = 8,
    n_points: int = 2**14,
    seed: Seed = 0,
    within: float = 0.25,
    max_iterations: int = 200,
    bounds: Bounds | str | None = "default",
    sampler: Sampler | None = None,
) -> BestApproximations:
    """Return the best approximations of a truth's function by another model.

    Least squares without noise on quasi-random points, from many random starts.

    Parameters
    ----------
    truth : MixingMeasure
        G*, a single measure of any architecture.
    architecture : Architecture
        The model; of the truth's input dimension and number of responses.
    n_experts : int
        Number of atoms N of the approximations.
    n_starts : int
        Random starts.
    n_points : int
        Points that are fitted, rounded up to a power of two; several times as many as parameters.
    seed : int or SeedSequence
        Decides starts and points.
    within : float
        Optima with a distance up to (1 + within) times the smallest one are members.
    max_iterations : int
        Limit on the iterations of each start's coarse and fine fit.
    bounds : Bounds, "default" or None
        The compact parameter space, as in ``fit_least_squares``.
    sampler : callable, optional
        (rng, n) to (n, d) inputs of another distribution mu; by default U[-1, 1]^d.

    Returns
    -------
    BestApproximations

    Raises
    ------
    InputError
        For a batch of truths, a model of other inputs or responses, numbers out of range, or
        fewer points than parameters.

    Notes
    -----
    Every start is fitted to a quarter of the points, and then to all of them unless its mean
    square is above twice the best one's. The optima that are found are local, and more starts can
    find better ones. A box of parameters holds a best approximation always, the whole space need
    not: ``attained`` follows the first members through growing boxes when it is asked for.

    Examples
    --------
    >>> from sigmoe.moe import Architecture, draw_truth
    >>> truth = draw_truth(Architecture(gate="softmax", expert="tanh", dim=1), 2, seed=1)
    >>> model = Architecture(gate="sigmoid", expert="tanh", dim=1)
    >>> found = project(truth, model, 2, n_starts=4, n_points=512)
    >>> found.distances[0] < 0.01
    True
    >>> found.attained  # two softmax gates are two sigmoid gates with opposite scores
    'attained'
    """
    _check(truth, architecture, n_experts, n_starts, n_points, within)
    points_seed, *start_seeds = child_seeds(seed, "projection", n_starts + 1)
    fit_seed, *check_seeds = points_seed.spawn(_SCRAMBLES + 1)
    X = integration_points(architecture.dim, n_points, fit_seed, sampler)
    y = truth.predict(X)
    held_out = [
        integration_points(architecture.dim, max(2**12, len(X) // _SCRAMBLES), child, sampler)
        for child in check_seeds
    ]
    target = _Target(truth, X, held_out, float(y.reshape(len(y), -1).norm()) / math.sqrt(len(y)))
    rows = max(len(X) // _COARSE, 4 * architecture.n_parameters(n_experts))
    coarse = []
    for child in start_seeds:
        start = random_start(X, y, architecture, n_experts, seed=child, bounds=bounds)
        coarse.append(_fit(X[:rows], y[:rows], start, max_iterations, bounds))
    limit = _HOPELESS * min(fit.objective for fit in coarse) + target.zero**2
    candidates = []
    for first in coarse:
        if first.objective <= limit:
            fit = _fit(X, y, first.measure, max_iterations, bounds)
            candidates.append(_Candidate(fit, *_distance(fit.measure, truth, held_out)))
    candidates.sort(key=lambda candidate: candidate.distance)
    reach = (1.0 + within) * candidates[0].distance + target.zero
    near = [candidate for candidate in candidates if candidate.distance <= reach]
    return _collect(near, target, n_starts)


def _fit(
    X: Tensor,
    y: Tensor,
    start: MixingMeasure,
    max_iterations: int,
    bounds: Bounds | str | None,
) -> FitResult:
    return fit_least_squares(
        X,
        y,
        start.architecture,
        start.n_experts,
        start=start,
        bounds=bounds,
        max_iterations=max_iterations,
    )


def _distance(
    measure: MixingMeasure, truth: MixingMeasure, held_out: list[Tensor]
) -> tuple[float, float]:
    """Return ||f_G - f_G*|| and its standard error, from independent scrambles of the points."""
    squares = torch.stack([root_mean_square(measure, truth, X).square() for X in held_out])
    distance = float(squares.mean().sqrt())
    error = float(squares.std()) / math.sqrt(len(held_out))
    return distance, error / (2.0 * distance) if distance > 0 else 0.0


def _collect(near: list[_Candidate], target: _Target, n_starts: int) -> BestApproximations:
    """Return the distinct optima among candidates that are sorted by distance."""
    groups = group_measures([candidate.fit.measure for candidate in near])
    best = [near[group[0]] for group in groups]
    measures = tuple(candidate.fit.measure for candidate in best)
    distances = tuple(candidate.distance for candidate in best)
    architecture, n_experts = measures[0].architecture, measures[0].n_experts
    rows = max(_PER_INPUT * architecture.dim, _PER_PARAMETER * architecture.n_parameters(n_experts))
    return BestApproximations(
        truth=target.truth,
        members=measures,
        distances=distances,
        distance_errors=tuple(candidate.error for candidate in best),
        fitted_distances=tuple(math.sqrt(candidate.fit.objective) for candidate in best),
        statuses=tuple(candidate.fit.status for candidate in best),
        active_bounds=tuple(candidate.fit.active_bounds for candidate in best),
        counts=tuple(len(group) for group in groups),
        functions=label_functions(measures, distances, target.zero, target.held_out[0]),
        n_starts=n_starts,
        exact=exact_member(target.truth, architecture, n_experts),
        size=target.size,
        _points=target.X[:rows].clone(),
    )


def _check(
    truth: MixingMeasure,
    architecture: Architecture,
    n_experts: int,
    n_starts: int,
    n_points: int,
    within: float,
) -> None:
    if truth.batch_shape:
        raise invalid("truth", "a single measure", f"a batch {truth.batch_shape}", "Use truth[k].")
    for field in ("dim", "n_outputs"):
        ours, theirs = getattr(architecture, field), getattr(truth.architecture, field)
        if ours != theirs:
            raise invalid(
                "architecture",
                f"of the truth's {field} {theirs}",
                ours,
                "Only models of the same inputs and responses can approximate the truth.",
            )
    parameters = architecture.n_parameters(n_experts)
    least = math.ceil(parameters / architecture.n_columns)
    check("n_starts", n_starts, Interval("integer", 1), "Use at least one start.")
    check(
        "n_points",
        n_points,
        Interval("integer", least),
        f"{parameters} parameters need more points; ten times as many are a good choice.",
    )
    check("within", within, Interval("number", 0.0), "Use 0 for the best optimum alone.")
