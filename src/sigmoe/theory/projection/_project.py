"""Best approximations of a truth by a model that does not hold it: the members of Gbar."""

from __future__ import annotations

import math

from sigmoe._base.constraints import Interval, check
from sigmoe._base.errors import invalid
from sigmoe._base.seeds import Seed, child_seeds
from sigmoe.estimation import Bounds, random_start
from sigmoe.estimation._fit import require_architecture
from sigmoe.moe import Architecture, MixingMeasure, Sampler
from sigmoe.theory._inputs import require_moderate, require_single
from sigmoe.theory._points import MOST_POINTS, integration_points
from sigmoe.theory.projection._optima import Problem
from sigmoe.theory.projection._result import BestApproximations

#: Starts are first fitted to this share of the points, and left there if hopeless.
_COARSE = 4
#: Coarse fits with a mean square above this multiple of the best one's are left.
_HOPELESS = 2.0
#: Independent scrambles of the held-out points, from whose spread the error comes.
_SCRAMBLES = 8
#: Random starts, at most.
_MOST_STARTS = 10_000


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
    not: ``attained`` follows the first members through growing boxes when it is asked for, and
    ``refined`` has the better optima that turn up on the way.

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
    require_single("truth", truth)
    require_architecture(architecture)
    _check(truth, architecture, n_experts, n_starts, n_points, within)
    points_seed, *start_seeds = child_seeds(seed, "projection", n_starts + 1)
    fit_seed, *check_seeds = points_seed.spawn(_SCRAMBLES + 1)
    X = integration_points(architecture.dim, n_points, fit_seed, sampler)
    held_out = [
        integration_points(architecture.dim, max(2**12, len(X) // _SCRAMBLES), child, sampler)
        for child in check_seeds
    ]
    require_moderate(truth, X)
    problem = Problem(truth, X, held_out, bounds, max_iterations, within)
    rows = max(len(X) // _COARSE, 4 * architecture.n_parameters(n_experts))
    coarse = []
    for child in start_seeds:
        start = random_start(X, problem.y, architecture, n_experts, seed=child, bounds=bounds)
        coarse.append(problem.fit(start, rows))
    limit = _HOPELESS * min(fit.objective for fit in coarse) + problem.zero**2
    found = [problem.optimum(fit.measure) for fit in coarse if fit.objective <= limit]
    return BestApproximations.of(found, problem, n_starts)


def _check(
    truth: MixingMeasure,
    architecture: Architecture,
    n_experts: int,
    n_starts: int,
    n_points: int,
    within: float,
) -> None:
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
    if least > MOST_POINTS:
        rule = f"few enough to be fitted to {MOST_POINTS:,} points"
        raise invalid("n_experts", rule, n_experts, f"These have {parameters:,} parameters.")
    check("n_starts", n_starts, Interval("integer", 1, _MOST_STARTS), "Use at least one start.")
    check(
        "n_points",
        n_points,
        Interval("integer", least, MOST_POINTS),
        f"{parameters} parameters need more points; ten times as many are a good choice.",
    )
    check("within", within, Interval("number", 0.0), "Use 0 for the best optimum alone.")
