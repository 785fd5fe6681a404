"""The gate: nothing is timed unless the package and the peers compute the same thing.

The oracle is the model written naively, atom by atom, and its dense Jacobian by autograd.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch
from benchmarks.estimation.models import NumpyModel, TorchModel, flat_start, jax_residuals
from benchmarks.estimation.problems import Data
from torch import Tensor

from sigmoe.estimation import near_truth_start, normal_equations
from sigmoe.estimation.engine._least_squares import LeastSquares
from sigmoe.estimation.engine._rows import Rows
from sigmoe.moe import Architecture, draw_sample, draw_truth

#: Relative to the largest entry.
TOLERANCE = 1e-12

CASES = tuple(
    Architecture(gate, "full", expert, 3, columns)
    for gate in ("sigmoid", "softmax")
    for expert in ("linear", "relu")
    for columns in (None, 2)
)


@dataclass(frozen=True)
class Check:
    """One comparison and its largest relative error."""

    what: str
    error: float

    @property
    def passed(self) -> bool:
        """Return whether the error is small; it is not if it is NaN."""
        return self.error <= TOLERANCE


def run_checks(cases: tuple[Architecture, ...] = CASES) -> list[Check]:
    """Return all comparisons."""
    return [check for architecture in cases for check in check_architecture(architecture)]


def small_sample(architecture: Architecture) -> Data:
    """Return a sample of 100 rows, and a start away from the truth."""
    truth = draw_truth(architecture, 3, seed=1)
    X, y = draw_sample(truth, 100, seed=1)
    return Data(X, y, near_truth_start(truth, 3, scale=0.3, seed=1))


def check_architecture(architecture: Architecture) -> Iterator[Check]:
    """Yield the comparisons of one architecture: J'J, gradients, Jacobians, residuals."""
    data = small_sample(architecture)
    name = f"{architecture.gate}/{architecture.expert}, {architecture.n_columns} column(s)"
    theta, rows = data.start.coordinates, len(data.X)
    residual, J = naive_residual_and_jacobian(data)
    gradient = 2.0 * J.T @ residual / rows
    equations = normal_equations(data.start, data.X, data.y)
    yield Check(f"{name}: J'J", error(equations.matrix, J.T @ J / rows))
    yield Check(f"{name}: gradient beside J'J", error(equations.gradient, gradient))
    light = LeastSquares(Rows.of(data.X, data.y), architecture, 3).gradient(theta)[1]
    yield Check(f"{name}: gradient alone", error(light, gradient))
    flat, plain = flat_start(data), NumpyModel(data)
    yield Check(f"{name}: NumPy residual", error(plain.residuals(flat), residual))
    yield Check(f"{name}: NumPy Jacobian", error(plain.jacobian(flat), J))
    yield Check(f"{name}: PyTorch gradient", error(TorchModel(data).flat_gradient(), gradient))
    if find_spec("jax") is not None:
        yield Check(f"{name}: JAX residual", error(jax_start_residual(data), residual))


def error(
    value: Tensor | np.ndarray[tuple[int, ...], np.dtype[np.float64]], oracle: Tensor
) -> float:
    """Return the largest difference relative to the oracle's largest entry."""
    difference = torch.as_tensor(value).detach() - oracle
    return float(difference.abs().max() / oracle.abs().max())


def jax_start_residual(data: Data) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return the JAX model's residual at the start, shape (n m,)."""
    residuals, theta, args = jax_residuals(data)
    return np.array(residuals(theta, args)).ravel()


def naive_residual_and_jacobian(data: Data) -> tuple[Tensor, Tensor]:
    """Return the residual (n m,) and its Jacobian (n m, p) at the start by autograd."""

    def residual(theta: Tensor) -> Tensor:
        prediction = naive_prediction(data.start.architecture, theta, data.X)
        return (prediction - data.y.reshape(len(data.y), -1)).flatten()

    theta = data.start.coordinates
    jacobian = torch.autograd.functional.jacobian(residual, theta)
    return residual(theta), jacobian.reshape(-1, theta.numel())


def naive_prediction(architecture: Architecture, theta: Tensor, X: Tensor) -> Tensor:
    """Return f_G(X) of shape (n, m) from canonical coordinates, eqs. (3)-(5), atom by atom."""
    d, m = architecture.dim, architecture.n_columns
    g = architecture.n_score_coefficients
    pairs = [(u, v) for u in range(d) for v in range(u, d)]
    scores, experts = [], []
    for atom in theta:
        score = atom[0] + X @ atom[1 : d + 1]
        for coefficient, (u, v) in zip(atom[d + 1 : g], pairs, strict=True):
            score = score + coefficient * X[:, u] * X[:, v]
        scores.append(score)
        z = torch.stack([X @ eta[:d] + eta[d] for eta in atom[g:].reshape(m, d + 1)], 1)
        experts.append(z if architecture.expert == "linear" else z.clamp_min(0.0))
    if architecture.gate == "sigmoid":
        gates = [1.0 / (1.0 + torch.exp(-score)) for score in scores]
    else:
        total = torch.stack([torch.exp(score) for score in scores]).sum(0)
        gates = [torch.exp(score) / total for score in scores]
    terms = [gate.unsqueeze(1) * expert for gate, expert in zip(gates, experts, strict=True)]
    return torch.stack(terms).sum(0)
