"""Sides: a sigmoid atom with a linear expert can be turned over at the price of a linear function.

sigma(s) E = E - sigma(-s) E: the atom (-s, -E) does what (s, E) does, but for the free function E.
Among several experts the others take up most of E, so that every choice of sides has a local
optimum of its own; fits that ended on wrong sides spend an atom, or a pair of them, on what is
left over, and lack it elsewhere. No change of a single atom mends this. Here all sides are chosen
anew at once: given the gates, the experts and one free linear function are solved for, and those
atoms are turned over whose experts cancel that function best.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sigmoe.estimation._sample import Sample
from sigmoe.moe import Architecture, MixingMeasure
from sigmoe.moe._experts import get_expert

#: Rows that are looked at together, so that memory stays small.
_BLOCK = 4096
#: Pull to the experts as they are, on columns of size 1: it decides only where the sample does not.
_RIDGE = 1e-6
#: Choices of sides that are kept while atoms are added; up to 9 atoms the search is exhaustive.
_WIDTH = 256


def has_sides(architecture: Architecture) -> bool:
    """Return whether atoms can be turned over: sigmoid gates and experts alpha'x + beta."""
    expert = get_expert(architecture.expert)
    probe = torch.tensor([-3.0, -1.0, -0.5, 0.5, 2.0], dtype=torch.float64)
    linear = not expert.scaled and torch.equal(expert.value(probe), probe)
    return architecture.gate == "sigmoid" and linear


def on_best_sides(part: Sample, measure: MixingMeasure, spare: int) -> MixingMeasure:
    """Return the measure with all atoms but one on the sides that suit the sample without it.

    Parameters
    ----------
    part : Sample
    measure : MixingMeasure
        At least two atoms, of an architecture that ``has_sides``.
    spare : int
        The atom that is left as it is, and out of account.

    Returns
    -------
    MixingMeasure
        Maybe outside the bounds of the fit.
    """
    others = [k for k in range(measure.n_experts) if k != spare]
    functions, overlaps = _free_and_experts(part, measure, others)
    turned = smallest_sum(overlaps)
    sign = 1.0 - 2.0 * turned.to(torch.float64).unsqueeze(-1)
    theta = measure.coordinates
    g = measure.architecture.n_score_coefficients
    theta[others, :g] *= sign
    theta[others, g:] = sign * functions[1:].mT.flatten(1)
    return MixingMeasure.from_coordinates(measure.architecture, theta)


def _free_and_experts(
    part: Sample, measure: MixingMeasure, others: list[int]
) -> tuple[Tensor, Tensor]:
    """Return a free linear function and the experts, solved for with the gates as they are.

    The experts move away from what they are, and the free function from zero, as far as the
    sample asks for it.

    The functions have shape (1 + len(others), d + 1, m). Beside them their overlaps: the sums of
    products over rows and response columns, shape (1 + len(others), 1 + len(others)).
    """
    k, q = len(others) + 1, part.X.shape[1] + 1
    matrix = torch.zeros(k * q, k * q, dtype=torch.float64)
    right = torch.zeros(k * q, measure.architecture.n_columns, dtype=torch.float64)
    inputs = torch.zeros(q, q, dtype=torch.float64)
    for rows in torch.arange(len(part)).split(_BLOCK):
        block = part.rows(rows.to(part.device)).to("cpu")
        one = torch.ones(len(rows), 1, dtype=torch.float64)
        z = torch.cat([block.X, one], dim=1)
        gates = torch.cat([one, measure.gates(block.X)[:, others]], dim=1)
        columns = (gates.unsqueeze(-1) * z.unsqueeze(1)).flatten(1)
        weight = one if block.weight is None else block.weight.unsqueeze(-1)
        matrix += columns.mT @ (weight * columns)
        right += columns.mT @ (weight * block.y.reshape(len(rows), -1))
        inputs += z.mT @ (weight * z)
    experts = measure.coordinates[others, measure.architecture.n_score_coefficients :]
    functions = torch.zeros(k, q, right.shape[1], dtype=torch.float64)
    functions[1:] = experts.unflatten(1, (-1, q)).mT
    functions += _solved(matrix, right - matrix @ functions.flatten(0, 1)).view_as(functions)
    return functions, torch.einsum("iam,ab,jbm->ij", functions, inputs, functions)


def _solved(matrix: Tensor, right: Tensor) -> Tensor:
    """Return the solution of normal equations with the ridge, which units do not change."""
    size = matrix.diagonal().sqrt().unsqueeze(-1)
    size = torch.where(size > 0, size, 1.0)
    matrix = matrix / size / size.mT
    matrix.diagonal().add_(_RIDGE)
    solution: Tensor = torch.linalg.solve(matrix, right / size) / size
    return solution


def smallest_sum(overlaps: Tensor) -> Tensor:
    """Return which of some functions, added to the first one, leave the smallest sum of squares.

    Parameters
    ----------
    overlaps : Tensor of shape (1 + k, 1 + k)
        Inner products of the functions; the first one is always taken.

    Returns
    -------
    Tensor of bool of shape (k,)
    """
    # Functions join one by one, and only the best choices so far go on.
    taken = torch.zeros(1, len(overlaps), dtype=torch.float64)
    taken[0, 0] = 1.0
    for function in range(1, len(overlaps)):
        more = taken.clone()
        more[:, function] = 1.0
        taken = torch.cat([taken, more])
        left = ((taken @ overlaps) * taken).sum(dim=1)
        taken = taken[left.argsort(stable=True)[:_WIDTH]]
    return taken[0, 1:] > 0
