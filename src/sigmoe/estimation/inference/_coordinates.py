"""Which coordinates have a standard error: softmax's common translation is pinned, and names."""

from __future__ import annotations

import torch
from torch import Tensor

from sigmoe.estimation._bounds import coordinate_name
from sigmoe.moe import Architecture, MixingMeasure
from sigmoe.moe._gates import get_gate


def pinned(measure: MixingMeasure) -> MixingMeasure:
    """Return the same function with the last atom's score at zero, where the gate allows it.

    Softmax gates do not change when one common (A, b, c) is added to all atoms (Appendix E), so
    that scores have meaning against each other only. As in multinomial regression the last atom
    becomes the reference. Other gates are left as they are. Batch axes are allowed.

    Examples
    --------
    >>> from sigmoe.moe import draw_truth
    >>> truth = draw_truth(Architecture(gate="softmax", dim=1), 2, seed=0)
    >>> pinned(truth).c[-1]
    tensor(0., dtype=torch.float64)
    """
    architecture = measure.architecture
    if not get_gate(architecture.gate).invariant:
        return measure
    g, theta = architecture.n_score_coefficients, measure.coordinates
    theta[..., :g] -= theta[..., -1:, :g].clone()
    return MixingMeasure.from_coordinates(architecture, theta)


def free_positions(architecture: Architecture, n_experts: int) -> Tensor:
    """Return the positions of the canonical coordinates that are not pinned, int64."""
    free = torch.ones((n_experts, architecture.n_atom_parameters), dtype=torch.bool)
    free[-1, : architecture.n_invisible] = False
    return free.flatten().nonzero()[:, 0]


def names_and_factors(architecture: Architecture, n_experts: int) -> tuple[list[str], Tensor]:
    """Return the name of each canonical coordinate, and what it is divided by to be that entry.

    The coordinate of an off-diagonal entry of A is A_uv + A_vu = 2 A_uv; all others are entries.
    """
    found = [coordinate_name(architecture, k) for k in range(architecture.n_parameters(n_experts))]
    factors = torch.tensor([factor for _, factor, _ in found], dtype=torch.float64)
    return [name for name, _, _ in found], factors
