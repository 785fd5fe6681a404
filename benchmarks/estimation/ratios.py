"""What may be said about two solvers' times: when a run counts, and medians over seeds.

A solver reaches a problem's objective when it comes within 1e-6, relative, of the lowest value
that any solver found for the same sample. A ratio of times is formed only where both solvers
reached it. A peer that ran out of its time gives a lower bound; one that stopped elsewhere missed.

Kinked and sparse problems have many optima a little apart, and each solver ends in its own. The
second reading is for them: the time of each to the worse of their two ends, which both reached.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from benchmarks.estimation.one_run import Outcome

WITHIN = 1e-6
#: Start objectives of two solvers may differ by this much, relative.
AGREE = 1e-10


@dataclass(frozen=True)
class Reading:
    """One run as it counts: "reached" and "limit" come with seconds, other words without."""

    word: str
    seconds: float = inf


@dataclass(frozen=True)
class Cell:
    """A peer against ours on one problem, over seeds.

    Attributes
    ----------
    ratio : float or None
        Median of peer's seconds over ours, over the seeds that count; None if there is none.
    bound : bool
        Whether the ratio is only a lower bound.
    counted, missed : int
        Seeds that count, and seeds that the peer missed while ours reached.
    word : str
        What to print where there is no ratio.
    """

    ratio: float | None
    bound: bool = False
    counted: int = 0
    missed: int = 0
    word: str = ""

    def __str__(self) -> str:
        if self.ratio is None:
            return self.word
        text = f"{'> ' if self.bound else ''}{self.ratio:.3g}"
        return f"{text} ({self.missed} missed)" if self.missed else text


def best_known(outcomes: Sequence[Outcome]) -> float:
    """Return the lowest objective that any of the solvers found on one sample."""
    return min((o.trace[-1][1] for o in outcomes if o.trace), default=inf)


def seconds_to(target: float, trace: Sequence[Sequence[float]]) -> float:
    """Return the first time at which a trace is at or below the target; infinity if never."""
    return next((seconds for seconds, value in trace if value <= target), inf)


def disagreeing(outcomes: Sequence[Outcome], reference: float) -> list[str]:
    """Return the solvers whose objective at the start is not the reference, of one sample."""
    return [
        o.solver
        for o in outcomes
        if o.first is not None and not abs(o.first - reference) <= AGREE * abs(reference)
    ]


def read(outcome: Outcome, best: float) -> Reading:
    """Return how a run counts, given the best known objective of its sample."""
    seconds = seconds_to(best * (1.0 + WITHIN), outcome.trace)
    if seconds < inf:
        return Reading("reached", seconds)
    if outcome.ended == "limit":
        return Reading("limit", max(outcome.seconds, outcome.limit))
    if outcome.ended in ("stopped", "still"):
        return Reading("missed")
    return Reading(outcome.ended)


def fastest(readings: Sequence[Reading]) -> Reading:
    """Return the best of several peers on one sample.

    A peer that ran out of time might have been next: if its bound is the least, that is all that
    is known.
    """
    timed = [reading for reading in readings if reading.word in ("reached", "limit")]
    if timed:
        return min(timed, key=lambda reading: reading.seconds)
    missed = any(reading.word == "missed" for reading in readings)
    return Reading("missed" if missed or not readings else readings[0].word)


def compare(ours: Sequence[Reading], peer: Sequence[Reading]) -> Cell:
    """Return the cell of a peer; both sequences run over the same seeds."""
    pairs = [(a, b) for a, b in zip(ours, peer, strict=True) if a.word == "reached"]
    if not pairs:
        return Cell(None, word="ours missed")
    missed = sum(b.word == "missed" for _, b in pairs)
    ratios = [
        (b.seconds / a.seconds, b.word == "limit")
        for a, b in pairs
        if b.word in ("reached", "limit")
    ]
    if not ratios:
        return Cell(None, missed=missed, word=pairs[0][1].word)
    ratio, bound = censored_median(ratios)
    return Cell(ratio, bound, len(ratios), missed)


def compare_to_common(ours: Sequence[Outcome], peer: Sequence[Outcome]) -> Cell:
    """Return a peer's cell at the worse of the two final objectives of each sample.

    Both sequences run over the same seeds. ``missed`` counts the seeds on which the peer ended
    above ours.
    """
    pairs = [(a, b) for a, b in zip(ours, peer, strict=True) if a.trace and b.trace]
    if not pairs:
        return Cell(None, word=peer[0].ended)
    ratios, missed = [], 0
    for a, b in pairs:
        end_a, end_b = a.trace[-1][1], b.trace[-1][1]
        target = max(end_a, end_b) * (1.0 + WITHIN)
        ratios.append((seconds_to(target, b.trace) / seconds_to(target, a.trace), False))
        missed += end_b > end_a * (1.0 + WITHIN)
    return Cell(censored_median(ratios)[0], False, len(ratios), missed)


def censored_median(values: Sequence[tuple[float, bool]]) -> tuple[float, bool]:
    """Return the median of values of which some are lower bounds, and whether it is one too.

    A bound below the median may hide a value above it, so that the median of all numbers is a
    lower bound; a bound above the median cannot move it.
    """
    ordered = sorted(values)
    middle = len(ordered) // 2
    lower = ordered[middle] if len(ordered) % 2 else ordered[middle - 1]
    upper = ordered[middle]
    ratio = (lower[0] + upper[0]) / 2
    return ratio, any(bound for value, bound in ordered if value <= upper[0])
