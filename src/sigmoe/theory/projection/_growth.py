"""One optimum followed through growing boxes, in which it stays where it is or runs away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sigmoe.theory.modulus._model import Vector
from sigmoe.theory.projection._model import ProjectionModel
from sigmoe.theory.projection._solve import Found, distance, solve

#: Measures with a norm above this share of the box's radius are at its faces.
AT_FACE = 0.99
#: Distances below this share of the truth's size are rounding.
FLOOR = 1e-11
#: A minimum at the face is taken if it is lower by this share: along a flat valley it is not.
_GAIN = 1e-9


@dataclass(frozen=True, eq=False)
class Box:
    """The minimum that was found in one box.

    Attributes
    ----------
    radius : float
        Of the box; the default box of a fit has radius 10.
    x : array of shape (p,)
        Coordinates of the minimiser.
    norm : float
        Its largest coordinate, in units in which the box's faces are at ``radius``; of atoms that
        contribute to the function.
    distance : float
        ||f - f*|| at the points.
    outward : float or None
        The same with the largest coordinate of the last box's minimiser held at this box's face:
        above ``distance`` if that coordinate is where it wants to be. None if the last minimiser
        was not asked, since the minimum lies at the faces anyway.
    cancellation : float
        Sum of the atoms' contributions, as a multiple of the truth's size.
    least_gate : float
        The smallest root mean square of a gate, among the atoms that contribute.
    saturated : bool
        Whether a large coordinate of an atom that contributes can be doubled for nothing: a gate
        that is 1 to rounding, or an expert that is constant.
    """

    radius: float
    x: Vector
    norm: float
    distance: float
    outward: float | None
    cancellation: float
    least_gate: float
    saturated: bool

    @property
    def at_face(self) -> bool:
        """Return whether the minimum lies at the faces of the box."""
        return self.norm >= AT_FACE * self.radius


def grow(
    model: ProjectionModel, member: Vector, radii: Sequence[float], evaluations: int
) -> list[Box]:
    """Return the minima in growing boxes, each from the last one and from an optimum.

    Parameters
    ----------
    model : ProjectionModel
        Its radius is not used.
    member : array of shape (p,)
        Coordinates of the optimum, clipped to the boxes that it is too large for.
    radii : sequence of float
        Increasing.
    evaluations : int
        Limit on the evaluations of one solve.
    """
    boxes: list[Box] = []
    for radius in radii:
        inside = model.within(radius)
        boxes.append(_minimum(inside, member, boxes[-2:], evaluations))
    return boxes


def _minimum(
    model: ProjectionModel, member: Vector, before: Sequence[Box], evaluations: int
) -> Box:
    """Return the minimum in the model's box, given those of up to two smaller ones."""
    starts = [np.clip(member, model.lower, model.upper)] + [box.x for box in before[-1:]]
    if before and not np.any(np.abs(member) > before[-1].radius * model.unit):
        # The smaller box held the optimum, and its minimum is no worse.
        starts = starts[1:]
    found = min(
        [Found(distance(model, x), x) for x in starts]
        + [solve(model, x, model.gauge, evaluations) for x in starts],
        key=_by_distance,
    )
    outward = None
    if before and model.relative(found.x).max() < AT_FACE * model.radius:
        beyond = _pushed_outward(model, before, evaluations)
        outward = beyond.distance
        if beyond.distance < (1.0 - _GAIN) * found.distance:
            found = beyond
    contributions, gates = model.contributions(found.x)
    relative = model.relative(found.x)
    active = relative.reshape(len(gates), -1).max(axis=1) > 0
    return Box(
        radius=model.radius,
        x=found.x,
        norm=float(relative.max()),
        distance=found.distance,
        outward=outward,
        cancellation=float(contributions.sum()),
        least_gate=float(gates[active].min()) if active.any() else 1.0,
        saturated=_saturated(model, found, relative),
    )


def _saturated(model: ProjectionModel, found: Found, relative: Vector) -> bool:
    """Return whether doubling one of the coordinates above the unit leaves the distance."""
    slack = _GAIN * found.distance + FLOOR * model.size
    for j in np.flatnonzero(relative > 1.0):
        doubled = found.x.copy()
        doubled[j] *= 2.0
        if abs(distance(model, doubled) - found.distance) <= slack:
            return True
    return False


def _pushed_outward(model: ProjectionModel, before: Sequence[Box], evaluations: int) -> Found:
    """Return the minimum with the last minimiser's largest coordinate held at this box's face.

    A narrow valley that leads to infinity is walked along far too slowly by any descent; held
    there, the coordinate takes the others with it. They begin where they were, or moved on in the
    direction of the last two minima.
    """
    last = before[-1].x
    j = int(model.relative(last).argmax())
    face = float(np.copysign(model.upper[j], last[j]))
    starts = [last.copy()]
    moved = last[j] - before[0].x[j]
    if len(before) > 1 and moved * face > 0:
        ahead = last + (face - last[j]) / moved * (last - before[0].x)
        starts.append(np.clip(ahead, model.lower, model.upper))
    held = [*model.gauge, j]
    for start in starts:
        start[j] = face
    return min((solve(model, start, held, evaluations) for start in starts), key=_by_distance)


def _by_distance(found: Found) -> float:
    return found.distance
