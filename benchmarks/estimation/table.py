"""The benchmark's words: the table of ratios, and the lines on iterations and memory."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from benchmarks.estimation.one_run import MEMORY, Outcome
from benchmarks.estimation.problems import Problem
from benchmarks.estimation.ratios import (
    Cell,
    Reading,
    best_known,
    compare,
    compare_to_common,
    disagreeing,
    fastest,
    read,
)
from benchmarks.estimation.solvers import SOLVERS, Solver

#: Goals: an iteration over its products, and MB that a fit adds to its data.
ITERATION_GOAL, MEMORY_GOAL = 2.0, 200.0
PEERS = tuple(solver for solver in SOLVERS if solver.kind != "ours")
USER_PEERS = tuple(solver for solver in SOLVERS if solver.kind == "user")
_WIDTH = 22


@dataclass(frozen=True)
class Row:
    """One problem, read: our times by seed, each peer's cell, and the best user peer's.

    ``common`` has the cells at the worse of the two ends, and ``best_common`` the least of them.
    """

    problem: str
    ours: tuple[Reading, ...]
    cells: dict[str, Cell]
    best_user: Cell
    common: dict[str, Cell]
    best_common: Cell
    disagree: tuple[str, ...] = ()

    @property
    def missed(self) -> int:
        """Return on how many seeds ours did not reach the best known objective."""
        return sum(reading.word != "reached" for reading in self.ours)

    def to_json(self) -> dict[str, object]:
        """Return what the table shows, for the JSON file."""
        return {
            "problem": self.problem,
            "ours": [vars(reading) for reading in self.ours],
            "cells": {name: vars(cell) for name, cell in self.cells.items()},
            "best_user": vars(self.best_user),
            "common": {name: vars(cell) for name, cell in self.common.items()},
            "best_common": vars(self.best_common),
            "disagree": self.disagree,
        }


def make_row(problem: str, outcomes: Sequence[Outcome]) -> Row:
    """Return the row of a problem from its outcomes over all seeds and solvers."""
    seeds = sorted({outcome.seed for outcome in outcomes})
    readings: dict[str, list[Reading]] = {}
    disagree: set[str] = set()
    for seed in seeds:
        sample = [outcome for outcome in outcomes if outcome.seed == seed]
        wrong = _wrong(sample)
        disagree |= wrong
        best = best_known([outcome for outcome in sample if outcome.solver not in wrong])
        for outcome in sample:
            reading = Reading("disagrees") if outcome.solver in wrong else read(outcome, best)
            readings.setdefault(outcome.solver, []).append(reading)
    ours = readings["ours"]
    cells = {s.name: compare(ours, readings[s.name]) for s in PEERS if s.name in readings}
    users = [readings[s.name] for s in USER_PEERS if s.name in readings]
    best_user = compare(ours, [fastest(peers) for peers in zip(*users, strict=True)])
    common = _common(seeds, outcomes, disagree)
    least = [common[s.name] for s in USER_PEERS if s.name in common]
    best_common = min(
        (cell for cell in least if cell.ratio is not None),
        key=lambda cell: cell.ratio or inf,
        default=Cell(None, word="-"),
    )
    disagreeing_solvers = tuple(sorted(disagree))
    return Row(problem, tuple(ours), cells, best_user, common, best_common, disagreeing_solvers)


def _common(seeds: Sequence[int], outcomes: Sequence[Outcome], wrong: set[str]) -> dict[str, Cell]:
    """Return the cells at the worse of the two ends, of the peers that ran and agree."""
    by_run = {(outcome.solver, outcome.seed): outcome for outcome in outcomes}
    ours = [by_run["ours", seed] for seed in seeds]
    return {
        s.name: compare_to_common(ours, [by_run[s.name, seed] for seed in seeds])
        for s in PEERS
        if s.name not in wrong and all((s.name, seed) in by_run for seed in seeds)
    }


def _wrong(sample: Sequence[Outcome]) -> set[str]:
    """Return the solvers of one sample whose objective at the start is not ours."""
    reference = next(outcome.first for outcome in sample if outcome.solver == "ours")
    return set() if reference is None else set(disagreeing(sample, reference))


def header(peers: Sequence[Solver] = PEERS) -> str:
    """Return the table's first line."""
    names = [f"{solver.label:>{_WIDTH}}" for solver in peers]
    return f"{'problem':<26}{'ours':>17}{'best user peer':>{_WIDTH}}" + "".join(names)


def line(row: Row) -> str:
    """Return a problem's line: our seconds, then how many times as long each peer takes."""
    cells = [row.best_user, *(row.cells.get(s.name, Cell(None, word="-")) for s in PEERS)]
    text = "".join(f"{cell!s:>{_WIDTH}}" for cell in cells)
    return f"{row.problem:<26}{_seconds(row.ours):>17}{text}"


def common_line(row: Row) -> str:
    """Return a problem's line of the second table: ratios at the worse of the two ends."""
    cells = [row.best_common, *(row.common.get(s.name, Cell(None, word="-")) for s in PEERS)]
    return f"{row.problem:<26}{'':>17}" + "".join(f"{cell!s:>{_WIDTH}}" for cell in cells)


def _seconds(ours: Sequence[Reading]) -> str:
    """Return the median of our seconds over the seeds that reached, and how many did not."""
    reached = [reading.seconds for reading in ours if reading.word == "reached"]
    if not reached:
        words = {reading.word for reading in ours}
        return " or ".join(sorted(words))
    missed = len(ours) - len(reached)
    text = f"{statistics.median(reached):.3g} s"
    return f"{text} ({missed} missed)" if missed else text


def details(row: Row, outcomes: Sequence[Outcome]) -> list[str]:
    """Return what has to be said below a problem's line: failures, each said once."""
    said = {
        f"    {o.solver}: {o.ended}: {o.detail}"
        for o in outcomes
        if o.ended in ("failed", "not installed", MEMORY)
    }
    return sorted(said) + [
        f"    {name}: another objective at the start; no ratio" for name in row.disagree
    ]


def description(problem: Problem) -> str:
    """Return the name and the sizes of a problem, for its line in the figure."""
    return (
        f"{problem.name}\nn = {problem.n:.0e}, d = {problem.dim}, p = {problem.n_parameters}"
    ).replace("e+0", "e")


def cost_line(case: dict[str, object], times: dict[str, float]) -> str:
    """Return the line of one cost measurement."""
    ratio = iteration_ratio(times)
    name = "{gate}/{expert} d={dim} N={n_experts} n={n}".format(**case)
    milliseconds = {key: f"{1e3 * value:.3g} ms" for key, value in times.items()}
    parts = ", ".join(f"{key} {value}" for key, value in milliseconds.items())
    return (
        f"{name}: iteration / products = {ratio:.2f} ({_verdict(ratio, ITERATION_GOAL)}); {parts}"
    )


def iteration_ratio(times: dict[str, float]) -> float:
    """Return an iteration over its products: J'J, one factorisation, one gradient."""
    parts = ("matrix", "factorisation", "gradient")
    return sum(times[part] for part in parts) / times["products"]


def memory_line(n: int, megabytes: dict[str, float]) -> str:
    """Return the line of one memory measurement."""
    grown = megabytes["grown"]
    if not grown:
        return f"n={n}: memory is not measured on this system"
    verdict = _verdict(grown, MEMORY_GOAL)
    return f"n={n}: a fit adds {grown:.0f} MB to {megabytes['data']:.0f} MB of data ({verdict})"


def _verdict(value: float, goal: float) -> str:
    return f"goal at most {goal:g}: {'met' if value <= goal else 'MISSED'}"
