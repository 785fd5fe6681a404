"""The logic of ``make bench-estimation``: its gate, its ratios, its runs; no times are judged."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

# The benchmarks are no part of the installed package.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.estimation import __main__ as command
from benchmarks.estimation import checks, iteration, one_run, problems, recorder, runs
from benchmarks.estimation.checks import CASES, Check, check_architecture
from benchmarks.estimation.one_run import MEMORY, Outcome, Request
from benchmarks.estimation.problems import (
    PROBLEMS,
    QUICK,
    Data,
    Problem,
    chosen,
    draw,
    named,
    shaped,
)
from benchmarks.estimation.ratios import (
    Cell,
    Reading,
    best_known,
    censored_median,
    compare,
    compare_to_common,
    disagreeing,
    fastest,
    read,
    seconds_to,
)
from benchmarks.estimation.recorder import Recorder, StopRunError
from benchmarks.estimation.report import draw_figure, machine, write_json
from benchmarks.estimation.runs import Options, run_alone, run_sample, time_limit, too_large
from benchmarks.estimation.solvers import SOLVERS, Solver, solver_named
from benchmarks.estimation.table import (
    cost_line,
    details,
    iteration_ratio,
    line,
    make_row,
    memory_line,
)

from sigmoe._base.errors import InputError
from sigmoe.estimation import NormalEquations, fit_least_squares, normal_equations

TINY = Problem("tiny", "sigmoid", "linear", dim=2, n_true=2, n_fitted=2, n=300)
#: Linear regression: the only gate is 1 whatever its score.
EASY = Problem("easy", "softmax", "linear", dim=2, n_true=1, n_fitted=1, n=300)
WITHOUT_JAX = [solver for solver in SOLVERS if solver.name != "optimistix-lm"]


def outcome(
    solver: str, *trace: tuple[float, float], ended: str = "stopped", **more: Any
) -> Outcome:
    return Outcome("tiny", solver, more.pop("seed", 1), ended, 30.0, first=2.0, trace=trace, **more)


# The gate


@pytest.mark.parametrize("architecture", CASES, ids=str)
def test_package_and_peers_agree_with_the_naive_model(architecture: Any) -> None:
    found = list(check_architecture(architecture))
    assert [check.what for check in found if not check.passed] == []
    assert len(found) == 6 + (find_spec("jax") is not None)


def test_a_wrong_matrix_fails_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*arguments: Any) -> NormalEquations:
        right = normal_equations(*arguments)
        matrix = right.matrix.clone()
        matrix[3, 4] *= 1.0 + 1e-9
        return replace(right, matrix=matrix)

    monkeypatch.setattr(checks, "normal_equations", wrong)
    failed = [check.what for check in check_architecture(CASES[0]) if not check.passed]
    assert failed == ["sigmoid/linear, 1 column(s): J'J"]


def test_an_error_that_is_no_number_fails_the_gate() -> None:
    assert not Check("J'J", nan).passed
    assert Check("J'J", 1e-15).passed


def test_behind_a_red_gate_nothing_is_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def timed(*_: Any) -> None:
        raise AssertionError("something was timed")

    monkeypatch.setattr(command, "run_checks", lambda: [Check("J'J", 0.5), Check("J", 0.0)])
    monkeypatch.setattr(command, "start_module", timed)
    monkeypatch.setattr(command, "run_sample", timed)
    assert command.main(["--out", str(tmp_path)]) == 1
    assert capsys.readouterr().out == "J'J: relative error 5.0e-01; nothing is timed\n"
    assert list(tmp_path.iterdir()) == []


# The clock of a run


def test_a_recorder_keeps_improvements_and_when_they_came() -> None:
    clock = [0.0]
    record = Recorder(limit=10.0, clock=lambda: clock[0])
    clock[0] = 5.0
    record.start()
    for objective in (3.0, nan, 4.0, 2.0):
        clock[0] += 1.0
        record.record(objective)
    assert record.trace == [(1.0, 3.0), (4.0, 2.0)]
    assert (record.first, record.best, record.ready_seconds) == (3.0, 2.0, 5.0)


def test_a_recorder_ends_a_run_at_the_limit_of_its_time() -> None:
    clock = [0.0]
    record = Recorder(limit=10.0, clock=lambda: clock[0])
    record.record(1.0)
    clock[0] = 10.5
    with pytest.raises(StopRunError, match="limit"):
        record.record(0.5)
    # The evaluation was made, so it counts.
    assert record.trace[-1] == (10.5, 0.5)


def test_a_recorder_ends_a_run_that_stands_still() -> None:
    record = Recorder(limit=inf)
    record.record(1.0)
    for k in range(recorder.PATIENCE - 1):
        record.record(1.0 - 1e-13 * k)
    with pytest.raises(StopRunError, match="still"):
        record.record(1.0)


def test_a_recorder_ends_a_warm_up() -> None:
    record = Recorder(limit=inf, most=2)
    record.record(1.0)
    with pytest.raises(StopRunError, match="enough"):
        record.record(0.5)


# What counts


def test_the_best_known_objective_is_the_least_of_all_solvers() -> None:
    assert best_known([outcome("a", (1.0, 3.0), (2.0, 2.0)), outcome("b", (9.0, 1.5))]) == 1.5
    assert best_known([outcome("a")]) == inf


def test_the_time_is_the_first_at_or_below_the_target() -> None:
    trace = [(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]
    assert [seconds_to(target, trace) for target in (2.0, 1.5, 0.9)] == [2.0, 3.0, inf]


@pytest.mark.parametrize(
    ("value", "ended", "expected"),
    [
        (1.0 + 0.9e-6, "stopped", Reading("reached", 2.0)),
        (1.0 + 0.9e-6, "limit", Reading("reached", 2.0)),
        (1.0 + 1.1e-6, "stopped", Reading("missed")),
        (1.0 + 1.1e-6, "still", Reading("missed")),
        (1.0 + 1.1e-6, "limit", Reading("limit", 30.0)),
        (1.0 + 1.1e-6, "failed", Reading("failed")),
        (1.0 + 1.1e-6, MEMORY, Reading("out of memory limit")),
    ],
)
def test_a_run_counts_within_a_millionth_of_the_best(
    value: float, ended: str, expected: Reading
) -> None:
    assert read(outcome("a", (1.0, 2.0), (2.0, value), ended=ended), 1.0) == expected


def test_a_run_that_overshot_its_limit_bounds_by_what_it_took() -> None:
    late = outcome("a", (1.0, 2.0), ended="limit", seconds=45.0)
    assert read(late, 1.0) == Reading("limit", 45.0)


def test_solvers_must_agree_on_the_start() -> None:
    sample = [replace(outcome("a"), first=2.0 * (1.0 + error)) for error in (5e-11, 5e-10, nan)]
    named = [replace(o, solver=s) for o, s in zip(sample, "abc", strict=True)]
    assert disagreeing([*named, replace(outcome("d"), first=None)], 2.0) == ["b", "c"]


def reached(*seconds: float) -> list[Reading]:
    return [Reading("reached", s) for s in seconds]


def test_a_ratio_is_the_median_over_seeds() -> None:
    cell = compare(reached(1.0, 2.0, 4.0), reached(3.0, 20.0, 16.0))
    assert (cell.ratio, cell.bound, cell.missed, str(cell)) == (4.0, False, 0, "4")


def test_no_ratio_where_the_peer_missed() -> None:
    cell = compare(reached(1.0, 1.0), [Reading("missed")] * 2)
    assert (cell.ratio, cell.missed, str(cell)) == (None, 2, "missed")


def test_seeds_that_the_peer_missed_are_counted_beside_the_ratio_of_the_others() -> None:
    cell = compare(reached(1.0, 1.0, 1.0), [*reached(7.0, 9.0), Reading("missed")])
    assert (cell.ratio, cell.counted, str(cell)) == (8.0, 2, "8 (1 missed)")


def test_no_ratio_on_seeds_that_ours_missed() -> None:
    ours = [Reading("missed"), *reached(2.0)]
    assert compare(ours, reached(1.0, 6.0)).ratio == 3.0
    assert str(compare([Reading("missed")], reached(1.0))) == "ours missed"


def test_a_peer_out_of_time_gives_a_lower_bound() -> None:
    cell = compare(reached(1.0, 1.0, 1.0), [Reading("limit", 30.0)] * 2 + reached(4.0))
    assert (cell.ratio, cell.bound, str(cell)) == (30.0, True, "> 30")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([(1.0, False), (2.0, False), (9.0, True)], (2.0, False)),
        ([(1.0, True), (2.0, False), (9.0, False)], (2.0, True)),
        ([(1.0, False), (3.0, False)], (2.0, False)),
        ([(1.0, False), (3.0, True)], (2.0, True)),
        ([(1.0, False), (2.0, False), (4.0, False), (9.0, True)], (3.0, False)),
        ([(5.0, True)], (5.0, True)),
    ],
)
def test_a_median_is_a_bound_if_a_bound_might_move_it(
    values: list[tuple[float, bool]], expected: tuple[float, bool]
) -> None:
    assert censored_median(values) == expected


def test_the_fastest_peer_is_known_only_as_far_as_bounds_allow() -> None:
    slow, limit, missed = Reading("reached", 9.0), Reading("limit", 30.0), Reading("missed")
    assert fastest([slow, limit, missed]) == slow
    assert fastest([Reading("reached", 50.0), limit]) == limit
    assert fastest([missed, Reading(MEMORY)]).word == "missed"
    assert fastest([Reading(MEMORY), Reading(MEMORY)]).word == MEMORY


# Rows


def sample_of(seed: int, ours: float, peer: Outcome) -> list[Outcome]:
    return [outcome("ours", (ours, 1.0), seed=seed), replace(peer, seed=seed)]


def test_a_row_reads_all_seeds() -> None:
    peer = outcome("scipy-trf", (4.0, 1.0))
    row = make_row("tiny", sample_of(1, 1.0, peer) + sample_of(2, 2.0, peer))
    assert row.cells["scipy-trf"].ratio == row.best_user.ratio == 3.0
    assert line(row).split() == ["tiny", "1.5", "s", "3", "3", "-", "-", "-", "-", "-"]


def test_a_solver_with_another_objective_gets_no_ratio_and_sets_no_target() -> None:
    wrong = replace(outcome("scipy-trf", (4.0, 0.1)), first=2.1)
    sample = sample_of(1, 1.0, wrong)
    row = make_row("tiny", sample)
    assert (row.missed, row.cells["scipy-trf"].word) == (0, "disagrees")
    assert details(row, sample) == ["    scipy-trf: another objective at the start; no ratio"]


def test_our_misses_are_printed() -> None:
    better = outcome("scipy-trf", (4.0, 0.5))
    row = make_row("tiny", sample_of(1, 1.0, better))
    assert line(row).split()[:4] == ["tiny", "missed", "ours", "missed"]
    tied = [outcome(solver, (2.0, 1.0), seed=2) for solver in ("ours", "scipy-trf")]
    both = make_row("tiny", sample_of(1, 1.0, better) + tied)
    assert line(both).split()[:5] == ["tiny", "2", "s", "(1", "missed)"]


def test_the_harder_peer_is_not_what_a_user_would_pick() -> None:
    sample = [outcome(s, (t, 1.0)) for s, t in (("ours", 1.0), ("scipy-lm", 9.0))]
    row = make_row("tiny", [*sample, outcome("lbfgs-own-gradient", (2.0, 1.0))])
    assert (row.best_user.ratio, row.cells["lbfgs-own-gradient"].ratio) == (9.0, 2.0)


def test_to_the_worse_of_two_ends_there_is_always_a_ratio() -> None:
    ours = [outcome("ours", (1.0, 5.0), (4.0, 2.0)), outcome("ours", (1.0, 5.0), (3.0, 3.0))]
    # Above ours on the first seed, below it on the second.
    peer = [outcome("x", (9.0, 4.5), (12.0, 2.5)), outcome("x", (6.0, 3.0), (50.0, 1.0))]
    cell = compare_to_common(ours, peer)
    assert cell == Cell((12.0 / 4.0 + 6.0 / 3.0) / 2, False, 2, 1)
    assert compare_to_common(ours, [outcome("x", ended="failed")] * 2).word == "failed"


# Problems


def test_the_table_holds_what_it_promises() -> None:
    pairs = {(p.gate, p.regime, p.expert, p.n) for p in PROBLEMS[:16]}
    assert len(pairs) == 16
    assert {p.n for p in PROBLEMS[:16]} == {10_000, 100_000}
    assert {(p.dim, p.n_true, p.n_fitted) for p in PROBLEMS[:16]} == {(8, 8, 8)}
    sizes = {(p.dim, p.n_fitted, p.n) for p in PROBLEMS[16:]}
    assert {(2, 3, 1_000_000), (20, 4, 100_000), (8, 9, 10_000)} <= sizes
    assert 16 in {p.n_outputs for p in PROBLEMS}
    assert len({p.name for p in (*PROBLEMS, *QUICK)}) == len(PROBLEMS) + len(QUICK)
    assert named("16-columns").jacobian_bytes == 8 * 16 * 10_000 * 8 * (45 + 16 * 9)


def test_problems_are_chosen_by_patterns() -> None:
    assert [p.name for p in chosen(PROBLEMS, ["collinear"])] == ["collinear"]
    assert len(chosen(PROBLEMS, ["s*-1e5", "collinear"])) == 9
    assert chosen(PROBLEMS, None) == PROBLEMS
    with pytest.raises(InputError, match=r"--only must be the name of a problem; got \['x'\]"):
        chosen(PROBLEMS, ["x"])


def test_badly_conditioned_inputs_are_that() -> None:
    X = np.random.default_rng(0).uniform(-1.0, 1.0, size=(500, 8))
    reach = np.abs(shaped(X, "badly-scaled")).max(0)
    assert reach[-1] / reach[0] == pytest.approx(100.0, rel=0.02)
    bent = shaped(X, "collinear")
    assert np.abs(bent[:, 7] - bent[:, 6]).max() <= 0.01
    assert shaped(X, "uniform") is X


def test_a_seed_decides_sample_and_start() -> None:
    first, again, other = (draw(TINY, seed, 0.005) for seed in (1, 1, 2))
    assert torch.equal(first.X, again.X)
    assert first.start == again.start
    assert not torch.equal(first.X, other.X)


# Solvers


@pytest.mark.parametrize("solver", WITHOUT_JAX, ids=lambda solver: solver.name)
def test_every_solver_finds_the_same_objective(solver: Solver) -> None:
    data, record = draw(EASY, 1, 0.3), Recorder(limit=inf, most=300)
    ended, detail = one_run.minimise(solver, data, record)
    assert detail == ""
    assert ended in ("stopped", "still", "enough")
    first, best = first_and_best(data)
    assert record.first == pytest.approx(first, rel=1e-10)
    # Adam circles around the optimum at its fixed rate.
    assert record.best <= best * (1.0 + (1e-3 if solver.name == "torch-adam" else 1e-6))


def first_and_best(data: Data) -> tuple[float, float]:
    """Return the objective at the start and at the optimum, which is unique."""
    start = data.start
    fit = fit_least_squares(data.X, data.y, start.architecture, 1, start, bounds=None)
    return fit.start_objective, fit.objective


@pytest.mark.skipif(find_spec("optimistix") is None, reason="comes with requirements-bench.lock")
def test_optimistix_finds_the_same_objective() -> None:
    data, record = draw(EASY, 1, 0.3), Recorder(limit=inf, most=60)
    assert one_run.minimise(solver_named("optimistix-lm"), data, record)[1] == ""
    first, best = first_and_best(data)
    assert record.first == pytest.approx(first, rel=1e-10)
    assert record.best <= best * (1.0 + 1e-6)


@pytest.mark.parametrize(
    ("raised", "ended"),
    [
        (MemoryError("no"), (MEMORY, "no")),
        (ModuleNotFoundError("No module named 'jax'"), ("not installed", "No module named 'jax'")),
        (ValueError("bad"), ("failed", "ValueError: bad")),
        (StopRunError("limit"), ("limit", "")),
    ],
)
def test_how_a_solver_fails_is_a_result(raised: Exception, ended: tuple[str, str]) -> None:
    def run(*_: Any) -> None:
        raise raised

    solver = replace(SOLVERS[0], run=run)
    assert one_run.minimise(solver, draw(TINY, 1, 0.0), Recorder(1.0)) == ended


# Runs


def test_ours_decides_how_long_a_peer_may_take() -> None:
    options = Options(slack=20.0, least=30.0, most=600.0)
    limits = [time_limit(outcome("ours", seconds=s), options) for s in (0.1, 10.0, 100.0)]
    assert limits == [30.0, 200.0, 600.0]


def test_dense_jacobians_have_a_memory_limit() -> None:
    options = Options(memory_gb=8.0)
    large = named("16-columns")
    names = [solver.name for solver in SOLVERS if too_large(large, solver, options)]
    assert names == ["scipy-trf", "scipy-lm", "optimistix-lm"]
    assert not any(too_large(named("low-dimension"), s, options) for s in SOLVERS)


def test_runs_of_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Request] = []

    def fake(request: Request) -> Outcome:
        asked.append(request)
        return outcome(request.solver, seconds=3.0)

    monkeypatch.setattr(runs, "run_alone", fake)
    found = list(run_sample(named("16-columns"), 2, Options(seeds=(2,))))
    assert [o.solver for o in found] == [solver.name for solver in SOLVERS]
    assert [o.solver for o in found if o.ended == MEMORY] == [
        "scipy-trf", "scipy-lm", "optimistix-lm"
    ]  # fmt: skip
    assert found[1].detail == "would need 15 GB"
    assert [(r.solver, r.limit) for r in asked] == [
        ("ours", 300.0), ("torch-lbfgs", 75.0), ("torch-adam", 75.0), ("lbfgs-own-gradient", 75.0)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "words", "ended"),
    [(1, "boom", "failed"), (-signal.SIGKILL, "", MEMORY), (-6, "RESOURCE_EXHAUSTED", MEMORY)],
)
def test_a_process_that_dies_is_a_result(
    monkeypatch: pytest.MonkeyPatch, code: int, words: str, ended: str
) -> None:
    monkeypatch.setattr(
        runs, "start_module", lambda *_: subprocess.CompletedProcess([], code, "", words)
    )
    found = run_alone(Request("tiny", "ours", 1, 1, 5.0, 0.005))
    assert (found.ended, found.detail) == (ended, f"exit {code}: {words}")


def test_a_process_that_does_not_return_is_out_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: Any) -> None:
        raise subprocess.TimeoutExpired("python", 1.0)

    monkeypatch.setattr(runs, "start_module", hang)
    found = run_alone(Request("tiny", "ours", 1, 1, 5.0, 0.005))
    assert (found.ended, found.seconds) == ("limit", 5.0)
    assert found.detail == "did not return and was ended"


# Iterations


def test_the_products_of_the_normal_equations() -> None:
    shapes = iteration.product_shapes(TINY.architecture, 2)
    assert shapes == [(15, 3), (10, 4), (6, 3)]
    columns = iteration.product_shapes(named("16-columns").architecture, 8)
    assert columns == [(495, 36), *[(165, 64), (45, 36)] * 16]


def test_products_alone_cover_every_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    original = torch.Tensor.addmm_

    def count(self: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        seen.append(left.shape[1])
        return original(self, left, right)

    monkeypatch.setattr(torch.Tensor, "addmm_", count)
    iteration.products_alone([(6, 3)], n=25, chunk=10)()
    assert seen == [10, 10, 5]


def test_costs_are_measured_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iteration, "_SECONDS", 0.0)
    times = iteration.cost("sigmoid", "relu", 2, 2, 200)
    assert set(times) == {"products", "matrix", "factorisation", "gradient"}
    assert min(times.values()) > 0


def test_an_iteration_is_measured_by_its_products() -> None:
    times = {"products": 2.0, "matrix": 3.0, "factorisation": 0.5, "gradient": 1.5}
    assert iteration_ratio(times) == 2.5
    case = {"gate": "softmax", "expert": "relu", "dim": 8, "n_experts": 9, "n": 10}
    assert cost_line(case, times).startswith(
        "softmax/relu d=8 N=9 n=10: iteration / products = 2.50 (goal at most 2: MISSED); "
    )


def test_memory_is_judged_where_it_is_known() -> None:
    known = memory_line(10, {"data": 68.7, "grown": 76.3})
    assert known == "n=10: a fit adds 76 MB to 69 MB of data (goal at most 200: met)"
    unknown = memory_line(10, {"data": 68.7, "grown": 0.0})
    assert unknown == "n=10: memory is not measured on this system"


# Files, and all of it


def test_the_figure_shows_ratios_and_goals() -> None:
    sample = [outcome(s, (t, 1.0)) for s, t in (("ours", 2.0), ("scipy-lm", 9.0))]
    row = make_row("tiny", [*sample, outcome("torch-adam", (1.0, 2.0), ended="limit")])
    goals = {"equal": 1.0, "goal 5": 5.0, "goal 20": 20.0}
    wanted = ({"scipy lm": 4.5, "torch Adam": 15.0}, {"scipy lm": 4.5, "torch Adam": 0.5})
    for axes, ratios in zip(draw_figure([row], [TINY]).axes, wanted, strict=True):
        assert axes.get_xscale() == "log"
        drawn = {str(line.get_label()): float(np.ravel(line.get_xdata())[0]) for line in axes.lines}
        assert drawn == ratios | goals
    axes = draw_figure([row], [TINY]).axes[0]
    assert axes.get_yticklabels()[0].get_text() == "tiny\nn = 3e2, d = 2, p = 18"


def test_json_is_replaced_whole(tmp_path: Path) -> None:
    write_json(tmp_path / "a" / "b.json", {"x": 1})
    write_json(tmp_path / "a" / "b.json", {"machine": machine()})
    (path,) = (tmp_path / "a").iterdir()
    assert path.name == "b.json"
    content = json.loads(path.read_text())["machine"]
    assert content["versions"]["torch"].startswith(torch.__version__.split("+")[0])
    assert {"processor", "processors", "load", "system", "python"} < set(content)


def test_a_part_does_not_replace_the_whole() -> None:
    cases = [(False, None), (True, None), (False, ["collinear"]), (True, ["quick-small"])]
    assert len({command.file_name(quick, only) for quick, only in cases}) == 4


def test_an_unknown_problem_is_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--quick", "--only", "nothing"]) == 2
    assert "There are quick-small, quick-linear." in capsys.readouterr().err


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Run modules here instead of in processes of their own, with this test's tiny problem."""

    def start(module: str, request: dict[str, Any], *_: Any) -> subprocess.CompletedProcess[str]:
        assert module == "one_run"
        capsys.readouterr()
        one_run.main(json.dumps(request))
        return subprocess.CompletedProcess([], 0, capsys.readouterr().out, "")

    monkeypatch.setattr(runs, "start_module", start)
    monkeypatch.setattr(one_run, "use_threads", lambda _: None)
    monkeypatch.setattr(problems, "QUICK", (TINY,))
    monkeypatch.setattr(command, "QUICK", (TINY,))


