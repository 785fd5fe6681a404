"""The dense Jacobian of the prediction, chunk by chunk; J'J has its own faster way.

``LeastSquares`` gathers J'J without ever forming J. Inference also needs each row on its own: the
score of a row for the sandwich, the derivative of one prediction for the delta method.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from sigmoe.moe import Architecture, MixingMeasure
from sigmoe.moe._experts import get_expert
from sigmoe.moe._forward import Forward, forward, split_outputs
from sigmoe.moe._gates import get_gate
from sigmoe.moe._monomials import monomials
from sigmoe.moe._scores import SCORES, monomial_rows

#: Most numbers in a chunk (16 MiB).
_CHUNK_NUMBERS = 2**21


class Derivatives(NamedTuple):
    """One chunk's forward pass and the factors of its derivatives; samples last.

    Shapes: ``features`` (g, n), the monomials that the score coefficients multiply; ``inputs``
    (d + 1, n), the rows x_1 .. x_d, 1; ``u``, ``v``, ``l`` (*batch, N, m, n), the derivatives of
    the prediction by a score, by alpha'x + beta and by lambda; ``scale`` lambda, (*batch, N, m, 1)
    or 1.
    """

    forward: Forward
    features: Tensor
    inputs: Tensor
    u: Tensor
    v: Tensor
    l: Tensor  # noqa: E741 - the letter that the layout of the normal equations uses
    scale: Tensor


def derivatives(architecture: Architecture, theta: Tensor, Xt: Tensor) -> Derivatives:
    """Return what first derivatives are made of, at inputs of shape (d, n).

    ``theta`` holds the canonical coordinates of the atoms, shape (*batch, N, g + m q).
    """
    expert, width = get_expert(architecture.expert), architecture.dim + 1
    passed = forward(architecture, theta, Xt)
    rows = monomial_rows(architecture.score, architecture.dim).to(Xt.device)
    features = monomials(Xt, SCORES.get(architecture.score).degree)[rows]
    eta = split_outputs(architecture, theta[..., architecture.n_score_coefficients :])
    scale = eta[..., width:] if expert.scaled else torch.ones_like(eta[..., :1])
    weights = passed.weights.unsqueeze(-2)
    return Derivatives(
        forward=passed,
        features=features,
        inputs=torch.cat([Xt, torch.ones_like(Xt[:1])]),
        u=get_gate(architecture.gate).sensitivity(
            passed.weights, passed.experts, passed.prediction
        ),
        v=weights * scale * expert.slope(passed.activations),
        l=weights * expert.value(passed.activations),
        scale=scale,
    )


def jacobian(architecture: Architecture, theta: Tensor, Xt: Tensor) -> Tensor:
    """Return d prediction / d coordinates at inputs of shape (d, n).

    The shape is (*batch, m, p, n) for ``theta`` of shape (*batch, N, g + m q), p = N (g + m q).
    """
    parts = derivatives(architecture, theta, Xt)
    g, q = architecture.n_score_coefficients, architecture.n_expert_parameters
    width, scaled = architecture.dim + 1, get_expert(architecture.expert).scaled
    *batch, n_atoms, size = theta.shape
    J = theta.new_zeros((*batch, architecture.n_columns, n_atoms, size, Xt.shape[1]))
    J[..., :g, :] = parts.u.transpose(-3, -2).unsqueeze(-2) * parts.features
    for k in range(architecture.n_columns):
        start = g + k * q
        columns = J[..., k, :, start:, :]
        columns[..., :width, :] = parts.v[..., k, :].unsqueeze(-2) * parts.inputs
        if scaled:
            columns[..., width, :] = parts.l[..., k, :]
    return J.flatten(-3, -2)


def chunks(n: int, numbers: int) -> Iterator[slice]:
    """Return slices of n rows, short enough for so many numbers a row."""
    length = max(64, _CHUNK_NUMBERS // numbers)
    return (slice(start, start + length) for start in range(0, n, length))


def score_moments(
    measure: MixingMeasure, X: Tensor, residual: Tensor, slopes: Tensor | None = None
) -> Tensor:
    """Return the sum over rows of s s', s = J' r the score of a row, shape (p, p).

    Parameters
    ----------
    measure : MixingMeasure
        A single measure.
    X : Tensor of shape (n, d)
    residual : Tensor of shape (n, m)
        r, with any weight of the row multiplied in.
    slopes : Tensor of shape (m, p), optional
        Taken off the Jacobian of every row. The residual then follows its score: the result has
        shape (p + m, p + m).

    Notes
    -----
    The columns of the response share the gates, so that their residuals enter one score: the sum
    column by column would drop the products between columns.
    """
    architecture, theta = measure.architecture, measure.coordinates.to(X.device)
    size = theta.numel() + (0 if slopes is None else len(slopes))
    total = theta.new_zeros((size, size))
    for rows in chunks(len(X), architecture.n_columns * theta.numel()):
        J, right = jacobian(architecture, theta, X[rows].T.contiguous()), residual[rows].T
        if slopes is None:
            score = (J * right.unsqueeze(1)).sum(0)
        else:
            centred = ((J - slopes.unsqueeze(-1)) * right.unsqueeze(1)).sum(0)
            score = torch.cat([centred, right])
        total.addmm_(score, score.T)
    return total
