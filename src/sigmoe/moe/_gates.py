"""Gates: how scores become weights, and how the prediction moves with a score (eqs. (3), (5)).

Arrays hold samples last: scores and weights (*batch, N, n), experts (*batch, N, m, n), prediction
(*batch, m, n), where m counts the columns of the response. The gates are shared by the columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sigmoe._base.registry import Registry
from sigmoe._base.safe import sigmoid_slope


@dataclass(frozen=True)
class Gate:
    """A gate by its value and its derivative.

    Attributes
    ----------
    name : str
        The name in ``Architecture(gate=...)``.
    weights : callable
        Scores (*batch, N, n) to weights of the same shape.
    sensitivity : callable
        (weights, experts, prediction) to d prediction / d score of shape (*batch, N, m, n).
    motion : callable
        (weights, speed) to the first and second derivatives in t of the weights of the scores
        s + t speed, at t = 0; all of shape (*batch, N, n).
    invariant : bool
        Whether adding one common score to all atoms leaves the weights as they are.
    """

    name: str
    weights: Callable[[Tensor], Tensor]
    sensitivity: Callable[[Tensor, Tensor, Tensor], Tensor]
    motion: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    invariant: bool


def _sigmoid_sensitivity(weights: Tensor, experts: Tensor, prediction: Tensor) -> Tensor:
    del prediction
    return sigmoid_slope(weights).unsqueeze(-2) * experts


def _sigmoid_motion(weights: Tensor, speed: Tensor) -> tuple[Tensor, Tensor]:
    first = sigmoid_slope(weights) * speed
    return first, first * (1.0 - 2.0 * weights) * speed


def _softmax_weights(scores: Tensor) -> Tensor:
    return torch.softmax(scores, dim=-2)


def _softmax_sensitivity(weights: Tensor, experts: Tensor, prediction: Tensor) -> Tensor:
    return weights.unsqueeze(-2) * (experts - prediction.unsqueeze(-3))


def _softmax_motion(weights: Tensor, speed: Tensor) -> tuple[Tensor, Tensor]:
    # The mean speed under the weights moves nothing.
    centred = speed - (weights * speed).sum(-2, keepdim=True)
    first = weights * centred
    return first, first * centred - weights * (first * centred).sum(-2, keepdim=True)


GATES = Registry[Gate]("gate")
GATES.register(
    "sigmoid",
    Gate("sigmoid", torch.sigmoid, _sigmoid_sensitivity, _sigmoid_motion, invariant=False),
)
GATES.register(
    "softmax",
    Gate("softmax", _softmax_weights, _softmax_sensitivity, _softmax_motion, invariant=True),
)


def get_gate(name: str) -> Gate:
    """Return the gate of that name, or raise InputError with the known names."""
    return GATES.get(name)
