"""Rules about sample sizes: whether they are large enough for a slope to be a rate.

They work as those of `_explain` do: one pure function each, None where there is nothing to say.
"""

from __future__ import annotations

import math

from sigmoe.lab._evidence import Evidence, Finding, Role
from sigmoe.lab._explain import SLOPE_STEP
from sigmoe.lab._verdict import gap, measured_slope
from sigmoe.lab._view import Curve, Point, curve_slope

#: Ratios to the Fisher prediction within which a loss is said to follow it.
FOLLOWS = (0.85, 1.15)
#: From this part of the truth's own size on, a loss says little but noise.
NOISE = 0.5
#: Part of the noise variance below which residuals show that a fit follows the noise.
RESIDUAL = 0.9
#: The slope of the function error in long samples (Propositions 1 and 3, without the logarithm).
PARAMETRIC = -0.5


def non_asymptotic(curve: Curve) -> Finding | None:
    """Compare with the Fisher prediction: what it leaves over is the distance to asymptotics."""
    points = [p for p in curve.measured if p.predicted and p.mean > 0]
    if len(points) < 2:
        return None

    def ratio(p: Point) -> float:
        return p.mean / p.predicted if p.predicted else math.nan

    first, last = points[0], points[-1]
    excess = curve_slope(curve, ratio)
    source = curve.where + " / predictions.parquet: value"
    evidence = (
        Evidence("n_first", first.n, source, "count"),
        Evidence("n_last", last.n, source, "count"),
        Evidence("first", ratio(first), source, "times"),
        Evidence("last", ratio(last), source, "times"),
        Evidence("excess", excess, source + ", log-log slope", "slope"),
        Evidence(
            "predicted",
            curve_slope(curve, lambda p: p.predicted or math.nan),
            "predictions.parquet: value, log-log slope",
            "slope",
        ),
    )
    if all(FOLLOWS[0] <= ratio(p) <= FOLLOWS[1] for p in points):
        text = (
            "Fisher information: the losses follow its prediction ({first} times at n = {n_first}, "
            "{last} times at n = {n_last}), whose slope is {predicted}."
        )
        return Finding("non_asymptotic", "context", text, evidence)
    text = (
        "Sizes: Fisher information predicts a slope of {predicted}. The loss is {first} times the "
        "prediction at n = {n_first} and {last} times at n = {n_last}, which adds {excess} to the "
        "slope: these sizes are not all asymptotic."
    )
    adds = abs(excess) >= SLOPE_STEP and excess * gap(curve) > 0
    return Finding("non_asymptotic", "cause" if adds else "context", text, evidence)


def size_of_truth(curve: Curve) -> Finding | None:
    """Compare the loss with the size of the truth: near it, a fit knows little of the truth."""
    points = [p for p in curve.measured if p.mean > 0]
    if not points or not points[0].mean >= NOISE * curve.truth_size:
        return None
    first, last = points[0], points[-1]
    evidence = (
        Evidence("n_first", first.n, curve.where, "count"),
        Evidence("loss_first", first.mean, curve.where),
        Evidence("size", curve.truth_size, "tasks: norms of truth_A, truth_b, truth_c, truth_eta"),
        Evidence("first", first.mean / curve.truth_size, curve.where, "times"),
        Evidence("n_last", last.n, curve.where, "count"),
        Evidence("last", last.mean / curve.truth_size, curve.where, "times"),
    )
    # Fits that stopped early have their start's loss, however small the sample.
    converged = curve.protocol == "converged"
    text = (
        "Scale: the truth itself measures {size} in this loss. At n = {n_first} the fits are "
        "{loss_first} away, {first} times that, and at n = {n_last} {last} times: where the ratio "
        "is near one or above, the loss says noise and not a rate."
    )
    return Finding(
        "size_of_truth", "cause" if converged and gap(curve) < 0 else "context", text, evidence
    )


def function_transient(curve: Curve, function: Curve | None) -> Finding | None:
    """See a function error that falls faster than any rate does for long: a transient."""
    if function is None or curve.loss == "function":
        return None
    points = [p for p in function.measured if p.mean > 0]
    slope = curve_slope(function, lambda p: p.mean)
    if len(points) < 2 or not slope <= PARAMETRIC - SLOPE_STEP:
        return None
    first, last = points[0], points[-1]
    evidence = [
        Evidence("function_slope", slope, function.where + ", log-log slope", "slope"),
        Evidence("rate", PARAMETRIC, "the paper, Proposition 1: rate of the function", "slope"),
        Evidence("n_first", first.n, function.where, "count"),
        Evidence("n_last", last.n, function.where, "count"),
        Evidence("first", first.mean, function.where),
        Evidence("last", last.mean, function.where),
        Evidence("slope", measured_slope(curve), "slopes.csv: slope", "slope"),
    ]
    text = (
        "Sizes: the function error falls from {first} at n = {n_first} to {last} at n = {n_last}, "
        "with slope {function_slope}. In long samples it has {rate}, so these sizes are not yet "
        "asymptotic, and the slope {slope} of this loss is no rate."
    )
    residual = curve.points[0].objective / curve.noise_variance
    if residual < RESIDUAL:
        source = "tasks: objective / noise_variance"
        evidence.append(Evidence("residual", residual, source, "share"))
        text += (
            " At n = {n_first} the residuals have {residual} of the noise variance: the fits "
            "follow the noise."
        )
    role: Role = "cause" if gap(curve) < 0 else "context"
    return Finding("function_transient", role, text, tuple(evidence))
