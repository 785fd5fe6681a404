"""Where each derivative of the model lies: tables that turn weighted moments into J'J.

The derivative of the prediction in column k of the response is, for atom i (eqs. (3), (5), (48)),

    d f_k / d score coefficient of monomial a  =  u_ik(x) x^a
    d f_k / d (alpha, beta)_ik                 =  v_ik(x) (x, 1)
    d f_k / d lambda_ik                        =  l_ik(x)                  (scaled experts only)

so every entry of J'J is a sum over samples of one product of two of u, v, l and one monomial.
The sums ("moments") are matrix products of [monomials] x [pairs]; the tables here say which moment
each entry of J'J is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from sigmoe.estimation.engine._arrow import Arrow, ArrowShape, Curvature
from sigmoe.moe._architecture import Architecture
from sigmoe.moe._experts import Expert, get_expert
from sigmoe.moe._gates import Gate, get_gate
from sigmoe.moe._monomials import count_monomials, product_table
from sigmoe.moe._scores import SCORES, monomial_rows


@dataclass(frozen=True)
class Segment:
    """One family of moments: pairs of factors times the graded monomials up to a degree.

    Attributes
    ----------
    left, right : {"u", "v", "l"}
        The two factors; equal letters give the N (N + 1) / 2 unordered pairs of atoms, different
        letters all N^2 ordered pairs.
    degree : int
        Highest degree of the monomials.
    summed : slice
        Columns of the response over which the products are summed: all of them for the gates,
        which the columns share, else one.
    filled : range
        Columns whose experts have these moments in their part of J'J.
    start, pairs, monomials : int
        Position in the flat vector of moments, and its two lengths; the pairs run fastest, since
        [monomials] x [pairs] is the faster order of the matrix product.
    """

    left: str
    right: str
    degree: int
    summed: slice
    filled: range
    start: int
    pairs: int
    monomials: int

    @property
    def stop(self) -> int:
        """Return the position after the last moment."""
        return self.start + self.pairs * self.monomials


@dataclass(frozen=True)
class Coefficients:
    """The coordinates as a pass uses them: coefficients of graded monomials, and scales.

    Shapes: ``score`` (N, monomials of the score's degree), ``ridge`` (N, m, 1 + d), ``scale``
    (N, m, 1), or (N, m, 0) for experts without.
    """

    score: Tensor
    ridge: Tensor
    scale: Tensor


@dataclass(frozen=True)
class Layout:
    """The static tables of one architecture with N atoms.

    Attributes
    ----------
    architecture, n_experts
        What the tables are for.
    gate, expert
        The registered pieces.
    score_rows : Tensor of shape (g,)
        Graded monomial of each score coefficient.
    ridge_rows : Tensor of shape (d + 1,)
        Graded monomial of alpha_1 .. alpha_d, beta.
    segments : tuple of Segment
        Families of moments: gate-gate moments first, the others column by column.
    index : Tensor of shape (p * p,), int64
        Position in the flat vector of moments of each entry of J'J, row by row; the vector's last
        position holds zero, for experts of different columns.
    arrow : ArrowShape, or None
        The blocks of J'J that steps use; None if the whole matrix is factored as fast.
    arrow_index : Tensor of shape (k,), int64
        Position in the flat vector of moments of each number of the arrow; empty without one.
    """

    architecture: Architecture
    n_experts: int
    gate: Gate
    expert: Expert
    score_rows: Tensor
    ridge_rows: Tensor
    segments: tuple[Segment, ...]
    index: Tensor
    arrow: ArrowShape | None
    arrow_index: Tensor

    @property
    def n_moments(self) -> int:
        """Return the length of the flat vector of moments, with its trailing zero."""
        return self.segments[-1].stop + 1

    @property
    def n_pairs(self) -> int:
        """Return the number of unordered pairs of atoms."""
        return self.n_experts * (self.n_experts + 1) // 2

    @property
    def score_degree(self) -> int:
        """Return the degree of the score in x."""
        return SCORES.get(self.architecture.score).degree

    @property
    def forward_rows(self) -> int:
        """Return how many graded monomials a prediction needs (score and ridge)."""
        return count_monomials(self.architecture.dim, self.score_degree)

    @property
    def moment_degree(self) -> int:
        """Return the highest degree of a monomial in J'J."""
        return max(segment.degree for segment in self.segments)

    @property
    def shape(self) -> tuple[int, int]:
        """Return the shape of the coordinates, (N, parameters of an atom)."""
        return self.n_experts, self.architecture.n_atom_parameters

    def to(self, device: torch.device) -> Layout:
        """Return the tables on a device."""
        names = ("score_rows", "ridge_rows", "index", "arrow_index")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    def new_numbers(self, *shape: int) -> Tensor:
        """Return memory for float64 numbers where the tables are."""
        return torch.empty(shape, dtype=torch.float64, device=self.index.device)

    def coefficients(self, theta: Tensor) -> Coefficients:
        """Return the coefficients of coordinates of shape (N, parameters of an atom)."""
        shape = self.architecture
        g, width = shape.n_score_coefficients, shape.dim + 1
        score = theta.new_zeros((len(theta), self.forward_rows))
        score[:, self.score_rows] = theta[:, :g]
        eta = theta[:, g:].reshape(len(theta), shape.n_columns, shape.n_expert_parameters)
        ridge = torch.empty_like(eta[..., :width])
        ridge[..., self.ridge_rows] = eta[..., :width]
        return Coefficients(score, ridge, eta[..., width:])

    def matrices(self, moments: Tensor) -> Tensor:
        """Return J'J of shape (..., p, p) from flat moments of shape (..., n_moments)."""
        size = self.architecture.n_parameters(self.n_experts)
        # index_select is several times faster than take here.
        return moments.index_select(-1, self.index).view(*moments.shape[:-1], size, size)

    def curvature(self, moments: Tensor) -> Curvature:
        """Return J'J from flat moments (n_moments,), as an arrow where that is faster."""
        if self.arrow is None:
            return self.matrices(moments)
        return Arrow.of(self.arrow, moments.index_select(0, self.arrow_index))


@lru_cache(maxsize=16)
def layout(architecture: Architecture, n_experts: int) -> Layout:
    """Return the tables of an architecture with N atoms (cached: a study fits many samples)."""
    dim = architecture.dim
    expert = get_expert(architecture.expert)
    score_rows = monomial_rows(architecture.score, dim)
    ridge_rows = torch.tensor([*range(1, dim + 1), 0])
    segments = _segments(architecture, n_experts, expert)
    index = _index(architecture, n_experts, segments, score_rows, ridge_rows)
    arrow = ArrowShape(
        n_experts,
        architecture.n_score_coefficients,
        architecture.n_columns,
        architecture.n_expert_parameters,
    )
    return Layout(
        architecture,
        n_experts,
        get_gate(architecture.gate),
        expert,
        score_rows,
        ridge_rows,
        segments,
        index,
        arrow if arrow.pays else None,
        index[arrow.positions()] if arrow.pays else index[:0],
    )


def _segments(architecture: Architecture, n_experts: int, expert: Expert) -> tuple[Segment, ...]:
    segments: list[Segment] = []
    start = 0
    for left, right, degree, summed, filled in _families(architecture, expert):
        pairs = n_experts * (n_experts + 1) // 2 if left == right else n_experts**2
        monomials = count_monomials(architecture.dim, degree)
        segments.append(Segment(left, right, degree, summed, filled, start, pairs, monomials))
        start += pairs * monomials
    return tuple(segments)


def _families(
    architecture: Architecture, expert: Expert
) -> Iterator[tuple[str, str, int, slice, range]]:
    """Yield the two factors, the degree and the columns of each family, see ``Segment``."""
    score, columns = SCORES.get(architecture.score).degree, range(architecture.n_columns)
    # The prediction is linear in these experts: v is the gate, whatever the column.
    shared = expert.constant_slope and not expert.scaled
    yield "u", "u", 2 * score, slice(None), columns
    for k in columns:
        own = slice(k, k + 1), range(k, k + 1)
        yield "u", "v", score + 1, *own
        if not shared:
            yield "v", "v", 2, *own
        elif k == 0:
            yield "v", "v", 2, slice(0, 1), columns
        if expert.scaled:
            yield "u", "l", score, *own
            yield "v", "l", 1, *own
            yield "l", "l", 0, *own


def _index(
    architecture: Architecture,
    n_experts: int,
    segments: tuple[Segment, ...],
    score_rows: Tensor,
    ridge_rows: Tensor,
) -> Tensor:
    g, q = architecture.n_score_coefficients, architecture.n_expert_parameters
    degree = SCORES.get(architecture.score).degree
    # Columns of an atom's block, and the monomials they multiply, by factor.
    width = architecture.dim + 1
    rows = {"u": (score_rows, degree), "v": (ridge_rows, 1), "l": (torch.tensor([0]), 0)}
    n_atom = architecture.n_atom_parameters
    index = torch.full((n_experts, n_atom, n_experts, n_atom), segments[-1].stop)
    for segment in segments:
        (a, a_degree), (b, b_degree) = rows[segment.left], rows[segment.right]
        product = product_table(architecture.dim, a_degree, b_degree)[a][:, b]
        pair = _pair_positions(n_experts, segment.left == segment.right)
        block = segment.start + product * segment.pairs + pair[:, :, None, None]
        block = block.permute(0, 2, 1, 3)
        for column in segment.filled:
            first, scale, last = g + q * column, g + q * column + width, g + q * (column + 1)
            place = {"u": slice(0, g), "v": slice(first, scale), "l": slice(scale, last)}
            left, right = place[segment.left], place[segment.right]
            index[:, left, :, right] = block
            index[:, right, :, left] = block.permute(2, 3, 0, 1)
    return index.flatten()


def _pair_positions(n_experts: int, unordered: bool) -> Tensor:
    """Return the row of a family of moments that holds the pair (i, j), shape (N, N)."""
    if not unordered:
        return torch.arange(n_experts**2).view(n_experts, n_experts)
    first, second = torch.triu_indices(n_experts, n_experts)
    position = torch.zeros((n_experts, n_experts), dtype=torch.int64)
    position[first, second] = torch.arange(len(first))
    position[second, first] = torch.arange(len(first))
    return position
