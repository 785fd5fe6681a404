"""What a fitted estimator says about a table that it is shown: intervals, summary, merging path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from sigmoe._base.arrays import ArrayLike
from sigmoe._base.constraints import Choice, Interval, check
from sigmoe._base.errors import invalid
from sigmoe.estimation.inference._table import LEVEL, LEVEL_REMEDY
from sigmoe.estimation.regressor._choose import merging_path
from sigmoe.estimation.regressor._estimate import Estimate
from sigmoe.estimation.regressor._fitted import FittedMixture
from sigmoe.estimation.regressor._intervals import METHODS, CoefficientIntervals
from sigmoe.estimation.regressor._problem import Problem
from sigmoe.estimation.regressor._standardise import merge_rows
from sigmoe.estimation.regressor._summary import FitSummary, facts_of, remarks
from sigmoe.estimation.regressor._tables import as_table
from sigmoe.estimation.selection._merging_path import MergePath
from sigmoe.moe import MixingMeasure


class ReportingMixture(FittedMixture):
    """A fitted mixture that explains itself on a table; it keeps no rows of its own."""

    # Those of scikit-learn's bases, with which this class is mixed.
    get_params: Callable[..., dict[str, Any]]
    score: Any

    def confidence_intervals(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        level: float = 0.95,
        method: str = "auto",
        n_bootstrap: int = 200,
        seed: int = 0,
    ) -> CoefficientIntervals:
        """Return confidence intervals of the coefficients, in the units of the table.

        The ridge penalty pulls coefficients towards zero, and intervals around them would miss.
        So the fit goes on without it, and the intervals are those of plain least squares. Unless
        experts cannot be told apart its optima are looked for from random starts as well: the
        lowest is taken, and where another one fits about as well, with other experts, intervals
        are withheld. This takes about as long as a few fits.

        Parameters
        ----------
        X, y, sample_weight
            The table of the fit: the estimator keeps no rows. A weight of k is k independent
            rows, as in ``fit``; for weights that are precisions use ``parameter_covariance``.
        level : float
            Between 0 and 1.
        method : {"auto", "sandwich", "bootstrap"}
            "sandwich" holds for noise of any variance and where the model is only the best
            approximation. "bootstrap" takes quantiles of refits to rows drawn with replacement.
            "auto" is the sandwich where it holds, the bootstrap where only the Gaussian
            approximation fails, and neither where coefficients are not identified: with more
            experts than the rows can tell apart, or where they fit two optima alike.
        n_bootstrap : int
            Refits, >= 2.
        seed : int
            Of the bootstrap.

        Returns
        -------
        CoefficientIntervals
            ``reason`` says why intervals are withheld, or not from the sandwich.

        Raises
        ------
        InputError
            For a level or method that is not known, or bad data.
        ValueError
            For tables that scikit-learn refuses.

        Examples
        --------
        >>> import numpy as np
        >>> from sigmoe.estimation import MoERegressor
        >>> rng = np.random.default_rng(0)
        >>> X = rng.uniform(-2, 2, (300, 1))
        >>> right = 1 / (1 + np.exp(-4 * X[:, 0]))
        >>> y = right * (4 - 3 * X[:, 0]) + (1 - right) * X[:, 0] + rng.normal(0, 0.1, 300)
        >>> model = MoERegressor(gate="softmax", random_state=0).fit(X, y)
        >>> found = model.confidence_intervals(X, y)
        >>> found.method, len(found.names)
        ('sandwich', 6)
        """
        check("level", level, LEVEL, LEVEL_REMEDY)
        check("method", method, Choice(METHODS), "Use 'auto' to let the fit decide.")
        check("n_bootstrap", n_bootstrap, Interval("integer", 2), "Refit at least twice.")
        return self._estimate(X, y, sample_weight).intervals(level, method, n_bootstrap, seed)

    def summary(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        level: float = 0.95,
        *,
        method: str = "sandwich",
        n_bootstrap: int = 200,
        seed: int = 0,
    ) -> FitSummary:
        """Return a page about the fit: print it.

        Parameters
        ----------
        X, y, sample_weight
            The table of the fit: the estimator keeps no rows.
        level, method, n_bootstrap, seed
            As for ``confidence_intervals``.

        Returns
        -------
        FitSummary

        Raises
        ------
        InputError, ValueError
            As for ``confidence_intervals``.
        """
        check("level", level, LEVEL, LEVEL_REMEDY)
        check("method", method, Choice(METHODS), "Use 'auto' to let the fit decide.")
        check("n_bootstrap", n_bootstrap, Interval("integer", 2), "Refit at least twice.")
        estimate = self._estimate(X, y, sample_weight)
        intervals = estimate.intervals(level, method, n_bootstrap, seed)
        facts = facts_of(self, estimate, self.score(X, y, sample_weight))
        return FitSummary(facts, intervals, tuple(remarks(self, estimate, intervals)))

    def merging_path(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> MergePath:
        """Return how atoms were merged under ``n_experts="merge"``: draw it with ``plot_merging``.

        Parameters
        ----------
        X, y, sample_weight
            The table of the fit: the estimator keeps no rows.

        Returns
        -------
        MergePath
            In standardised units: heights are shares of the responses' standard deviation.

        Raises
        ------
        InputError
            If no atoms were merged.
        """
        problem = self._problem(X, y, sample_weight)
        if "coordinates" not in self.selection_:
            asked = problem.parameters["n_experts"]
            rule = "'merge' in the last fit from random starts"
            raise invalid("n_experts", rule, asked, "Fit with MoERegressor(n_experts='merge').")
        first = torch.tensor(self.selection_["coordinates"])
        return merging_path(problem, MixingMeasure.from_coordinates(problem.architecture, first))

    def _problem(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None) -> Problem:
        """Return the least squares problem of a table in the units of the fit."""
        architecture = self.architecture_
        rows = merge_rows(*as_table(self, X, y, sample_weight, reset=False))
        parameters = self.get_params(deep=False)
        return Problem.of(rows, self._standardisation(), architecture, parameters, 0)

    def _estimate(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None) -> Estimate:
        problem = self._problem(X, y, sample_weight)
        return Estimate.of(problem, self._measure(), self._standardisation(), self._features())
