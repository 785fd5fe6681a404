"""Objective, gradient and normal equations of least squares, chunk by chunk (eqs. (6), (49)).

Everything is in canonical coordinates theta of shape (N, parameters of an atom): see
``MixingMeasure.coordinates``. The n x p Jacobian is never formed: J'J is gathered from weighted
moments of the monomials of degree at most 4 (module ``_layout``), so that memory is the data plus
one chunk and an iteration costs little more than its matrix products.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sigmoe.estimation.engine._arrow import Curvature
from sigmoe.estimation.engine._chunks import ChunkLengths, curvature_rows
from sigmoe.estimation.engine._layout import Coefficients, layout
from sigmoe.estimation.engine._native import NativePasses, available
from sigmoe.estimation.engine._rows import Rows, RowSource
from sigmoe.estimation.engine._sums import Adjoint
from sigmoe.estimation.engine._torch_passes import TorchPasses
from sigmoe.moe import Architecture


@dataclass(frozen=True)
class NormalEquations:
    """Normal equations of least squares at a mixing measure.

    Attributes
    ----------
    matrix : Tensor of shape (p, p), float64
        J'J / n with J the Jacobian of the prediction in canonical coordinates, atom by atom.
    gradient : Tensor of shape (p,), float64
        Gradient of the objective, 2 J'(f - y) / n.
    objective : float
        Mean squared residual, summed over the columns of the response.
    """

    matrix: Tensor
    gradient: Tensor
    objective: float


class Passes(Protocol):
    """What a problem sums over its rows."""

    def add_gradient(
        self,
        chunks: Iterable[Rows],
        coefficients: Coefficients,
        square: Tensor,
        adjoint: Adjoint | None = None,
        total: Tensor | None = None,
    ) -> None:
        """Add the squared residuals (), and if asked J' residual and the residuals (m,)."""

    def add_moments(
        self, chunks: Iterable[Rows], coefficients: Coefficients, moments: Tensor
    ) -> None:
        """Add the moments of J'J, see ``Layout``; shape (n_moments,)."""


class LeastSquares:
    """The least squares problem of some rows: raw tensors in, raw tensors out.

    Parameters
    ----------
    rows : RowSource
        In memory (``Rows``) or read in every pass.
    architecture : Architecture
    n_experts : int
    chunk : int, optional
        Samples in a chunk; results do not depend on it beyond rounding.
    """

    def __init__(
        self,
        rows: RowSource,
        architecture: Architecture,
        n_experts: int,
        chunk: int | None = None,
    ) -> None:
        self.layout = layout(architecture, n_experts).to(rows.device)
        self.rows = rows
        self.total_weight = rows.total_weight
        native = available(self.layout, rows.device)
        lengths = ChunkLengths.of(len(rows), self.layout, rows.device, native, chunk)
        self.chunk, self.light_chunk = lengths.matrix, lengths.light
        self._torch = TorchPasses(self.layout)
        self.passes: Passes = NativePasses(self.layout) if native else self._torch
        self._part: LeastSquares | None = None

    @property
    def device(self) -> torch.device:
        """Return where parameters, gradients and matrices lie."""
        return self.rows.device

    def objective(self, theta: Tensor, intercept: Tensor | None = None) -> float:
        """Return the mean squared residual, summed over columns; the cheapest pass.

        To the prediction an intercept of shape (m,) is added, if there is one.
        """
        return self._mean_square(theta, None, intercept)

    def mean_residual(self, theta: Tensor) -> Tensor:
        """Return the mean of prediction minus response, shape (m,); as cheap."""
        total = theta.new_zeros(self.layout.architecture.n_columns)
        coefficients, square = self.layout.coefficients(theta), theta.new_zeros(())
        self.passes.add_gradient(
            self.rows.chunks(self.light_chunk), coefficients, square, total=total
        )
        return total / self.total_weight

    def gradient(self, theta: Tensor, intercept: Tensor | None = None) -> tuple[float, Tensor]:
        """Return the objective and its gradient of shape (p,), without J'J."""
        adjoint = Adjoint(self.layout, theta)
        objective = self._mean_square(theta, adjoint, intercept)
        gradient = adjoint.collect(self.layout.score_rows, self.layout.ridge_rows)
        return objective, gradient * (2.0 / self.total_weight)

    def moments(self, theta: Tensor) -> Tensor:
        """Return the moments that J'J / n consists of, see ``Layout``; the costly pass."""
        moments, chunks = theta.new_zeros(self.layout.n_moments), self.rows.chunks(self.chunk)
        self.passes.add_moments(chunks, self.layout.coefficients(theta), moments)
        return moments.div_(self.total_weight)

    def matrix(self, theta: Tensor) -> Tensor:
        """Return J'J / n of shape (p, p)."""
        return self.layout.matrices(self.moments(theta))

    def normal_equations(self, theta: Tensor) -> NormalEquations:
        """Return J'J / n with the gradient and the objective."""
        objective, gradient = self.gradient(theta)
        return NormalEquations(self.matrix(theta), gradient, objective)

    def curvature(self, theta: Tensor) -> Curvature:
        """Return J'J / n, estimated from a random part of a sample with many rows a parameter.

        The matrix only shapes the steps of a fit, which are judged by the objective and gradient
        of the whole sample. From r residuals a parameter its eigenvalues are right to within a
        factor of about (1 + r^(-1/2))^2, which costs a few more of the cheap passes.
        """
        return self.layout.curvature(self.chosen_part().moments(theta))

    def bend(self, theta: Tensor, step: Tensor) -> Tensor | None:
        """Return J' f'' / n, shape (p,), f'' the second derivative of the prediction along a step.

        From the rows that J'J comes from, where these are a part of the sample; None where they
        are all of it: there it would cost as much as the cheap steps that an iteration takes
        anyway, and bring no more than they do.
        """
        part = self.chosen_part()
        return None if part is self else part.mean_bend(theta, step)[0]

    def mean_bend(self, theta: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Return J' f'' / n of all rows, see ``bend``, and the mean of f'', shape (m,)."""
        total = theta.new_zeros(self.layout.architecture.n_columns)
        adjoint, chunks = Adjoint(self.layout, theta), self.rows.chunks(self.light_chunk)
        coefficients = self.layout.coefficients(theta)
        speed = self.layout.coefficients(step.view(theta.shape))
        self._torch.add_bend(chunks, coefficients, speed, adjoint, total)
        bend = adjoint.collect(self.layout.score_rows, self.layout.ridge_rows)
        return bend / self.total_weight, total / self.total_weight

    def _mean_square(
        self, theta: Tensor, adjoint: Adjoint | None, intercept: Tensor | None
    ) -> float:
        square, chunks = theta.new_zeros(()), self.rows.chunks(self.light_chunk)
        if intercept is not None:
            chunks = (rows.shifted(intercept) for rows in chunks)
        self.passes.add_gradient(chunks, self.layout.coefficients(theta), square, adjoint)
        return float(square) / self.total_weight

    def chosen_part(self) -> LeastSquares:
        """Return the problem of the rows that shape the steps, which stay in memory."""
        if self._part is None:
            chosen = curvature_rows(len(self.rows), self.layout)
            if chosen is None:
                return self
            shape = self.layout.architecture, self.layout.n_experts
            self._part = LeastSquares(self.rows.part(chosen), *shape)
        return self._part
