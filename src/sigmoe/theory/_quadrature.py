"""Nodes and weights for population integrals over a box, exact enough for small distances.

Up to two dimensions: composite Gauss-Legendre rules, whose panels end at the kinks of the
integrand and shrink towards them. Beyond: a scrambled Sobol sequence, whose error is read off
independent scrambles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sigmoe._base.constraints import Interval, check
from sigmoe._base.errors import invalid
from sigmoe._base.seeds import Seed
from sigmoe.moe import MixingMeasure
from sigmoe.moe._experts import get_expert
from sigmoe.theory._points import integration_points

#: A kink alpha'x + beta = 0 of the integrand, as (alpha, beta).
Kink = tuple[Sequence[float], float]

#: Gauss-Legendre nodes of a panel.
_PER_PANEL = {1: 16, 2: 12}
#: Panels of an axis without kinks, at level 1.
_PANELS = {1: 4, 2: 2}
#: Panels towards a kink shrink by this factor ...
_SHRINK = 0.2
#: ... down to this share of the half width, and have so many nodes.
_FINEST = 1e-5
_PER_GRADED = 6
#: Points of a Sobol sequence at level 1.
_SOBOL = 2**11


@dataclass(frozen=True, eq=False)
class Quadrature:
    """Nodes and weights of an expectation over the inputs.

    Attributes
    ----------
    nodes : Tensor of shape (m, d), float64
    weights : Tensor of shape (m,), float64
        Positive, with sum 1.
    """

    nodes: Tensor
    weights: Tensor

    def mean(self, values: Tensor) -> Tensor:
        """Return the expectation of a function from its values (..., m) at the nodes."""
        return values @ self.weights

    def norm(self, values: Tensor) -> Tensor:
        """Return the root of the mean square of values (..., m) at the nodes."""
        return self.mean(values.square()).sqrt()


def box_quadrature(
    dim: int,
    half_width: float = 1.0,
    *,
    kinks: Sequence[Kink] = (),
    level: int = 1,
    seed: Seed = 0,
) -> Quadrature:
    """Return a rule for inputs that are uniform on [-half_width, half_width]^dim.

    Parameters
    ----------
    dim : int
        Input dimension d >= 1.
    half_width : float
        Half the box's edge, > 0.
    kinks : sequence of (alpha, beta)
        Where the integrand has kinks, alpha'x + beta = 0: panels end there and shrink towards
        it, so that a kink which moved a little is still resolved. Ignored for d >= 3.
    level : int
        Accuracy: panels an axis grow in proportion, Sobol points as 2^(2 level).
    seed : int or SeedSequence
        Scrambles the Sobol points (d >= 3).

    Returns
    -------
    Quadrature

    Raises
    ------
    InputError
        For a dimension, width or level out of range, or a kink of another dimension.

    Examples
    --------
    >>> rule = box_quadrature(1, 3.0)
    >>> round(float(rule.mean(rule.nodes[:, 0] ** 2)), 12)  # E X^2 = 3^2 / 3
    3.0
    """
    check("dim", dim, Interval("integer", 1), "Pass the number of input features.")
    check("half_width", half_width, Interval("number", 0.0, closed="neither"), "Pass its size.")
    check("level", level, Interval("integer", 1), "Use 1, or more for more nodes.")
    for alpha, _ in kinks:
        if len(alpha) != dim:
            raise invalid("kinks", f"pairs of {dim} slopes and a constant", alpha, "Count them.")
    if dim > 2:
        unit = integration_points(dim, _SOBOL * 4 ** (level - 1), seed)
        return Quadrature(half_width * unit, torch.full((len(unit),), 1.0 / len(unit)).double())
    # In units of the half width.
    scaled = [(np.asarray(alpha, float) * half_width, float(beta)) for alpha, beta in kinks]
    nodes, weights = _line(scaled, level) if dim == 1 else _square(scaled, level)
    return Quadrature(torch.from_numpy(half_width * nodes), torch.from_numpy(weights))


def kinks_of(*measures: MixingMeasure) -> list[Kink]:
    """Return where the experts of some measures have kinks; none if they are smooth."""
    kinks: dict[tuple[tuple[float, ...], float], Kink] = {}
    for measure in measures:
        d = measure.architecture.dim
        if get_expert(measure.architecture.expert).kinked:
            for row in measure.eta.reshape(-1, measure.architecture.n_expert_parameters).tolist():
                alpha = tuple(row[:d])
                kinks[alpha, row[d]] = alpha, row[d]
    return list(kinks.values())


_Scaled = list[tuple[NDArray[np.float64], float]]
_Rule = tuple[NDArray[np.float64], NDArray[np.float64]]


def _line(kinks: _Scaled, level: int) -> _Rule:
    at = [-beta / alpha[0] for alpha, beta in kinks if alpha[0] != 0.0]
    x, w = _panels([p for p in at if abs(p) < 1.0], [], 1, level)
    return x[:, None], w


def _square(kinks: _Scaled, level: int) -> _Rule:
    """Return an iterated rule: the inner variable is the one that crosses most kinks steeply."""
    slopes = np.array([np.abs(alpha) for alpha, _ in kinks]).reshape(-1, 2)
    inner = 1 if not len(slopes) or slopes[:, 1].sum() >= slopes[:, 0].sum() else 0
    outer = 1 - inner
    # Where a kink leaves the box through a side of the inner variable, its integral has a kink.
    corners = [
        -(beta + side * alpha[inner]) / alpha[outer]
        for alpha, beta in kinks
        if alpha[outer] != 0.0
        for side in (-1.0, 1.0)
    ]
    corners += _crossings(kinks, outer)
    x, w = _panels([], [p for p in corners if abs(p) < 1.0], 2, level)
    parts = []
    for value, weight in zip(x, w, strict=True):
        at = [
            -(beta + value * alpha[outer]) / alpha[inner]
            for alpha, beta in kinks
            if alpha[inner] != 0.0
        ]
        y, v = _panels([p for p in at if abs(p) < 1.0], [], 2, level)
        pair = np.empty((len(y), 2))
        pair[:, outer], pair[:, inner] = value, y
        parts.append((pair, weight * v))
    return np.concatenate([p for p, _ in parts]), np.concatenate([v for _, v in parts])


def _crossings(kinks: _Scaled, outer: int) -> list[float]:
    """Return where two kinks cross: two inner breaks change places there."""
    found = []
    for k, (alpha, beta) in enumerate(kinks):
        for other, constant in kinks[:k]:
            matrix = np.array([alpha, other])
            if abs(np.linalg.det(matrix)) > 1e-12 * np.abs(matrix).max() ** 2:
                found.append(float(np.linalg.solve(matrix, [-beta, -constant])[outer]))
    return found


def _panels(graded: list[float], plain: list[float], dim: int, level: int) -> _Rule:
    """Return a rule of total weight 1 on [-1, 1] with breaks, graded towards some of them."""
    count = _PANELS[dim] * level
    breaks = set(np.linspace(-1.0, 1.0, count + 1)) | set(plain)
    steps = _SHRINK ** (np.arange(1, _n_graded(level) + 1) / level)
    for at in graded:
        breaks |= {at} | {at + side * step for step in steps for side in (-1.0, 1.0)}
    # Breaks that rounding set apart are one.
    ends = sorted(p for p in breaks if -1.0 <= p <= 1.0)
    ends = [p for p, q in zip(ends, [*ends[1:], 3.0], strict=True) if q - p > 1e-14]
    x, w = np.polynomial.legendre.leggauss(_PER_GRADED if graded else _PER_PANEL[dim])
    middle = np.array([(a + b) / 2 for a, b in pairwise(ends)])
    half = np.array([(b - a) / 2 for a, b in pairwise(ends)])
    nodes = middle[:, None] + half[:, None] * x
    return nodes.ravel(), (half[:, None] * w / 2.0).ravel()


def _n_graded(level: int) -> int:
    return int(np.ceil(np.log(_FINEST) / np.log(_SHRINK))) * level
