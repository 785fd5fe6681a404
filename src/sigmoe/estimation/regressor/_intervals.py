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
from sigmoe.estimation.inference._jacobian import score_moments
from sigmoe.estimation.inference._sandwich import BREADS, Evidence, Spectrum, gather
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
        """Return the number of responses that the weights stand for, minus what is fitted."""
        responses = float(self.weight.sum()) * self.residual.shape[1]
        return responses - len(self.free) - self.sample.n_intercepts

    @property
    def places(self) -> Tensor:
        """Return the positions of what is fitted, free coordinates and then intercepts."""
        p = self.measure.coordinates.numel()
        return torch.cat([self.free, torch.arange(p, p + self.sample.n_intercepts)])


@dataclass(frozen=True)
class Judgement:
    """What can be said about an estimate.

    Attributes
    ----------
    measure : MixingMeasure
        The least squares estimate, pinned, in standardised units.
    parameters : Tensor of shape (p + k,)
        Its coordinates, and the intercepts that were fitted beside it.
    covariance : Tensor of shape (p + k, p + k), or None
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
    parameters: Tensor
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
        evidence.measure,
        with_intercepts(evidence.measure, problem.sample),
        None if reason else matrix,
        freedom,
        noise,
        reason,
        not unidentified,
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
    p, k = evidence.measure.coordinates.numel(), problem.sample.n_intercepts
    places = evidence.places
    full = matrix.new_zeros((p + k, p + k))
    full[places.unsqueeze(1), places] = matrix
    own = matrix[: len(evidence.free), : len(evidence.free)]
    misleading = _joined(
        checks.not_stationary(evidence, bread, own), checks.bent(evidence, information)
    )
    return full, alike_atoms(evidence.measure, own), misleading


def _joined(*reasons: str) -> str:
    return "; ".join(reason for reason in reasons if reason)


def _sandwich(evidence: Counted, bread: Spectrum) -> Tensor:
    """Return the covariance of the free coordinates and, after these, of fitted intercepts.

    With B the bread, S the mean of the Jacobian and W the weight of the rows, a row with score s
    and residual r moves the coordinates by -B^-1 s, and the intercepts, which keep the mean of the
    residuals at zero, by -r / W - S (-B^-1 s).
    """
    # The root of the weight: k equal rows add k times their score's square, not k^2 times.
    root, inverse = evidence.weight.sqrt().unsqueeze(1), bread.inverse
    moves = inverse
    if evidence.slopes is not None:
        slopes = evidence.slopes[:, evidence.free]
        own = torch.eye(len(slopes), dtype=inverse.dtype) / evidence.weight.sum()
        by_score = torch.cat([inverse, -slopes @ inverse])
        by_residual = torch.cat([torch.zeros_like(slopes.T), own])
        moves = torch.cat([by_score, by_residual], 1)
    moments = score_moments(
        evidence.measure, evidence.sample.X, evidence.residual * root, evidence.slopes
    )
    return moves @ moments[evidence.places][:, evidence.places] @ moves.T


def reach(judgement: Judgement, level: float) -> float:
    """Return Student's quantile for intervals of that level."""
    return float(stdtrit(judgement.degrees_of_freedom, 0.5 + level / 2.0))


def resampled(
    problem: Problem, measure: MixingMeasure, n_bootstrap: int, seed: int
) -> tuple[Tensor, int]:
    """Return refits to rows drawn with replacement, and how many of them ended at a bound.

    Each distinct row is drawn a number of times that its weight decides. Of each refit these are
    the coordinates, pinned, its atoms in the order of the estimate's, and the intercepts: shape
    (n_bootstrap, p + k).
    """
    sample = problem.sample
    weight = torch.ones(len(sample)) if sample.weight is None else sample.weight
    shares = weight.double().numpy() / float(weight.sum())
    total = max(1, round(problem.n_rows))
    draws, cut = [], 0
    for child in child_seeds(seed, "bootstrap", n_bootstrap):
        counts = torch.from_numpy(np.random.default_rng(child).multinomial(total, shares))
        drawn = replace(sample, weight=counts.double()).rows(counts > 0)
        fit = replace(problem, sample=drawn).without_ridge(measure, _REFIT)
        estimate = pinned(match_atoms(fit.measure, measure, sample.X))
        draws.append(with_intercepts(estimate, drawn))
        cut += bool(fit.active_bounds)
    return torch.stack(draws), cut


def with_intercepts(measure: MixingMeasure, sample: Sample) -> Tensor:
    """Return the coordinates of a measure and the best intercepts, shape (p + k,)."""
    intercept = sample.best_intercept(measure).flatten()[: sample.n_intercepts]
    return torch.cat([measure.coordinates.flatten(), intercept])
