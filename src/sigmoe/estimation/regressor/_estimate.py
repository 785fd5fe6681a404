"""The plain least squares estimate beside a fit with ridge, with its intervals."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sigmoe.estimation._result import FitResult
from sigmoe.estimation.regressor._coefficients import Coefficients, without_columns
from sigmoe.estimation.regressor._intervals import (
    CoefficientIntervals,
    Judgement,
    judge,
    reach,
    resampled,
)
from sigmoe.estimation.regressor._problem import Problem
from sigmoe.estimation.regressor._rivals import Optima
from sigmoe.estimation.regressor._standardise import Array, Standardisation
from sigmoe.moe import MixingMeasure

#: Standard errors are those of a minimum, which has to be found to a part of one of them.
_TOLERANCE = 1e-11


@dataclass(frozen=True)
class Estimate:
    """The plain least squares estimate beside a fit, on the rows of a table.

    Attributes
    ----------
    problem : Problem
        Without the constant columns.
    judgement : Judgement
    coefficients : Coefficients
    objective : float
        Mean squared residual in standardised units, summed over responses.
    moved : float
        Root mean square by which predictions moved when the ridge penalty was left out, in
        standardised units.
    """

    problem: Problem
    judgement: Judgement
    coefficients: Coefficients
    objective: float
    moved: float

    @classmethod
    def of(
        cls,
        problem: Problem,
        measure: MixingMeasure,
        units: Standardisation,
        features: list[str],
    ) -> Estimate:
        """Return the estimate that plain least squares reaches from a fit."""
        if not units.constant.all():
            features = [
                name
                for name, constant in zip(features, units.constant, strict=True)
                if not constant
            ]
            problem, measure, units = without_columns(problem, measure, units)
        sample = problem.sample
        plain, judgement = _least_squares(problem, measure)
        moved = plain.measure.predict(sample.X) - measure.predict(sample.X)
        # A fit's own intercept is the centre of its units.
        difference = moved + plain.intercept
        squares = sample.mean(difference.reshape(len(difference), -1).square())
        return cls(
            problem,
            judgement,
            Coefficients.of(problem, measure.n_experts, units, features),
            plain.objective,
            float(squares.mean().sqrt()),
        )

    def intervals(
        self, level: float, method: str, n_bootstrap: int, seed: int
    ) -> CoefficientIntervals:
        """Return the intervals by a method, or NaN and the reason."""
        matrix = self.judgement.covariance
        if matrix is not None and method != "bootstrap":
            variance = self.coefficients.covariance(matrix).diagonal()
            error: Array = variance.clamp_min(0.0).sqrt().numpy()
            half = reach(self.judgement, level) * error
            low, high = self._centre - half, self._centre + half
            return self._made("sandwich", level, error, low, high, "")
        if self.judgement.identified and method != "sandwich":
            return self._from_refits(level, n_bootstrap, seed)
        nothing = np.full(len(self.coefficients.names), np.nan)
        reason = self.judgement.reason
        return self._made("withheld", level, nothing, nothing, nothing, reason)

    def _from_refits(self, level: float, n_bootstrap: int, seed: int) -> CoefficientIntervals:
        measure = self.judgement.measure
        refits, cut = resampled(self.problem, measure, n_bootstrap, seed)
        bounds = f"{cut} of {n_bootstrap} refits ended at a bound, which cuts off limits"
        reasons = [self.judgement.reason, bounds if cut else ""]
        draws = self.coefficients.values(refits).numpy()
        tail = (1.0 - level) / 2.0
        low, high = (np.quantile(draws, share, axis=0) for share in (tail, 1.0 - tail))
        reason = "; ".join(text for text in reasons if text)
        return self._made("bootstrap", level, draws.std(axis=0, ddof=1), low, high, reason)

    @property
    def _centre(self) -> Array:
        values: Array = self.coefficients.values(self.judgement.parameters).numpy()
        return values

    def _made(
        self, method: str, level: float, error: Array, lower: Array, upper: Array, reason: str
    ) -> CoefficientIntervals:
        return CoefficientIntervals(
            self.coefficients.names,
            self._centre,
            error,
            lower,
            upper,
            level,
            method,
            self.coefficients.rename(reason),
            self.judgement.degrees_of_freedom,
        )


def _least_squares(problem: Problem, measure: MixingMeasure) -> tuple[FitResult, Judgement]:
    """Return the plain least squares fit, its experts in the order of those of a fit with ridge.

    A penalty can choose another optimum than that of plain least squares, and on a table with much
    noise several fit alike. So both are looked for from random starts, unless the fit shows already
    that its experts cannot be told apart: a lower optimum would follow the noise.
    """
    most = problem.parameters["max_iterations"]
    best = problem.without_ridge(measure, most, _TOLERANCE)
    judgement = judge(problem, best.measure)
    if not judgement.identified:
        return best, judgement
    optima = Optima.of(problem, best)
    if optima.objectives and optima.objectives[0] < best.objective:
        best = problem.without_ridge(optima.measures[0], most, _TOLERANCE)
        judgement = judge(problem, best.measure)
    # A lower optimum may be an exact fit, beside which deviances mean nothing.
    rival = optima.rival(problem, best) if judgement.identified else ""
    if rival:
        reason = "; ".join(text for text in (rival, judgement.reason) if text)
        judgement = replace(judgement, covariance=None, reason=reason, identified=False)
    return best, judgement
