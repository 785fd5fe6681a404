"""J'J of responses with several columns: an arrow, and its factorisation.

Gates are shared by the columns of a response; the experts of one column touch no residual of
another. So J'J has one gate block G, for each column j an expert block E_j and a coupling C_j of
these experts with the gates, and zeros between experts of different columns. Eliminating the
experts column by column (a Schur complement on the gate block) needs far fewer multiplications
than the Cholesky factor of all p coordinates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

#: An arrow is worth it below this share of the multiplications of the dense factorisation ...
_WORTHWHILE = 0.9
#: ... where its calls on small blocks, a factorisation and a few solves, count for so many.
_CALLS = 8e6
#: Width of the panels in which the lower triangle of the Schur complement is formed.
_PANEL = 128


@dataclass(frozen=True)
class ArrowShape:
    """Where the blocks of an arrow lie.

    The p coordinates are those of ``MixingMeasure.coordinates``: atom by atom the coefficients of
    its score, then its expert parameters column by column.

    Attributes
    ----------
    n_experts, n_scores, n_columns, n_parameters : int
        Number of atoms, of score coefficients of an atom, of columns of the response, and of expert
        parameters of an atom for one column.
    """

    n_experts: int
    n_scores: int
    n_columns: int
    n_parameters: int

    @property
    def n_gate(self) -> int:
        """Return the number of coordinates of the gates."""
        return self.n_experts * self.n_scores

    @property
    def n_expert(self) -> int:
        """Return the number of coordinates of the experts of one column."""
        return self.n_experts * self.n_parameters

    @property
    def size(self) -> int:
        """Return the number p of coordinates."""
        return self.n_gate + self.n_columns * self.n_expert

    @property
    def pays(self) -> bool:
        """Return whether the factorisation of the arrow costs less than the dense one."""
        gate, expert = self.n_gate, self.n_expert
        # The factor and its inverse, their product with the coupling, and its Gram matrix.
        eliminated = expert**3 * 4 / 3 + 2 * expert**2 * gate + expert * gate**2
        arrow = self.n_columns * eliminated + gate**3 / 3
        return arrow + _CALLS < _WORTHWHILE * self.size**3 / 3

    def positions(self) -> Tensor:
        """Return where in the p x p matrix, row by row, the numbers of an arrow are, int64."""
        atoms, width = self.n_experts, self.size // self.n_experts
        matrix = torch.arange(self.size**2).view(atoms, width, atoms, width)
        shape = (atoms, self.n_columns, self.n_parameters)
        gate, coupling = matrix[:, : self.n_scores], matrix[:, self.n_scores :]
        coupling, expert = coupling[..., : self.n_scores], coupling[..., self.n_scores :]
        coupling = coupling.reshape(*shape, -1).transpose(0, 1)
        expert = expert.reshape(shape + shape).diagonal(dim1=1, dim2=4).permute(4, 0, 1, 2, 3)
        parts = gate[..., : self.n_scores], coupling, expert
        return torch.cat([part.flatten() for part in parts])

    def split(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gates' part (n_gate,) and the experts' (n_columns, n_expert) of a vector."""
        atoms = vector.view(self.n_experts, -1)
        expert = atoms[:, self.n_scores :].view(self.n_experts, self.n_columns, -1)
        return atoms[:, : self.n_scores].flatten(), expert.transpose(0, 1).flatten(1)

    def join(self, gate: Tensor, expert: Tensor) -> Tensor:
        """Return the vector (p,) of two parts, see ``split``."""
        atoms = expert.view(self.n_columns, self.n_experts, -1).transpose(0, 1).flatten(1)
        return torch.cat([gate.view(self.n_experts, -1), atoms], 1).flatten()


