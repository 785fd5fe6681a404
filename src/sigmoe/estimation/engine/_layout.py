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

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

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
    start, pairs, monomials : int
        Position in the flat vector of moments, and its two lengths; the pairs run fastest, since
        [monomials] x [pairs] is the faster order of the matrix product.
    """

    left: str
    right: str
    degree: int
    start: int
    pairs: int
    monomials: int

    @property
    def stop(self) -> int:
        """Return the position after the last moment."""
        return self.start + self.pairs * self.monomials


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
        Families of moments. Gate-gate moments are summed over the columns of the response and
        come first; the others follow column by column.
    index : Tensor of shape (p * p,), int64
        Position in the flat vector of moments of each entry of J'J, row by row; the vector's last
        position holds zero, for experts of different columns.
    """

    architecture: Architecture
    n_experts: int
    gate: Gate
    expert: Expert
    score_rows: Tensor
    ridge_rows: Tensor
    segments: tuple[Segment, ...]
    index: Tensor

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


@lru_cache(maxsize=16)
def layout(architecture: Architecture, n_experts: int) -> Layout:
    """Return the tables of an architecture with N atoms (cached: a study fits many samples)."""
    dim = architecture.dim
    expert = get_expert(architecture.expert)
    score_rows = monomial_rows(architecture.score, dim)
    ridge_rows = torch.tensor([*range(1, dim + 1), 0])
    segments = _segments(architecture, n_experts, expert.scaled)
    index = _index(architecture, n_experts, segments, score_rows, ridge_rows)
    return Layout(
        architecture,
        n_experts,
        get_gate(architecture.gate),
        expert,
        score_rows,
        ridge_rows,
        segments,
        index,
    )


def _segments(architecture: Architecture, n_experts: int, scaled: bool) -> tuple[Segment, ...]:
    score = SCORES.get(architecture.score).degree
    per_column = [("u", "v", score + 1), ("v", "v", 2)]
    if scaled:
        per_column += [("u", "l", score), ("v", "l", 1), ("l", "l", 0)]
    wanted = [("u", "u", 2 * score)] + per_column * architecture.n_columns
    segments: list[Segment] = []
    start = 0
    for left, right, degree in wanted:
        pairs = n_experts * (n_experts + 1) // 2 if left == right else n_experts**2
        monomials = count_monomials(architecture.dim, degree)
        segments.append(Segment(left, right, degree, start, pairs, monomials))
        start += pairs * monomials
    return tuple(segments)


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
    per_column = (len(segments) - 1) // architecture.n_columns
    for position, segment in enumerate(segments):
        offset = g + q * ((position - 1) // per_column) if position else 0
        place = {"u": (0, g), "v": (offset, offset + width), "l": (offset + width, offset + q)}
        (a, a_degree), (b, b_degree) = rows[segment.left], rows[segment.right]
        product = product_table(architecture.dim, a_degree, b_degree)[a][:, b]
        pair = _pair_positions(n_experts, segment.left == segment.right)
        block = segment.start + product * segment.pairs + pair[:, :, None, None]
        block = block.permute(0, 2, 1, 3)
        left, right = slice(*place[segment.left]), slice(*place[segment.right])
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
