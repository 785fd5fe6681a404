"""From the outcomes of folds to one line a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, nan, sqrt

import numpy as np
from benchmarks.real_data.measure import ABSENT, OK, Outcome
from benchmarks.real_data.models import REFERENCE
from scipy.stats import t as student


@dataclass(frozen=True)
class Ratio:
    """A ratio of root mean squared errors with its interval of 95 %."""

    centre: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """Return "better", "worse" or "same": whether the interval leaves out 1."""
        if self.high < 1.0:
            return "better"
        return "worse" if self.low > 1.0 else "same"


@dataclass(frozen=True)
class Line:
    """A model on a table.

    Attributes
    ----------
    ended : str
        "ok", "not installed", or how many folds failed.
    r2 : float
        One minus the error over that of the training mean, over all test rows.
    ratio : Ratio or None
        Against ridge, paired over the folds where both came through.
    seconds : float
        Median time of a fit.
    unconverged : int
        Fits that warned.
    coverage, width : float
        Of conformal intervals; the width is over that of ridge.
    interval_failures : int
        Folds where the intervals failed.
    experts : dict
        How often each number of experts was chosen.
    """

    table: str
    model: str
    ended: str
    n_folds: int
    n_failed: int = 0
    r2: float = nan
    ratio: Ratio | None = None
    seconds: float = nan
    unconverged: int = 0
    coverage: float = nan
    width: float = nan
    interval_failures: int = 0
    experts: dict[int, int] | None = None


def corrected_interval(
    differences: Sequence[float], test_share: float, level: float = 0.95
) -> tuple[float, float, float]:
    """Return the mean of paired differences with Nadeau and Bengio's corrected interval.

    Folds share training rows, so their differences are not independent: the variance of the mean
    is (1 / J + n_test / n_train) times the variance over the J folds, not 1 / J times it.
    """
    values = np.asarray(differences, dtype=np.float64)
    J = len(values)
    centre = float(values.mean())
    if J < 2:
        return centre, nan, nan
    error = sqrt((1.0 / J + test_share) * float(values.var(ddof=1)))
    half = float(student.ppf(0.5 + level / 2.0, J - 1)) * error
    return centre, centre - half, centre + half


def error_ratio(outcomes: Sequence[Outcome], reference: Sequence[Outcome]) -> Ratio | None:
    """Return the geometric mean over folds of the RMSE over the reference's."""
    by_fold = {(o.repeat, o.fold): o for o in reference if o.ended == OK}
    pairs = [(o, by_fold[o.repeat, o.fold]) for o in outcomes if (o.repeat, o.fold) in by_fold]
    pairs = [(o, r) for o, r in pairs if o.ended == OK]
    if not pairs:
        return None
    differences = [0.5 * log(o.mse / r.mse) for o, r in pairs]
    share = float(np.mean([o.n_test / o.n_train for o, _ in pairs]))
    return Ratio(*(exp(value) for value in corrected_interval(differences, share)))


def make_line(outcomes: Sequence[Outcome], reference: Sequence[Outcome]) -> Line:
    """Return the line of one model on one table."""
    first, J = outcomes[0], len(outcomes)
    good = [o for o in outcomes if o.ended == OK]
    failed = sum(o.ended not in (OK, ABSENT) for o in outcomes)
    ended = first.ended if first.ended == ABSENT else (f"{failed} failed" if failed else OK)
    if not good:
        return Line(first.table, first.model, ended, J, failed)
    coverage, width = coverage_and_width(good)
    _, unit = coverage_and_width(reference)
    rows = np.array([o.n_test for o in good])
    errors, baselines = np.array([[o.mse, o.baseline] for o in good]).T
    return Line(
        first.table,
        first.model,
        ended,
        J,
        failed,
        r2=1.0 - float(rows @ errors) / float(rows @ baselines),
        ratio=error_ratio(outcomes, reference),
        seconds=float(np.median([o.seconds for o in good])),
        unconverged=sum(not o.converged for o in good),
        coverage=coverage,
        width=width / unit,
        interval_failures=sum(o.interval is not None and o.interval.ended != OK for o in good),
        experts=dict(sorted(Counter(o.n_experts for o in good if o.n_experts).items())),
    )


def coverage_and_width(outcomes: Sequence[Outcome]) -> tuple[float, float]:
    """Return the share of covered test rows and the mean width; nan without intervals."""
    found = [o.interval for o in outcomes if o.interval is not None and o.interval.ended == OK]
    if not found:
        return nan, nan
    share = sum(i.covered for i in found) / sum(i.rows for i in found)
    return share, float(np.mean([i.width for i in found]))


def make_lines(outcomes: Sequence[Outcome]) -> list[Line]:
    """Return a line for each table and model, in their order."""
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault((outcome.table, outcome.model), []).append(outcome)
    return [
        make_line(group, groups.get((table, REFERENCE), [])) for (table, _), group in groups.items()
    ]
