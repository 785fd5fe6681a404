"""The two gates: from scores to weights, and from gradients of weights to gradients of scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sigmoe._base.registry import Registry


class RowStatistics(NamedTuple):
    """What a weight that competes has to know of its row, each (pairs, rows, 1).

    A row's weights are ``exp(score - shift) * factor``; ``mean`` is the mean of the gradients of
    its weights under the weights, 0 where it is not asked for.
    """

    shift: Tensor
    factor: Tensor
    mean: Tensor


@dataclass(frozen=True)
class Gate:
    """One gate, as functions of the scores of a tile.

    Parameters
    ----------
    weights_ : callable
        Overwrites scores by weights.
    score_gradient : callable
        Takes the gradient of the weights, and the weights.
    competes : bool
        Whether a weight depends on its whole row; only then are there row statistics.
    """

    weights_: Callable[[Tensor, RowStatistics | None], Tensor]
    score_gradient: Callable[[Tensor, Tensor, RowStatistics | None], Tensor]
    competes: bool


def _sigmoid_(scores: Tensor, _: RowStatistics | None) -> Tensor:
    return scores.sigmoid_()


def _sigmoid_gradient(gradient: Tensor, weights: Tensor, _: RowStatistics | None) -> Tensor:
    # gradient * weights * (1 - weights), in one pass over memory instead of three.
    slope: Tensor = torch.ops.aten.sigmoid_backward(gradient, weights)
    return slope


def _softmax_(scores: Tensor, rows: RowStatistics | None) -> Tensor:
    assert rows is not None
    return scores.sub_(rows.shift).exp_().mul_(rows.factor)


def _softmax_gradient(gradient: Tensor, weights: Tensor, rows: RowStatistics | None) -> Tensor:
    assert rows is not None
    return (gradient - rows.mean).mul_(weights)


#: The gates by name.
GATES: Registry[Gate] = Registry("gate")
GATES.register("sigmoid", Gate(_sigmoid_, _sigmoid_gradient, competes=False))
GATES.register("softmax", Gate(_softmax_, _softmax_gradient, competes=True))
