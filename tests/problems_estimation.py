"""Samples and fits that the tests of inference, merging and selection share."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from sigmoe.estimation import fit_least_squares
from sigmoe.moe import Architecture, MixingMeasure, draw_sample
from sigmoe.moe._experts import get_expert
from sigmoe.moe._forward import forward

LINE = Architecture("softmax", "linear", "linear", 2)
TWO = Architecture("softmax", "linear", "linear", 1)


def wide(width: float, dim: int):
    return lambda rng, n: rng.uniform(-width, width, size=(n, dim))


def two_lines(gate: str = "softmax", expert: str = "linear") -> MixingMeasure:
    architecture = Architecture(gate, "linear", expert, 1)
    eta = [[1.0, 0.5], [-1.0, -1.0]]
    return MixingMeasure(architecture, None, [[3.0], [-3.0]], [0.3, -0.2], eta)


#: Truths that a sample of a few hundred rows identifies well, with the noise and reach of X.
REGULAR = {
    "softmax": (two_lines(), 0.01, 2.0),
    "softmax-full": (
        MixingMeasure(
            Architecture("softmax", "full", "linear", 2),
            [[[1.0, 0.5], [0.5, -1.0]], [[0.0, 0.0], [0.0, 0.0]]],
            [[2.0, 0.0], [0.0, 0.0]],
            [0.0, 0.0],
            [[1.0, 0.0, 1.0], [0.0, -1.0, -1.0]],
        ),
        0.001,
        2.0,
    ),
    "sigmoid": (
        MixingMeasure(
            Architecture("sigmoid", "linear", "linear", 1),
            None,
            [[4.0], [4.0]],
            [6.0, -6.0],
            [[1.0, 1.0], [-2.0, 1.0]],
        ),
        0.001,
        3.0,
    ),
    "sigmoid-two-columns": (
        MixingMeasure(
            Architecture("sigmoid", "linear", "linear", 2, 2),
            None,
            [[4.0, 0.0], [0.0, 4.0]],
            [0.0, 0.0],
            [[[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]], [[0.0, -1.0, 1.0], [1.0, 1.0, 0.0]]],
        ),
        0.01,
        2.0,
    ),
    "sigmoid-partial-tanh": (
        MixingMeasure(
            Architecture("sigmoid", "partial", "tanh", 2),
            [[[1.0, 0.5], [0.5, -1.0]]],
            None,
            [0.0],
            [[1.0, 0.0, 1.0]],
        ),
        0.001,
        2.0,
    ),
    "softmax-relu": (
        MixingMeasure(
            Architecture("softmax", "linear", "relu", 1),
            None,
            [[4.0], [0.0]],
            [0.0, 0.0],
            [[1.0, 1.0], [-1.5, 0.5]],
        ),
        0.001,
        2.0,
    ),
}


def fitted(key: str, n: int = 400, seed: int = 1) -> tuple[MixingMeasure, Tensor, Tensor]:
    truth, noise, width = REGULAR[key]
    X, y = draw_sample(truth, n, noise, seed, wide(width, truth.architecture.dim))
    fit = fit_least_squares(X, y, truth.architecture, truth.n_experts, truth)
    return fit.measure, X, y


def predictor(measure: MixingMeasure, X: Tensor):
    architecture, shape = measure.architecture, measure.coordinates.shape
    return lambda theta: forward(architecture, theta.view(shape), X.T).prediction.T


def dense_jacobian(measure: MixingMeasure, X: Tensor) -> Tensor:
    """Return d f / d theta of shape (n, m, p) by autograd."""
    theta = measure.coordinates.flatten()
    return torch.autograd.functional.jacobian(predictor(measure, X), theta)


def dense_curvature(measure: MixingMeasure, X: Tensor, residual: Tensor) -> Tensor:
    predict = predictor(measure, X)
    return torch.autograd.functional.hessian(
        lambda theta: (predict(theta) * residual).sum(), measure.coordinates.flatten()
    )


def ordinary(n: int = 50) -> tuple[MixingMeasure, Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(0)
    X = torch.from_numpy(rng.normal(size=(n, 2)))
    y = X @ torch.tensor([1.0, -2.0]).double() + torch.from_numpy(
        rng.normal(size=n) * (0.5 + X[:, 0].abs().numpy())
    )
    design = torch.cat([X, torch.ones(n, 1).double()], 1)
    eta = torch.linalg.lstsq(design, y).solution
    # The gate of a single softmax atom is one, whatever its score.
    measure = MixingMeasure(LINE, None, [[0.7, -0.3]], [0.2], eta.unsqueeze(0))
    return measure, X, y, design


def noisy(truth: MixingMeasure, n: int = 400, seed: int = 0) -> tuple[Tensor, Tensor]:
    return draw_sample(truth, n, 0.01, seed, lambda rng, k: rng.uniform(-2, 2, size=(k, 1)))


def three_lines() -> MixingMeasure:
    b, c = [[-5.0], [0.0], [5.0]], [-4.0, 0.0, -4.0]
    return MixingMeasure(TWO, None, b, c, [[1.0, 2.0], [-1.0, 0.0], [2.0, -3.0]])


def split(measure: MixingMeasure, atom: int) -> MixingMeasure:
    """Return the same function with an atom written as two unequal ones, the second at the end."""
    a, theta = measure.architecture, measure.coordinates
    g, second = a.n_score_coefficients, measure.coordinates[atom]
    if a.gate == "softmax":
        second[0] += math.log(0.3)
        theta[atom, 0] += math.log(0.7)
    else:
        # All of a homogeneous expert's parameters carry its size, else lambda alone.
        columns = (..., -1) if get_expert(a.expert).scaled else (...,)
        second[g:].view(a.n_columns, -1)[columns] *= 0.3
        theta[atom, g:].view(a.n_columns, -1)[columns] *= 0.7
    return MixingMeasure.from_coordinates(a, torch.cat([theta, second.unsqueeze(0)]))


def inputs(measure: MixingMeasure, n: int = 80) -> Tensor:
    return draw_sample(measure, n, seed=0)[0]
