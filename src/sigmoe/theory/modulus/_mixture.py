"""Mixtures of experts near a truth: coordinates in which every constraint is a box.

Each true atom owns a cell of fitted atoms. The weights sigma(c_i) (softmax: e^{c_i}) of a cell are
described by their sum, whose deviation from the true weight is bounded, and by shares of it, which
have a floor; A, b and eta of every atom are the truth's plus a deviation. Softmax gates have one
more atom pinned to the truth, which takes the common translation away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sigmoe.estimation._bounds import coordinate_name
from sigmoe.estimation.inference._jacobian import jacobian
from sigmoe.moe import Architecture, MixingMeasure
from sigmoe.moe._forward import forward
from sigmoe.theory._homogeneity import scaling_of
from sigmoe.theory._quadrature import Quadrature
from sigmoe.theory.modulus._model import Vector
from sigmoe.theory.modulus._parts import completed, shares


@dataclass(frozen=True)
class Limits:
    """The neighbourhood in which the minimiser is looked for.

    Attributes
    ----------
    box : float
        Largest deviation of an entry of A and b from the truth's; of an entry of eta, if smaller,
        ``eta_share`` times the largest entry of the expert, so that no expert becomes zero.
    eta_share : float
        See ``box``.
    floor : float
        Smallest share of a cell's weight that an atom may have, times the cell's size.
    slack : float
        Largest deviation of a cell's weight w, as a share of min(w, 1 - w).
    """

    box: float = 1.0
    eta_share: float = 0.5
    floor: float = 0.2
    slack: float = 0.25


@dataclass(frozen=True)
class Coordinate:
    """What a coordinate of the model is."""

    name: str
    block: str
    cell: int
    atom: int


class MixtureModel:
    """A truth's mixture with ``sizes[j]`` atoms near true atom j; see ``LocalModel``.

    Parameters
    ----------
    truth : MixingMeasure
        A single measure.
    sizes : sequence of int
        Fitted atoms of each true one, >= 1.
    rule : Quadrature
        Of the distance.
    limits : Limits
    pinned : int, optional
        The fitted atom whose A and b, and whose cell's weight, are the truth's (softmax).
    """

    def __init__(
        self,
        truth: MixingMeasure,
        sizes: Sequence[int],
        rule: Quadrature,
        limits: Limits,
        pinned: int | None = None,
    ) -> None:
        self.truth, self.sizes, self.rule, self.limits = truth, tuple(sizes), rule, limits
        self.architecture: Architecture = truth.architecture
        self.pinned = pinned
        self._owner = [j for j, size in enumerate(self.sizes) for _ in range(size)]
        theta = truth.coordinates
        if self.softmax:
            theta[:, 0] -= torch.logsumexp(theta[:, 0], 0)
        c = theta[:, 0].numpy()
        self._weight = np.exp(c) if self.softmax else 1.0 / (1.0 + np.exp(-c))
        self._base = theta[self._owner].numpy().copy()
        self._Xt = rule.nodes.T.contiguous()
        self._root = rule.weights.sqrt()
        passed = forward(self.architecture, theta, self._Xt)
        self._target = passed.prediction
        terms = (passed.weights.unsqueeze(-2) * passed.experts).abs().sum(0)
        self._size = float(torch.linalg.vector_norm(terms * self._root))
        self._build()

    @property
    def size(self) -> float:
        """Return the size of functions: of the truth's terms, and of what the box adds to them.

        Rounding is relative to it.
        """
        x = np.where(self.local, 0.0, (self.lower + self.upper) / 2.0)
        moves = np.linalg.norm(self.jacobian(x), axis=0) * self.upper
        return self._size + float(moves.max())

    @property
    def softmax(self) -> bool:
        """Return whether the gates are invariant to a common translation."""
        return self.architecture.n_invisible > 0

    def _build(self) -> None:
        """Lay out the coordinates: for each cell its weight and shares, then each atom's."""
        self.coordinates: list[Coordinate] = []
        self._columns: list[tuple[int, NDArray[np.float64]]] = []
        lower: list[float] = []
        upper: list[float] = []
        self._cells: list[tuple[int | None, int]] = []
        for j, size in enumerate(self.sizes):
            weight = self._add_weight(j, lower, upper)
            self._cells.append((weight, len(self.coordinates)))
            for k in range(size - 1):
                self.coordinates.append(Coordinate(f"share[{j},{k}]", "share", j, k))
                lower.append(0.0)
                upper.append(1.0)
        local = [c.block != "share" for c in self.coordinates]
        self._first = len(self.coordinates)
        for i, j in enumerate(self._owner):
            for coordinate, direction in self._atom(i, j):
                self.coordinates.append(coordinate)
                self._columns.append((i, direction))
        reach = [self._reach(c) for c in self.coordinates[self._first :]]
        self.lower = np.array(lower + [-r for r in reach])
        self.upper = np.array(upper + reach)
        self.local = np.array(local + [True] * len(reach))
        self.names = tuple(c.name for c in self.coordinates)
        self._linear = np.zeros((self._base.size, len(self.names)))
        a = self.architecture.n_atom_parameters
        for k, (i, direction) in enumerate(self._columns):
            self._linear[i * a : (i + 1) * a, self._first + k] = direction

    def _reach(self, coordinate: Coordinate) -> float:
        """Return the largest deviation of a coordinate of A, b or eta."""
        eta = self._base[coordinate.atom, self.architecture.n_score_coefficients :]
        size = float(np.abs(eta).max())
        if coordinate.block in ("A", "b") or size == 0.0:
            return self.limits.box
        return min(self.limits.box, self.limits.eta_share * size)

    def _add_weight(self, j: int, lower: list[float], upper: list[float]) -> int | None:
        if self.pinned is not None and self._owner[self.pinned] == j:
            return None
        w = float(self._weight[j])
        reach = self.limits.slack * min(w, 1.0 - w)
        self.coordinates.append(Coordinate(f"weight[{j}]", "weight", j, -1))
        lower.append(-reach)
        upper.append(reach)
        return len(self.coordinates) - 1

    def _atom(self, i: int, j: int) -> list[tuple[Coordinate, NDArray[np.float64]]]:
        """Return the deviations of one atom's A, b and eta, and their canonical directions."""
        a, g = self.architecture.n_atom_parameters, self.architecture.n_score_coefficients
        parts = []
        for k in range(1, g):
            name, factor, block = coordinate_name(self.architecture, i * a + k)
            direction = np.zeros(a)
            direction[k] = factor
            if i != self.pinned:
                parts.append((Coordinate(name, block, j, i), direction))
        q = self.architecture.n_expert_parameters
        for column in range(self.architecture.n_columns):
            start = g + column * q
            for block, name, vector in self._eta_basis(i, start, q):
                direction = np.zeros(a)
                direction[start : start + q] = vector
                parts.append((Coordinate(name, block, j, i), direction))
        return parts

    def _eta_basis(self, i: int, start: int, q: int) -> list[tuple[str, str, Vector]]:
        """Return an orthonormal basis of one expert's parameters.

        An expert that can be multiplied has "scale", the direction that does so, apart.
        """
        a, d = self.architecture.n_atom_parameters, self.architecture.dim
        scaling = scaling_of(self.architecture)
        names = [coordinate_name(self.architecture, i * a + start + k)[0] for k in range(q)]
        eta = self._base[i, start : start + q]
        basis = [("eta", names[k], np.eye(q)[k]) for k in range(q)]
        if scaling.scaled:
            basis[d + 1] = ("scale", names[d + 1], basis[d + 1][2])
        ridge = eta[: d + 1]
        if scaling.positive and ridge.any():
            column = "" if self.architecture.n_outputs is None else f",{start}"
            # Columns 1.. of the full Q are orthogonal to the first, which is +-eta / |eta|.
            Q = completed(ridge / np.linalg.norm(ridge))
            for k in range(d + 1):
                vector = np.zeros(q)
                vector[: d + 1] = Q[:, k]
                label = f"scale[{i}{column}]" if k == 0 else f"turn[{i}{column},{k - 1}]"
                basis[k] = ("scale" if k == 0 else "eta", label, vector)
        return basis

    def theta(self, x: Vector) -> Vector:
        """Return the canonical coordinates (*batch, N, g + m q) of the atoms."""
        moved = (x @ self._linear.T).reshape(*x.shape[:-1], *self._base.shape)
        theta: Vector = self._base + moved
        weights = self._weights(x)[0]
        theta[..., 0] = np.log(weights)
        if not self.softmax:
            theta[..., 0] -= np.log1p(-weights)
        return theta

    def measure(self, x: Vector) -> MixingMeasure:
        """Return the mixing measure at x, or a batch of them."""
        return MixingMeasure.from_coordinates(self.architecture, torch.from_numpy(self.theta(x)))

    def _weights(self, x: Vector) -> tuple[Vector, Vector]:
        """Return the weights (*batch, N) of the atoms, and their derivative (*batch, N, p)."""
        weights = np.empty((*x.shape[:-1], len(self._owner)))
        slopes = np.zeros((*weights.shape, x.shape[-1]))
        start = 0
        for size, true, (position, first) in zip(
            self.sizes, self._weight.tolist(), self._cells, strict=True
        ):
            whole = np.asarray(true if position is None else true + x[..., position, None])
            cut = slice(first, first + size - 1)
            share, by_cut = shares(x[..., cut], self.limits.floor)
            atoms = slice(start, start + size)
            weights[..., atoms] = whole * share
            slopes[..., atoms, cut] = whole[..., None] * by_cut
            if position is not None:
                slopes[..., atoms, position] = share
            start += size
        return weights, slopes

    def residual(self, x: Vector) -> Vector:
        """Return sqrt(w) (f_G - f_G*) at the nodes, columns of the response one by one."""
        theta = torch.from_numpy(self.theta(x))
        difference = forward(self.architecture, theta, self._Xt).prediction - self._target
        return (difference * self._root).flatten(-2).numpy()

    def jacobian(self, x: Vector) -> Vector:
        """Return the derivative of ``residual``, shape (*batch, m, p)."""
        J = jacobian(self.architecture, torch.from_numpy(self.theta(x)), self._Xt)
        flat = (J * self._root).transpose(-2, -1).flatten(-3, -2)
        return (flat @ torch.from_numpy(self.derivative(x))).numpy()

    def derivative(self, x: Vector) -> Vector:
        """Return the derivative of the canonical coordinates, shape (*batch, N (g + m q), p)."""
        weights, slopes = self._weights(x)
        inner = np.broadcast_to(self._linear, (*x.shape[:-1], *self._linear.shape)).copy()
        by_c = weights if self.softmax else weights * (1.0 - weights)
        inner[..., :: self.architecture.n_atom_parameters, :] = slopes / by_c[..., None]
        return inner

    def cell_weights(self, x: Vector, cell: int) -> Vector:
        """Return the weights of the fitted atoms of one cell, shape (*batch, size)."""
        start = sum(self.sizes[:cell])
        return self._weights(x)[0][..., start : start + self.sizes[cell]]
