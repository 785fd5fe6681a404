"""A mixture of experts as an estimator of scikit-learn."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils import check_random_state

from sigmoe._base.arrays import ArrayLike
from sigmoe._base.errors import SigmoeWarning
from sigmoe.estimation._bounds import Bounds
from sigmoe.estimation.regressor._choose import choose
from sigmoe.estimation.regressor._parameters import (
    WEIGHED,
    ScoreParameter,
    check_parameters,
    fits_intercept,
    model_of,
)
from sigmoe.estimation.regressor._problem import Problem
from sigmoe.estimation.regressor._report import ReportingMixture
from sigmoe.estimation.regressor._standardise import (
    DistinctRows,
    Standardisation,
    carry_over,
    merge_rows,
)
from sigmoe.estimation.regressor._steps import State, kept, require_same, take_in
from sigmoe.estimation.regressor._tables import as_table
from sigmoe.estimation.regressor._weigh import settle
from sigmoe.moe import Architecture


# scikit-learn ships no types, so its bases are Any.
class MoERegressor(ReportingMixture, MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]  # Any
    """A gated mixture of experts, fitted to a table by least squares.

    A prediction is ``intercept_`` plus the sum over experts of gate times expert, eqs. (3)-(5),
    (48) of the paper. The table is centred and scaled inside, so that units do not matter, and the
    estimate is written back in the table's units (``measure_``).

    Parameters
    ----------
    n_experts : int, "auto" or "merge"
        Number of experts N. Two is the smallest mixture. "auto" fits 1 to ``max_experts`` and
        keeps the number with the least ``criterion``; "merge" fits ``max_experts`` and merges
        atoms, fitting again from there. Numbers with more than half as many parameters as there
        are responses are not tried. A sigmoid gate may vary even with one expert: if an expert
        without a gate has the least criterion of all, one expert is fitted, and
        ``selection_reason_`` says so.
    gate : {"sigmoid", "softmax"}
        Sigmoid gates let experts add up, softmax gates let them compete. Sigmoid is the default
        because its experts need fewer samples to be told apart, which is the paper's subject.
    score : {"linear", "partial", "full"}
        What a gate sees: b'x + c, x'Ax + c or x'Ax + b'x + c. The linear score has d + 1 numbers
        an expert where the others have about d^2 / 2.
    expert : str
        "linear", "relu", "gelu", "tanh", "polynomial:P", "scaled-relu", "scaled-gelu",
        "scaled-tanh", or a name added by ``register_expert``. Linear experts have coefficients
        that can be read. With "tanh" every expert has the size of the responses' standard
        deviation (``measure_scale_``); "scaled-tanh" fits the size of each.
    max_experts : int
        The most experts that "auto" and "merge" try.
    criterion : {"bic", "aic"}
        BIC aims at the number of experts, AIC at prediction; AIC keeps more. Rows are counted by
        their weights.
    fit_intercept : bool
        Whether to fit an intercept beside the gated sum, free of bounds and penalty. Softmax gates
        with linear experts need none: their experts' constants take it up. Without one the
        prediction is the gated sum alone, as in the paper; that of tanh and GELU experts then has
        the size that it has, whatever the units of the responses.
    ridge : float or "auto"
        Added to the sum of squared residuals is ``ridge`` times the sum of squared parameters, both
        in standardised units, as ``alpha`` in scikit-learn's ``Ridge``; it fades as the table
        grows. "auto" weighs it by the evidence of the fit, as scikit-learn's ``BayesianRidge``
        does: little where there is little noise, much where there is much. ``ridge_`` is what was
        found.
    bounds : Bounds, "default" or None
        Box of the parameters in standardised units: [-10, 10], and [-20, 20] for c, by default.
        ``active_bounds_`` names the parameters that ended there.
    n_starts : int
        Random starts. Least squares of mixtures has several local optima; 10 find one within 2 %
        of the best known in 19 of 20 simulated tables or more, and in 9 of 10 where steep gates
        lie within each other. Models of thousands of parameters take minutes a start: ask for one
        or two.
    max_iterations : int
        Limit on the Levenberg-Marquardt iterations of the fit that follows the starts.
    tolerance : float
        Converged when two iterations in a row lower the objective by less than this share.
    warm_start : bool
        Whether ``fit`` begins at the previous fit instead of at random. It keeps the number of
        experts that was chosen.
    random_state : int, RandomState or None
        Decides the random starts; None draws others each time.

    Attributes
    ----------
    n_experts_ : int
        Number of experts that were fitted.
    selection_ : dict
        What "auto" and "merge" compared: arrays "n_experts", "criterion" (its values) and
        "objective" (mean squared residuals of plain least squares, in standardised units), the
        number "without_gate" (criterion of one expert without a gate; NaN for softmax, where it
        is that of one expert), and for "merge" the "coordinates" of the fit whose atoms were
        merged. Empty if the number was given.
    selection_reason_ : str
        Why this number of experts, in words.
    measure_ : MixingMeasure
        The mixture f in the table's units: predictions are
        ``intercept_ + measure_scale_ * measure_.predict(X)``.
    intercept_ : float or array of shape (m,)
        What is added to the gated sum: fitted with it by least squares. For softmax gates with
        linear experts, whose constants would take up any other, the mean of the responses.
    measure_scale_ : float or array of shape (m,)
        1, or the scale of the responses where the experts cannot take it up: tanh and GELU with
        an intercept.
    architecture_ : Architecture
    coordinates_ : array of shape (N, parameters of an atom)
        Canonical coordinates (``MixingMeasure.coordinates``) in standardised units.
    input_centre_, input_scale_ : array of shape (d,)
        Inputs without units are (x - centre) / scale. The partial score cannot take up a shift:
        its centre is 0, and predictions depend on where the zero of a unit lies.
    constant_features_ : array of shape (d,), bool
        Columns of one value; their coefficients are 0.
    response_scale_ : float or array of shape (m,)
        Standard deviation of the responses.
    curvature_, slope_, total_weight_
        J'J of shape (p, p) and the gradient of shape (p,) of the sum of squared residuals at
        ``coordinates_`` and, after these, the fitted intercepts, and the weight of the rows: the
        memory of ``partial_fit``.
    ridge_ : float
        The penalty of the fit; after ``partial_fit`` that of the next batch.
    objective_ : float
        Mean squared residual in standardised units, summed over responses: for one response, the
        share of the variance that is left unexplained.
    converged_, status_, message_, n_iter_
        How the fit ended: as in ``FitResult``. Iterations since the last random starts count,
        with whatever penalty.
    active_bounds_ : tuple of str
        Such as "b[0,2] at upper bound 10", in standardised units.
    start_objectives_ : array of shape (n_starts,)
        What was minimised, where each start ended; most are stopped once they fall behind.
    n_starts_agreed_ : int
        How many of the starts that were run to the end came within 1 % of the best fit found. One
        is little evidence that there is no better one: raise ``n_starts``.
    n_samples_seen_ : int
        Rows with weight, all batches together.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    See Also
    --------
    fit_least_squares : The fit itself, in the units of the data.

    Notes
    -----
    Equal rows are merged and rows are put in an order of their own, so that a weight of k, a row
    that stands k times and rows in another order give the same fit to the last bit. Such rows
    count once where "responses" are compared with the number of parameters.

    The attribute ``score`` is the method R^2 of every regressor; the parameter of that name is read
    with ``get_params`` and set with ``set_params``.

    Examples
    --------
    >>> X = np.linspace(-3, 3, 200).reshape(-1, 1)
    >>> y = 20 + 5 * np.abs(X[:, 0])
    >>> model = MoERegressor(gate="softmax", random_state=0).fit(X, y)
    >>> model.score(X, y) > 0.98
    True
    >>> contributions, intercept = model.decompose(X)
    >>> bool(np.all(contributions.sum(axis=1) + intercept == model.predict(X)))
    True
    """

    score = ScoreParameter()

    def __init__(
        self,
        n_experts: int | str = 2,
        *,
        gate: str = "sigmoid",
        score: str = "linear",
        expert: str = "linear",
        max_experts: int = 5,
        criterion: str = "bic",
        fit_intercept: bool = True,
        ridge: float | str = "auto",
        bounds: Bounds | str | None = "default",
        n_starts: int = 10,
        max_iterations: int = 200,
        tolerance: float = 1e-8,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_experts = n_experts
        self.gate = gate
        self.score = score
        self.expert = expert
        self.max_experts = max_experts
        self.criterion = criterion
        self.fit_intercept = fit_intercept
        self.ridge = ridge
        self.bounds = bounds
        self.n_starts = n_starts
        self.max_iterations = max_iterations
        self.tolerance = tolerance
        self.warm_start = warm_start
        self.random_state = random_state

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name, ``score`` among them."""
        return {**super().get_params(deep), "score": vars(self)["score"]}

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the mixture to a table.

        Parameters
        ----------
        X : array_like or frame of shape (n, d)
            Inputs: numbers, none missing.
        y : array_like, series or frame of shape (n,) or (n, m)
            Responses.
        sample_weight : array_like of shape (n,), optional
            Non-negative. A weight of k counts a row k times, and a row of weight 0 is as if it
            were not there.

        Returns
        -------
        MoERegressor
            The estimator itself.

        Raises
        ------
        InputError
            For parameters out of range, unknown names, a model too large for memory, columns that
            hold no numbers, or bad weights.
        ValueError
            For NaN, infinity and wrong shapes, in scikit-learn's words.

        Warns
        -----
        SigmoeWarning
            If there are fewer responses than free parameters.
        ConvergenceWarning
            If the fit did not converge.
        """
        return self._begin(X, y, sample_weight, self._state() if self.warm_start else None)

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Take a further batch of a stream into the fit.

        The first batch is fitted as by ``fit``, and should have several times as many rows as the
        model has parameters: it decides the standardisation, and the optimum that later batches
        refine. Each later one is minimised together with the memory of those before it, their sum
        of squares to second order. After ``fit`` the stream goes on from that table. The number
        of experts is chosen on the first batch.

        Parameters
        ----------
        X, y, sample_weight
            As for ``fit``, with the features and responses of the first batch.

        Returns
        -------
        MoERegressor
            The estimator itself.

        Raises
        ------
        InputError, ValueError
            As for ``fit``, and if the model is no longer that of the first batch.

        Warns
        -----
        SigmoeWarning
            If a column varies that was constant in the first batch.
        ConvergenceWarning
            If the batch was left before convergence.
        """
        before = self._state()
        if before is None:
            return self._begin(X, y, sample_weight, None)
        return self._continue(X, y, sample_weight, before)

    def _begin(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, before: State | None
    ) -> Self:
        parameters = self._checked_parameters()
        table = as_table(self, X, y, sample_weight, reset=before is None)
        rows = merge_rows(*table)
        architecture = _model(parameters, rows)
        units = Standardisation.of(rows, architecture, parameters["fit_intercept"])
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        problem = Problem.of(rows, units, architecture, parameters, seed)
        if before is None:
            problem, fit, selection = choose(problem)
            self.selection_reason_, self.selection_ = selection.reason, selection.arrays()
        else:
            free = fits_intercept(parameters, architecture)
            require_same(before, architecture, self.n_experts, free)
            start = carry_over(before.measure, before.standardisation, units)
            if self.ridge == WEIGHED:
                problem = replace(problem, ridge=before.ridge)
            problem, fit = settle(problem, start.n_experts, start)
            # Atoms that were merged had the units of the fit before.
            self.selection_.pop("coordinates", None)
        self.n_samples_seen_ = _count(table)
        return self._keep(*kept(problem, units, fit))

    def _continue(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, before: State
    ) -> Self:
        parameters = self._checked_parameters()
        table = as_table(self, X, y, sample_weight, reset=False)
        rows = merge_rows(*table)
        architecture = _model(parameters, rows)
        free = fits_intercept(parameters, architecture)
        require_same(before, architecture, self.n_experts, free)
        _warn_of_varying(rows, before.standardisation)
        fitted = take_in(rows, before, parameters)
        self.n_samples_seen_ += _count(table)
        return self._keep(*fitted)

    def _checked_parameters(self) -> dict[str, Any]:
        parameters = self.get_params(deep=False)
        check_parameters(parameters)
        return parameters


def _model(parameters: dict[str, Any], rows: DistinctRows) -> Architecture:
    outputs = rows.y.shape[1] if rows.y.ndim == 2 else None
    return model_of(parameters, rows.X.shape[1], outputs)


def _count(table: tuple[Any, Any, Any]) -> int:
    """Return the number of rows that count."""
    X, _, weight = table
    return len(X) if weight is None else int((weight > 0).sum())


def _warn_of_varying(rows: DistinctRows, units: Standardisation) -> None:
    varying = np.flatnonzero(units.leaves_constant(rows.X))
    if len(varying):
        warnings.warn(
            f"Column(s) {', '.join(map(str, varying))} of X were constant in the first batch and "
            "vary now: they stay without effect. Begin the stream with a batch in which they vary.",
            SigmoeWarning,
            stacklevel=4,
        )
