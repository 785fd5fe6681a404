"""The ridge penalty that a table asks for, by the evidence of its fit."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from sigmoe.estimation._result import FitResult
from sigmoe.estimation.regressor._memory import Memory
from sigmoe.estimation.regressor._parameters import WEIGHED
from sigmoe.estimation.regressor._problem import Problem
from sigmoe.moe import MixingMeasure

#: A penalty below this, in units of the responses' variance, has no effect.
_LEAST = 1e-8
#: Rounds of weighing and fitting again, and the change of the penalty that ends them.
_ROUNDS, _SETTLED = 20, math.log(1.05)
#: Most that the logarithm of the penalty moves in a round.
_FARTHEST = math.log(100.0)
#: Random starts are raced again where the penalty has moved by this factor since the last race.
_RACES, _MOVED = 3, math.log(2.0)


def evidence_ridge(memory: Memory, n_columns: int, ridge: float) -> float:
    """Return the penalty that the evidence of a fit with a penalty asks for.

    The penalty is the prior of ridge regression: coordinates are independent normal of one
    variance. With g = tr (J'J + ridge)^-1 J'J well-determined coordinates the evidence of the
    linearised model is stationary where that variance is |theta|^2 / g and that of the noise
    SSR / (n m - g); the penalty is the ratio of noise to prior.

    Parameters
    ----------
    memory : Memory
        Of all rows, at the fit.
    n_columns : int
        m.
    ridge : float
        The penalty of the fit.

    Returns
    -------
    float
        Between 1e-8 and the weight of the rows; ``ridge`` itself where the fit has no evidence:
        coordinates of zero, or no more rows than coordinates to determine.

    References
    ----------
    MacKay, D. (1992), Bayesian interpolation, Neural Computation 4, section 4.
    """
    size = float(memory.coordinates.square().sum())
    spectrum = torch.linalg.eigvalsh(memory.centred_matrix()).clamp_min(0.0)
    determined = float((spectrum / (spectrum + ridge)).sum())
    left = memory.weight * n_columns - determined - memory.n_intercepts
    if left < 1.0 or size == 0.0:
        return ridge
    asked = determined * memory.value / (left * size)
    return min(max(asked, _LEAST), memory.weight)


def settle(
    problem: Problem, n_experts: int, start: MixingMeasure | None = None
) -> tuple[Problem, FitResult]:
    """Fit, from random starts or a given one, with the penalty that was asked for or its own.

    A penalty that the table decides is weighed and the fit continued, in turns. Which optimum is
    best depends on it: where it moved far, random starts are raced again.

    Returns
    -------
    Problem
        With the penalty of the fit.
    FitResult
    """
    raced = problem.ridge
    settled, best = follow(problem, problem.fit(n_experts, start))
    weighed = problem.parameters["ridge"] == WEIGHED
    for _ in range(_RACES if weighed and start is None else 0):
        if abs(math.log(settled.ridge / raced)) < _MOVED:
            break
        raced = settled.ridge
        again = settled.fit(n_experts)
        if penalised(again) >= penalised(best):
            return settled, with_starts_of(again, best)
        settled, best = follow(settled, again)
    return settled, best


def follow(problem: Problem, fit: FitResult) -> tuple[Problem, FitResult]:
    """Weigh the penalty by a fit and continue the fit, until neither moves the other."""
    if problem.parameters["ridge"] != WEIGHED:
        return problem, fit
    best, iterations, last = fit, fit.n_iterations, None
    for _ in range(_ROUNDS):
        # Where a fit was cut off is no evidence.
        if not best.converged:
            break
        memory = Memory.of(problem.sample, best.measure, best.intercept)
        asked = evidence_ridge(memory, problem.architecture.n_columns, problem.ridge)
        now = math.log(problem.ridge), math.log(asked / problem.ridge)
        if abs(now[1]) < _SETTLED:
            break
        ridge = math.exp(now[0] + _step(now, last))
        problem = replace(problem, ridge=min(max(ridge, _LEAST), memory.weight))
        last, best = now, problem.fit(best.measure.n_experts, best.measure)
        iterations += best.n_iterations
    return problem, replace(
        best,
        n_iterations=iterations,
        start_objectives=fit.start_objectives,
        n_agreed=fit.n_agreed,
    )


def _step(now: tuple[float, float], last: tuple[float, float] | None) -> float:
    """Return how far the logarithm of the penalty should move, by where it was and would go.

    What the evidence asks for comes nearer to the solution by small steps. Two of them tell, as a
    secant does, where they lead.
    """
    step = now[1]
    if last is not None and now[0] != last[0]:
        slope = (now[1] - last[1]) / (now[0] - last[0])
        step = -step / slope if slope < 0.0 else step
    return min(max(step, -_FARTHEST), _FARTHEST)


def penalised(fit: FitResult) -> float:
    """Return what a fit minimised, where it ended."""
    return fit.history[-1]


def with_starts_of(race: FitResult, better: FitResult) -> FitResult:
    """Return a fit that is no worse than that of a race, with what the race says of starts.

    What the random starts found is evidence still: none of them agrees with a better fit.
    """
    agreed = race.n_agreed if penalised(race) <= 1.01 * penalised(better) else 0
    return replace(better, start_objectives=race.start_objectives, n_agreed=agreed)
