"""The forward pass on raw tensors, samples last: scores, weights, experts, prediction."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from sigmoe.moe._architecture import Architecture
from sigmoe.moe._experts import get_expert
from sigmoe.moe._gates import get_gate
from sigmoe.moe._monomials import monomials
from sigmoe.moe._scores import SCORES, monomial_rows


class Forward(NamedTuple):
    """What one pass over samples gives.

    Shapes: ``weights`` (*batch, N, n), ``activations`` alpha'x + beta and ``experts``
    (*batch, N, m, n), ``prediction`` (*batch, m, n).
    """

    weights: Tensor
    activations: Tensor
    experts: Tensor
    prediction: Tensor


def forward(architecture: Architecture, coordinates: Tensor, Xt: Tensor) -> Forward:
    """Return the model's pieces at the samples (eqs. (3), (5), (48)).

    Parameters
    ----------
    architecture : Architecture
        Gate, score, expert and dimensions.
    coordinates : Tensor of shape (*batch, N, g + m q)
        Canonical coordinates of the atoms, see ``MixingMeasure.coordinates``.
    Xt : Tensor of shape (*batch, d, n) or (d, n)
        Inputs, one sample a column.
    """
    g = architecture.n_score_coefficients
    score = SCORES.get(architecture.score)
    features = monomials(Xt, score.degree)
    if architecture.score == "partial":
        features = features[..., monomial_rows("partial", architecture.dim), :]
    weights = get_gate(architecture.gate).weights(coordinates[..., :g] @ features)
    eta = split_outputs(architecture, coordinates[..., g:])
    activations, experts = expert_values(architecture, eta, Xt)
    prediction = (weights.unsqueeze(-2) * experts).sum(dim=-3)
    return Forward(weights, activations, experts, prediction)


def split_outputs(architecture: Architecture, flat: Tensor) -> Tensor:
    """Return expert parameters (*batch, N, m, q) from their flat form (*batch, N, m q)."""
    shape = (*flat.shape[:-1], architecture.n_columns, architecture.n_expert_parameters)
    return flat.reshape(shape)


def expert_values(architecture: Architecture, eta: Tensor, Xt: Tensor) -> tuple[Tensor, Tensor]:
    """Return alpha'x + beta and lambda phi(alpha'x + beta), each (*batch, N, m, n).

    ``eta`` has shape (*batch, N, m, q).
    """
    d = architecture.dim
    expert = get_expert(architecture.expert)
    # (*batch, N m, d) @ (*batch, d, n): one product for all experts and columns.
    slopes = eta[..., :d].flatten(-3, -2) @ Xt
    shape = (*slopes.shape[:-2], *eta.shape[-3:-1], slopes.shape[-1])
    activations = slopes.reshape(shape) + eta[..., d : d + 1]
    values = expert.value(activations)
    if expert.scaled:
        values = eta[..., d + 1 : d + 2] * values
    return activations, values
