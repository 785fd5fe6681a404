"""Following the constrained minimum of the distance down over decades of t."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sigmoe._base.seeds import Seed, child_seeds
from sigmoe.theory.modulus._model import LocalModel, Vector
from sigmoe.theory.modulus._solve import Found, distance, solve

#: Evaluations of one solve: from a random start, and from the minimiser at the last t.
_FIRST, _NEXT = 200, 120
#: Branches that are followed beside each other: the lowest one can change with t.
_BRANCHES = 3
#: Distances this close are taken as one branch's.
_SAME = 1e-3
#: Powers of t with which a coordinate is believed to move, when the next t is predicted.
_POWERS = (0.4, 6.0)
#: Points of other traces are tried if they hold the coordinate within this factor of t.
_NEAR = 2.0


@dataclass(frozen=True, eq=False)
class Trace:
    """The constrained minima along t, largest t first.

    Attributes
    ----------
    held : int
        The coordinate that is held.
    sign : float
        It is held at sign * t.
    t : array of shape (T,)
    distance : array of shape (T,)
        The smallest distance that was found.
    points : array of shape (T, p)
        Its coordinates.
    """

    held: int
    sign: float
    t: Vector
    distance: Vector
    points: Vector


def follow_all(
    model: LocalModel,
    held: Sequence[int],
    ts: Sequence[Vector],
    *,
    n_starts: int,
    floor: float,
    seed: Seed,
) -> list[Trace]:
    """Return the traces of several held coordinates, both signs each.

    A minimum for one coordinate is a start for the others, where it holds them near the wanted t:
    an entry of A that moves with the square of b is found in this way.
    """
    seeds = child_seeds(seed, "modulus", 2 * len(held))
    cases = [(h, s, t) for h, t in zip(held, ts, strict=True) for s in (1.0, -1.0)]
    traces = [
        _follow(model, h, s, t, n_starts, floor, np.random.default_rng(child))
        for (h, s, t), child in zip(cases, seeds, strict=True)
    ]
    for k, trace in enumerate(traces):
        traces[k] = _pooled(model, trace, traces, floor)
    return traces


def _follow(
    model: LocalModel,
    held: int,
    sign: float,
    ts: Vector,
    n_starts: int,
    floor: float,
    rng: np.random.Generator,
) -> Trace:
    """Return the minima with coordinate ``held`` at sign * t, for decreasing t down to a floor."""
    starts = [_random(model, held, sign * ts[0], rng) for _ in range(n_starts)]
    branches = _distinct([solve(model, start, held, _FIRST) for start in starts])
    earlier: dict[int, Vector] = {}
    best = [branches[0]]
    for last, t in pairwise(ts):
        if branches[0].distance <= floor:
            break
        ahead, before = [], {}
        for branch in branches:
            start = _predict(model, branch.x, earlier.get(id(branch.x)), t / last)
            start[held] = sign * t
            found = solve(model, start, held, _NEXT)
            before[id(found.x)] = branch.x
            ahead.append(found)
        branches, earlier = _distinct(ahead), before
        best.append(branches[0])
    return _upward(model, _trace(held, sign, ts[: len(best)], best))


def _upward(model: LocalModel, trace: Trace) -> Trace:
    """Return the trace after a way back up: a good minimum at small t leads to larger ones."""
    best = [Found(*pair) for pair in zip(trace.distance.tolist(), trace.points, strict=True)]
    for k in range(len(best) - 2, -1, -1):
        past = best[k + 2].x if k + 2 < len(best) else None
        start = _predict(model, best[k + 1].x, past, trace.t[k] / trace.t[k + 1])
        start[trace.held] = trace.sign * trace.t[k]
        inside = np.clip(start, model.lower, model.upper)
        # Where the start promises nothing, a solve would be wasted.
        if distance(model, inside) < 10.0 * best[k].distance:
            best[k] = min(best[k], solve(model, start, trace.held, _NEXT), key=_by_distance)
    return _trace(trace.held, trace.sign, trace.t, best)


def _pooled(model: LocalModel, trace: Trace, others: Sequence[Trace], floor: float) -> Trace:
    """Return the trace with what the minima of other traces lead to."""
    points = np.concatenate([other.points for other in others])
    distances = np.concatenate([other.distance for other in others])
    values = trace.sign * points[:, trace.held]
    best, changed = [], False
    for t, old, x in zip(trace.t, trace.distance.tolist(), trace.points, strict=True):
        near = (values > t / _NEAR) & (values < t * _NEAR) & (distances < _NEAR * old)
        found = Found(old, x)
        if old > floor and near.any():
            k = int(np.flatnonzero(near)[distances[near].argmin()])
            start = points[k].copy()
            start[trace.held] = trace.sign * t
            other = solve(model, start, trace.held, _NEXT)
            changed |= other.distance < (1.0 - _SAME) * old
            found = min(found, other, key=_by_distance)
        best.append(found)
    new = _trace(trace.held, trace.sign, trace.t, best)
    return _upward(model, new) if changed else trace


def _trace(held: int, sign: float, ts: Vector, best: Sequence[Found]) -> Trace:
    distances = np.array([found.distance for found in best])
    return Trace(held, sign, np.asarray(ts), distances, np.array([found.x for found in best]))


def _by_distance(found: Found) -> float:
    return found.distance


def _random(model: LocalModel, held: int, value: float, rng: np.random.Generator) -> Vector:
    """Return a start: deviations of the size of the held one, the others anywhere in the box."""
    x = np.where(
        model.local,
        abs(value) * rng.standard_normal(len(model.lower)),
        rng.uniform(model.lower, model.upper),
    )
    x[held] = value
    return np.asarray(x)


def _predict(model: LocalModel, x: Vector, earlier: Vector | None, ratio: float) -> Vector:
    """Return the coordinates at t * ratio: deviations go on with the power they had."""
    power = np.ones(len(x))
    if earlier is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            # The step before had the same ratio of t.
            power = np.log(x / earlier) / np.log(ratio)
        power = np.where(np.isfinite(power), np.clip(power, *_POWERS), 1.0)
    return np.where(model.local, x * ratio**power, x)


def _distinct(found: Sequence[Found]) -> list[Found]:
    """Return the best few minima of different distance, lowest first."""
    kept: list[Found] = []
    for one in sorted(found, key=_by_distance):
        if all(one.distance > (1.0 + _SAME) * other.distance for other in kept):
            kept.append(one)
    return kept[:_BRANCHES]