@dataclass(frozen=True)
class Arrow:
    """A symmetric matrix of that shape; answers what steps ask of a matrix, as a Tensor does.

    Attributes
    ----------
    shape : ArrowShape
    gate : Tensor of shape (n_gate, n_gate)
    coupling : Tensor of shape (n_columns, n_expert, n_gate)
        Rows are expert coordinates.
    expert : Tensor of shape (n_columns, n_expert, n_expert)
    """

    shape: ArrowShape
    gate: Tensor
    coupling: Tensor
    expert: Tensor

    @classmethod
    def from_dense(cls, shape: ArrowShape, matrix: Tensor) -> Arrow:
        """Return the arrow of a matrix (p, p) that has zeros outside its blocks."""
        return cls.of(shape, matrix.flatten()[shape.positions().to(matrix.device)])

    @classmethod
    def of(cls, shape: ArrowShape, numbers: Tensor) -> Arrow:
        """Return the arrow whose blocks lie one after the other, see ``ArrowShape.positions``."""
        g, k, m = shape.n_gate, shape.n_expert, shape.n_columns
        gate, coupling, expert = numbers.split([g * g, m * k * g, m * k * k])
        return cls(shape, gate.view(g, g), coupling.view(m, k, g), expert.view(m, k, k))

    def diagonal(self) -> Tensor:
        """Return the diagonal, shape (p,)."""
        return self.shape.join(self.gate.diagonal(), self.expert.diagonal(dim1=1, dim2=2))

    def __matmul__(self, vector: Tensor) -> Tensor:
        """Return the product with a vector of shape (p,)."""
        gate, expert = self.shape.split(vector)
        coupling = self.coupling.flatten(0, 1)
        upper = self.gate @ gate + coupling.T @ expert.flatten()
        lower = (coupling @ gate).view_as(expert) + _products(self.expert, expert)
        return self.shape.join(upper, lower)

    def __mul__(self, factor: float) -> Arrow:
        """Return a multiple."""
        blocks = self.gate, self.coupling, self.expert
        return Arrow(self.shape, *(block * factor for block in blocks))

    def __add__(self, other: Arrow) -> Arrow:
        """Return the sum with an arrow of the same shape."""
        return Arrow(
            self.shape,
            self.gate + other.gate,
            self.coupling + other.coupling,
            self.expert + other.expert,
        )

    def plus_diagonal(self, values: Tensor) -> Arrow:
        """Return the arrow with values of shape (p,) added to its diagonal."""
        added = self.shape.split(values)
        gate, expert = self.gate.clone(), self.expert.clone()
        gate.diagonal().add_(added[0])
        expert.diagonal(dim1=1, dim2=2).add_(added[1])
        return Arrow(self.shape, gate, self.coupling, expert)

    def restricted(self, kept: Tensor) -> Arrow:
        """Return the arrow with zeros in the rows and columns that are not kept, (p,), bool."""
        gate, expert = self.shape.split(kept)
        return Arrow(
            self.shape,
            self.gate * (gate.unsqueeze(1) & gate),
            self.coupling * (expert.unsqueeze(2) & gate),
            self.expert * (expert.unsqueeze(2) & expert.unsqueeze(1)),
        )

    def dense(self) -> Tensor:
        """Return the matrix of shape (p, p)."""
        size, positions = self.shape.size, self.shape.positions().to(self.gate.device)
        numbers = torch.cat([self.gate.flatten(), self.coupling.flatten(), self.expert.flatten()])
        matrix = numbers.new_zeros(size * size)
        matrix[positions] = numbers
        matrix[positions % size * size + positions // size] = numbers
        return matrix.view(size, size)


#: J'J / n as steps use it; both know ``diagonal()`` and ``@``.
Curvature = Tensor | Arrow


def plus(left: Curvature, right: Curvature) -> Curvature:
    """Return the sum of two matrices of one kind."""
    if isinstance(left, Arrow) and isinstance(right, Arrow):
        return left + right
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        return left + right
    raise TypeError("an arrow and a dense matrix")


def plus_multiple(matrix: Curvature, value: float) -> Curvature:
    """Return the matrix plus a multiple of the identity."""
    if isinstance(matrix, Arrow):
        return matrix.plus_diagonal(torch.full_like(matrix.diagonal(), value))
    dense = matrix.clone()
    dense.diagonal().add_(value)
    return dense


def minus_squares(matrix: Curvature, vectors: Tensor) -> Curvature:
    """Return the matrix minus v v' for each vector v of (m, p), one for each column.

    Like the derivative of a column's prediction, a vector is zero at the experts of the others.
    """
    if isinstance(matrix, Tensor):
        return matrix - vectors.T @ vectors
    parts = [matrix.shape.split(vector) for vector in vectors]
    gate = torch.stack([part[0] for part in parts])
    expert = torch.stack([part[1][k] for k, part in enumerate(parts)])
    return Arrow(
        matrix.shape,
        matrix.gate - gate.T @ gate,
        matrix.coupling - expert.unsqueeze(2) * gate.unsqueeze(1),
        matrix.expert - expert.unsqueeze(2) * expert.unsqueeze(1),
    )


class DampedArrow:
    """The factored system (H + damping * scale) s = r on the free coordinates, H an arrow.

    A fixed coordinate keeps nothing but its damping in its row and column. With E_j = L_j L_j',
    the experts eliminated, the gates' part of s solves a system in the Schur complement
    S = G - sum over j of W_j' W_j, where W_j = L_j^-1 C_j. The inverses of the small triangles
    L_j are formed: as products they are faster than substitutions, and as exact here.

    Parameters and attributes are those of ``DampedSystem``.
    """

    def __init__(self, matrix: Arrow, damping: float, scale: Tensor, free: Tensor) -> None:
        self.free = free
        self._shape = matrix.shape
        self._all_free = bool(free.all())
        damped = (matrix if self._all_free else matrix.restricted(free)).plus_diagonal(
            damping * scale
        )
        triangles, info = torch.linalg.cholesky_ex(damped.expert)
        self.usable = bool((info == 0).all()) and _positive(triangles)
        if not self.usable:
            return
        identity = torch.eye(matrix.shape.n_expert, dtype=scale.dtype, device=scale.device)
        self._inverse = torch.linalg.solve_triangular(
            triangles, identity.expand_as(triangles), upper=False
        )
        self._eliminated = torch.bmm(self._inverse, damped.coupling).flatten(0, 1)
        schur = _minus_gram(damped.gate, self._eliminated)
        self._factor, info = torch.linalg.cholesky_ex(schur)
        self.usable = int(info) == 0 and _positive(self._factor)

    def solve(self, right: Tensor) -> Tensor:
        """Return s with zeros outside the free coordinates; ``right`` has shape (p,)."""
        if not self._all_free:
            right = torch.where(self.free, right, 0.0)
        gate, expert = self._shape.split(right)
        forward = _products(self._inverse, expert)
        reduced = gate - self._eliminated.T @ forward.flatten()
        gate = torch.cholesky_solve(reduced.unsqueeze(1), self._factor).squeeze(1)
        backward = forward - (self._eliminated @ gate).view_as(forward)
        return self._shape.join(gate, _products(self._inverse.mT, backward))


def _products(matrices: Tensor, vectors: Tensor) -> Tensor:
    """Return the product of each matrix (m, k, k) with its vector (m, k), shape (m, k)."""
    return torch.bmm(matrices, vectors.unsqueeze(2)).squeeze(2)


def _positive(triangles: Tensor) -> bool:
    """Return whether Cholesky factors are free of NaN and infinity on their diagonals."""
    return bool(torch.isfinite(triangles.diagonal(dim1=-2, dim2=-1)).all())


def _minus_gram(gate: Tensor, eliminated: Tensor) -> Tensor:
    """Return gate - eliminated' eliminated; only the lower triangle is right, all that is read."""
    schur = gate.clone()
    for rows in _panels(len(gate)):
        left = eliminated[:, rows]
        schur[rows, : rows.stop].addmm_(left.T, eliminated[:, : rows.stop], alpha=-1.0)
    return schur


def _panels(size: int) -> Iterator[slice]:
    """Yield slices of nearly equal lengths that cover a range."""
    count = ceil(size / _PANEL)
    for panel in range(count):
        yield slice(size * panel // count, size * (panel + 1) // count)
