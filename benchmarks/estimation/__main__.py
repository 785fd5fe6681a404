"""The command: check the answers, time the solvers, print the table, write JSON and figure."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from benchmarks.estimation.checks import Check, run_checks
from benchmarks.estimation.one_run import Outcome
from benchmarks.estimation.problems import PROBLEMS, QUICK, Problem, chosen
from benchmarks.estimation.report import machine, write_figure, write_json
from benchmarks.estimation.runs import Options, outcome_from, run_sample, start_module
from benchmarks.estimation.table import (
    Row,
    common_line,
    cost_line,
    details,
    header,
    line,
    make_row,
    memory_line,
)

from sigmoe._base.errors import InputError, invalid

RESULTS = Path(__file__).parents[1] / "results"
_COSTS = tuple(
    {"gate": gate, "expert": expert, "dim": dim, "n_experts": N, "n": n}
    for gate, expert, dim, N, n in (
        ("sigmoid", "relu", 8, 8, 10_000),
        ("softmax", "linear", 8, 8, 10_000),
        ("sigmoid", "relu", 8, 9, 10_000),
        ("sigmoid", "relu", 8, 8, 100_000),
        ("sigmoid", "relu", 20, 4, 10_000),
    )
)
_MEMORY_SIZES = (10_000, 100_000, 1_000_000)
_HOUR = 3600.0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.estimation", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--quick", action="store_true", help="two small problems, one seed")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="problems; * and ? are allowed")
    parser.add_argument("--seeds", nargs="+", type=int, help="default 1 2 3")
    parser.add_argument(
        "--threads",
        type=int,
        default=1,
        help="default 1, as in sweeps; then processor seconds are counted",
    )
    parser.add_argument("--start-scale", type=float, default=0.005, help="default 0.005")
    parser.add_argument("--most", type=float, help="most seconds of a run; default 300")
    parser.add_argument("--memory", type=float, default=8.0, help="GB a peer may need; default 8")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder; default %(default)s")
    parser.add_argument("--fits-only", action="store_true", help="leave cost and memory out")
    parser.add_argument(
        "--join", nargs="+", type=Path, metavar="JSON", help="one table of parts that were run"
    )
    return parser.parse_args(arguments)


def options_from(parsed: argparse.Namespace) -> Options:
    """Return how runs are made; a quick benchmark is short of seeds and patience."""
    seeds = parsed.seeds or ([1] if parsed.quick else [1, 2, 3])
    most = parsed.most or (5.0 if parsed.quick else 300.0)
    return Options(
        seeds=tuple(seeds),
        threads=parsed.threads,
        start_scale=parsed.start_scale,
        least=min(10.0, most),
        most=most,
        memory_gb=parsed.memory,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 1 without timing anything if an answer is wrong."""
    parsed = parse(arguments)
    try:
        if parsed.join:
            join(parsed.join, parsed.out / "estimation-joined")
            return 0
        problems = chosen(QUICK if parsed.quick else PROBLEMS, parsed.only)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    checks = run_checks()
    if not report_checks(checks):
        return 1
    options = options_from(parsed)
    content: dict[str, object] = {
        "machine": machine(),
        "options": asdict(options),
        "checks": [vars(check) for check in checks],
    }
    print(json.dumps(content["machine"]))
    stem = parsed.out / file_name(parsed.quick, parsed.only)
    if not parsed.fits_only:
        content |= measure_iterations(options.threads, parsed.quick)
    time_fits(problems, options, content, stem)
    return 0


def file_name(quick: bool, only: list[str] | None) -> str:
    """Return the name of the files, so that a part never replaces the whole benchmark."""
    return "estimation" + ("-quick" if quick else "") + ("-part" if only else "")


def report_checks(checks: Sequence[Check]) -> bool:
    """Print what is wrong, if anything; return whether times may be taken."""
    for check in checks:
        if not check.passed:
            print(f"{check.what}: relative error {check.error:.1e}; nothing is timed")
    passed = all(check.passed for check in checks)
    if passed:
        print(f"{len(checks)} answers agree with the naive model")
    return passed


