"""Atoms that an estimate could do without: gates with hardly any weight, atoms that are alike."""

from __future__ import annotations

import itertools

import torch
from scipy.special import chdtri
from torch import Tensor

from sigmoe.estimation.inference._coordinates import free_positions
from sigmoe.moe import Architecture, MixingMeasure
from sigmoe.moe._experts import get_expert
from sigmoe.moe._gates import get_gate

#: Two atoms that a chi-square test at this level cannot tell apart count as alike.
_LEVEL = 0.95


def light_atoms(measure: MixingMeasure, X: Tensor, weight: Tensor) -> str:
    """Return which gates give their atom fewer rows than it has parameters, or an empty text.

    The weights of a gate, summed over the sample, count how many rows the atom is fitted to.

    Parameters
    ----------
    measure : MixingMeasure
    X : Tensor of shape (n, d)
    weight : Tensor of shape (n,)
        Of the rows, in any unit.
    """
    rows = (weight @ measure.gates(X)) * (len(X) / float(weight.sum()))
    needed = measure.architecture.n_atom_parameters
    light = [
        f"atom {k} has the weight of {float(count):.2g} rows"
        for k, count in enumerate(rows)
        if float(count) < needed
    ]
    return f"{', '.join(light)} for {needed} parameters" if light else ""


def alike_atoms(measure: MixingMeasure, covariance: Tensor) -> str:
    """Return which pairs of atoms the data cannot tell apart, or an empty text.

    Parameters
    ----------
    measure : MixingMeasure
        Pinned.
    covariance : Tensor of shape (k, k)
        Of the coordinates that are not pinned.

    Notes
    -----
    A Wald test of what two atoms would have to share to be one (``shared_columns``). Where it
    accepts, the fit may have one atom too many; if so, the estimate is not asymptotically normal.
    """
    architecture, theta = measure.architecture, measure.coordinates
    free = free_positions(architecture, measure.n_experts)
    full = theta.new_zeros((theta.numel(), theta.numel()))
    full[free.unsqueeze(1), free] = covariance
    by_atom = full.view(*theta.shape, *theta.shape)
    columns = shared_columns(architecture)
    limit = float(chdtri(len(columns), 1.0 - _LEVEL))
    pairs = [
        f"{i} and {j}"
        for i, j in itertools.combinations(range(measure.n_experts), 2)
        if _wald((theta[i] - theta[j])[columns], _of_difference(by_atom, i, j, columns)) < limit
    ]
    return f"the data cannot tell apart atoms {', '.join(pairs)}" if pairs else ""


def shared_columns(architecture: Architecture) -> list[int]:
    """Return which coordinates two atoms must share for one atom to do the work of both.

    With linear experts the gates suffice: softmax gates with the same A and b, sigmoid gates with
    the same A, b and c weigh both experts alike, and the weighted sum of two linear experts is
    one. A common factor lambda sums in the same way. Otherwise the experts have to coincide, too.

    Examples
    --------
    >>> shared_columns(Architecture(gate="softmax", score="linear", expert="linear", dim=2))
    [1, 2]
    >>> shared_columns(Architecture(gate="sigmoid", score="linear", expert="tanh", dim=2))
    [1, 2, 3, 4, 5]
    """
    g, q = architecture.n_score_coefficients, architecture.n_expert_parameters
    if architecture.expert in ("linear", "polynomial:1"):
        return list(range(int(get_gate(architecture.gate).invariant), g))
    scaled = get_expert(architecture.expert).scaled
    ridge = [
        g + k * q + entry for k in range(architecture.n_columns) for entry in range(q - scaled)
    ]
    return [*range(1, g), *ridge]


def _of_difference(by_atom: Tensor, i: int, j: int, columns: list[int]) -> Tensor:
    """Return the covariance of the difference of two atoms' shared coordinates."""
    block = by_atom[:, columns][..., columns]
    return block[i, :, i] + block[j, :, j] - block[i, :, j] - block[j, :, i]


def _wald(difference: Tensor, covariance: Tensor) -> float:
    # A pseudo-inverse by eigenvalues: rounding may leave a tiny negative one.
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > 1e-12 * values[-1]
    return float(((vectors.T @ difference)[kept].square() / values[kept]).sum())
