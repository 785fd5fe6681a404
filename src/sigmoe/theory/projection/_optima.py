"""One optimum of a projection: a fit from a start, and its distance where it was not fitted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sigmoe.estimation import Bounds, FitResult, fit_least_squares
from sigmoe.estimation._bounds import coordinate_limits, resolve_bounds
from sigmoe.estimation._sample import Sample
from sigmoe.moe import MixingMeasure
from sigmoe.theory._function_distance import root_mean_square

#: Distances below this share of the truth's own size are all taken as zero.
EXACT = 1e-6


@dataclass(frozen=True, eq=False)
class Optimum:
    """A local best approximation.

    Attributes
    ----------
    fit : FitResult
    distance : float
        ||f - f_G*|| on points that the fit did not see.
    error : float
        Its standard error as an integral.
    starts : int
        How many random starts ended here; 0 for one that was found otherwise.
    """

    fit: FitResult
    distance: float
    error: float
    starts: int

    @property
    def measure(self) -> MixingMeasure:
        """Return the approximation."""
        return self.fit.measure


@dataclass(frozen=True, eq=False)
class Problem:
    """What is approximated, where, and in which parameter space.

    Attributes
    ----------
    truth : MixingMeasure
    X : Tensor of shape (n, d)
        Points that are fitted.
    held_out : list of Tensor
        Other points, independently scrambled, from whose spread an error comes.
    bounds : Bounds, "default" or None
    max_iterations : int
        Of one fit.
    within : float
        Optima with a distance up to (1 + within) times the smallest one are kept.
    """

    truth: MixingMeasure
    X: Tensor
    held_out: list[Tensor]
    bounds: Bounds | str | None
    max_iterations: int
    within: float

    @cached_property
    def y(self) -> Tensor:
        """Return the truth's function at the points that are fitted."""
        return self.truth.predict(self.X)

    @property
    def size(self) -> float:
        """Return the root mean square of the truth's function."""
        return float(self.y.reshape(len(self.y), -1).norm()) / math.sqrt(len(self.y))

    @property
    def zero(self) -> float:
        """Return the distance below which a fit counts as exact."""
        return EXACT * self.size

    def fit(self, start: MixingMeasure, rows: int | None = None) -> FitResult:
        """Return least squares from a start, on all points or the first ones."""
        return fit_least_squares(
            self.X[:rows],
            self.y[:rows],
            start.architecture,
            start.n_experts,
            start=start,
            bounds=self.bounds,
            max_iterations=self.max_iterations,
        )

    def optimum(self, start: MixingMeasure, starts: int = 1) -> Optimum:
        """Return the optimum that a start leads to."""
        fit = self.fit(start)
        return Optimum(fit, *self.distance(fit.measure), starts)

    def distance(self, measure: MixingMeasure) -> tuple[float, float]:
        """Return ||f_G - f_G*|| on the held-out points, and its standard error."""
        squares = torch.stack(
            [root_mean_square(measure, self.truth, X).square() for X in self.held_out]
        )
        distance = float(squares.mean().sqrt())
        error = float(squares.std()) / math.sqrt(len(self.held_out))
        return distance, error / (2.0 * distance) if distance > 0 else 0.0

    def near(self, optima: Sequence[Optimum]) -> list[Optimum]:
        """Return the optima within reach of the best one, by distance."""
        ordered = sorted(optima, key=lambda optimum: optimum.distance)
        reach = (1.0 + self.within) * ordered[0].distance + self.zero
        return [optimum for optimum in ordered if optimum.distance <= reach]

    def inside(self, measure: MixingMeasure) -> MixingMeasure:
        """Return a measure with its entries cut off at the bounds of the parameter space."""
        box = resolve_bounds(self.bounds, Sample(self.X, self.y))
        architecture = measure.architecture
        lower, upper = coordinate_limits(box, architecture, measure.n_experts)
        theta = measure.coordinates
        cut = theta.flatten().clamp(lower, upper).reshape(theta.shape)
        return MixingMeasure.from_coordinates(architecture, cut)
