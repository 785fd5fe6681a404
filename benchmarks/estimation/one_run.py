"""One solver on one problem and seed, in a process of its own; prints its outcome as JSON.

    python -m benchmarks.estimation.one_run '{"problem": ..., "solver": ..., ...}'

A process of its own gives every run the same number of threads and fresh memory, and lets the
benchmark end one that does not return.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from benchmarks.estimation.problems import Data, draw, named
from benchmarks.estimation.recorder import Recorder, StopRunError
from benchmarks.estimation.solvers import Solver, solver_named

#: A solver warms up on this many rows, for this many evaluations.
_WARM_ROWS, _WARM_EVALUATIONS = 1_000, 6
#: How a run ends that asks for more memory than it may have.
MEMORY = "out of memory limit"


@dataclass(frozen=True)
class Request:
    """What to run."""

    problem: str
    solver: str
    seed: int
    threads: int
    limit: float
    start_scale: float


@dataclass(frozen=True)
class Outcome:
    """How a run went.

    Attributes
    ----------
    problem, solver, seed
        What was run.
    ended : str
        "stopped" (by the solver's own tests), "still" (no progress), "limit" (time), "failed",
        "not installed", or MEMORY.
    detail : str
        The error, if there was one.
    first : float or None
        Objective at the start by the solver's own function.
    trace : list of [seconds, objective]
        Each improvement of the best objective.
    seconds, ready_seconds, limit : float
        Of the run; of what was done before its clock started (a compiler, trials of rates); and
        allowed.
    peak_mb : float
        What the process grew by at its peak, over the data; 0 where it is not known.
    """

    problem: str
    solver: str
    seed: int
    ended: str
    limit: float
    detail: str = ""
    first: float | None = None
    trace: tuple[tuple[float, float], ...] = ()
    seconds: float = 0.0
    ready_seconds: float = 0.0
    peak_mb: float = 0.0


def memory_mb(field: str) -> float:
    """Return this process's memory by Linux's account: VmRSS now, VmHWM at its peak; else 0."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0
    line = next(line for line in status.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def forget_peak() -> None:
    """Let VmHWM start anew from the memory in use."""
    if Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")


def use_threads(count: int) -> None:
    """Keep this process to a number of threads, on as many processors.

    BLAS is told through the environment, by whoever starts the process.
    """
    # The affinity is what XLA sizes its pool by; it must be set before JAX is imported.
    if sys.platform == "linux":
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-count:])
    torch.set_num_threads(count)


def main(text: str) -> None:
    request = Request(**json.loads(text))
    use_threads(request.threads)
    data = draw(named(request.problem), request.seed, request.start_scale)
    print(json.dumps(vars(run(request, solver_named(request.solver), data))))


def run(request: Request, solver: Solver, data: Data) -> Outcome:
    """Return the outcome of a solver that has been warmed up on a few rows."""
    minimise(solver, data.head(_WARM_ROWS), Recorder(request.limit, most=_WARM_EVALUATIONS))
    forget_peak()
    before = memory_mb("VmRSS")
    clock = time.process_time if request.threads == 1 else time.perf_counter
    recorder = Recorder(request.limit, clock=clock)
    ended, detail = minimise(solver, data, recorder)
    return Outcome(
        request.problem,
        request.solver,
        request.seed,
        ended,
        request.limit,
        detail,
        recorder.first,
        tuple(recorder.trace),
        recorder.seconds,
        recorder.ready_seconds,
        max(0.0, memory_mb("VmHWM") - before),
    )


def minimise(solver: Solver, data: Data, recorder: Recorder) -> tuple[str, str]:
    """Run a solver under a recorder; return how it ended, and the error if there was one."""
    try:
        solver.run(data, recorder)
    except StopRunError as stop:
        return stop.reason, ""
    except ModuleNotFoundError as error:
        return "not installed", str(error)
    except MemoryError as error:
        return MEMORY, str(error)
    except Exception as error:
        # A peer's failure is a result: it is printed below the problem's line.
        return "failed", f"{type(error).__name__}: {error}"
    return "stopped", ""


if __name__ == "__main__":
    main(sys.argv[1])
