"""Following constrained minima of the distance down over decades of t, many side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sigmoe._base.seeds import Seed, child_seeds
from sigmoe.theory.modulus._model import LocalModel, Vector
from sigmoe.theory.modulus._solve import Found, distance, solve

#: Steps of one solve: from a random start, and from the minimiser at the last t.
_FIRST, _NEXT = 200, 120
#: Branches that are followed beside each other: the lowest one can change with t.
_BRANCHES = 3
#: Distances this close are taken as one branch's.
_SAME = 1e-3
#: Powers of t with which a coordinate is believed to move, when the next t is predicted.
_POWERS = (0.4, 6.0)
#: Points of other traces are tried if they hold the coordinate within this factor of t ...
_NEAR = 2.0
#: ... and neighbours if they promise less than this multiple of the distance ...
_PROMISING = 10.0
#: ... from a point that differs by more than this share.
_CLOSE = 0.1
#: A distance that stands out from its neighbours' by this factor is tried in any case.
_BUMP = 1.02
#: Times that the traces learn from one another, at most.
_ROUNDS = 2


@dataclass(frozen=True, eq=False)
class Traces:
    """The constrained minima of C cases along T values of t, largest first.

    Attributes
    ----------
    held : int array of shape (C,)
        The coordinate that is held.
    values : array of shape (C, T)
        What it is held at: t or -t.
    distance : array of shape (C, T)
        The smallest distance that was found.
    points : array of shape (C, T, p)
        Its coordinates.
    """

    held: NDArray[np.intp]
    values: Vector
    distance: Vector
    points: Vector


def follow_all(
    model: LocalModel,
    held: Sequence[int],
    ts: Sequence[Vector],
    *,
    n_starts: int,
    seed: Seed,
) -> Traces:
    """Return the traces of several held coordinates, both signs each.

    A minimum for one coordinate is a start for the others, where it holds them near the wanted t:
    an entry of A that moves with the square of b is found in this way.

    Parameters
    ----------
    model : LocalModel
    held : sequence of int
    ts : sequence of arrays of shape (T,)
        For each held coordinate, T >= 3, decreasing by one and the same factor.
    n_starts : int
        Random starts of each case, at the largest t.
    seed : int or SeedSequence

    Returns
    -------
    Traces
        Cases 2k and 2k + 1 hold coordinate ``held[k]`` at t and at -t.
    """
    cases = np.repeat(np.asarray(held, dtype=np.intp), 2)
    values = np.concatenate([[t, -t] for t in ts])
    traces = _downward(model, cases, values, n_starts, seed)
    steps = range(values.shape[1])
    for _ in range(_ROUNDS):
        before = traces.distance
        traces = _pooled(model, _swept(model, traces, steps[::-1]))
        traces = _swept(model, traces, steps)
        if not (traces.distance < (1.0 - _SAME) * before).any():
            break
    return traces


def _downward(
    model: LocalModel, cases: NDArray[np.intp], values: Vector, n_starts: int, seed: Seed
) -> Traces:
    """Return the minima by continuation from random starts at the largest t."""
    rngs = [np.random.default_rng(child) for child in child_seeds(seed, "modulus", len(cases))]
    top = values[:, 0]
    starts = [_random(model, *one, n_starts) for one in zip(cases, top, rngs, strict=True)]
    owner = np.repeat(np.arange(len(cases)), n_starts)
    found = solve(model, np.concatenate(starts), cases[owner], _FIRST)
    best, earlier = [_lowest(found, owner)], None
    for last, t in pairwise(values.T):
        kept = _distinct(found, owner)
        branches, owner = found.points[kept], owner[kept]
        past = np.full_like(branches, np.nan) if earlier is None else earlier[kept]
        start = _predict(model, branches, past, (t / last)[owner])
        start[np.arange(len(owner)), cases[owner]] = t[owner]
        found, earlier = solve(model, start, cases[owner], _NEXT), branches
        best.append(_lowest(found, owner))
    distances = np.stack([one.distance for one in best], axis=1)
    return Traces(cases, values, distances, np.stack([one.points for one in best], axis=1))


def _swept(model: LocalModel, traces: Traces, order: Sequence[int]) -> Traces:
    """Return the traces after one more walk along t: a good minimum leads to its neighbours."""
    distances, points = traces.distance.copy(), traces.points.copy()
    past = np.full_like(points[:, 0], np.nan)
    for before, k in pairwise(order):
        now = traces.values[:, k]
        start = _predict(model, points[:, before], past, now / traces.values[:, before])
        start = np.clip(start, model.lower, model.upper)
        start[np.arange(len(start)), traces.held] = now
        promise = distance(model, start)
        # Where the start promises nothing, or leads to what is known, a solve would be wasted.
        tried = promise < _PROMISING * distances[:, k]
        tried &= (promise < distances[:, k]) | ~_close(start, points[:, k], np.abs(now))
        tried |= distances[:, k] > _BUMP * _between(distances, k)
        _improve(model, traces.held, start, np.flatnonzero(tried), distances[:, k], points[:, k])
        past = points[:, before]
    return Traces(traces.held, traces.values, distances, points)


def _between(distances: Vector, k: int) -> Vector:
    """Return what a power law through two neighbours of step k gives there, shape (C,)."""
    last = distances.shape[1] - 1
    if 0 < k < last:
        return np.sqrt(distances[:, k - 1] * distances[:, k + 1])
    one, two = (1, 2) if k == 0 else (last - 1, last - 2)
    return np.asarray(distances[:, one] ** 2 / distances[:, two])


def _close(one: Vector, other: Vector, t: Vector) -> NDArray[np.bool_]:
    """Return which points (C, p) are close to one another for a held value of size t."""
    size = np.maximum(np.maximum(np.abs(one), np.abs(other)), t[:, None])
    return np.asarray((np.abs(one - other) <= _CLOSE * size).all(-1))


def _pooled(model: LocalModel, traces: Traces) -> Traces:
    """Return the traces with what the minima of other traces lead to."""
    count, steps, p = traces.points.shape
    distances, points = traces.distance.ravel().copy(), traces.points.reshape(-1, p).copy()
    held, wanted = np.repeat(traces.held, steps), traces.values.ravel()
    # Of all points, those that hold the wanted coordinate near the wanted value, the lowest one.
    share = traces.points.reshape(-1, p)[:, held].T / wanted[:, None]
    near = (share > 1.0 / _NEAR) & (share < _NEAR)
    near &= traces.distance.ravel() < _NEAR * distances[:, None]
    own = np.repeat(np.arange(count), steps)
    near &= own != own[:, None]
    donor = np.where(near, traces.distance.ravel(), np.inf).argmin(-1)
    start = points[donor]
    start[np.arange(len(start)), held] = wanted
    _improve(model, held, start, np.flatnonzero(near.any(-1)), distances, points)
    shape = traces.distance.shape
    return Traces(
        traces.held, traces.values, distances.reshape(shape), points.reshape(-1, steps, p)
    )


def _improve(
    model: LocalModel,
    held: NDArray[np.intp],
    start: Vector,
    tried: NDArray[np.intp],
    distances: Vector,
    points: Vector,
) -> None:
    """Solve from the starts of the rows that are tried; write what is lower into the last two."""
    found = solve(model, start[tried], held[tried], _NEXT)
    lower = found.distance < distances[tried]
    distances[tried[lower]] = found.distance[lower]
    points[tried[lower]] = found.points[lower]


def _lowest(found: Found, owner: NDArray[np.intp]) -> Found:
    """Return the lowest point of each owner; all have one."""
    order = np.lexsort((found.distance, owner))
    first = order[np.unique(owner[order], return_index=True)[1]]
    return Found(found.distance[first], found.points[first])


def _distinct(found: Found, owner: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return where the best few minima of different distance are, for each owner."""
    kept: list[int] = []
    for k in np.lexsort((found.distance, owner)).tolist():
        mine = [j for j in kept[-_BRANCHES:] if owner[j] == owner[k]]
        new = not mine or found.distance[k] > (1.0 + _SAME) * found.distance[mine[-1]]
        if new and len(mine) < _BRANCHES:
            kept.append(k)
    return np.array(kept)


def _random(
    model: LocalModel, held: int, value: float, rng: np.random.Generator, count: int
) -> Vector:
    """Return starts: deviations of the size of the held one or its root, the others anywhere.

    What moves the function in second order balances the held coordinate at the size of its root.
    """
    shape = (count, len(model.lower))
    size = np.where(np.arange(count)[:, None] % 2 == 0, abs(value), abs(value) ** 0.5)
    x = np.where(
        model.local,
        size * rng.standard_normal(shape),
        rng.uniform(model.lower, model.upper, shape),
    )
    x[:, held] = value
    return np.asarray(x)


def _predict(model: LocalModel, x: Vector, earlier: Vector, ratio: Vector) -> Vector:
    """Return the coordinates at t * ratio: deviations go on with the power they had.

    ``earlier`` are the coordinates at t / ratio, or nan where there are none.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        power = np.log(x / earlier) / np.log(ratio)[:, None]
    power = np.where(np.isfinite(power), np.clip(power, *_POWERS), 1.0)
    return np.where(model.local, x * ratio[:, None] ** power, x)
