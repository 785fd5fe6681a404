"""Closed forms in which a sigmoid measure writes one true atom with several atoms, or none.

Each family maps a group of fitted atoms, lead (G, size), and the true atoms that the group stands
for, lead (J,), to the member of the family that is nearest to the group by the sum of norms
||dA|| + ||db|| + |dc| + ||d eta||, or near to it where said so. The sum of the member's gated
experts equals that of the true atoms for every input, whatever the fitted atoms are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.linalg import vector_norm

from sigmoe.theory._atoms import Atoms, distance
from sigmoe.theory._homogeneity import Scaling

#: Halvings of the bracket of a multiplier; 2^-100 is below any rounding.
_HALVINGS = 100


@dataclass(frozen=True)
class Family:
    """One closed form.

    Attributes
    ----------
    name : str
    nearest : callable
        (fitted group, true atoms, scaling) to the member's atoms, lead (G, size).
    """

    name: str
    nearest: Callable[[Atoms, Atoms, Scaling], Atoms]


def truth_itself(group: Atoms, true: Atoms, scaling: Scaling) -> Atoms:
    """Return the true atom for groups of one."""
    del scaling
    return true.map(lambda block: block.expand(*group.c.shape, *block.shape[1:]))


def null(group: Atoms, true: Atoms, scaling: Scaling) -> Atoms:
    """Return atoms whose expert is zero, with the gates of the group; ``true`` is empty.

    A zero expert has lambda = 0 (scaled experts), alpha = 0 and beta <= 0 (rectifiers), or
    alpha = 0 and beta = 0 (other phi with phi(0) = 0); the nearest of those is taken, column by
    column.
    """
    del true
    eta = group.eta
    zero = torch.zeros_like(eta)
    if scaling.rectified:
        d = group.b.shape[-1]
        zero[..., d] = eta[..., d].clamp_max(0.0)
        if scaling.scaled:
            zero[..., d + 1] = eta[..., d + 1]
    if scaling.scaled:
        flat = torch.cat([eta[..., :-1], torch.zeros_like(eta[..., -1:])], dim=-1)
        nearer = vector_norm(eta - flat, dim=-1) <= vector_norm(eta - zero, dim=-1)
        zero = torch.where(nearer.unsqueeze(-1), flat, zero)
    return group.replace(eta=zero)


def split(group: Atoms, true: Atoms, scaling: Scaling) -> Atoms:
    """Return atoms with the true gate over which a scalable expert is divided.

    Linear: parts of eta that add up; rectifiers: shares t_i >= 0 of eta that add up to 1; scaled
    experts: parts of lambda that add up.
    """
    whole = truth_itself(group, true, scaling)
    return whole.replace(eta=_divide(group.eta, torch.ones_like(group.c), whole.eta, scaling))


def constant(group: Atoms, true: Atoms, scaling: Scaling) -> Atoms:
    """Return atoms with constant gates for true atoms with constant gates (A = b = 0).

    Only sum sigmoid(c) E is visible. The group keeps its c; scalable experts make up for it.
    Linear experts allow it for several true atoms together.
    """
    weights = torch.sigmoid(group.c)
    total = (torch.sigmoid(true.c)[:, None, None] * true.eta).sum(dim=0)
    if scaling.scaled:
        total = torch.cat([true.eta[0, :, :-1], total[..., -1:]], dim=-1)
    eta = _divide(group.eta, weights, total.expand(group.eta.shape), scaling)
    return Atoms(torch.zeros_like(group.A), torch.zeros_like(group.b), group.c, eta)


def flip(group: Atoms, true: Atoms, scaling: Scaling) -> Atoms:
    """Return a pair from sigmoid(s) E = E - sigmoid(-s) E.

    The first atom has a constant gate with the group's c and the expert E / sigmoid(c); the
    second has the true gate reversed and the expert -E. Needs experts that can be scaled and
    reversed. The constant c is not optimised.
    """
    whole = truth_itself(group, true, scaling)
    factor = torch.stack(
        [1.0 / torch.sigmoid(group.c[:, 0]), torch.full_like(group.c[:, 0], -1.0)], dim=1
    )
    sign = torch.tensor([0.0, -1.0], dtype=factor.dtype, device=factor.device)
    c = torch.stack([group.c[:, 0], -whole.c[:, 1]], dim=1)
    A, b = sign[:, None, None] * whole.A, sign[:, None] * whole.b
    return Atoms(A, b, c, _scaled(whole.eta, factor, scaling))


def complement(group: Atoms, true: Atoms, scaling: Scaling) -> Atoms:
    """Return a pair from sigmoid(s) + sigmoid(-s) = 1 for a true atom with a constant gate.

    Both atoms have the expert sigmoid(c*) E, and opposite gates with free (A, b, c): half the
    difference of the pair's own.
    """

    def opposite(block: Tensor) -> Tensor:
        half = (block[:, 0] - block[:, 1]) / 2
        return torch.stack([half, -half], dim=1)

    whole = truth_itself(group, true, scaling)
    eta = _scaled(whole.eta, torch.sigmoid(whole.c), scaling)
    return Atoms(opposite(group.A), opposite(group.b), opposite(group.c), eta)


def nearest_order(family: Family, group: Atoms, true: Atoms, scaling: Scaling) -> Atoms:
    """Return the family's member with the better of the two orders of each pair."""
    straight = family.nearest(group, true, scaling)
    turned = group.map(lambda block: block.flip(1))
    other = family.nearest(turned, true, scaling).map(lambda block: block.flip(1))
    wins = distance(other, group).sum(dim=1) < distance(straight, group).sum(dim=1)

    def choose(theirs: Tensor, ours: Tensor) -> Tensor:
        return torch.where(wins.reshape(-1, *[1] * (ours.ndim - 1)), theirs, ours)

    return Atoms(
        choose(other.A, straight.A),
        choose(other.b, straight.b),
        choose(other.c, straight.c),
        choose(other.eta, straight.eta),
    )


