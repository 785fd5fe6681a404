"""The number of experts by a sweep: fit every N, compare by AIC or BIC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sigmoe._base.arrays import ArrayLike
from sigmoe._base.constraints import Choice, Interval, check
from sigmoe._base.errors import invalid
from sigmoe._base.seeds import Seed, child_seeds
from sigmoe.estimation._bounds import Bounds, resolve_bounds
from sigmoe.estimation._fit import fit_least_squares
from sigmoe.estimation._result import FitResult
from sigmoe.estimation._sample import Sample
from sigmoe.estimation.selection._criteria import InformationCriteria, comparison, judged
from sigmoe.estimation.selection._starts import grown_starts
from sigmoe.moe import Architecture, MixingMeasure

#: Iterations in which the starts grown from a smaller fit show what they are worth.
_TRIAL = 15


@dataclass(frozen=True, eq=False)
class SelectionPath:
    """The fits of a sweep over the number of experts, and the one that was chosen.

    Attributes
    ----------
    n_experts : tuple of int
        In increasing order.
    fits : tuple of FitResult
        The best fit of each size.
    criteria : tuple of InformationCriteria
    criterion : {"bic", "aic"}
    chosen : int
        The number of experts with the least value.
    reason : str
        How clear the choice is.
    """

    n_experts: tuple[int, ...]
    fits: tuple[FitResult, ...]
    criteria: tuple[InformationCriteria, ...]
    criterion: str
    chosen: int
    reason: str

    @property
    def values(self) -> dict[int, float]:
        """Return the criterion by number of experts."""
        pairs = zip(self.n_experts, self.criteria, strict=True)
        return {n: found.value(self.criterion) for n, found in pairs}

    def fit(self, n_experts: int) -> FitResult:
        """Return the fit with that number of experts."""
        if n_experts not in self.n_experts:
            rule = "one of " + ", ".join(str(n) for n in self.n_experts)
            raise invalid("n_experts", rule, n_experts, "Sweep over more sizes.")
        return self.fits[self.n_experts.index(n_experts)]

    @property
    def best(self) -> FitResult:
        """Return the chosen fit."""
        return self.fit(self.chosen)


def select_by_criterion(
    X: ArrayLike,
    y: ArrayLike,
    architecture: Architecture,
    n_experts: Sequence[int] = range(1, 6),
    criterion: str = "bic",
    *,
    n_starts: int = 10,
    n_grown: int = 4,
    bounds: Bounds | str | None = "default",
    seed: Seed = 0,
    sample_weight: ArrayLike | None = None,
    max_iterations: int = 200,
) -> SelectionPath:
    """Fit every number of experts and choose the one with the least AIC or BIC.

    Each size is fitted from random starts and, where the size below was fitted as well, from
    that fit with one expert more; the lower objective stays. Without the latter a poor optimum at
    some size can make a larger one look necessary.

    Parameters
    ----------
    X : array_like of shape (n, d)
    y : array_like of shape (n,) or (n, m)
    architecture : Architecture
    n_experts : sequence of int
        The sizes to compare, such as ``range(1, 6)``; order and repetitions do not matter.
    criterion : {"bic", "aic"}
        AIC aims at prediction and keeps more experts; BIC aims at the number itself.
    n_starts : int
        Random starts at each size.
    n_grown : int
        Starts grown from the fit below; 0 for none.
    bounds : Bounds, "default" or None
    seed : int or SeedSequence
    sample_weight : array_like of shape (n,), optional
        Non-negative weights; the criteria count the rows of positive weight.
    max_iterations : int
        Of each fit.

    Returns
    -------
    SelectionPath

    Raises
    ------
    InputError
        For bad data, an empty or unusable list of sizes, or an unknown criterion.

    Warns
    -----
    SigmoeWarning
        At sizes with more free parameters than responses.

    Examples
    --------
    >>> from sigmoe.moe import draw_sample
    >>> shape = Architecture(gate="softmax", score="linear", expert="linear", dim=1)
    >>> truth = MixingMeasure(shape, None, [[6.0], [0.0]], [0.0, 0.0], [[1.0, 0.0], [-1.0, 0.0]])
    >>> X, y = draw_sample(truth, 200, seed=0)
    >>> path = select_by_criterion(X, y, shape, range(1, 3), n_starts=3)
    >>> path.chosen, path.best.measure.n_experts
    (2, 2)
    """
    check("criterion", criterion, Choice(("bic", "aic")), "Choose one of the two.")
    check("n_grown", n_grown, Interval("integer", 0), "Use 0 for random starts only.")
    sizes = _sizes(n_experts)
    sample = Sample.checked(X, y, architecture, sample_weight)
    box = resolve_bounds(bounds, sample)
    sweep = Sweep(sample, architecture, box, n_starts, n_grown, max_iterations)
    # One seed a size, whatever other sizes are in the sweep.
    seeds = child_seeds(seed, "sizes", sizes[-1])
    fits: list[FitResult] = []
    for size in sizes:
        below = fits[-1].measure if fits and fits[-1].measure.n_experts == size - 1 else None
        fits.append(sweep.fit(size, below, seeds[size - 1]))
    criteria = tuple(
        judged(fit.objective, sample, architecture, fit.measure.n_experts) for fit in fits
    )
    values = {n: found.value(criterion) for n, found in zip(sizes, criteria, strict=True)}
    chosen = min(values, key=lambda n: (values[n], n))
    reason = comparison(criterion, chosen, values)
    return SelectionPath(sizes, tuple(fits), criteria, criterion, chosen, reason)


@dataclass(frozen=True)
class Sweep:
    """How one size is fitted."""

    sample: Sample
    architecture: Architecture
    box: Bounds
    n_starts: int
    n_grown: int
    max_iterations: int

    def fit(
        self, size: int, below: MixingMeasure | None, seed: np.random.SeedSequence
    ) -> FitResult:
        """Return the better of the fits from random starts and from grown ones."""
        random = self._run(size, "random", self.max_iterations, seed)
        if below is None or self.n_grown == 0:
            return random
        starts = grown_starts(below, self.sample, self.box, self.n_grown, seed)
        trials = [self._run(size, start, _TRIAL, seed) for start in starts]
        best = min(trials, key=lambda fit: fit.objective)
        grown = self._run(size, best.measure, self.max_iterations, seed)
        return min(random, grown, key=lambda fit: fit.objective)

    def _run(
        self,
        size: int,
        start: MixingMeasure | str,
        max_iterations: int,
        seed: np.random.SeedSequence,
    ) -> FitResult:
        return fit_least_squares(
            self.sample.X,
            self.sample.y,
            self.architecture,
            size,
            start,
            n_starts=self.n_starts,
            bounds=self.box,
            seed=seed,
            sample_weight=self.sample.weight,
            max_iterations=min(max_iterations, self.max_iterations),
        )


def _sizes(n_experts: Sequence[int]) -> tuple[int, ...]:
    sizes = list(n_experts)
    if not sizes:
        raise invalid("n_experts", "at least one size", sizes, "Write for example range(1, 6).")
    for size in sizes:
        check("n_experts", size, Interval("integer", 1), "Ask for at least one expert.")
    return tuple(sorted({int(size) for size in sizes}))
