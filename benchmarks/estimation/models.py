"""The model as users of NumPy, PyTorch and JAX would write it, vectorised, for the peers.

Parameters are the package's canonical coordinates, flattened: atom by atom g coefficients of
[1, x, x_u x_v (u <= v)], then for each column of the response alpha and beta. All build on two
tables made once from the inputs: F (n, g), those monomials, and R (n, d + 1), which is [x, 1].
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from benchmarks.estimation.problems import Data
from numpy.typing import NDArray
from scipy.special import expit, softmax

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Tables:
    """The sample as the peers hold it: F (n, g), R (n, d + 1), Y (n, m), and the sizes."""

    F: Array
    R: Array
    Y: Array
    gate: str
    expert: str
    n_experts: int

    @property
    def n_columns(self) -> int:
        """Return the number m of columns of the response."""
        return int(self.Y.shape[1])


def tables(data: Data) -> Tables:
    """Return the tables of a sample."""
    X = data.X.numpy()
    n, d = X.shape
    rows, columns = np.triu_indices(d)
    one = np.ones((n, 1))
    F = np.concatenate([one, X, X[:, rows] * X[:, columns]], axis=1)
    architecture = data.start.architecture
    return Tables(
        F,
        np.concatenate([X, one], axis=1),
        data.y.numpy().reshape(n, -1),
        architecture.gate,
        architecture.expert,
        data.start.n_experts,
    )


def flat_start(data: Data) -> Array:
    """Return the coordinates of the start, shape (p,)."""
    return np.asarray(data.start.coordinates.flatten().numpy(), dtype=np.float64)


class NumpyModel:
    """Residuals and their analytic Jacobian."""

    def __init__(self, data: Data) -> None:
        self.tables = tables(data)

    def _forward(self, flat: Array) -> tuple[Array, Array, Array]:
        """Return weights (n, N), activations (n, N, m) and prediction (n, m)."""
        t = self.tables
        theta = flat.reshape(t.n_experts, -1)
        g = t.F.shape[1]
        scores = t.F @ theta[:, :g].T
        weights = expit(scores) if t.gate == "sigmoid" else softmax(scores, axis=1)
        eta = theta[:, g:].reshape(t.n_experts * t.n_columns, -1)
        z = (t.R @ eta.T).reshape(len(t.F), t.n_experts, t.n_columns)
        prediction = (weights[:, :, None] * _value(z, t.expert)).sum(1)
        return weights, z, prediction

    def residuals(self, flat: Array) -> Array:
        """Return f - y, shape (n m,)."""
        return (self._forward(flat)[2] - self.tables.Y).ravel()

    def jacobian(self, flat: Array) -> Array:
        """Return the derivatives of the residuals, shape (n m, p)."""
        t = self.tables
        weights, z, prediction = self._forward(flat)
        values = _value(z, t.expert)
        if t.gate == "sigmoid":
            u = (weights * (1.0 - weights))[:, :, None] * values
        else:
            u = weights[:, :, None] * (values - prediction[:, None, :])
        slope = weights[:, :, None] * (np.ones_like(z) if t.expert == "linear" else z > 0)
        g, q = t.F.shape[1], t.R.shape[1]
        J = np.zeros((len(t.F), t.n_columns, t.n_experts, g + t.n_columns * q))
        for column in range(t.n_columns):
            first = g + column * q
            J[:, column, :, :g] = u[:, :, column, None] * t.F[:, None, :]
            J[:, column, :, first : first + q] = slope[:, :, column, None] * t.R[:, None, :]
        return J.reshape(len(t.F) * t.n_columns, -1)


def _value(z: Array, expert: str) -> Array:
    return z if expert == "linear" else np.maximum(z, 0.0)


class TorchModel(torch.nn.Module):
    """A mixture of experts with autograd; calling it returns the mean squared residual."""

    def __init__(self, data: Data) -> None:
        super().__init__()
        t = tables(data)
        self.gate, self.expert = t.gate, t.expert
        self.F, self.R, self.Y = (torch.from_numpy(table) for table in (t.F, t.R, t.Y))
        theta = torch.from_numpy(flat_start(data)).view(t.n_experts, -1)
        g = t.F.shape[1]
        self.score = torch.nn.Parameter(theta[:, :g].clone())
        eta = theta[:, g:].reshape(t.n_experts, t.n_columns, -1)
        self.eta = torch.nn.Parameter(eta.clone())

    def forward(self) -> torch.Tensor:
        """Return the objective."""
        scores = self.F @ self.score.T
        gates = torch.sigmoid(scores) if self.gate == "sigmoid" else torch.softmax(scores, 1)
        # (n, N m): one product for all experts and columns.
        z = (self.R @ self.eta.flatten(0, 1).T).unflatten(1, self.eta.shape[:2])
        experts = z if self.expert == "linear" else torch.relu(z)
        prediction = (gates.unsqueeze(-1) * experts).sum(1)
        return (prediction - self.Y).square().sum(1).mean()

    def flat_gradient(self) -> torch.Tensor:
        """Return the gradient in the order of the coordinates, shape (p,)."""
        score, eta = torch.autograd.grad(self(), (self.score, self.eta))
        return torch.cat([score, eta.flatten(1)], 1).flatten()


def jax_residuals(data: Data) -> tuple[Callable[[Any, Any], Any], Any, Any]:
    """Return residuals(theta, args), the start, and args, in JAX at float64."""
    # By name: JAX is a peer, installed for the benchmark only, and types are checked without it.
    jax = importlib.import_module("jax")
    jax.config.update("jax_enable_x64", True)
    jnp = jax.numpy
    t = tables(data)
    g, N, m = t.F.shape[1], t.n_experts, t.n_columns

    def residuals(theta: Any, args: Any) -> Any:
        F, R, Y = args
        scores = F @ theta[:, :g].T
        gates = jax.nn.sigmoid(scores) if t.gate == "sigmoid" else jax.nn.softmax(scores, axis=1)
        z = (R @ theta[:, g:].reshape(N * m, -1).T).reshape(-1, N, m)
        experts = z if t.expert == "linear" else jax.nn.relu(z)
        return (gates[:, :, None] * experts).sum(1) - Y

    args = tuple(jnp.asarray(table) for table in (t.F, t.R, t.Y))
    return residuals, jnp.asarray(flat_start(data).reshape(N, -1)), args
