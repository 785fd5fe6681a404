"""What the estimator keeps of a fit, and how a later batch is taken into it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sigmoe._base.errors import invalid
from sigmoe.estimation._bounds import coordinate_limits, describe_active
from sigmoe.estimation._result import CONVERGED, FitResult, message_for
from sigmoe.estimation.engine._levenberg_marquardt import Settings, minimise
from sigmoe.estimation.regressor._memory import Memory, Remembered
from sigmoe.estimation.regressor._parameters import AUTOMATIC, WEIGHED, box_of, fits_intercept
from sigmoe.estimation.regressor._problem import Problem, standardised
from sigmoe.estimation.regressor._standardise import (
    DistinctRows,
    Standardisation,
    without_constants,
)
from sigmoe.estimation.regressor._weigh import evidence_ridge
from sigmoe.estimation.starts._draw import projected
from sigmoe.moe import Architecture, MixingMeasure


@dataclass(frozen=True)
class State:
    """All that a later batch or a warm start needs of what came before.

    Attributes
    ----------
    measure : MixingMeasure
        In standardised units, without effect of the constant columns.
    standardisation : Standardisation
    memory : Memory
        Of the rows so far, around the measure.
    ridge : float
        The penalty of the fit, or what the evidence asks for next.
    """

    measure: MixingMeasure
    standardisation: Standardisation
    memory: Memory
    ridge: float


@dataclass(frozen=True)
class Ending:
    """How a fit, or the work on a batch, ended.

    Attributes
    ----------
    objective : float
        Mean squared residual over the rows so far, in standardised units, summed over responses.
    status, message : str
        As in ``FitResult``.
    n_iterations : int
    active_bounds : tuple of str
    start_objectives : tuple of float
        What was minimised, where each start ended.
    n_agreed : int
        As in ``FitResult``.
    """

    objective: float
    status: str
    message: str
    n_iterations: int
    active_bounds: tuple[str, ...]
    start_objectives: tuple[float, ...]
    n_agreed: int

    @property
    def converged(self) -> bool:
        """Return whether a convergence test was met."""
        return self.status in CONVERGED


def require_same(
    before: State, architecture: Architecture, n_experts: int | str, intercept: bool
) -> None:
    """Raise InputError unless a fit goes on with the model that it began with.

    A number of experts that the table decided stays what it was.
    """
    old, new = before.measure.architecture, architecture
    chosen = before.measure.n_experts
    pairs = {
        "n_experts": (chosen, chosen if n_experts in AUTOMATIC else n_experts),
        "gate": (old.gate, new.gate),
        "score": (old.score, new.score),
        "expert": (old.expert, new.expert),
        "the number of responses": (old.n_outputs, new.n_outputs),
        "fit_intercept": (before.memory.n_intercepts > 0, intercept),
    }
    for name, (was, now) in pairs.items():
        if was != now:
            remedy = "Begin anew with sklearn.base.clone(estimator)."
            raise invalid(name, f"{was!r}, as in the fit that goes on", now, remedy)


def kept(
    problem: Problem, standardisation: Standardisation, fit: FitResult
) -> tuple[State, Ending]:
    """Return what is kept of a fit to a standardised table."""
    measure = without_constants(fit.measure, standardisation.constant)
    ending = Ending(
        fit.objective,
        fit.status,
        fit.message,
        fit.n_iterations,
        fit.active_bounds,
        fit.start_objectives or (fit.history[-1],),
        fit.n_agreed,
    )
    memory = Memory.of(problem.sample, measure, fit.intercept).without_intercept()
    units = standardisation.with_intercept(fit.intercept)
    return State(measure, units, memory, problem.ridge), ending


def take_in(rows: DistinctRows, before: State, parameters: dict[str, Any]) -> tuple[State, Ending]:
    """Take in a batch, in the standardisation of the first one.

    The batch and the memory of the earlier ones are minimised together. The memory is quadratic:
    exact where the model is linear in its parameters, elsewhere linearised where each batch was
    last fitted. Early batches were linearised far from the estimate, so the memory fades by
    1 - (new / all)^2: of many equal batches the first one keeps half of its weight for ever and
    the k-th k / (k + 1), and a large table keeps nearly all of it beside a small batch. A penalty
    that the table decides is weighed again after each batch, for the next one.
    """
    measure, units = before.measure, before.standardisation
    architecture, n_experts = measure.architecture, measure.n_experts
    weighed = parameters["ridge"] == WEIGHED
    ridge = before.ridge if weighed else parameters["ridge"]
    free = fits_intercept(parameters, architecture)
    batch = standardised(rows, units, architecture, free)
    new = batch.total_weight
    memory = before.memory.faded(1.0 - (new / (new + before.memory.weight)) ** 2)
    box = box_of(parameters["bounds"], batch)
    lower, upper = coordinate_limits(box, architecture, n_experts)
    problem = Remembered(batch, architecture, n_experts, memory, ridge)
    outcome = minimise(
        problem,
        projected(measure, box).coordinates,
        lower,
        upper,
        batch.response_scale,
        Settings(
            max_iterations=parameters["max_iterations"],
            relative_tolerance=parameters["tolerance"],
        ),
    )
    active = describe_active(architecture, outcome.theta, lower, upper)
    reached = MixingMeasure.from_coordinates(architecture, outcome.theta)
    measure = without_constants(reached, units.constant)
    intercept = problem.intercept(outcome.theta) if free else batch.y.new_zeros(batch.y[0].numel())
    intercept = intercept.view(batch.y.shape[1:])
    memory = memory + Memory.of(batch, measure, intercept)
    ending = Ending(
        memory.value / memory.weight,
        outcome.status,
        message_for(outcome.status, active),
        outcome.n_iterations,
        active,
        (outcome.objective,),
        0,
    )
    if weighed and ending.converged:
        ridge = evidence_ridge(memory, architecture.n_columns, ridge)
    return State(
        measure, units.with_intercept(intercept), memory.without_intercept(), ridge
    ), ending
