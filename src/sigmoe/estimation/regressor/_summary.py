"""A fit on one page: what was fitted, how well, its coefficients, and what to make of them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from sigmoe.estimation.regressor._estimate import Estimate
from sigmoe.estimation.regressor._fitted import FittedMixture
from sigmoe.estimation.regressor._intervals import CoefficientIntervals
from sigmoe.estimation.regressor._parameters import WEIGHED, holds_intercept
from sigmoe.moe._gates import get_gate

#: Width of the page; wide names of columns make it wider.
_WIDTH = 78
#: A residual variance that falls below this share without ridge says that ridge is too strong.
_COSTLY = 0.9


@dataclass(frozen=True, eq=False)
class FitSummary:
    """A summary of a fit; ``print`` it.

    Attributes
    ----------
    facts : dict of str to str
        What was fitted, and how well.
    intervals : CoefficientIntervals
    remarks : tuple of str
        What the reader should know, the reason for withheld intervals first.
    """

    facts: dict[str, str]
    intervals: CoefficientIntervals
    remarks: tuple[str, ...]

    def __str__(self) -> str:
        table = str(self.intervals)
        width = max(_WIDTH, *(len(line) for line in table.splitlines()))
        notes = [
            textwrap.fill(f"[{k}] {text}", width, subsequent_indent="    ")
            for k, text in enumerate(self.remarks, start=1)
        ]
        title = "Mixture of experts, least squares".center(width).rstrip()
        return "\n".join(
            [title, "=" * width, *_in_pairs(self.facts, width), "=" * width, table, "=" * width]
            + notes
        )


def _in_pairs(facts: dict[str, str], width: int) -> list[str]:
    """Return the facts in two columns, those that are too long on a line of their own."""
    half = width // 2 - 1
    items = [(f"{name}:", value) for name, value in facts.items()]
    short = [item for item in items if len(item[0]) + len(item[1]) < half]
    middle = (len(short) + 1) // 2
    lines = [
        f"{_cell(left, half)}  {_cell(right, half)}".rstrip()
        for left, right in zip_longest(short[:middle], short[middle:], fillvalue=("", ""))
    ]
    return lines + [f"{name} {value}" for name, value in items if (name, value) not in short]


def _cell(item: tuple[str, str], width: int) -> str:
    name, value = item
    return name + value.rjust(width - len(name))


def facts_of(model: FittedMixture, estimate: Estimate, r2: float) -> dict[str, str]:
    """Return what was fitted and how well, with R^2 of the predictions.

    AIC and BIC are those of the responses in their own units, as other programs report them.
    """
    problem, a = estimate.problem, estimate.problem.architecture
    scale = np.atleast_1d(model.response_scale_)
    criteria = problem.criteria(estimate.objective, model.n_experts_)
    # The density of y = s z is that of z over s.
    units = 2.0 * max(1, round(problem.n_rows)) * float(np.log(scale).sum())
    noise = np.sqrt(estimate.judgement.noise_variance) * scale
    ridge = problem.parameters["ridge"]
    agreed = f"{model.n_starts_agreed_} of {len(model.start_objectives_)}"
    return {
        "Experts": str(model.n_experts_),
        "Gate": a.gate,
        "Score": a.score,
        "Expert": a.expert,
        "Converged": "yes" if model.converged_ else f"no ({model.status_})",
        "Starts that agree": agreed if model.n_starts_agreed_ else "not begun at random",
        "Rows": f"{problem.n_rows:g}",
        "Free parameters": str(problem.n_parameters(model.n_experts_)),
        "Ridge": f"{model.ridge_:.3g}" + (" (weighed)" if ridge == WEIGHED else ""),
        "R-squared": f"{r2:.4f}",
        "Noise sd": ", ".join(f"{value:.4g}" for value in noise),
        "AIC": f"{criteria.aic + units:.1f}",
        "BIC": f"{criteria.bic + units:.1f}",
        "At their bounds": ", ".join(model.active_bounds_) or "none",
    }


def remarks(
    model: FittedMixture, estimate: Estimate, intervals: CoefficientIntervals
) -> Iterator[str]:
    """Yield what the reader of the table should know, in order of weight."""
    yield from _about_intervals(model, estimate, intervals)
    yield from _about_coefficients(model, estimate)
    if model.selection_:
        yield f"Number of experts: {model.selection_reason_}."
        if model.selection_["without_gate"] <= model.selection_["criterion"].min():
            yield "gate='softmax' fits one expert without a gate, with its standard errors."
    if not model.converged_:
        yield model.message_
    if model.n_starts_agreed_ == 1 and len(model.start_objectives_) > 1:
        yield "Only one random start ended here; raise n_starts to look for a better optimum."


def _about_intervals(
    model: FittedMixture, estimate: Estimate, intervals: CoefficientIntervals
) -> Iterator[str]:
    yield {
        "sandwich": "Standard errors are robust (sandwich): they allow for noise of any variance.",
        "bootstrap": "Standard errors and limits are those of refits to resampled rows.",
        "withheld": f"Standard errors are withheld: {intervals.reason}. "
        + _remedy(model, estimate),
    }[intervals.method]
    if intervals.method == "bootstrap" and intervals.reason:
        yield f"Take them as rough: {intervals.reason}."
    if intervals.method != "withheld" and model.n_experts_ > 1:
        yield (
            "No P value tests whether an expert is needed: without its expert a gate has no "
            "coefficients. Compare numbers of experts by BIC or by cross-validation."
        )


def _remedy(model: FittedMixture, estimate: Estimate) -> str:
    if estimate.judgement.identified:
        return "method='bootstrap' refits to resampled rows instead."
    if model.n_experts_ == 1:
        return "The gate of one softmax expert is 1: try gate='softmax'."
    remedy = "Fit fewer experts or more rows; n_experts='auto' looks for a number that they carry."
    if estimate.problem.sample.intercept and not estimate.problem.architecture.n_invisible:
        # Gates that need not add up to 1 leave little that an intercept alone could be told by.
        remedy += " fit_intercept=False asks less of the rows, if zero means something in them."
    return remedy


def _about_coefficients(model: FittedMixture, estimate: Estimate) -> Iterator[str]:
    a, scale = estimate.problem.architecture, np.atleast_1d(model.response_scale_)
    size = estimate.moved * float(np.sqrt(np.mean(scale**2)))
    yield (
        "Coefficients are those of plain least squares; leaving out the ridge penalty moved "
        f"predictions by {size:.2g} (root mean square)."
    )
    if estimate.objective < _COSTLY * model.objective_:
        share = 1.0 - estimate.objective / model.objective_
        yield (
            f"Without the ridge penalty the residual variance is {share:.0%} smaller: lower ridge "
            "if that holds under cross-validation."
        )
    if not estimate.problem.parameters["fit_intercept"]:
        yield "Predictions are the gated sum alone, without an intercept."
    elif holds_intercept(a):
        yield "Constants of experts include the intercept."
    if get_gate(a.gate).invariant and model.n_experts_ > 1:
        yield f"Gates are relative to that of expert {model.n_experts_ - 1}."
    if model.constant_features_.any():
        yield (
            f"{int(model.constant_features_.sum())} constant column(s) of X have no effect and "
            "no coefficients here."
        )
