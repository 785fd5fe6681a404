"""Confidence intervals of the coefficients: by the sandwich, by bootstrap, or withheld."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import stdtr, stdtrit
from torch import Tensor

from sigmoe._base.seeds import child_seeds
from sigmoe.estimation._sample import Sample
from sigmoe.estimation.inference import _checks as checks
from sigmoe.estimation.inference._atoms import alike_atoms, light_atoms
from sigmoe.estimation.inference._bootstrap import match_atoms
from sigmoe.estimation.inference._coordinates import pinned
from sigmoe.estimation.inference._jacobian import chunks, jacobian, score_moments
from sigmoe.estimation.inference._sandwich import BREADS, Evidence, Spectrum, gather
from sigmoe.estimation.regressor._coefficients import intercept_counts
from sigmoe.estimation.regressor._problem import Problem
from sigmoe.estimation.regressor._standardise import Array
from sigmoe.moe import MixingMeasure

METHODS = ("auto", "sandwich", "bootstrap")
#: Iterations of a refit to resampled rows; it begins at the estimate.
_REFIT = 100


@dataclass(frozen=True, eq=False)
class CoefficientIntervals:
    """Confidence intervals of the coefficients of a mixture, in the units of its table.

    Attributes
    ----------
    names : tuple of str
        Such as "gate 0: hour" or "expert 1: const". A product, "hour*hour", is the coefficient of
        that product in the score.
    estimate : array of shape (k,), float64
        Of plain least squares: the fit without its ridge penalty.
    standard_error, lower, upper : array of shape (k,), float64
        NaN where they are withheld.
    level : float
        Nominal coverage of each interval on its own.
    method : {"sandwich", "bootstrap", "withheld"}
        Where the numbers come from.
    reason : str
        Why the sandwich formula does not hold, and how far refits were cut off by the bounds;
        empty if all is well.
    degrees_of_freedom : float
        Responses minus coefficients; rows are counted by their weights.
    """

    names: tuple[str, ...]
    estimate: Array
    standard_error: Array
    lower: Array
    upper: Array
    level: float
    method: str
    reason: str
    degrees_of_freedom: float

    @property
    def t(self) -> Array:
        """Return estimate over standard error, shape (k,)."""
        ratio: Array = self.estimate / self.standard_error
        return ratio

    @property
    def p_value(self) -> Array:
        """Return Student's two-sided P values that a coefficient is 0, shape (k,).

        None of them tests whether an expert is needed: without its expert a gate has no
        coefficients that could be 0.
        """
        values: Array = np.asarray(
            2.0 * stdtr(self.degrees_of_freedom, -np.abs(self.t)), dtype=np.float64
        )
        return values

    def __getitem__(self, name: str) -> tuple[float, float]:
        """Return the interval of one coefficient."""
        position = self.names.index(name)
        return float(self.lower[position]), float(self.upper[position])

    def covers(self, values: Array) -> npt.NDArray[np.bool_]:
        """Return whether each interval holds the value of shape (k,)."""
        inside: npt.NDArray[np.bool_] = (self.lower <= values) & (values <= self.upper)
        return inside

    def __str__(self) -> str:
        width = max(len(name) for name in self.names)
        tail = (1.0 - self.level) / 2.0
        limits = f"[{tail:.4g}", f"{1 - tail:.4g}]"
        head = ("coef", "std err", "t", "P>|t|", *limits)
        lines = [" " * width + "".join(f"{text:>11}" for text in head)]
        columns = (self.estimate, self.standard_error, self.t, self.p_value, self.lower, self.upper)
        for name, *row in zip(self.names, *columns, strict=True):
            lines.append(f"{name:<{width}}" + "".join(map(_cell, row, _FORMATS)))
        return "\n".join(lines)


_FORMATS = (".4g", ".3g", ".2f", ".3f", ".4g", ".4g")


def _cell(value: float, form: str) -> str:
    return f"{'-':>11}" if math.isnan(value) else f"{value:>11{form}}"


@dataclass(frozen=True)
class Counted(Evidence):
    """Evidence in which a weight of k is k independent rows, as everywhere in the estimator."""

    @property
    def degrees_of_freedom(self) -> float:  # type: ignore[override]  # weights need not be whole
        """Return the number of responses that the weights stand for, minus the coordinates."""
        return float(self.weight.sum()) * self.residual.shape[1] - len(self.free)


@dataclass(frozen=True)
class Judgement:
    """What can be said about an estimate.

    Attributes
    ----------
    measure : MixingMeasure
        The least squares estimate, pinned, in standardised units.
    covariance : Tensor of shape (p, p), or None
    degrees_of_freedom : float
    noise_variance : float
        Mean over responses, in standardised units; NaN where nothing is left to estimate it from.
    reason : str
        Why there is no covariance.
    identified : bool
        Whether refits to resampled rows would mean more: False where the rows cannot tell some
        parameters, or atoms, apart.
    """

    measure: MixingMeasure
    covariance: Tensor | None
    degrees_of_freedom: float
    noise_variance: float
    reason: str
    identified: bool


def judge(problem: Problem, measure: MixingMeasure) -> Judgement:
    """Return the sandwich covariance of a plain least squares estimate, or why there is none.

    The checks are those of ``parameter_covariance``; unlike there a weight is a count.
    """
    found = gather(measure, problem.sample)
    evidence = Counted(**{name: getattr(found, name) for name in Evidence.__dataclass_fields__})
    matrix, unidentified, other = _examined(problem, evidence)
    reason = _joined(unidentified, other)
    freedom = evidence.degrees_of_freedom
    noise = evidence.noise_variance if freedom > 0 else math.nan
    return Judgement(
        evidence.measure, None if reason else matrix, freedom, noise, reason, not unidentified
    )


def _examined(problem: Problem, evidence: Counted) -> tuple[Tensor | None, str, str]:
    """Return a covariance, why coefficients are not identified, and why it would mislead."""
    nothing = checks.too_little_noise_or_rows(evidence)
    if nothing or evidence.degrees_of_freedom <= 0:
        return None, nothing or "the weights stand for fewer responses than coefficients", ""
    edge = checks.at_bounds(evidence.measure, problem.box)
    edge += " in standardised units" if edge else ""
    information = Spectrum.of(evidence.information)
    # An expert with fewer rows than coefficients is as little identified as a flat direction.
    unidentified = _joined(
        checks.rank_deficient(evidence, information),
        light_atoms(evidence.measure, evidence.sample.X, evidence.weight),
    )
    if unidentified or edge:
        return None, unidentified, edge
    bread = Spectrum.of(BREADS.get("robust")(evidence))
    saddle = checks.no_minimum(bread)
    if saddle:
        return None, "", saddle
    matrix = _sandwich(evidence, bread)
    theta = evidence.measure.coordinates
    full = theta.new_zeros((theta.numel(), theta.numel()))
    full[evidence.free.unsqueeze(1), evidence.free] = matrix
    misleading = _joined(
        checks.not_stationary(evidence, bread, matrix), checks.bent(evidence, information)
    )
    return full, alike_atoms(evidence.measure, matrix), misleading


def _joined(*reasons: str) -> str:
    return "; ".join(reason for reason in reasons if reason)


def _sandwich(evidence: Counted, bread: Spectrum) -> Tensor:
    # The root of the weight: k equal rows add k times their score's square, not k^2 times.
    root = evidence.residual * evidence.weight.sqrt().unsqueeze(1)
    moments = score_moments(evidence.measure, evidence.sample.X, root)
    if intercept_counts(evidence.measure.architecture):
        moments = moments + _of_the_intercept(evidence)
    inverse = bread.inverse
    return inverse @ moments[evidence.free][:, evidence.free] @ inverse


def _of_the_intercept(evidence: Counted) -> Tensor:
    """Return what the estimated intercept adds to the moments of the scores, shape (p, p).

    The intercept is the mean response. Where no expert's constant takes it up the estimate moves
    with it, and the score s_i = J_i' r_i of a row becomes s_i + G u_i, with u_i the centred
    response and G the mean of the J_i' (an estimator in two steps: Newey and McFadden 1994,
    Large sample estimation and hypothesis testing, Handbook of Econometrics 4, section 6).
    """
    sample, weight, residual = evidence.sample, evidence.weight, evidence.residual
    architecture, theta = evidence.measure.architecture, evidence.measure.coordinates
    centred = sample.y.reshape(len(sample), -1)
    slope = theta.new_zeros((theta.numel(), centred.shape[1]))
    cross = torch.zeros_like(slope)
    for rows in chunks(len(sample), architecture.n_columns * theta.numel()):
        J = jacobian(architecture, theta, sample.X[rows].T.contiguous())
        slope += (J @ weight[rows]).T / weight.sum()
        score = torch.einsum("mpn,nm->pn", J, residual[rows])
        cross += (score * weight[rows]) @ centred[rows]
    spread = (centred * weight.unsqueeze(1)).T @ centred
    mixed = cross @ slope.T
    return mixed + mixed.T + slope @ spread @ slope.T


def reach(judgement: Judgement, level: float) -> float:
    """Return Student's quantile for intervals of that level."""
    return float(stdtrit(judgement.degrees_of_freedom, 0.5 + level / 2.0))


