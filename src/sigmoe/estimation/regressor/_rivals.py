"""Other optima of plain least squares: a lower one, or one that fits about as well."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from sigmoe.estimation._result import FitResult
from sigmoe.estimation.inference._bootstrap import contributions, match_atoms
from sigmoe.estimation.regressor._problem import Problem
from sigmoe.estimation.starts._draw import draw_start
from sigmoe.moe import MixingMeasure

#: Random starts for each one that a fit begins with, and the iterations they get.
_STARTS, _ITERATIONS, _TOLERANCE = 2, 100, 1e-6
#: A difference of deviances below which data do not decide between two models very strongly
#: (Kass and Raftery 1995, Bayes factors, JASA 90, section 3.2).
_DECISIVE = 10.0


@dataclass(frozen=True)
class Optima:
    """Where plain least squares ended from random starts, in order of the objective.

    Attributes
    ----------
    measures : list of MixingMeasure
        Their experts are in the order of those of the fit.
    objectives : list of float
    """

    measures: list[MixingMeasure]
    objectives: list[float]

    @classmethod
    def of(cls, problem: Problem, fit: FitResult) -> Optima:
        """Return the optima of a problem that are met from random starts beside a fit."""
        sample, rng = problem.sample, np.random.default_rng(0)
        starts = [
            draw_start(sample, problem.architecture, fit.measure.n_experts, problem.box, rng)
            for _ in range(_STARTS * problem.parameters["n_starts"])
        ]
        rough = replace(problem, parameters={**problem.parameters, "tolerance": _TOLERANCE})
        ends = [rough.without_ridge(start, _ITERATIONS) for start in starts]
        # Where a fit was cut off is no optimum.
        found = sorted((end for end in ends if end.converged), key=lambda end: end.objective)
        return cls(
            [match_atoms(end.measure, fit.measure, sample.X) for end in found],
            [end.objective for end in found],
        )

    def rival(self, problem: Problem, best: FitResult) -> str:
        """Return what to say of another optimum that fits about as well as the best; or "".

        The best is no exact fit.
        """
        sample, n = problem.sample, problem.n_rows * problem.architecture.n_columns
        ours = contributions(best.measure, sample.X)
        # The size of the standard error of a prediction, for the optimum to be another one.
        error = math.sqrt(best.objective * best.measure.coordinates.numel() / n)
        for measure, objective in zip(self.measures, self.objectives, strict=True):
            deviance = n * math.log(objective / best.objective)
            apart = (contributions(measure, sample.X) - ours).square().sum(0)
            rows = sample.mean(apart.view(len(sample), -1).sum(1))
            if deviance < _DECISIVE and float(rows.sqrt()) > error:
                return (
                    f"another optimum fits about as well (its deviance is {max(deviance, 0.0):.2g} "
                    "higher) with other experts, and the rows do not decide between the two"
                )
        return ""
