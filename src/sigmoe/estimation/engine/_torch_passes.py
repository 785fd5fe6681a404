"""Passes over rows with PyTorch's operations: for all models, on all devices."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from sigmoe.estimation.engine._bend import second_derivative
from sigmoe.estimation.engine._layout import Coefficients, Layout
from sigmoe.estimation.engine._rows import Rows
from sigmoe.estimation.engine._sums import (
    Adjoint,
    derivative_factors,
    ordered_products,
    unordered_products,
)
from sigmoe.moe._monomials import count_monomials, monomials


@dataclass(frozen=True)
class Forward:
    """One chunk's prediction and what its derivatives need; samples last."""

    monomials: Tensor
    weights: Tensor
    ridge: Tensor
    values: Tensor
    prediction: Tensor


class TorchPasses:
    """What a problem sums over its rows; ``design`` lies on their device."""

    def __init__(self, design: Layout) -> None:
        self.layout = design
        # Memory that all chunks share: fresh memory would cost as much as the work done in it.
        self._monomials = design.new_numbers(0)
        self._products = design.new_numbers(0, 0)

    def add_gradient(
        self,
        chunks: Iterable[Rows],
        coefficients: Coefficients,
        square: Tensor,
        adjoint: Adjoint | None = None,
        total: Tensor | None = None,
    ) -> None:
        """Add the squared residuals (), and if asked J' residual and the residuals (m,)."""
        for rows in chunks:
            forward = self._forward(coefficients, rows)
            residual = _residual(forward, rows)
            square += residual.square().sum()
            if total is not None:
                total += _weighted(residual, rows).sum(1)
            if adjoint is not None:
                factors = self._factors(coefficients, forward, rows)
                adjoint.add(factors, forward.monomials, residual)

    def add_moments(
        self, chunks: Iterable[Rows], coefficients: Coefficients, moments: Tensor
    ) -> None:
        """Add the moments of J'J, see ``Layout``; shape (n_moments,)."""
        for rows in chunks:
            forward = self._forward(coefficients, rows, self.layout.moment_degree)
            factors = self._factors(coefficients, forward, rows)
            self._add_moments(moments, factors, forward.monomials)

    def add_bend(
        self,
        chunks: Iterable[Rows],
        coefficients: Coefficients,
        speed: Coefficients,
        adjoint: Adjoint,
        total: Tensor,
    ) -> None:
        """Add J' f'' and f'' (m,), the second derivative of the prediction along a speed."""
        for rows in chunks:
            forward = self._forward(coefficients, rows)
            speeds = self._activations(speed, forward.monomials)
            second = second_derivative(
                self.layout, forward, *speeds, coefficients.scale, speed.scale
            )
            factors = self._factors(coefficients, forward, rows)
            weighted = _weighted(second, rows)
            total += _weighted(weighted, rows).sum(1)
            adjoint.add(factors, forward.monomials, weighted)

    def _forward(
        self, coefficients: Coefficients, rows: Rows, degree: int | None = None
    ) -> Forward:
        design, inputs = self.layout, rows.inputs
        degree = design.score_degree if degree is None else degree
        count = count_monomials(len(inputs), degree)
        if self._monomials.numel() < count * inputs.shape[1]:
            self._monomials = design.new_numbers(count * inputs.shape[1])
        memory = self._monomials[: count * inputs.shape[1]].view(count, -1)
        powers = monomials(inputs, degree, out=memory)
        scores, ridge = self._activations(coefficients, powers)
        weights = design.gate.weights(scores)
        values = design.expert.value(ridge)
        if design.expert.scaled:
            values = values * coefficients.scale
        prediction = (weights.unsqueeze(1) * values).sum(0)
        return Forward(powers, weights, ridge, values, prediction)

    def _activations(self, coefficients: Coefficients, powers: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores (N, chunk) and alpha'x + beta (N, m, chunk)."""
        scores = coefficients.score @ powers[: self.layout.forward_rows]
        return scores, coefficients.ridge @ powers[: len(self.layout.ridge_rows)]

    def _factors(
        self, coefficients: Coefficients, forward: Forward, rows: Rows
    ) -> dict[str, Tensor]:
        return derivative_factors(self.layout, forward, coefficients.scale, rows.root_weight)

    def _add_moments(self, moments: Tensor, factors: dict[str, Tensor], powers: Tensor) -> None:
        if self._products.shape[1] < powers.shape[1]:
            self._products = self.layout.new_numbers(self.layout.n_experts**2, powers.shape[1])
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