@pytest.mark.usefixtures("in_process")
def test_the_whole_command(tmp_path: Path) -> None:
    arguments = ["--quick", "--fits-only", "--most", "0.2", "--out", str(tmp_path)]
    assert command.main(arguments) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "estimation-quick.json", "estimation-quick.png"
    ]  # fmt: skip
    content = json.loads((tmp_path / "estimation-quick.json").read_text())
    assert [run["solver"] for run in content["runs"]] == [solver.name for solver in SOLVERS]
    assert {run["ended"] for run in content["runs"]} <= {
        "stopped", "still", "limit", "not installed"
    }  # fmt: skip
    (row,) = content["rows"]
    assert (row["problem"], row["disagree"]) == ("tiny", [])
    assert all(check["error"] <= 1e-12 for check in content["checks"])


@pytest.mark.usefixtures("in_process")
def test_parts_are_joined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        common = ["--quick", "--fits-only", "--most", "0.2", "--out", str(folder)]
        assert command.main([*common, "--seeds", seed]) == 0
        parts.append(folder / "estimation-quick.json")
    joining = ["--join", *map(str, parts), "--out", str(tmp_path)]
    assert command.main(joining) == 0
    joined = json.loads((tmp_path / "estimation-joined.json").read_text())
    assert (tmp_path / "estimation-joined.png").exists()
    separate = [json.loads(part.read_text()) for part in parts]
    assert joined["runs"] == separate[0]["runs"] + separate[1]["runs"]
    assert [part["options"]["seeds"] for part in joined["parts"]] == [[1], [2]]
    assert len(joined["rows"][0]["ours"]) == 2
    assert command.main([*joining, "--join", str(parts[0]), str(parts[0])]) == 2
    assert "parts without runs in common; got 'tiny ours 1'" in capsys.readouterr().err
    for bad in (tmp_path / "missing.json", tmp_path / "estimation-joined.json"):
        assert command.main(["--join", str(bad)]) == 2
        assert "--join must be JSON files of this benchmark; got" in capsys.readouterr().err
