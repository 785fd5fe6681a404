"""Sequences of mixing measures that approach a truth, written down in closed form.

Each function returns a fitted measure and its truth at a parameter t; the atoms are chosen generic,
with inputs uniform on [-1, 1]^2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from sigmoe.ledger._claim import Numbers
from sigmoe.moe import Architecture, MixingMeasure
from sigmoe.moe._experts import get_expert
from sigmoe.theory import function_distance, nearest_representations, set_loss, voronoi_loss

#: Steps of a sequence.
HALVINGS = tuple(2.0**-k for k in range(1, 9))
_POINTS = 2**12
_DIM = 2
_C = -1.0
_ALPHA, _BETA, _LAMBDA = (0.8, -0.5), 0.6, 1.5
#: How two atoms share one expert.
_SHARES = (0.4, 0.6)
_A, _B = ((0.7, 0.2), (0.2, -0.4)), (0.5, -0.9)

Pair = tuple[MixingMeasure, MixingMeasure]


def follow(
    build: Callable[[float], Pair],
    steps: Sequence[float],
    loss: str,
    r: float | None = None,
    representations: bool = False,
) -> Numbers:
    """Return the distances ||f_G - f_G*||, the losses and their ratios along a sequence.

    With ``representations`` the loss is that to the nearest of all known measures that have the
    truth's function, as Theorems 3 and 5 take it, and not to the truth.
    """
    distances, losses = [], []
    for step in steps:
        fitted, truth = build(step)
        distances.append(float(function_distance(fitted, truth, _POINTS)))
        if representations:
            members = nearest_representations(fitted, truth)
            losses.append(float(set_loss(fitted, members, loss)))
        else:
            losses.append(float(voronoi_loss(fitted, truth, loss, r=r)))
    ratios = [distance / size for distance, size in zip(distances, losses, strict=True)]
    return {"steps": list(steps), "distances": distances, "losses": losses, "ratios": ratios}


def order(numbers: Numbers, what: str = "ratios") -> float:
    """Return the exponent k with which values fall like step^k, from the last four steps."""
    steps, values = (np.log(numbers[key][-4:]) for key in ("steps", what))
    return float(np.polyfit(steps, values, 1)[0])


def architecture(score: str, expert: str, gate: str = "sigmoid") -> Architecture:
    """Return the architecture of the sequences."""
    return Architecture(gate=gate, score=score, expert=expert, dim=_DIM)


def expert_parameters(expert: str) -> Tensor:
    """Return eta = (alpha, beta) or (alpha, beta, lambda) of a generic expert, shape (q,)."""
    scale = (_LAMBDA,) if get_expert(expert).scaled else ()
    return torch.tensor((*_ALPHA, _BETA, *scale), dtype=torch.float64)


def halved(c: float) -> float:
    """Return the constant whose sigmoid is half of sigmoid(c)."""
    weight = torch.sigmoid(torch.tensor(c, dtype=torch.float64)) / 2
    return float(torch.logit(weight))


def measure(
    shape: Architecture,
    A: Sequence[object],
    b: Sequence[object],
    c: Sequence[float],
    eta: Sequence[Tensor],
) -> MixingMeasure:
    """Return a measure; b is left out where the score has none."""
    has_b = shape.score != "partial"
    return MixingMeasure(
        shape,
        np.asarray(A, dtype=float),
        np.asarray(b, dtype=float) if has_b else None,
        c,
        torch.stack(list(eta)),
    )


def opposite_slopes(expert: str, t: float) -> Pair:
    """Return two atoms b = +-t v, A = -(s''/2s') t^2 vv' at one with a zero gate.

    The weights add up to the truth's and the second order in t cancels: at a zero gate d2F/db db
    and dF/dA are proportional.
    """
    shape, eta = architecture("full", expert), expert_parameters(expert)
    c = halved(_C)
    v = np.array([0.6, 0.8])
    # s''(c) / s'(c) = 1 - 2 s(c).
    bend = 1.0 - 2.0 / (1.0 + np.exp(-c))
    A = -0.5 * bend * t**2 * np.outer(v, v)
    zero = np.zeros(_DIM)
    truth = measure(shape, [np.zeros((_DIM, _DIM))], [zero], [_C], [eta])
    return measure(shape, [A, A], [t * v, -t * v], [c, c], [eta, eta]), truth


def unequal_sizes(score: str, expert: str, t: float) -> Pair:
    """Return two atoms of one gate that share a homogeneous expert as 1 + t to 1 - t."""
    shape, eta = architecture(score, expert), expert_parameters(expert)
    zero, c = np.zeros((_DIM, _DIM)), halved(_C)
    truth = measure(shape, [zero], [zero[0]], [_C], [eta])
    parts = [resized(expert, eta, 1.0 + t), resized(expert, eta, 1.0 - t)]
    return measure(shape, [zero, zero], [zero[0], zero[0]], [c, c], parts), truth


def traded_weights(score: str, expert: str, t: float) -> Pair:
    """Return two atoms with one expert and constant gates, between which weight has moved."""
    shape, eta = architecture(score, expert), expert_parameters(expert)
    zero = np.zeros((_DIM, _DIM))
    weights = np.array([0.3, 0.6])
    moved = weights + 0.1 * t * np.array([1.0, -1.0])
    truth, fitted = (
        measure(shape, [zero, zero], [zero[0], zero[0]], np.log(w / (1.0 - w)).tolist(), [eta, eta])
        for w in (weights, moved)
    )
    return fitted, truth


def resized(expert: str, eta: Tensor, factor: float) -> Tensor:
    """Return the parameters of an expert that is ``factor`` > 0 times as large."""
    if get_expert(expert).scaled:
        scale = torch.ones_like(eta)
        scale[-1] = factor
        return eta * scale
    degree = int(expert.partition(":")[2] or 1)
    root: float = factor ** (1.0 / degree)
    return eta * root


def lemma_two(degree: int, r: float, t: float) -> Pair:
    """Return the sequence of Lemma 2's proof at n = 1 / t, for experts (alpha'x + beta)^degree."""
    shape = architecture("full", f"polynomial:{degree}")
    zero = np.zeros((_DIM, _DIM))
    eta = torch.tensor([0.0, 0.0, _BETA], dtype=torch.float64)
    shift = torch.tensor([0.0, 0.0, t], dtype=torch.float64)
    weight = (1.0 / (1.0 + np.exp(-_C)) + t ** (r + 1)) / 2
    c = float(np.log(weight / (1.0 - weight)))
    truth = measure(shape, [zero], [zero[0]], [_C], [eta])
    fitted = measure(shape, [zero, zero], [zero[0], zero[0]], [c, c], [eta + shift, eta - shift])
    return fitted, truth


def null_expert(t: float) -> Pair:
    """Return the truth with one more atom: a zero expert behind a gate of its own, for any t."""
    shape, eta = architecture("full", "relu"), expert_parameters("relu")
    nothing = torch.tensor([0.0, 0.0, -1.0], dtype=torch.float64)
    truth = measure(shape, [_A], [_B], [_C], [eta])
    gate = t * np.eye(_DIM)
    return measure(shape, [_A, gate], [_B, (t, 2 * t)], [_C, t], [eta, nothing]), truth


def turned(t: float) -> Pair:
    """Return sigma(s) E as E - sigma(-s) E: a constant gate and the reversed one, for any t."""
    shape, eta = architecture("full", "linear"), expert_parameters("linear")
    truth = measure(shape, [_A], [_B], [_C], [eta])
    weight = 1.0 / (1.0 + np.exp(-t))
    zero = np.zeros((_DIM, _DIM))
    fitted = measure(
        shape,
        [zero, -np.asarray(_A)],
        [zero[0], -np.asarray(_B)],
        [t, -_C],
        [eta / weight, -eta],
    )
    return fitted, truth


def gates_apart(score: str, expert: str, t: float) -> Pair:
    """Return two atoms that share the expert of a dense truth, their gates of order t apart.

    At t = 0 the function is the truth's: two distinct atoms with parts of its expert behind its
    gate. The gates move in opposite directions, weighted by the shares, so that the function
    changes in second order only, as at an over-specified atom of the sparse regime.
    """
    shape, eta = architecture(score, expert), expert_parameters(expert)
    truth = measure(shape, [_A], [_B], [_C], [eta])
    A, away = np.asarray(_A), t * np.array([[0.6, 0.0], [0.0, 0.8]])
    parts = [resized(expert, eta, share) for share in _SHARES]
    moved = [A + _SHARES[1] * away, A - _SHARES[0] * away]
    return measure(shape, moved, [_B, _B], [_C, _C], parts), truth


def second_gate(sign: float, t: float) -> Pair:
    """Return the truth with a second atom of the same expert and a constant gate c = sign / t."""
    shape, eta = architecture("full", "gelu"), expert_parameters("gelu")
    truth = measure(shape, [_A], [_B], [_C], [eta])
    zero = np.zeros((_DIM, _DIM))
    return measure(shape, [_A, zero], [_B, zero[0]], [_C, sign / t], [eta, eta]), truth