def measure_iterations(threads: int, quick: bool) -> dict[str, object]:
    """Print and return the costs of iterations and the memory of fits."""
    costs, memories = [], []
    for case in _COSTS[: 2 if quick else None]:
        times = measured({"measure": "cost", "threads": threads, **case}, threads)
        costs.append({**case, **times})
        print(cost_line(case, times), flush=True)
    for n in _MEMORY_SIZES[: 2 if quick else None]:
        megabytes = measured({"measure": "memory", "threads": threads, "n": n}, threads)
        memories.append({"n": n, **megabytes})
        print(memory_line(n, megabytes), flush=True)
    return {"costs": costs, "memory": memories}


def measured(request: dict[str, object], threads: int) -> dict[str, float]:
    """Return what the module ``iteration`` measures, in a process of its own."""
    done = start_module("iteration", request, threads, _HOUR)
    if done.returncode:
        raise RuntimeError(f"measuring {request} failed:\n{done.stderr}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def time_fits(
    problems: Sequence[Problem], options: Options, content: dict[str, object], stem: Path
) -> None:
    """Run all solvers on all problems."""
    write_tables(
        problems,
        lambda problem: [o for seed in options.seeds for o in run_sample(problem, seed, options)],
        content,
        stem,
    )


def join(parts: Sequence[Path], stem: Path) -> None:
    """Print and write one table of the runs that parts of the benchmark have written."""
    contents = [_read(part) for part in parts]
    outcomes = [outcome_from(run) for content in contents for run in content["runs"]]
    counts = Counter((run.problem, run.solver, run.seed) for run in outcomes)
    for run, count in counts.items():
        if count > 1:
            remedy = "Leave one of the parts out."
            raise invalid("--join", "parts without runs in common", " ".join(map(str, run)), remedy)
    names = {outcome.problem for outcome in outcomes}
    problems = [problem for problem in (*PROBLEMS, *QUICK) if problem.name in names]
    about = [{key: content[key] for key in ("machine", "options")} for content in contents]
    write_tables(
        problems,
        lambda problem: [outcome for outcome in outcomes if outcome.problem == problem.name],
        {"parts": about},
        stem,
    )


def _read(part: Path) -> dict[str, Any]:
    """Return what a part of the benchmark wrote, or raise InputError."""
    try:
        content: dict[str, Any] = json.loads(part.read_text())
    except (OSError, ValueError) as error:
        remedy = f"({error})"
        raise invalid("--join", "JSON files of this benchmark", str(part), remedy) from None
    if not {"machine", "options", "runs"} <= set(content):
        remedy = "Pass what a run without --join has written."
        raise invalid("--join", "JSON files of this benchmark", str(part), remedy)
    return content


def write_tables(
    problems: Sequence[Problem],
    outcomes_of: Callable[[Problem], list[Outcome]],
    content: dict[str, object],
    stem: Path,
) -> None:
    """Print both tables; write JSON and figure anew after each problem."""
    print("Times over ours to 1e-6 of the best known objective, medians over seeds.")
    print(header())
    rows: list[Row] = []
    everything: list[Outcome] = []
    for problem in problems:
        outcomes = outcomes_of(problem)
        rows.append(make_row(problem.name, outcomes))
        everything += outcomes
        print("\n".join([line(rows[-1]), *details(rows[-1], outcomes)]), flush=True)
        content["rows"] = [row.to_json() for row in rows]
        content["runs"] = [vars(outcome) for outcome in everything]
        write_json(stem.with_suffix(".json"), content)
        write_figure(stem.with_suffix(".png"), rows, problems)
    print("Times over ours to the worse of the two final objectives ('missed': ended above ours).")
    print("\n".join([header(), *map(common_line, rows)]))
    print(f"written: {stem}.json, {stem}.png")


if __name__ == "__main__":
    sys.exit(main())
