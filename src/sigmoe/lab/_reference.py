"""The measures with N atoms that local fits start near, and that their rates are predicted at.

A fit with more atoms than the truth has can be near many measures with the truth's function. Where
extra atoms can share a true atom's gate, both are put there, which is the worst place for their
experts. Sigmoid gates that depend on the input cannot be shared: 2 sigmoid(s) is no gate.
"""

from __future__ import annotations

import torch

from sigmoe.estimation.starts._draw import _split_weights
from sigmoe.moe import MixingMeasure
from sigmoe.theory._homogeneity import scaling_of


def reference(truth: MixingMeasure, n_experts: int) -> MixingMeasure:
    """Return a measure with N atoms and the truth's function, its extra atoms at the last atom.

    Parameters
    ----------
    truth : MixingMeasure
        A single measure with N* atoms.
    n_experts : int
        N >= N*.

    Returns
    -------
    MixingMeasure
        Atoms 0 to N* - 2 are the truth's. The others have the last atom's A, b and eta and an equal
        part of its weight (softmax gates and constant gates); or its gate and an equal part of its
        expert (sigmoid gates that depend on the input, experts with phi(s z) = s phi(z)); or one is
        the last atom and the rest have its gate and eta = 0 (such gates, other experts).
    """
    last, extra = truth.n_experts - 1, n_experts - truth.n_experts
    owner = torch.tensor([*range(truth.n_experts), *[last] * extra])
    theta = truth.coordinates[owner].clone()
    shared, score = owner == last, truth.architecture.n_score_coefficients
    if splits_weight(truth):
        count = torch.where(shared, extra + 1, 1)
        theta[:, 0] = _split_weights(truth.architecture.gate, theta[:, 0], count)
    elif scaling_of(truth.architecture).positive:
        theta[last:, score:] /= extra + 1
    else:
        theta[last + 1 :, score:] = 0.0
    return MixingMeasure.from_coordinates(truth.architecture, theta)


def splits_weight(truth: MixingMeasure) -> bool:
    """Return whether atoms near the last one can share its weight: softmax or a constant gate."""
    if truth.architecture.n_invisible > 0:
        return True
    gate = truth.coordinates[-1, 1 : truth.architecture.n_score_coefficients]
    return not bool(gate.any())


def local_start(
    truth: MixingMeasure, n_experts: int, scale: float, noise: torch.Tensor
) -> MixingMeasure:
    """Return the reference moved by Gaussian noise of shape (N, p) times a scale."""
    theta = reference(truth, n_experts).coordinates + scale * noise
    return MixingMeasure.from_coordinates(truth.architecture, theta)
