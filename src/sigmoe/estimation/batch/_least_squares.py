"""Objective, gradient and J'J of many least squares problems, chunk by chunk (eqs. (6), (49)).

The batched twin of ``engine._least_squares``, on the same tables: what is a matrix product
there is one product for all problems that share a sample here, so that a pass over many problems
makes as many calls as a pass over one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from sigmoe.estimation.batch._samples import Samples
from sigmoe.estimation.batch._sums import Adjoint, Moments, Parameters
from sigmoe.estimation.batch._tiles import Tile, chunks, most_problems, tiles
from sigmoe.estimation.engine._bend import second_derivative
from sigmoe.estimation.engine._chunks import curvature_rows
from sigmoe.estimation.engine._layout import layout
from sigmoe.estimation.engine._sums import derivative_factors
from sigmoe.moe import Architecture
from sigmoe.moe._monomials import count_monomials, monomials


@dataclass(frozen=True)
class Forward:
    """One chunk's prediction and what its derivatives need; rows last.

    Shapes: ``monomials`` (R, count, chunk), ``weights`` (T, N, chunk), ``ridge`` and ``values``
    (T, N, m, chunk), ``prediction`` (T, m, chunk).
    """

    monomials: Tensor
    weights: Tensor
    ridge: Tensor
    values: Tensor
    prediction: Tensor


class BatchLeastSquares:
    """Many least squares problems of one architecture: raw tensors in, raw tensors out.

    Parameters
    ----------
    samples : Samples
    architecture : Architecture
    n_experts : int
    ridge : float
        What is minimised is the mean squared residual plus this times the sum of squared
        coordinates.
    """

    def __init__(
        self, samples: Samples, architecture: Architecture, n_experts: int, ridge: float = 0.0
    ) -> None:
        self.layout = layout(architecture, n_experts).to(samples.device)
        self.samples = samples
        self.ridge = ridge
        self.device = samples.device
        self._root_weight = None if samples.weight is None else samples.weight.sqrt()
        self._total_weight = samples.total_weight()
        self._moment_rows = count_monomials(architecture.dim, self.layout.moment_degree)
        self._part: BatchLeastSquares | None = None

    @property
    def n_parameters(self) -> int:
        """Return the number of coordinates of one problem, p."""
        return prod(self.layout.shape)

    def gradient(self, theta: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        """Return the objectives (b,) and their gradients (b, p) without J'J.

        Parameters
        ----------
        theta : Tensor of shape (b, p)
        which : Tensor of shape (b,), int64
            The problems' positions in the batch, ascending.
        """
        objective, gradient = theta.new_empty(len(theta)), torch.empty_like(theta)
        for tile in self._tiles(which, self._light_numbers(), self.layout.forward_rows):
            if tile.rows is None:
                objective, gradient = self._tile_gradient(theta, which, tile)
            else:
                part = self._tile_gradient(theta[tile.rows], which[tile.rows], tile)
                objective[tile.rows], gradient[tile.rows] = part
        if self.ridge:
            objective = objective + self.ridge * theta.square().sum(-1)
            gradient = gradient + 2.0 * self.ridge * theta
        return objective, gradient

    def curvature(self, theta: Tensor, which: Tensor) -> Tensor:
        """Return J'J / n plus the ridge's part, shape (b, p, p).

        Of samples with many rows a parameter it is an estimate from the rows that a single fit
        takes, see ``engine._least_squares``; not where padding is most of a sample's rows there.
        """
        matrix = self._chosen_part()._matrix(theta, which)
        if self.ridge:
            matrix.diagonal(dim1=1, dim2=2).add_(self.ridge)
        return matrix

    def bend(self, theta: Tensor, step: Tensor, which: Tensor) -> Tensor | None:
        """Return J' f'' / n of shape (b, p), f'' the second derivatives along steps (b, p).

        From the rows that J'J comes from; None where these are all, see
        ``engine._least_squares``.
        """
        part = self._chosen_part()
        return None if part is self else part.mean_bend(theta, step, which)

    def mean_bend(self, theta: Tensor, step: Tensor, which: Tensor) -> Tensor:
        """Return J' f'' / n of all rows, see ``bend``."""
        bend = torch.empty_like(theta)
        for tile in self._tiles(which, self._light_numbers(), self.layout.forward_rows):
            if tile.rows is None:
                return self._tile_bend(theta, step, which, tile)
            chosen = theta[tile.rows], step[tile.rows], which[tile.rows]
            bend[tile.rows] = self._tile_bend(*chosen, tile)
        return bend

    def _chosen_part(self) -> BatchLeastSquares:
        if self._part is None:
            chosen = curvature_rows(self.samples.n, self.layout)
            if chosen is None:
                return self
            rows = self.samples.rows(chosen.to(self.device))
            if not rows.mostly_weighted():
                return self
            self._part = BatchLeastSquares(rows, self.layout.architecture, self.layout.n_experts)
        return self._part

    def _matrix(self, theta: Tensor, which: Tensor) -> Tensor:
        p = self.n_parameters
        matrix = theta.new_empty((len(theta), p, p))
        for tile in self._tiles(which, self._heavy_numbers(), self._moment_rows):
            if tile.rows is None:
                return self._tile_matrix(theta, which, tile)
            matrix[tile.rows] = self._tile_matrix(theta[tile.rows], which[tile.rows], tile)
        return matrix

    def _tiles(self, which: Tensor, numbers: int, monomials: int) -> Iterator[Tile]:
        """Yield tiles of problems that need ``numbers`` a row beside their sample's monomials."""
        k = len(self.samples.Xt)
        own = 0 if k == 1 else monomials
        most = most_problems(self.samples.n, numbers + own, self.device)
        return tiles(which, self.samples.n_problems // k, k, most)

    def _light_numbers(self) -> int:
        """Return how many numbers a row and a problem need in a pass without J'J."""
        return 4 * self.layout.n_experts * self.layout.architecture.n_columns

    def _heavy_numbers(self) -> int:
        return self._light_numbers() + self.layout.n_experts**2

    def _tile_gradient(self, theta: Tensor, which: Tensor, tile: Tile) -> tuple[Tensor, Tensor]:
        parameters = self._parameters(theta, tile)
        adjoint = Adjoint(parameters)
        total = theta.new_zeros(len(theta))
        degree = self.layout.score_degree
        numbers = self.layout.forward_rows * tile.n_samples + self._light_numbers() * len(theta)
        for columns in chunks(self.samples.n, numbers, self.device):
            forward = self._forward(parameters, tile, columns, degree)
            root = self._root(which, columns)
            target = self.samples.of_problems(self.samples.Yt[..., columns], which)
            residual = forward.prediction - target
            if root is not None:
                residual = residual * root
            total += residual.square().sum((1, 2))
            adjoint.add(self._factors(parameters, forward, root), forward.monomials, residual)
        weight = self.samples.of_problems(self._total_weight, which)
        gradient = adjoint.collect(self.layout.score_rows, self.layout.ridge_rows)
        return total / weight, gradient * (2.0 / weight).unsqueeze(-1)

    def _tile_bend(self, theta: Tensor, step: Tensor, which: Tensor, tile: Tile) -> Tensor:
        parameters, speed = self._parameters(theta, tile), self._parameters(step, tile)
        adjoint = Adjoint(parameters)
        degree = self.layout.score_degree
        numbers = self.layout.forward_rows * tile.n_samples + self._light_numbers() * len(theta)
        for columns in chunks(self.samples.n, numbers, self.device):
            forward = self._forward(parameters, tile, columns, degree)
            speeds = self._activations(speed, forward.monomials)
            second = second_derivative(self.layout, forward, *speeds, parameters.scale, speed.scale)
            root = self._root(which, columns)
            if root is not None:
                second = second * root
            adjoint.add(self._factors(parameters, forward, root), forward.monomials, second)
        bend = adjoint.collect(self.layout.score_rows, self.layout.ridge_rows)
        return bend / self.samples.of_problems(self._total_weight, which).unsqueeze(-1)

    def _tile_matrix(self, theta: Tensor, which: Tensor, tile: Tile) -> Tensor:
        parameters = self._parameters(theta, tile)
        moments = Moments(self.layout, theta, tile)
        degree = self.layout.moment_degree
        numbers = self._moment_rows * tile.n_samples + self._heavy_numbers() * len(theta)
        for columns in chunks(self.samples.n, numbers, self.device):
            forward = self._forward(parameters, tile, columns, degree)
            factors = self._factors(parameters, forward, self._root(which, columns))
            moments.add(factors, forward.monomials)
        weight = self.samples.of_problems(self._total_weight, which)
        return self.layout.matrices(moments.collect() / weight.unsqueeze(-1))

    def _root(self, which: Tensor, columns: slice) -> Tensor | None:
        """Return the roots of the weights, shape (T or 1, 1, chunk)."""
        if self._root_weight is None:
            return None
        return self.samples.of_problems(self._root_weight[:, columns], which).unsqueeze(1)

    def _parameters(self, theta: Tensor, tile: Tile) -> Parameters:
        shape, n_experts = self.layout.architecture, self.layout.n_experts
        g, width = shape.n_score_coefficients, shape.dim + 1
        atoms = theta.view(len(theta), n_experts, -1)
        score = theta.new_zeros((*atoms.shape[:2], self.layout.forward_rows))
        score[..., self.layout.score_rows] = atoms[..., :g]
        eta = atoms[..., g:].reshape(*atoms.shape[:2], shape.n_columns, shape.n_expert_parameters)
        ridge = torch.empty_like(eta[..., :width])
        ridge[..., self.layout.ridge_rows] = eta[..., :width]
        return Parameters(
            score.view(tile.n_samples, -1, self.layout.forward_rows),
            ridge.view(tile.n_samples, -1, width),
            eta[..., width:],
        )

    def _forward(self, parameters: Parameters, tile: Tile, columns: slice, degree: int) -> Forward:
        design = self.layout
        inputs = self.samples.Xt[..., columns]
        if tile.samples is not None:
            inputs = inputs[tile.samples]
        powers = monomials(inputs, degree)
        scores, ridge = self._activations(parameters, powers)
        weights = design.gate.weights(scores)
        values = design.expert.value(ridge)
        if design.expert.scaled:
            values = values * parameters.scale
        prediction = _weighted_sum(weights, values)
        return Forward(powers, weights, ridge, values, prediction)

    def _activations(self, parameters: Parameters, powers: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores (T, N, chunk) and alpha'x + beta (T, N, m, chunk)."""
        length = powers.shape[-1]
        scores = parameters.score @ powers[:, : self.layout.forward_rows]
        ridge = parameters.ridge @ powers[:, : parameters.ridge.shape[-1]]
        return (
            scores.view(-1, self.layout.n_experts, length),
            ridge.view(*parameters.scale.shape[:-1], length),
        )

    def _factors(
        self, parameters: Parameters, forward: Forward, root: Tensor | None
    ) -> dict[str, Tensor]:
        across = None if root is None else root.unsqueeze(1)
        return derivative_factors(self.layout, forward, parameters.scale, across)


def _weighted_sum(weights: Tensor, values: Tensor) -> Tensor:
    """Return the sum over atoms; (T, N, chunk) and (T, N, m, chunk) to (T, m, chunk)."""
    total = weights[:, 0, None] * values[:, 0]
    for atom in range(1, weights.shape[1]):
        total.addcmul_(weights[:, atom, None], values[:, atom])
    return total
