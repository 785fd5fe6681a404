"""The curves that the Fisher information predicts for the fits of a study."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

from sigmoe.lab._engine import one_thread
from sigmoe.lab._losses import to_truth
from sigmoe.lab._measures import truth_of
from sigmoe.lab._plan import PlannedCurve
from sigmoe.lab._tasks import TruthSpec
from sigmoe.theory import FisherPrediction, fisher_prediction

#: Points that stand for the population, and draws behind a predicted mean loss.
_POINTS, _DRAWS = 2**16, 512


def curve_predictions(curve: PlannedCurve) -> list[dict[str, Any]]:
    """Return the rows of the predictions' table that belong to a curve.

    There is a prediction where the fitted model is the true one, the number of atoms is exact,
    the fit is a converged local one, and the information is regular; elsewhere a reason in words.
    """
    reason = _outside(curve)
    if reason:
        return [_row(curve, loss, n, reason=reason) for loss in curve.losses for n in _sizes(curve)]
    fisher = _fisher(curve.truth, curve.tasks[0].noise_variance)
    known = {"regular": fisher.regular, "rank": fisher.rank, "n_parameters": fisher.n_parameters}
    if not fisher.regular:
        reason = "; ".join(fisher.reasons)
        return [
            _row(curve, loss, n, reason=reason, **known)
            for loss in curve.losses
            for n in _sizes(curve)
        ]
    return [
        _row(curve, loss, n, value=value, standard_error=error, **known)
        for loss in curve.losses
        for n in _sizes(curve)
        for value, error in [_expected(fisher, loss, n)]
    ]


def _outside(curve: PlannedCurve) -> str:
    """Return why no prediction applies to a curve, or nothing if one may."""
    if curve.approximation is not None:
        return "the fitted model is not the true one: the Fisher information does not apply"
    if curve.truth.gate != curve.model.gate:
        return "the fitted model is not the true one: the Fisher information does not apply"
    if curve.model.n_fitted > curve.truth.n_true:
        return (
            f"over-specified: with N = {curve.model.n_fitted} > N* = {curve.truth.n_true} the "
            "Fisher information is singular"
        )
    if curve.tasks[0].nodes is not None:
        return "samples at nodes have other inputs than the prediction"
    if curve.tasks[0].optimiser.name != "levenberg-marquardt":
        return "a fixed budget of first-order steps does not reach the least squares estimate"
    if curve.start != "near-truth":
        return "from random starts the estimate need not be near the truth"
    return ""


@lru_cache(maxsize=64)
def _fisher(truth: TruthSpec, noise_variance: float) -> FisherPrediction:
    with one_thread():
        return fisher_prediction(truth_of(truth), noise_variance, n_points=_POINTS)


def _expected(fisher: FisherPrediction, loss: str, n: int) -> tuple[float, float | None]:
    """Return a predicted mean loss and its Monte Carlo standard error, if it has one."""
    if loss == "function":
        return fisher.expected_function_error(n), None
    draws = fisher.draw(n, _DRAWS)
    if loss == "expert":
        kind = "L5" if fisher.truth.architecture.score == "partial" else "L3"
        values = to_truth(draws, fisher.truth, kind).by_block["eta"]
    else:
        values = to_truth(draws, fisher.truth, loss).value
    return float(values.mean()), float(values.std() / math.sqrt(_DRAWS))


def _sizes(curve: PlannedCurve) -> list[int]:
    return sorted({task.n for task in curve.tasks})


def _row(curve: PlannedCurve, loss: str, n: int, **values: Any) -> dict[str, Any]:
    empty = {"value": None, "standard_error": None, "regular": False, "rank": None}
    return {
        **curve.key,
        "loss": loss,
        "n": n,
        **empty,
        "n_parameters": None,
        "reason": "",
        **values,
    }
