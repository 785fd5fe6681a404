"""Whether the distance of an optimum is a minimum, or an infimum that is only approached."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from torch import Tensor

from sigmoe._base.constraints import Interval, check
from sigmoe._base.errors import invalid
from sigmoe._base.seeds import Seed
from sigmoe.moe import MixingMeasure, Sampler
from sigmoe.theory._inputs import require_moderate, require_single
from sigmoe.theory._points import MOST_POINTS, integration_points
from sigmoe.theory.projection._growth import Box, grow
from sigmoe.theory.projection._model import ProjectionModel
from sigmoe.theory.projection._verdict import judge

#: Radii of the growing boxes.
RADII = (1.25, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0)
#: Boxes that a verdict needs at least.
_FEWEST = 4
#: Evaluations of a solve, at least; after fewer an optimum that runs away has not moved yet.
_FEWEST_EVALUATIONS = 50
_STUCK = "An optimum that has not moved would look attained; 300 is the default."


@dataclass(frozen=True, eq=False)
class Attainment:
    """Whether an optimum is a minimum, with the sequence that says so.

    Attributes
    ----------
    verdict : {"attained", "at infinity", "by degenerate atoms", "undecided"}
        "attained": larger boxes leave the minimum where it is. "by degenerate atoms": the distance
        falls while atoms grow against each other, or gates close and their experts grow. "at
        infinity": it falls while parameters grow otherwise, such as gates that saturate or become
        steps. "undecided": the sequence shows none of these.
    reason : str
        What decided.
    radii : tuple of float
        Radii of the boxes; in the default box of a fit, radius 10, entries of A, b, eta are at
        most 10 and c at most 20, for inputs and responses of size 1.
    norms : tuple of float
        The largest parameter in units of the box: at most the radius. For softmax gates, whose
        first atom's gate is set to zero, of the differences to that atom.
    distances : tuple of float
        ||f - f_G*|| of the minimum in each box, at the same points.
    outward : tuple of float or None
        The smallest distance with the largest parameter of the last box held at this one's face;
        None where the minimum is at the faces anyway.
    cancellations : tuple of float
        Sum over atoms of the root mean square of gate times expert, over that of the truth.
    least_gates : tuple of float
        Smallest root mean square of a gate that contributes.
    minimisers : tuple of MixingMeasure
        The minimiser in each box.
    """

    verdict: str
    reason: str
    radii: tuple[float, ...]
    norms: tuple[float, ...]
    distances: tuple[float, ...]
    outward: tuple[float | None, ...]
    cancellations: tuple[float, ...]
    least_gates: tuple[float, ...]
    minimisers: tuple[MixingMeasure, ...]

    @property
    def measure(self) -> MixingMeasure:
        """Return the minimiser in the largest box."""
        return self.minimisers[-1]

    @property
    def slopes(self) -> tuple[float, ...]:
        """Return the slopes of log distance against log radius from box to box.

        A power law has one slope, a limit that is approached exponentially ever steeper ones; nan
        where a distance is zero.
        """
        pairs = zip(pairwise(self.distances), pairwise(self.radii), strict=True)
        return tuple(
            math.log(right / left) / math.log(wide / narrow) if left > 0 < right else math.nan
            for (left, right), (narrow, wide) in pairs
        )

    @property
    def summary(self) -> str:
        """Return the verdict, and a line for each box."""
        lines = [f"{self.verdict}: {self.reason}"]
        lines.append("  radius      norm   distance  contributions  least gate")
        rows = zip(
            self.radii,
            self.norms,
            self.distances,
            self.cancellations,
            self.least_gates,
            strict=True,
        )
        lines += [
            f"{radius:8g}  {norm:8.3g}  {distance:9.3g}  {cancellation:13.3g}  {gate:10.3g}"
            for radius, norm, distance, cancellation, gate in rows
        ]
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Return verdict, reason and sequence as plain numbers and lists, without the measures."""
        names = ("radii", "norms", "distances", "outward", "cancellations", "least_gates")
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            **{name: list(getattr(self, name)) for name in names},
        }