def resampled(
    problem: Problem, measure: MixingMeasure, n_bootstrap: int, seed: int
) -> tuple[MixingMeasure, int]:
    """Return refits to rows drawn with replacement, and how many of them ended at a bound.

    Each distinct row is drawn a number of times that its weight decides. The refits are a batch,
    pinned, their atoms in the order of the estimate's.
    """
    sample = problem.sample
    weight = torch.ones(len(sample)) if sample.weight is None else sample.weight
    shares = weight.double().numpy() / float(weight.sum())
    total = max(1, round(problem.n_rows))
    fits = []
    for child in child_seeds(seed, "bootstrap", n_bootstrap):
        counts = torch.from_numpy(np.random.default_rng(child).multinomial(total, shares))
        drawn = Sample(sample.X, sample.y, counts.double()).rows(counts > 0)
        if intercept_counts(problem.architecture):
            # Resampled rows have a mean, and with it an intercept, of their own.
            mean = drawn.mean(drawn.y.reshape(len(drawn), -1)).view(drawn.y.shape[1:])
            drawn = replace(drawn, y=drawn.y - mean)
        fits.append(replace(problem, sample=drawn).without_ridge(measure, _REFIT))
    matched = [match_atoms(fit.measure, measure, sample.X) for fit in fits]
    return pinned(MixingMeasure.stack(matched)), sum(bool(fit.active_bounds) for fit in fits)
