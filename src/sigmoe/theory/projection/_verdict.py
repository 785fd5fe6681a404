"""What a sequence of minima in growing boxes says about the infimum: one pure rule."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from sigmoe.theory.projection._growth import FLOOR, Box

ATTAINED, AT_INFINITY, DEGENERATE, UNDECIDED = VERDICTS = (
    "attained",
    "at infinity",
    "by degenerate atoms",
    "undecided",
)

#: A distance that falls by less than this share from box to box has settled.
_FALL = 1e-6
#: Settled for so many steps in a row: a minimum.
_SETTLED = 2
#: Falling for so many steps in a row: a trend.
_TREND = 3
#: A norm that runs away grows by this factor at least, in each step of a trend.
_GROWTH = 1.1
#: A distance that rises by this share where a coordinate is pushed outward pins it.
_PINNED = 1e-4
#: Contributions that grow, or gates that close, by these factors over two steps are degenerate.
_BLOWN_UP, _CLOSED = 1.5, 0.25


class Verdict(NamedTuple):
    """One of ``VERDICTS``, and why."""

    word: str
    reason: str


def judge(boxes: Sequence[Box], size: float) -> Verdict:
    """Return whether the infimum is attained, from the minima in growing boxes.

    Parameters
    ----------
    boxes : sequence of Box
        Radii increase.
    size : float
        Of the truth's function, to which distances are compared.
    """
    floor = FLOOR * size
    falls = [
        left.distance > floor and right.distance < (1.0 - _FALL) * left.distance
        for left, right in pairwise(boxes)
    ]
    onset = max((k + 1 for k, fell in enumerate(falls) if fell), default=0)
    trend = _trend(falls, onset)
    growing = trend > 0 and all(
        right.norm >= _GROWTH * left.norm
        for left, right in pairwise(boxes[onset - min(trend, _TREND) : onset + 1])
    )
    settled = len(boxes) - 1 - onset >= _SETTLED
    if settled and _stays(boxes, onset, size):
        return Verdict(
            ATTAINED,
            f"the same minimum in every box from radius {boxes[onset].radius:g} on",
        )
    if growing and trend >= _SETTLED and boxes[onset].saturated:
        return Verdict(
            AT_INFINITY,
            f"parameters grow until a gate or an expert is constant to rounding, at radius "
            f"{boxes[onset].radius:g}",
        )
    if growing and trend >= (_SETTLED if settled else _TREND):
        return _manner(boxes[onset - 2 : onset + 1])
    if growing:
        reason = f"it grew with the box and the distance fell, but for {trend} steps only"
    elif settled:
        reason = "the distance settled, but not at a minimum inside a box"
    else:
        reason = "the distance still falls while the parameters hardly grow: a slow descent"
    return Verdict(UNDECIDED, reason)


def _trend(falls: Sequence[bool], onset: int) -> int:
    """Return for how many steps in a row the distance fell before it settled."""
    first = onset
    while first > 0 and falls[first - 1]:
        first -= 1
    return onset - first


def _stays(boxes: Sequence[Box], onset: int, size: float) -> bool:
    """Return whether a distance that settled belongs to a minimum, not to a limit."""
    there, after = boxes[onset], boxes[onset + 1 :]
    if there.saturated:
        return False
    wall = (1.0 + _PINNED) * there.distance + FLOOR * size
    if any(box.outward is not None and box.outward > wall for box in boxes[onset:]):
        return True
    if there.distance <= FLOOR * size:
        # Exact: larger boxes may only show other measures of the same function.
        return True
    return not there.at_face and all(box.norm < _GROWTH * there.norm for box in after)


def _manner(boxes: Sequence[Box]) -> Verdict:
    """Return in which way an optimum runs away, from its last falling steps."""
    first, last = boxes[0], boxes[-1]
    if last.cancellation > _BLOWN_UP * first.cancellation:
        return Verdict(
            DEGENERATE,
            f"atoms grow against each other: their contributions add up to {last.cancellation:.3g} "
            f"times the function's size at radius {last.radius:g}, {first.cancellation:.3g} "
            f"at {first.radius:g}",
        )
    if last.least_gate < _CLOSED * first.least_gate:
        return Verdict(
            DEGENERATE,
            f"a gate closes while its expert grows: its size is {last.least_gate:.3g} at radius "
            f"{last.radius:g}, {first.least_gate:.3g} at {first.radius:g}",
        )
    return Verdict(
        AT_INFINITY,
        f"parameters grow to {last.norm:.3g} at radius {last.radius:g}, and the distance falls "
        f"from {first.distance:.3g} at {first.radius:g} to {last.distance:.3g}",
    )