def attainment(
    member: MixingMeasure,
    truth: MixingMeasure,
    *,
    radii: Sequence[float] = RADII,
    n_points: int = 256,
    sampler: Sampler | None = None,
    seed: Seed = 0,
    evaluations: int = 300,
) -> Attainment:
    """Return whether a local best approximation is attained, by following it through growing boxes.

    Parameters
    ----------
    member : MixingMeasure
        A single measure: an optimum, such as a member of ``project``.
    truth : MixingMeasure
        G*, of the same inputs and responses; any architecture.
    radii : sequence of float
        Sizes of the boxes, at least four and increasing; the default box of a fit has radius 10.
    n_points : int
        Quasi-random points on which distances are taken; more than parameters.
    sampler : callable, optional
        (rng, n) to (n, d) inputs of another distribution mu; by default U[-1, 1]^d.
    seed : int or SeedSequence
        Scrambles the points.
    evaluations : int
        Limit on the evaluations of a solve, at least 50; there are up to four solves a box.

    Returns
    -------
    Attainment

    Raises
    ------
    InputError
        For batches, measures of other inputs or responses, radii that do not increase or are
        fewer than four, or too few points or evaluations.

    Notes
    -----
    The verdict is read off a finite sequence and is no proof. An optimum with parameters beyond a
    quarter of the last radius looks like one that runs away. Distances are taken at the points: an
    expert that is active in a small corner without points is missed, and ``project`` follows its
    members on part of the fitted ones.

    Examples
    --------
    A single softmax gate is 1, and a sigmoid gate never is: c grows without end.

    >>> from sigmoe.moe import Architecture
    >>> one = Architecture(gate="softmax", score="linear", expert="tanh", dim=1)
    >>> truth = MixingMeasure(one, None, [[0.0]], [0.0], [[1.5, 0.5]])
    >>> model = Architecture(gate="sigmoid", score="linear", expert="tanh", dim=1)
    >>> start = MixingMeasure(model, None, [[0.0]], [1.0], [[1.0, 0.0]])
    >>> attainment(start, truth).verdict
    'at infinity'
    """
    _check(member, truth, radii, evaluations)
    architecture = member.architecture
    parameters = architecture.n_parameters(member.n_experts)
    check(
        "n_points",
        n_points,
        Interval("integer", math.ceil(parameters / architecture.n_columns), MOST_POINTS),
        f"{parameters} parameters need more points; ten times as many are a good choice.",
    )
    X = integration_points(architecture.dim, n_points, seed, sampler)
    require_moderate(truth, X)
    return attainment_at(member, truth, X, radii, evaluations)


def attainment_at(
    member: MixingMeasure,
    truth: MixingMeasure,
    X: Tensor,
    radii: Sequence[float] = RADII,
    evaluations: int = 300,
) -> Attainment:
    """Return ``attainment`` at given points."""
    model = ProjectionModel.of(truth, member.architecture, member.n_experts, X)
    boxes = grow(model, model.coordinates(member), radii, evaluations)
    word, reason = judge(boxes, model.size)
    return _assemble(word, reason, boxes, model)


def _assemble(word: str, reason: str, boxes: list[Box], model: ProjectionModel) -> Attainment:
    return Attainment(
        verdict=word,
        reason=reason,
        radii=tuple(box.radius for box in boxes),
        norms=tuple(box.norm for box in boxes),
        distances=tuple(box.distance for box in boxes),
        outward=tuple(box.outward for box in boxes),
        cancellations=tuple(box.cancellation for box in boxes),
        least_gates=tuple(box.least_gate for box in boxes),
        minimisers=tuple(model.measure(box.x) for box in boxes),
    )


def require_comparable(name: str, measure: MixingMeasure, truth: MixingMeasure) -> None:
    """Raise InputError unless a measure has the truth's inputs and responses, both single."""
    require_single(name, measure)
    require_single("truth", truth)
    for field in ("dim", "n_outputs"):
        ours, theirs = getattr(measure.architecture, field), getattr(truth.architecture, field)
        if ours != theirs:
            raise invalid(
                name, f"of the truth's {field} {theirs}", ours, "Pass a member of project."
            )


def _rising(radii: object) -> bool:
    try:
        values = np.asarray(radii, dtype=float)
    except (TypeError, ValueError):
        return False
    if values.ndim != 1 or len(values) < _FEWEST:
        return False
    return bool(values[0] > 0 and (np.diff(values) > 0).all() and np.isfinite(values).all())


def _check(
    member: MixingMeasure, truth: MixingMeasure, radii: Sequence[float], evaluations: int
) -> None:
    require_comparable("member", member, truth)
    if not _rising(radii):
        raise invalid(
            "radii",
            f"at least {_FEWEST} increasing positive numbers",
            radii,
            "Each step should double the box; the default box of a fit has radius 10.",
        )
    check("evaluations", evaluations, Interval("integer", _FEWEST_EVALUATIONS), _STUCK)
