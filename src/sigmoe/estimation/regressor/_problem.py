"""A standardised table and the settings of the estimator: the fits that can be asked of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from sigmoe._base.seeds import Seed
from sigmoe.estimation._bounds import Bounds
from sigmoe.estimation._fit import fit_least_squares
from sigmoe.estimation._result import FitResult
from sigmoe.estimation._sample import Sample
from sigmoe.estimation.regressor._parameters import WEIGHED, box_of, fits_intercept
from sigmoe.estimation.regressor._standardise import DistinctRows, Standardisation
from sigmoe.estimation.selection._criteria import (
    InformationCriteria,
    free_parameters,
    information_criteria,
)
from sigmoe.estimation.starts._draw import projected
from sigmoe.moe import Architecture, MixingMeasure

#: Residuals below this share of the responses count as none, as in ``selection``.
_ROUNDING = 1e-9
#: Where the search for a ridge penalty begins that the table decides.
FIRST_RIDGE = 0.3


@dataclass(frozen=True)
class Problem:
    """What the fits of one table share.

    Attributes
    ----------
    sample : Sample
        Standardised, equal rows merged.
    architecture : Architecture
    box : Bounds
    parameters : dict
        Of the estimator.
    seed : int or SeedSequence
    ridge : float
        The penalty: that of the parameters, or where the search for one that is weighed begins.
    """

    sample: Sample
    architecture: Architecture
    box: Bounds
    parameters: dict[str, Any]
    seed: Seed
    ridge: float

    @classmethod
    def of(
        cls,
        rows: DistinctRows,
        units: Standardisation,
        architecture: Architecture,
        parameters: dict[str, Any],
        seed: Seed,
    ) -> Problem:
        """Return the problem of a table in its standardisation."""
        free = fits_intercept(parameters, architecture)
        sample = standardised(rows, units, architecture, free)
        box, asked = box_of(parameters["bounds"], sample), parameters["ridge"]
        ridge = FIRST_RIDGE if asked == WEIGHED else asked
        return cls(sample, architecture, box, parameters, seed, ridge)

    @property
    def n_rows(self) -> float:
        """Return how many rows the table counts for: the sum of its weights."""
        return self.sample.total_weight

    def n_parameters(self, n_experts: int) -> int:
        """Return the number of parameters that data can see, intercepts among them."""
        return free_parameters(self.architecture, n_experts) + self.sample.n_intercepts

    def fit(
        self, n_experts: int, start: MixingMeasure | None = None, max_iterations: int | None = None
    ) -> FitResult:
        """Fit with the ridge penalty, from random starts or a given one."""
        return self._run(n_experts, start, max_iterations, self.ridge / self.n_rows)

    def without_gate(self) -> Problem:
        """Return the problem of a single expert on its own: one softmax gate is 1."""
        a = self.architecture
        # The score has no effect; the linear one has the fewest parameters that no row sees.
        bare = Architecture("softmax", "linear", a.expert, a.dim, a.n_outputs)
        sample = replace(self.sample, intercept=fits_intercept(self.parameters, bare))
        return replace(self, architecture=bare, sample=sample)

    def without_ridge(
        self, measure: MixingMeasure, max_iterations: int, tolerance: float = math.inf
    ) -> FitResult:
        """Fit by plain least squares, from a fit with the ridge penalty.

        A tolerance below the estimator's takes its place.
        """
        tight = min(tolerance, self.parameters["tolerance"])
        problem = replace(self, parameters={**self.parameters, "tolerance": tight})
        return problem._run(measure.n_experts, measure, max_iterations, 0.0)

    def criteria(self, objective: float, n_experts: int) -> InformationCriteria:
        """Return AIC and BIC; the rows are counted by their weights."""
        exact = math.sqrt(objective) <= _ROUNDING * self.sample.response_scale
        return information_criteria(
            0.0 if exact else objective,
            # A weight of k is the row k times, and parts of a row do not move the logarithm.
            max(1, round(self.n_rows)),
            self.n_parameters(n_experts),
            self.architecture.n_columns,
        )

    def _run(
        self,
        n_experts: int,
        start: MixingMeasure | None,
        max_iterations: int | None,
        ridge: float,
    ) -> FitResult:
        limit = self.parameters["max_iterations"]
        return fit_least_squares(
            self.sample.X,
            self.sample.y,
            self.architecture,
            n_experts,
            "random" if start is None else projected(start, self.box),
            n_starts=self.parameters["n_starts"],
            bounds=self.box,
            seed=self.seed,
            max_iterations=limit if max_iterations is None else min(limit, max_iterations),
            relative_tolerance=self.parameters["tolerance"],
            sample_weight=self.sample.weight,
            ridge=ridge,
            intercept=self.sample.intercept,
        )


def standardised(
    rows: DistinctRows, units: Standardisation, architecture: Architecture, intercept: bool
) -> Sample:
    """Return the rows without their units, as a sample."""
    X, y = units.inputs(rows.X), units.responses(rows.y)
    return replace(Sample.checked(X, y, architecture, rows.weight), intercept=intercept)
