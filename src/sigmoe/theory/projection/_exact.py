"""Members at distance zero that need no search: the truth's function, written by the model."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from sigmoe.moe import Architecture, MixingMeasure
from sigmoe.moe._gates import get_gate
from sigmoe.theory._homogeneity import Scaling, scaling_of


def exact_member(
    truth: MixingMeasure, architecture: Architecture, n_experts: int
) -> MixingMeasure | None:
    """Return a measure of the model with the truth's function, if a closed form is known.

    Parameters
    ----------
    truth : MixingMeasure
        A single measure with N* atoms.
    architecture : Architecture
        The model.
    n_experts : int
        N.

    Returns
    -------
    MixingMeasure or None
        Of N atoms. None says that no closed form is known, not that there is no such measure.

    Notes
    -----
    The model has to have the truth's score and expert. With the truth's gate, its atoms are
    padded. Two softmax atoms are sigmoid atoms with scores s1 - s2 and s2 - s1, and one is two
    halves. The product of the denominators 1 + exp(s_i) has a term for each set of sigmoid atoms:
    linear experts add up over that set, so 2^N* softmax atoms are enough; for other experts with a
    zero, one sigmoid atom is two softmax atoms, one of them zero.

    Examples
    --------
    >>> from sigmoe.moe import draw_truth
    >>> truth = draw_truth(Architecture(gate="softmax", expert="tanh", dim=1), 2, seed=1)
    >>> member = exact_member(truth, Architecture(gate="sigmoid", expert="tanh", dim=1), 2)
    >>> bool((member.predict([[0.3]]) - truth.predict([[0.3]])).abs() < 1e-15)
    True
    """
    if replace(truth.architecture, gate=architecture.gate) != architecture:
        return None
    scaling = scaling_of(architecture)
    atoms = _rewritten(truth, architecture, scaling)
    if atoms is None or len(atoms) > n_experts:
        return None
    padded = _padded(atoms, n_experts, architecture, scaling)
    return None if padded is None else MixingMeasure.from_coordinates(architecture, padded)


def _rewritten(truth: MixingMeasure, architecture: Architecture, scaling: Scaling) -> Tensor | None:
    """Return the coordinates of the truth's function with the model's gate, no atom to spare."""
    theta, g = truth.coordinates, architecture.n_score_coefficients
    if truth.architecture.gate == architecture.gate:
        return theta
    if (truth.architecture.gate, architecture.gate) == ("softmax", "sigmoid"):
        if len(theta) > 2:
            return None
        pair = theta.expand(2, -1).clone()
        pair[:, :g] -= pair[:, :g].flip(0).clone()
        return pair
    if (truth.architecture.gate, architecture.gate) == ("sigmoid", "softmax"):
        if scaling.linear and not scaling.scaled:
            sets = torch.cartesian_prod(*[torch.tensor([0.0, 1.0]).double()] * len(theta))
            return sets.reshape(2 ** len(theta), len(theta)) @ theta
        if len(theta) == 1 and (scaling.zero or scaling.scaled):
            return torch.cat([torch.zeros_like(theta), theta])
    return None


def _padded(
    atoms: Tensor, n_experts: int, architecture: Architecture, scaling: Scaling
) -> Tensor | None:
    """Return the atoms with others that change nothing, up to N."""
    extra = n_experts - len(atoms)
    if get_gate(architecture.gate).invariant:
        # The first atom in several equal parts.
        copies = atoms[:1].repeat(extra + 1, 1)
        copies[:, 0] -= math.log(extra + 1)
        return torch.cat([copies, atoms[1:]])
    if extra == 0:
        return atoms
    if not (scaling.zero or scaling.scaled):
        return None
    return torch.cat([atoms, atoms.new_zeros(extra, atoms.shape[1])])
