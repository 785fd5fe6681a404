"""Eqs. (1) and (2) as they are written, on whole matrices: the specification and the oracle.

Every operation here is differentiable, so that derivatives of any order can be had; memory grows
like L S.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sigmoe.attention._dropout import kept
from sigmoe.attention._products import pair_product, visible_product
from sigmoe.attention._rules import Rules, work_dtype
from sigmoe.attention._visibility import dense_visible


def scores(query: Tensor, key: Tensor, rules: Rules) -> Tensor:
    """Return the scores of all pairs, hidden ones included.

    Parameters
    ----------
    query : Tensor of shape (B, Hq, L, E)
    key : Tensor of shape (B, Hq, S, E)
    rules : Rules

    Returns
    -------
    Tensor of shape (B, Hq, L, S)
    """
    total = rules.scale * pair_product(query, key) + rules.constant
    if rules.added is not None:
        total = total + rules.added.to(total.dtype)
    if rules.slopes is not None:
        i = torch.arange(query.shape[2], device=query.device) + rules.offset
        j = torch.arange(key.shape[2], device=query.device)
        distance = (i[:, None] - j).abs().to(total.dtype)
        total = total - rules.slopes.to(total.dtype)[:, :, None, None] * distance
    return total


def gate_weights(score: Tensor, gate: str) -> Tensor:
    """Return the weights that a gate makes of scores; -inf gives 0 in every row."""
    if gate == "sigmoid":
        return torch.sigmoid(score)
    largest = score.detach().amax(dim=-1, keepdim=True)
    power = torch.exp(score - largest.masked_fill(largest == -math.inf, 0.0))
    total = power.sum(dim=-1, keepdim=True)
    return power / total.masked_fill(total == 0.0, 1.0)


def weights(query: Tensor, key: Tensor, rules: Rules) -> tuple[Tensor, Tensor]:
    """Return the weights before dropout, and which pairs are visible, both (B, Hq, L, S)."""
    score = scores(query, key, rules)
    seen = dense_visible(rules, score.shape[2], score.shape[3], score.device)
    seen = torch.ones_like(score, dtype=torch.bool) if seen is None else seen.expand(score.shape)
    return gate_weights(score.masked_fill(~seen, -math.inf), rules.gate), seen


def final_weights(query: Tensor, key: Tensor, rules: Rules) -> Tensor:
    """Return the weights after dropout, of shape (B, Hq, L, S), of the dtype of query.

    Parameters
    ----------
    query : Tensor of shape (B, Hq, L, E)
    key : Tensor of shape (B, Hk, S, E)
    rules : Rules
    """
    q, k, _ = _work(query, key, key)
    weight, _ = weights(q, k, rules)
    return (weight * dropout_factor(rules, weight.shape, weight.dtype)).to(query.dtype)


def dropout_factor(rules: Rules, shape: torch.Size, dtype: torch.dtype) -> Tensor | float:
    """Return what weights are multiplied by: 0, or 1 / (1 - dropout) for those that stay."""
    if rules.seed is None or rules.dropout == 0.0:
        return 1.0
    places = [range(size) for size in shape]
    return kept(rules.seed, rules.dropout, *places).to(dtype) / (1.0 - rules.dropout)


def forward(query: Tensor, key: Tensor, value: Tensor, rules: Rules) -> Tensor:
    """Return the output of attention, eq. (1) or (2).

    Parameters
    ----------
    query : Tensor of shape (B, Hq, L, E)
    key : Tensor of shape (B, Hk, S, E)
        Hq is a multiple of Hk.
    value : Tensor of shape (B, Hk, S, Ev)
    rules : Rules
        Without -inf in ``added``.

    Returns
    -------
    Tensor of shape (B, Hq, L, Ev), of the dtype of query
    """
    q, k, v = _work(query, key, value)
    weight, seen = weights(q, k, rules)
    weight = weight * dropout_factor(rules, weight.shape, weight.dtype)
    return visible_product(weight, seen, v).to(query.dtype)


def backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rules: Rules,
    *,
    with_added: bool = True,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Return the gradients of query, key, value and ``rules.added``.

    With dP = dO V': dS = P (1 - P) dP for sigmoid, P (dP - sum P dP) for softmax; dV = P' dO,
    dQ = scale dS K, dK = scale dS' Q.

    Parameters
    ----------
    gradient : Tensor of shape (B, Hq, L, Ev)
    query, key, value, rules
        As in ``forward``.
    with_added : bool
        Whether the gradient of ``rules.added`` is wanted; it is None if not.
    """
    q, k, v = _work(query, key, value)
    d_out = gradient.to(q.dtype)
    weight, seen = weights(q, k, rules)
    factor = dropout_factor(rules, weight.shape, weight.dtype)
    d_weight = pair_product(d_out, v).masked_fill(~seen, 0.0) * factor
    if rules.gate == "sigmoid":
        d_score = weight * (1.0 - weight) * d_weight
    else:
        d_score = weight * (d_weight - (weight * d_weight).sum(dim=-1, keepdim=True))
    d_score = d_score.masked_fill(~seen, 0.0)
    d_value = visible_product((weight * factor).mT, seen.mT, d_out)
    d_key = rules.scale * visible_product(d_score.mT, seen.mT, q)
    d_query = rules.scale * visible_product(d_score, seen, k)
    d_added = None
    if with_added and rules.added is not None:
        d_added = d_score.sum_to_size(rules.added.shape).to(rules.added.dtype)
    return (
        d_query.to(query.dtype),
        _sum_groups(d_key, key),
        _sum_groups(d_value, value),
        d_added,
    )


def _work(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the inputs in the dtype of the work, keys and values repeated for each query head."""
    dtype, group = work_dtype(query.dtype), query.shape[1] // key.shape[1]
    k, v = (part.to(dtype).repeat_interleave(group, dim=1) for part in (key, value))
    return query.to(dtype), k, v


def _sum_groups(gradient: Tensor, part: Tensor) -> Tensor:
    """Return the gradient of a part that a group of query heads reads."""
    groups: Tensor = gradient.unflatten(1, (part.shape[1], -1))
    return groups.sum(dim=2).to(part.dtype)
