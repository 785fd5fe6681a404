"""All runs of a problem: ours first, then each peer in a process and a time that ours decides."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.estimation.one_run import MEMORY, Outcome, Request
from benchmarks.estimation.problems import Problem
from benchmarks.estimation.solvers import SOLVERS, Solver

ROOT = Path(__file__).parents[2]
#: What a run may take beyond its limit (start, warming up, one last step) before it is ended.
_GRACE_FACTOR, _GRACE_SECONDS = 3.0, 180.0


@dataclass(frozen=True)
class Options:
    """How all runs of a benchmark are made.

    Attributes
    ----------
    seeds : tuple of int
    threads : int
    start_scale : float
        Standard deviation of the start's distance from the truth, for each entry.
    slack : float
        A peer may take this many times as long as ours ...
    least, most : float
        ... but at least and at most this many seconds; ours may take ``most``.
    memory_gb : float
        A peer whose dense Jacobians would need more is not run.
    """

    seeds: tuple[int, ...] = (1, 2, 3)
    threads: int = 1
    start_scale: float = 0.005
    slack: float = 25.0
    least: float = 10.0
    most: float = 300.0
    memory_gb: float = 8.0


def time_limit(ours: Outcome, options: Options) -> float:
    """Return the seconds that a peer may take where ours took as long as it did."""
    return min(options.most, max(options.least, options.slack * ours.seconds))


def too_large(problem: Problem, solver: Solver, options: Options) -> bool:
    """Return whether a solver's dense Jacobians would exceed the memory limit."""
    return solver.copies * problem.jacobian_bytes > options.memory_gb * 1e9


def run_sample(
    problem: Problem, seed: int, options: Options, solvers: Sequence[Solver] = SOLVERS
) -> Iterator[Outcome]:
    """Yield the outcome of each solver on one sample; the first solver, ours, sets the limit."""
    limit = options.most
    for solver in solvers:
        if too_large(problem, solver, options):
            need = f"would need {solver.copies * problem.jacobian_bytes / 1e9:.0f} GB"
            yield Outcome(problem.name, solver.name, seed, MEMORY, limit, need)
            continue
        request = Request(
            problem.name, solver.name, seed, options.threads, limit, options.start_scale
        )
        outcome = run_alone(request)
        if solver.kind == "ours":
            limit = time_limit(outcome, options)
        yield outcome


def run_alone(request: Request) -> Outcome:
    """Return the outcome of a run in a process of its own."""
    patience = _GRACE_FACTOR * request.limit + _GRACE_SECONDS
    try:
        done = start_module("one_run", asdict(request), request.threads, patience)
    except subprocess.TimeoutExpired:
        return _without_result(request, "limit", "did not return and was ended")
    if done.returncode:
        # XLA and the system end a process that asks for too much memory: nothing raises there.
        memory = done.returncode == -signal.SIGKILL or "RESOURCE_EXHAUSTED" in done.stderr
        detail = f"exit {done.returncode}: {done.stderr.strip()[-500:]}"
        return _without_result(request, MEMORY if memory else "failed", detail)
    return outcome_from(json.loads(done.stdout.splitlines()[-1]))


def start_module(
    module: str, request: dict[str, Any], threads: int, patience: float
) -> subprocess.CompletedProcess[str]:
    """Run a module of this package with a JSON request, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", f"benchmarks.estimation.{module}", json.dumps(request)],
        cwd=ROOT,
        env=environment(threads),
        capture_output=True,
        text=True,
        timeout=patience,
        check=False,
    )


def environment(threads: int) -> dict[str, str]:
    """Return this process's environment with every library told how many threads to use."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(names, str(threads)), "JAX_PLATFORMS": "cpu"}


def outcome_from(row: dict[str, Any]) -> Outcome:
    """Return an outcome from its JSON."""
    trace = tuple((seconds, objective) for seconds, objective in row["trace"])
    return Outcome(**{**row, "trace": trace})


def _without_result(request: Request, ended: str, detail: str) -> Outcome:
    return Outcome(
        request.problem,
        request.solver,
        request.seed,
        ended,
        request.limit,
        detail,
        seconds=request.limit,
    )
