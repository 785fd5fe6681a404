"""What ``project`` returns: the members, and the questions that can be asked of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from torch import Tensor

from sigmoe._base.constraints import Interval, check
from sigmoe.moe import MixingMeasure
from sigmoe.theory._function_distance import root_mean_square
from sigmoe.theory._inputs import require_single
from sigmoe.theory._representations import MOST_ATOMS, nearest_representations
from sigmoe.theory._set_loss import SetLoss, set_loss
from sigmoe.theory.projection._attainment import Attainment, attainment_at
from sigmoe.theory.projection._distinct import group_measures, label_functions
from sigmoe.theory.projection._exact import exact_member
from sigmoe.theory.projection._growth import FLOOR
from sigmoe.theory.projection._optima import EXACT, Optimum, Problem
from sigmoe.theory.projection._verdict import ATTAINED

#: Members of so many functions are followed through growing boxes, the best ones.
_FOLLOWED = 3
#: Points on which they are followed, for each input and parameter.
_PER_INPUT, _PER_PARAMETER = 256, 8
#: Limits of distances that agree to this share are one infimum.
_SAME_LIMIT = 1e-6
#: An optimum in a growing box is better than a member if its distance is smaller by this share.
_BETTER = 1e-4


@dataclass(frozen=True, eq=False)
class BestApproximations:
    """Distinct near-optimal approximations of a truth in a model.

    Attributes
    ----------
    truth : MixingMeasure
        G*.
    members : tuple of MixingMeasure
        Distinct near-optima, the best one first; distinct modulo the order of atoms, and the
        common translation of softmax gates.
    distances : tuple of float
        ||f_Gbar - f_G*|| in L2(mu) of each member, on points that the fits did not see.
    distance_errors : tuple of float
        Standard errors of these distances as integrals.
    fitted_distances : tuple of float
        The same on the points that were fitted; smaller, and the more so the fewer the points.
        Their squares are the objectives.
    statuses : tuple of str
        How each member's fit ended, see ``FitResult``.
    active_bounds : tuple of tuple of str
        Entries at a bound, such as "A[2,0,1] at upper bound 10": a sign that the infimum is
        approached at infinity, or not attained.
    counts : tuple of int
        How many starts ended at each member; 0 for one that ``refined`` added.
    functions : tuple of int
        Which function each member has, 0, 1, ...: measures that differ by an identity, such as
        sigmoid(s) + sigmoid(-s) = 1 or the sign of an expert, share one.
    n_starts : int
        All starts; those in no member ended in worse optima.
    exact : MixingMeasure or None
        A measure of the model with the truth's function, where a closed form is known.
    size : float
        (E |f_G*(X)|^2)^(1/2), to compare distances with.
    """

    truth: MixingMeasure = field(repr=False)
    members: tuple[MixingMeasure, ...]
    distances: tuple[float, ...]
    distance_errors: tuple[float, ...]
    fitted_distances: tuple[float, ...]
    statuses: tuple[str, ...]
    active_bounds: tuple[tuple[str, ...], ...]
    counts: tuple[int, ...]
    functions: tuple[int, ...]
    n_starts: int
    exact: MixingMeasure | None
    size: float
    _optima: tuple[Optimum, ...] = field(repr=False)
    _problem: Problem = field(repr=False)

    @classmethod
    def of(cls, optima: Sequence[Optimum], problem: Problem, n_starts: int) -> BestApproximations:
        """Return the distinct ones of optima that are within reach of the best."""
        near = problem.near(optima)
        groups = group_measures([optimum.measure for optimum in near])
        best = tuple(
            replace(near[group[0]], starts=sum(near[k].starts for k in group)) for group in groups
        )
        measures = tuple(optimum.measure for optimum in best)
        distances = tuple(optimum.distance for optimum in best)
        return cls(
            truth=problem.truth,
            members=measures,
            distances=distances,
            distance_errors=tuple(optimum.error for optimum in best),
            fitted_distances=tuple(math.sqrt(optimum.fit.objective) for optimum in best),
            statuses=tuple(optimum.fit.status for optimum in best),
            active_bounds=tuple(optimum.fit.active_bounds for optimum in best),
            counts=tuple(optimum.starts for optimum in best),
            functions=label_functions(measures, distances, problem.zero, problem.held_out[0]),
            n_starts=n_starts,
            exact=exact_member(problem.truth, measures[0].architecture, measures[0].n_experts),
            size=problem.size,
            _optima=best,
            _problem=problem,
        )

    @property
    def n_optima(self) -> int:
        """Return how many distinct functions the members have."""
        return len(set(self.functions))

    @cached_property
    def attainments(self) -> dict[int, Attainment]:
        """Return what growing boxes say of the best members, by their positions.

        One member of each function, three at most; computed when first asked for, which takes
        seconds.
        """
        firsts = [self.functions.index(label) for label in range(min(self.n_optima, _FOLLOWED))]
        return {k: attainment_at(self.members[k], self.truth, self._points) for k in firsts}

    @property
    def _points(self) -> Tensor:
        """Return the points on which members are followed, the first ones that were fitted."""
        member = self.members[0]
        parameters = member.architecture.n_parameters(member.n_experts)
        rows = max(_PER_INPUT * member.architecture.dim, _PER_PARAMETER * parameters)
        return self._problem.X[:rows]

    @cached_property
    def _better(self) -> list[MixingMeasure]:
        """Return what growing boxes found inside the parameter space that is better than a member.

        A minimum outside it, where an infimum at infinity is approached, is cut off at the bounds.
        """
        found = []
        for k, attainment in self.attainments.items():
            inside = [self._problem.inside(measure) for measure in attainment.minimisers]
            near, *others = (
                float(root_mean_square(measure, self.truth, self._points))
                for measure in (self.members[k], *inside)
            )
            if min(others) < (1.0 - _BETTER) * near - self._problem.zero:
                found.append(inside[others.index(min(others))])
        return found

    @cached_property
    def refined(self) -> BestApproximations:
        """Return the members together with the better optima that growing boxes found.

        Following a member through growing boxes is a search, too, and may end at a better optimum
        inside the parameter space than the random starts did. Each such optimum is fitted to all
        points, as a start's is, and the members are chosen anew. These approximations themselves
        if there is none; computes ``attainments``.

        Examples
        --------
        >>> from sigmoe.moe import Architecture, draw_truth
        >>> from sigmoe.theory import project
        >>> truth = draw_truth(Architecture(gate="softmax", expert="relu", dim=1), 3, seed=1)
        >>> model = Architecture(expert="relu", dim=1)
        >>> found = project(truth, model, 1, n_starts=1, n_points=256, max_iterations=2)
        >>> found.refined.distances[0] < found.distances[0]
        True
        """
        if not self._better:
            return self
        added = [self._problem.optimum(start, starts=0) for start in self._better]
        return BestApproximations.of([*self._optima, *added], self._problem, self.n_starts)

    @property
    def attained(self) -> str:
        """Return whether the infimum is attained: a verdict of ``Attainment``.

        "attained" without a search if ``exact`` is known; else the verdict of the member whose
        distance in the largest box is smallest, "attained" if one of several equal ones is. So it
        is a verdict on the best optimum that was found: if the search missed a better one, it says
        nothing of the infimum.
        """
        if self.exact is not None:
            return ATTAINED
        followed = sorted(self.attainments.values(), key=lambda found: found.distances[-1])
        reach = (1.0 + _SAME_LIMIT) * followed[0].distances[-1] + FLOOR * self.size
        near = [found.verdict for found in followed if found.distances[-1] <= reach]
        return ATTAINED if ATTAINED in near else near[0]

    def set_loss(self, fitted: MixingMeasure, kind: str = "L3", within: float = 0.01) -> SetLoss:
        """Return the loss between a fit and the nearest best approximation that is known.

        Parameters
        ----------
        fitted : MixingMeasure
            A single measure of the model.
        kind : str
            "L3", or "L5" for the partial score; see ``voronoi_loss``.
        within : float
            Members with a distance up to (1 + within) times the smallest one count as best.

        Returns
        -------
        SetLoss
            Members are named by their positions, "0", "1", ...; the measure ``exact`` is named
            "exact". If the model holds the truth, the closed forms of
            ``nearest_representations`` are members too, by their names.

        Notes
        -----
        Gbar can have more members than are known here; the loss to all of them is at most this.

        Examples
        --------
        >>> from sigmoe.moe import Architecture, draw_truth
        >>> from sigmoe.theory import project
        >>> truth = draw_truth(Architecture(score="partial", expert="tanh", dim=1), 1, seed=2)
        >>> found = project(truth, truth.architecture, 1, n_starts=3, n_points=256)
        >>> float(found.set_loss(truth, "L5"))
        0.0
        """
        require_single("fitted", fitted)
        check("within", within, Interval("number", 0.0), "Use 0 for the best members alone.")
        least = 0.0 if self.exact is not None else self.distances[0]
        reach = (1.0 + within) * least + EXACT * self.size
        named = {
            str(k): member
            for k, (member, distance) in enumerate(zip(self.members, self.distances, strict=True))
            if distance <= reach
        }
        if self.exact is not None:
            named["exact"] = self.exact
            if self._has_representations(fitted):
                named |= nearest_representations(fitted, self.truth)
        return set_loss(fitted, named, kind)

    def _has_representations(self, fitted: MixingMeasure) -> bool:
        """Return whether the closed forms apply to the truth and this fit."""
        same = fitted.architecture == self.truth.architecture and not fitted.batch_shape
        sigmoid = self.truth.architecture.gate == "sigmoid"
        return same and sigmoid and self.truth.n_experts <= fitted.n_experts <= MOST_ATOMS

    @property
    def summary(self) -> str:
        """Return the verdict and a line for each member; computes ``attainments``."""
        known = " (a closed form is known)" if self.exact is not None else ""
        lines = [
            f"infimum: {self.attained}{known}",
            f"distinct optima: {self.n_optima} functions, {len(self.members)} measures, from "
            f"{sum(self.counts)} of {self.n_starts} starts",
            "member  function  starts  distance    of size  fit",
        ]
        for k, distance in enumerate(self.distances):
            lines.append(
                f"{k:6d}  {self.functions[k]:8d}  {self.counts[k]:6d}  {distance:8.3g}"
                f"  {self._share(distance):9.2g}  {self.statuses[k]}"
            )
        for k, found in self.attainments.items():
            lines.append(f"member {k} in growing boxes: {found.summary}")
        if self._better:
            lines.append("growing boxes found a better optimum than a member: see refined")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Return all but the measures as plain numbers, strings and lists."""
        return {
            "attained": self.attained,
            "n_optima": self.n_optima,
            "n_starts": self.n_starts,
            "size": self.size,
            "exact": self.exact is not None,
            "members": [
                {
                    "function": self.functions[k],
                    "starts": self.counts[k],
                    "distance": distance,
                    "distance_error": self.distance_errors[k],
                    "objective": self.fitted_distances[k] ** 2,
                    "status": self.statuses[k],
                    "active_bounds": list(self.active_bounds[k]),
                }
                for k, distance in enumerate(self.distances)
            ],
            "attainments": [
                {"member": k, **found.as_dict()} for k, found in self.attainments.items()
            ],
        }

    def _share(self, distance: float) -> float:
        return distance / self.size if self.size > 0 else distance
