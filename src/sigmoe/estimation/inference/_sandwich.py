"""What an estimate and its sample say about the covariance: information, scores, inverses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sigmoe._base.registry import Registry
from sigmoe.estimation._sample import Sample
from sigmoe.estimation.engine._intercept import mean_slopes
from sigmoe.estimation.inference._coordinates import free_positions, pinned
from sigmoe.estimation.inference._curvature import residual_curvature
from sigmoe.estimation.inference._jacobian import score_moments
from sigmoe.moe import MixingMeasure

#: A diagonal entry below this share of the largest is rounding: columns of J differ in size by
#: their units, but not by more than 1e13.
_NOTHING = 1e-26


@dataclass(frozen=True)
class Evidence:
    """One pass over the sample at an estimate; matrices are sums over rows, not means.

    Attributes
    ----------
    measure : MixingMeasure
        The estimate, pinned.
    sample : Sample
    weight : Tensor of shape (n,)
        Ones if the rows were not weighted.
    residual : Tensor of shape (n, m)
        f - y, unweighted.
    free : Tensor of shape (k,), int64
        Positions of the coordinates that are not pinned.
    information : Tensor of shape (k, k)
        The weighted J'J of the free coordinates.
    gradient : Tensor of shape (k,)
        The weighted J'(f - y).
    slopes : Tensor of shape (m, p), or None
        The mean of the Jacobian, if the sample asks for an intercept beside the measure. Residuals
        and Jacobian are centred then, which is what the best intercept does to them.
    """

    measure: MixingMeasure
    sample: Sample
    weight: Tensor
    residual: Tensor
    free: Tensor
    information: Tensor
    gradient: Tensor
    slopes: Tensor | None = None

    @property
    def degrees_of_freedom(self) -> int:
        """Return the number of responses minus the number of free coordinates and intercepts."""
        return self.residual.numel() - len(self.free) - self.sample.n_intercepts

    @property
    def noise_variance(self) -> float:
        """Return the weighted sum of squared residuals over the degrees of freedom."""
        total = float(self.weight @ self.residual.square().sum(1))
        return total / self.degrees_of_freedom


def gather(measure: MixingMeasure, sample: Sample) -> Evidence:
    """Return the evidence of a checked sample about a single measure."""
    architecture, estimate = measure.architecture, pinned(measure.to(sample.device))
    free = free_positions(architecture, measure.n_experts)
    problem = sample.least_squares(architecture, measure.n_experts)
    theta = estimate.coordinates
    matrix, slopes, intercept = problem.matrix(theta), None, None
    if sample.intercept:
        slopes, intercept = mean_slopes(problem, theta), -problem.mean_residual(theta)
        matrix = matrix - slopes.T @ slopes
    gradient = problem.gradient(theta, intercept)[1]
    residual = (estimate.predict(sample.X) - sample.y).reshape(len(sample), -1)
    weight = torch.ones_like(sample.X[:, 0]) if sample.weight is None else sample.weight
    total = problem.total_weight
    return Evidence(
        measure=estimate,
        sample=sample,
        weight=weight,
        residual=residual if intercept is None else residual + intercept,
        free=free,
        information=matrix[free][:, free] * total,
        gradient=gradient[free] * (0.5 * total),
        slopes=slopes,
    )


@dataclass(frozen=True)
class Spectrum:
    """A symmetric matrix scaled to a unit diagonal, and the eigenvalues of that."""

    scale: Tensor
    values: Tensor
    vectors: Tensor

    @classmethod
    def of(cls, matrix: Tensor) -> Spectrum:
        """Return the spectrum; a row whose diagonal is rounding, or negative, is scaled to zero.

        Scaled to one instead, the rounding of a column of zeros would look like information.
        """
        diagonal = matrix.diagonal()
        seen = diagonal > _NOTHING * float(diagonal.max())
        scale = torch.where(seen, torch.where(seen, diagonal, 1.0).rsqrt(), 0.0)
        return cls(scale, *torch.linalg.eigh(scale[:, None] * matrix * scale))

    @property
    def factor(self) -> Tensor:
        """Return F with F F' the inverse; for positive eigenvalues only."""
        factor: Tensor = self.scale[:, None] * self.vectors * self.values.rsqrt()
        return factor

    @property
    def inverse(self) -> Tensor:
        """Return the inverse of the matrix; for positive eigenvalues only."""
        factor = self.factor
        return factor @ factor.T


#: Each takes the evidence to the matrix that is inverted on both sides of the scores.
BREADS = Registry[Callable[[Evidence], Tensor]]("kind")


def _full_hessian(evidence: Evidence) -> Tensor:
    weighted = evidence.residual * evidence.weight.unsqueeze(1)
    curvature = residual_curvature(evidence.measure, evidence.sample.X, weighted)
    return evidence.information + curvature[evidence.free][:, evidence.free]


BREADS.register("robust", _full_hessian)
BREADS.register("robust-gauss-newton", lambda evidence: evidence.information)
BREADS.register("classical", lambda evidence: evidence.information)


def covariance(evidence: Evidence, kind: str, bread: Spectrum) -> Tensor:
    """Return the covariance of the free coordinates, shape (k, k)."""
    if kind == "classical":
        return evidence.noise_variance * bread.inverse
    weighted = evidence.residual * evidence.weight.unsqueeze(1)
    moments = score_moments(evidence.measure, evidence.sample.X, weighted)
    inverse = bread.inverse
    return inverse @ moments[evidence.free][:, evidence.free] @ inverse
