"""Information criteria of least squares fits, as Gaussian likelihoods."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sigmoe._base.constraints import Interval, check
from sigmoe.estimation._sample import Sample
from sigmoe.moe import Architecture

#: Residuals below this share of the responses count as none: what is left of an exact fit is
#: where the optimiser stopped, and must not decide between two exact fits.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class InformationCriteria:
    """What a fit costs by AIC and BIC; smaller is better.

    Attributes
    ----------
    log_likelihood : float
        Of the sample, at the estimate and its noise variance; +inf for an exact fit.
    n_parameters : int
        Free parameters of the regression function; the noise variance is counted on top.
    aic, bic : float
    """

    log_likelihood: float
    n_parameters: int
    aic: float
    bic: float

    def value(self, criterion: str) -> float:
        """Return the criterion of that name."""
        return {"aic": self.aic, "bic": self.bic}[criterion]


def information_criteria(
    objective: float, n: int, n_parameters: int, n_columns: int = 1
) -> InformationCriteria:
    """Return AIC and BIC of a least squares fit.

    Least squares is maximum likelihood under Gaussian noise with one variance s, independent
    between rows and columns: with s estimated by objective / m,

        -2 log L = n m (log(2 pi objective / m) + 1),
        AIC = -2 log L + 2 (k + 1),   BIC = -2 log L + (k + 1) log n.

    Parameters
    ----------
    objective : float
        Mean squared residual >= 0, summed over the columns of the response.
    n : int
        Number of rows.
    n_parameters : int
        k, without the noise variance. For softmax gates the common translation is no parameter:
        see ``free_parameters``.
    n_columns : int
        m.

    Returns
    -------
    InformationCriteria

    Raises
    ------
    InputError
        For numbers out of range.

    Notes
    -----
    BIC is derived for regular models. A fit with more experts than the truth is singular: there
    the penalty of k log n is more than the likelihood asks for, which makes BIC pick too few
    experts rather than too many.

    References
    ----------
    Schwarz, G. (1978), Estimating the dimension of a model, Annals of Statistics 6. Drton, M. and
    Plummer, M. (2017), A Bayesian information criterion for singular models, JRSS B 79.

    Examples
    --------
    >>> found = information_criteria(1.0, n=100, n_parameters=3)
    >>> round(found.aic, 2), round(found.bic, 2)
    (291.79, 302.21)
    """
    check("objective", objective, Interval("number", 0.0), "Pass a mean squared residual.")
    check("n", n, Interval("integer", 1), "Pass the number of rows.")
    check("n_parameters", n_parameters, Interval("integer", 0), "Count free parameters.")
    check("n_columns", n_columns, Interval("integer", 1), "Use 1 for a scalar response.")
    if objective == 0.0:
        return InformationCriteria(math.inf, n_parameters, -math.inf, -math.inf)
    deviance = n * n_columns * (math.log(2.0 * math.pi * objective / n_columns) + 1.0)
    k = n_parameters + 1
    return InformationCriteria(
        -0.5 * deviance, n_parameters, deviance + 2.0 * k, deviance + k * math.log(n)
    )


def free_parameters(architecture: Architecture, n_experts: int) -> int:
    """Return the number of parameters that data can see.

    Examples
    --------
    >>> free_parameters(Architecture("softmax", "linear", "linear", dim=10), 1)
    11
    """
    return architecture.n_parameters(n_experts) - architecture.n_invisible


def judged(
    objective: float, sample: Sample, architecture: Architecture, n_experts: int
) -> InformationCriteria:
    """Return the criteria of a fit of so many experts to a sample."""
    exact = math.sqrt(objective) <= _ROUNDING * sample.response_scale
    free = free_parameters(architecture, n_experts) + sample.n_intercepts
    return information_criteria(
        0.0 if exact else objective, len(sample), free, architecture.n_columns
    )


def comparison(criterion: str, chosen: int, values: dict[int, float]) -> str:
    """Return in words how clear a choice is.

    Examples
    --------
    >>> comparison("bic", 2, {1: 30.0, 2: 10.0, 3: 16.0})
    'BIC is least with 2 experts: 6 below that of 3, 20 below that of 1'
    """
    name, noun = criterion.upper(), "expert" if chosen == 1 else "experts"
    least = values[chosen]
    # Exact fits are at minus infinity, all of them alike.
    others = sorted(
        (0.0 if value == least else value - least, k) for k, value in values.items() if k != chosen
    )
    gaps = ", ".join(f"{gap:.3g} below that of {k}" for gap, k in others[:2])
    return f"{name} is least with {chosen} {noun}" + (f": {gaps}" if gaps else "")