def _scaled(eta: Tensor, factor: Tensor, scaling: Scaling) -> Tensor:
    """Return the parameters (G, size, m, q) of factor times the expert; factor is (G, size)."""
    factor = factor[:, :, None, None]
    if scaling.scaled:
        return torch.cat([eta[..., :-1], factor * eta[..., -1:]], dim=-1)
    return factor * eta


def _divide(eta: Tensor, weights: Tensor, total: Tensor, scaling: Scaling) -> Tensor:
    """Return expert parameters near eta whose experts, weighted, add up to the total's expert.

    eta and total have shape (G, size, m, q), weights (G, size); the total is the same for all
    atoms of a group. Every column of the response is divided by itself.
    """
    w = weights[:, :, None]
    if scaling.scaled:
        rest = vector_norm(eta[..., :-1] - total[..., :-1], dim=-1)
        parts = _shares(eta[..., -1], rest, w, total[..., 0, :, -1].unsqueeze(1), signed=True)
        return torch.cat([total[..., :-1], parts.unsqueeze(-1)], dim=-1)
    if scaling.linear:
        # The cheapest way to move a weighted sum is to move the atom with the largest weight;
        # with equal weights every way costs the same, and all atoms move alike.
        top = w >= w.amax(dim=1, keepdim=True) * (1 - 1e-12)
        missing = total[:, :1] - (w.unsqueeze(-1) * eta).sum(dim=1, keepdim=True)
        share = (top / (top * w).sum(dim=1, keepdim=True)).unsqueeze(-1)
        return eta + share * missing
    length = vector_norm(total, dim=-1, keepdim=True)
    unit = torch.where(length > 0, total / torch.where(length > 0, length, 1.0), 0.0)
    along = (eta * unit).sum(dim=-1)
    rest = vector_norm(eta - along.unsqueeze(-1) * unit, dim=-1)
    parts = _shares(along, rest, w, length[:, :1, :, 0], signed=False)
    return parts.unsqueeze(-1) * unit


def _shares(along: Tensor, rest: Tensor, weights: Tensor, total: Tensor, *, signed: bool) -> Tensor:
    """Return s that minimise sum_i ((s_i - along_i)^2 + rest_i^2)^(1/2), sum_i w_i s_i = total.

    Shapes (G, size, m) and total (G, 1, m); s_i >= 0 and total >= 0 unless ``signed``. The
    minimum has (s_i - along_i) / ((s_i - along_i)^2 + rest_i^2)^(1/2) = mu w_i, or s_i = 0, with
    a multiplier mu that is found by halving.
    """
    limit = 1.0 / weights.amax(dim=1, keepdim=True).expand_as(total)

    def at(mu: Tensor) -> Tensor:
        slope = mu * weights
        s = along + rest * slope / (1.0 - slope**2).clamp_min(1e-300).sqrt()
        return s if signed else s.clamp_min(0.0)

    low, high = -limit, limit.clone()
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        short = (weights * at(middle)).sum(dim=1, keepdim=True) < total
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    s = at((low + high) / 2)
    found = (weights * s).sum(dim=1, keepdim=True)
    # What is left where the sum jumps over the total: more for the heaviest atom, or less of all.
    heaviest = (weights >= weights.amax(dim=1, keepdim=True)) & torch.ones_like(s).bool()
    heaviest = heaviest & (heaviest.cumsum(dim=1) == 1)
    raised = s + torch.where(heaviest, (total - found) / weights, 0.0)
    lowered = s * (total / torch.where(found > 0, found, 1.0))
    return torch.where((found <= total) | signed, raised, lowered)
