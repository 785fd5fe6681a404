"""Objective, gradient and normal equations of least squares, chunk by chunk (eqs. (6), (49)).

Everything is in canonical coordinates theta of shape (N, parameters of an atom): see
``MixingMeasure.coordinates``. The n x p Jacobian is never formed: J'J is gathered from weighted
moments of the monomials of degree at most 4 (module ``_layout``), so that memory is the data plus
one chunk and an iteration costs little more than its matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sigmoe.estimation.engine._arrow import Curvature
from sigmoe.estimation.engine._bend import second_derivative
from sigmoe.estimation.engine._chunks import ChunkLengths, curvature_rows
from sigmoe.estimation.engine._layout import layout
from sigmoe.estimation.engine._native import NativePass, available
from sigmoe.estimation.engine._rows import Rows, RowSource
from sigmoe.estimation.engine._sums import Adjoint, ordered_products, unordered_products
from sigmoe.moe import Architecture
from sigmoe.moe._monomials import count_monomials, monomials


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


@dataclass(frozen=True)
class Parameters:
    """The coordinates as a pass uses them: coefficients of graded monomials, and scales.

    Shapes: ``score`` (N, monomials of the score's degree), ``ridge`` (N, m, 1 + d), ``scale``
    (N, m, 1).
    """

    score: Tensor
    ridge: Tensor
    scale: Tensor


@dataclass(frozen=True)
class Forward:
    """One chunk's prediction and what its derivatives need; samples last."""

    monomials: Tensor
    weights: Tensor
    ridge: Tensor
    values: Tensor
    prediction: Tensor


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
        powers = count_monomials(architecture.dim, self.layout.moment_degree)
        light_powers = self.layout.forward_rows
        # Beside the monomials a light pass has gates, ridge functions, their slopes and products.
        work = light_powers + 4 * n_experts * architecture.n_columns
        lengths = ChunkLengths.of(len(rows), powers, work, rows.device, chunk)
        self.chunk, self.light_chunk = lengths.matrix, lengths.light
        numbers = max(powers * self.chunk, light_powers * self.light_chunk)
        self._monomials = torch.empty(numbers, dtype=torch.float64, device=rows.device)
        self._products = self._monomials.new_empty((n_experts**2, self.chunk))
        self.has_native = available(self.layout, rows.device)
        self._part: LeastSquares | None = None

    @property
    def device(self) -> torch.device:
        """Return where parameters, gradients and matrices lie."""
        return self.rows.device

    def objective(self, theta: Tensor) -> float:
        """Return the mean squared residual, summed over columns; the cheapest pass."""
        parameters = self._parameters(theta)
        total = theta.new_zeros(())
        native = NativePass(self.layout, parameters, total, None) if self.has_native else None
        for rows in self.rows.chunks(self.light_chunk):
            if native is not None:
                native.add(rows)
                continue
            residual = _residual(self._forward(parameters, rows), rows)
            total += residual.square().sum()
        return float(total) / self.total_weight

    def gradient(self, theta: Tensor) -> tuple[float, Tensor]:
        """Return the objective and its gradient of shape (p,), without J'J."""
        parameters = self._parameters(theta)
        total = theta.new_zeros(())
        adjoint = Adjoint(self.layout, theta)
        native = NativePass(self.layout, parameters, total, adjoint) if self.has_native else None
        for rows in self.rows.chunks(self.light_chunk):
            if native is not None:
                native.add(rows)
                continue
            forward = self._forward(parameters, rows)
            residual = _residual(forward, rows)
            total += residual.square().sum()
            adjoint.add(self._factors(parameters, forward, rows), forward.monomials, residual)
        gradient = adjoint.collect(self.layout.score_rows, self.layout.ridge_rows)
        return float(total) / self.total_weight, gradient * (2.0 / self.total_weight)

    def moments(self, theta: Tensor) -> Tensor:
        """Return the moments that J'J / n consists of, see ``Layout``; the costly pass."""
        parameters = self._parameters(theta)
        moments = theta.new_zeros(self.layout.n_moments)
        for rows in self.rows.chunks(self.chunk):
            forward = self._forward(parameters, rows, self.layout.moment_degree)
            factors = self._factors(parameters, forward, rows)
            self._add_moments(moments, factors, forward.monomials)
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
        return self.layout.curvature(self._chosen_part().moments(theta))

    def bend(self, theta: Tensor, step: Tensor) -> Tensor | None:
        """Return J' f'' / n, shape (p,), f'' the second derivative of the prediction along a step.

        From the rows that J'J comes from, where these are a part of the sample; None where they
        are all of it: there it would cost as much as the cheap steps that an iteration takes
        anyway, and bring no more than they do.
        """
        part = self._chosen_part()
        return None if part is self else part.mean_bend(theta, step)

    def mean_bend(self, theta: Tensor, step: Tensor) -> Tensor:
        """Return J' f'' / n of all rows, see ``bend``."""
        parameters, speed = self._parameters(theta), self._parameters(step.view(theta.shape))
        adjoint = Adjoint(self.layout, theta)
        for rows in self.rows.chunks(self.light_chunk):
            forward = self._forward(parameters, rows)
            speeds = self._activations(speed, forward.monomials)
            second = second_derivative(self.layout, forward, *speeds, parameters.scale, speed.scale)
            second = _weighted(second, rows)
            adjoint.add(self._factors(parameters, forward, rows), forward.monomials, second)
        return adjoint.collect(self.layout.score_rows, self.layout.ridge_rows) / self.total_weight

    def _chosen_part(self) -> LeastSquares:
        """Return the problem of the rows that shape the steps, which stay in memory."""
        if self._part is None:
            chosen = curvature_rows(len(self.rows), self.layout)
            if chosen is None:
                return self
            shape = self.layout.architecture, self.layout.n_experts
            self._part = LeastSquares(self.rows.part(chosen), *shape)
        return self._part

    def _parameters(self, theta: Tensor) -> Parameters:
        shape = self.layout.architecture
        g, width = shape.n_score_coefficients, shape.dim + 1
        score = theta.new_zeros((len(theta), self.layout.forward_rows))
        score[:, self.layout.score_rows] = theta[:, :g]
        eta = theta[:, g:].reshape(len(theta), shape.n_columns, shape.n_expert_parameters)
        ridge = torch.empty_like(eta[..., :width])
        ridge[..., self.layout.ridge_rows] = eta[..., :width]
        return Parameters(score, ridge, eta[..., width:])

    def _forward(self, parameters: Parameters, rows: Rows, degree: int | None = None) -> Forward:
        design, inputs = self.layout, rows.inputs
        degree = design.score_degree if degree is None else degree
        count = count_monomials(len(inputs), degree)
        memory = self._monomials[: count * inputs.shape[1]].view(count, -1)
        powers = monomials(inputs, degree, out=memory)
        scores, ridge = self._activations(parameters, powers)
        weights = design.gate.weights(scores)
        values = design.expert.value(ridge)
        if design.expert.scaled:
            values = values * parameters.scale
        prediction = (weights.unsqueeze(1) * values).sum(0)
        return Forward(powers, weights, ridge, values, prediction)

    def _activations(self, parameters: Parameters, powers: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores (N, chunk) and alpha'x + beta (N, m, chunk)."""
        scores = parameters.score @ powers[: self.layout.forward_rows]
        return scores, parameters.ridge @ powers[: len(self.layout.ridge_rows)]

    def _factors(self, parameters: Parameters, forward: Forward, rows: Rows) -> dict[str, Tensor]:
        """Return the factors u, v and l of the derivatives, each of shape (N, m, chunk).

        Each carries the root of the sample's weight.
        """
        design = self.layout
        weights = forward.weights.unsqueeze(1)
        u = design.gate.sensitivity(forward.weights, forward.values, forward.prediction)
        weights, u = _weighted(weights, rows), _weighted(u, rows)
        if design.expert.constant_slope:
            slope = weights.expand_as(u)
        else:
            slope = weights * design.expert.slope(forward.ridge)
        if not design.expert.scaled:
            return {"u": u, "v": slope}
        unscaled = weights * design.expert.value(forward.ridge)
        return {"u": u, "v": slope * parameters.scale, "l": unscaled}

    def _add_moments(self, moments: Tensor, factors: dict[str, Tensor], powers: Tensor) -> None:
        for segment in self.layout.segments:
            left = factors[segment.left][:, segment.summed]
            right = factors[segment.right][:, segment.summed]
            products = self._products[: segment.pairs, : powers.shape[1]]
            if segment.left == segment.right:
                unordered_products(left, products)
            else:
                ordered_products(left, right, products)
            block = moments[segment.start : segment.stop].view(segment.monomials, segment.pairs)
            block.addmm_(powers[: segment.monomials], products.T)


def _residual(forward: Forward, rows: Rows) -> Tensor:
    """Return f - y, times the root of the weight, shape (m, chunk)."""
    return _weighted(forward.prediction - rows.responses, rows)


def _weighted(values: Tensor, rows: Rows) -> Tensor:
    """Return values of shape (..., chunk) times the roots of the rows' weights."""
    return values if rows.root_weight is None else values * rows.root_weight
