"""The command as people meet it: a process with arguments, output, an exit code and signals."""

import json
import os
import signal
import subprocess
import sys
import time

import polars as pl
import pytest

import sigmoe
from lab.tiny import tiny_data, write_toml
from sigmoe.cli import main
from sigmoe.lab._schemas import SLOPES

SLOPE_COLUMNS = (
    "figure,panel,curve,reading,protocol,start,n_fitted,n_min,n_max,loss,statistic,slope,ci_low,"
    "ci_high,paper_slope,predicted_slope,fits,failed"
)


def command(*arguments):
    return [sys.executable, "-m", "sigmoe.cli", *map(str, arguments)]


def call(*arguments, cwd=None):
    """Run the command; return exit code, output and errors."""
    done = subprocess.run(
        command(*arguments), capture_output=True, text=True, cwd=cwd, timeout=300, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def inside(monkeypatch, capsys):
    """Return a function that runs the command in this process, without figures: it is quicker."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr("sigmoe.lab._figures.write_figures", lambda _: [])

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["sigmoe", *map(str, arguments)])
        code = main()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def small_study(tmp_path, **changes):
    """Write a study of eight fits, with values of its runs changed."""
    data = tiny_data()
    for run in data["presets"]["only"]["runs"]:
        run.update(changes)
    return write_toml(tmp_path / "tiny.toml", data)


def numbers(folder):
    """Return all that tasks found, without what depends on the hour."""
    frames = [pl.read_parquet(path) for path in sorted((folder / "tasks").glob("*.parquet"))]
    return pl.concat(frames).drop("seconds", "finished_at")


def test_version():
    assert call("--version") == (0, f"sigmoe {sigmoe.__version__}\n", "")


def test_a_run_ends_with_table_and_report_and_its_folder_can_be_asked(tmp_path):
    study, out = small_study(tmp_path), tmp_path / "out"
    code, output, errors = call("run", study, "--out", out, "--workers", 1)
    assert code == 0, errors
    assert "95 % interval" in output
    assert output.rstrip().endswith(f"report: {out / 'report.html'}")
    names = {path.name for path in out.iterdir()}
    expected = {"tasks", "study-tiny.json", "losses.parquet", "predictions.parquet", "slopes.csv"}
    assert expected | {"report.html"} <= names
    assert {f"figure-tiny.{kind}" for kind in ("svg", "pdf", "png", "csv")} <= names
    lines = (out / "slopes.csv").read_text().splitlines()
    assert lines[0] == SLOPE_COLUMNS == ",".join(SLOPES)
    assert "nan" not in "".join(lines).lower()

    code, output, _ = call("status", out, "--json")
    (state,) = json.loads(output)
    assert code == 0
    assert (state["study"], state["preset"]) == ("tiny", "only")
    assert (state["tasks"], state["done"], state["failed"], state["seconds_left"]) == (8, 8, 0, 0)
    assert sum(state["statuses"].values()) == 8

    # A second run has nothing to fit, and says the same; so does a report without the tables.
    before = {name: (out / name).read_bytes() for name in ("losses.parquet", "slopes.csv")}
    for name in before:
        (out / name).unlink()
    code, _, errors = call("report", out)
    assert code == 0, errors
    assert {name: (out / name).read_bytes() for name in before} == before


def test_two_workers_give_the_numbers_of_one(tmp_path, inside):
    study = small_study(tmp_path)
    for workers in (1, 2):
        code, _, errors = inside(
            "run", study, "--out", tmp_path / str(workers), "--workers", workers
        )
        assert code == 0, errors
    assert numbers(tmp_path / "1").equals(numbers(tmp_path / "2"))


def test_failed_fits_are_kept_counted_and_told_by_the_exit_code(tmp_path, inside):
    data = tiny_data()
    # A start so far away that it lies outside the bounds of the fit.
    data["protocols"]["paper-style"]["start_noise"] = 1e6
    out = tmp_path / "out"
    study = write_toml(tmp_path / "tiny.toml", data)
    code, _, errors = inside("run", study, "--out", out, "--workers", 1)
    assert code == 3
    assert "sigmoe: 2 of 8 tasks failed; the report shows them" in errors
    assert "Traceback" not in errors
    rows = numbers(out).filter(pl.col("failed"))
    assert len(rows) == 2
    assert rows["status"].to_list() == ["failed"] * 2
    assert all(e.startswith("InputError: start must be inside the bounds;") for e in rows["error"])
    slopes = pl.read_csv(out / "slopes.csv")
    counts = slopes.filter(pl.col("loss") == "L3", pl.col("statistic") == "log-mean")
    assert counts.select("protocol", "fits", "failed").rows() == [
        ("converged", 6, 0),
        ("paper-style", 0, 2),
    ]
    losses = pl.read_parquet(out / "losses.parquet").filter(pl.col("failed"))
    assert len(losses) == 2 * 4
    assert losses["value"].null_count() == len(losses)
    # What failed is done: a second run does not try again, and says so again.
    assert inside("run", study, "--out", out, "--workers", 1)[0] == 3


def assert_all_gone(group):
    """Wait for the last process of a group to end."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("a process is left over")


def test_ctrl_c_leaves_a_folder_that_continues(tmp_path):
    study = small_study(tmp_path, sizes=[3000, 4000], replications=12)
    out = tmp_path / "out"
    process = subprocess.Popen(
        command("run", study, "--out", out, "--workers", 2),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while len(list(out.glob("tasks/*.parquet"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    # A terminal sends Ctrl-C to the coordinator and to its workers.
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == (
        f"sigmoe: interrupted; what is done is kept in {out}, and the same command continues"
    )
    assert "Traceback" not in output + errors
    assert_all_gone(process.pid)
    kept = {path.name: path.stat().st_mtime_ns for path in out.glob("tasks/*.parquet")}
    assert 3 <= len(kept) < 48
    assert [p for p in (out / "tasks").iterdir() if p.name not in kept] == []

    code, _, errors = call("run", study, "--out", out, "--workers", 2)
    assert code == 0, errors
    after = {path.name: path.stat().st_mtime_ns for path in out.glob("tasks/*.parquet")}
    assert len(after) == 48
    assert {name: after[name] for name in kept} == kept


BAD = [
    (
        ["reproduce", "figure3"],
        "sigmoe: error: the argument of reproduce must be one of 'figure1', 'figure2', 'table1', "
        "'all'; got 'figure3'. Choose one of these.",
    ),
    (
        ["reproduce", "figure1", "--preset", "huge"],
        "sigmoe: error: preset must be one of 'quick', 'paper', 'asymptotic'; got 'huge'. "
        "Choose one that study 'figure1' has.",
    ),
    (
        ["run", "none.toml"],
        "sigmoe: error: study must be a readable TOML file; got 'none.toml' (No such file or "
        "directory). Check the name and the permissions.",
    ),
    (
        ["run", "typo.toml"],
        "sigmoe: error: typo.toml: a key of the study must be in name, title, seed, "
        "noise_variance, truths, protocols, panels, presets; got 'sed'. Correct its spelling or "
        "remove it.",
    ),
    (
        ["run", "tiny.toml", "--out", "foreign"],
        "sigmoe: error: out must be a new, an empty or a results folder; got 'foreign', which "
        "holds 'thesis.tex'. Give another folder with --out.",
    ),
    (
        ["run", "tiny.toml", "--out", "foreign/thesis.tex/out"],
        "sigmoe: error: out must be a writable folder; got 'foreign/thesis.tex/out' (Not a "
        "directory). Give another folder with --out, or make this one writable.",
    ),
    (
        ["status", "nowhere"],
        "sigmoe: error: DIR must be a results folder, which holds study-*.json; got 'nowhere'. "
        "Give the folder that a run was told with --out.",
    ),
    (
        ["run", "tiny.toml", "--workers", "0"],
        "sigmoe: error: workers must be an integer >= 1; got 0. Leave it out for one a processor.",
    ),
    (["fly"], "sigmoe: error: No such command 'fly'. Try 'sigmoe --help'."),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(b[0]) for b in BAD])
def test_bad_input_is_one_line_and_exit_code_2(arguments, message, tmp_path, monkeypatch, inside):
    monkeypatch.chdir(tmp_path)
    small_study(tmp_path)
    write_toml(tmp_path / "typo.toml", {**tiny_data(), "sed": 1})
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.tex").write_text("years of work")
    assert inside(*arguments) == (2, "", message + "\n")
    assert (tmp_path / "foreign" / "thesis.tex").read_text() == "years of work"
    assert not (tmp_path / "results").exists()


def test_bad_input_ends_the_process_with_2_and_without_a_traceback(tmp_path):
    code, output, errors = call("run", "none.toml", cwd=tmp_path)
    assert (code, output) == (2, "")
    assert errors == BAD[2][1] + "\n"


def test_a_changed_study_keeps_what_was_computed(tmp_path, inside):
    out = tmp_path / "out"
    assert inside("run", small_study(tmp_path), "--out", out, "--workers", 1)[0] == 0
    before = numbers(out)
    changed = small_study(tmp_path, max_iterations=30)
    code, _, errors = inside("run", changed, "--out", out, "--workers", 1)
    assert code == 2
    assert errors == (
        f"sigmoe: error: out must be a folder of the same study 'tiny' at preset 'only'; got "
        f"'{out}', which holds it with other settings. Give another folder with --out, or start "
        "over with --fresh.\n"
    )
    assert numbers(out).equals(before)
    assert inside("run", changed, "--out", out, "--workers", 1, "--fresh")[0] == 0
    assert not numbers(out)["task_id"].equals(before["task_id"])


def test_too_few_samples_are_told_once_before_the_run(tmp_path, inside):
    study = small_study(tmp_path, sizes=[4, 9], replications=2)
    code, _, errors = inside("run", study, "--out", tmp_path / "out", "--workers", 1)
    assert code == 0, errors
    assert errors.count("sigmoe: warning: ") == 1
    assert (
        "sigmoe: warning: study 'tiny' has n = 4, fewer samples than the 5 free parameters of 1 "
        "experts; such fits follow the noise."
    ) in errors
