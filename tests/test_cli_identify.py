"""`sigmoe identify` as people meet it."""

import json
import subprocess
import sys

import pytest

from sigmoe.cli import main


@pytest.fixture
def inside(monkeypatch, capsys):
    """Return a function that runs the command in this process."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["sigmoe", "identify", *map(str, arguments)])
        code = main()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_it_prints_verdicts_a_table_and_equations():
    command = [sys.executable, "-m", "sigmoe.cli", "identify", "--dim", "1", "--condition", "weak"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert lines[0] == "weak identifiability: sigmoid gates, full score, relu experts, d = 1"
    assert lines[1] == "as the definition reads (any distinct parameters): fails"
    assert lines[2] == "for generic parameters, trivial relations left out: holds"
    assert any("pivots above" in line for line in lines)
    equation = "∂F/∂c = alpha1 σ'(c)/σ(c) ∂F/∂alpha1 + beta σ'(c)/σ(c) ∂F/∂beta   [and 1 like it]"
    assert equation in lines


def test_the_condition_follows_the_score(inside):
    code, output, _ = inside("--score", "partial", "--expert", "gelu", "--dim", 1)
    assert code == 0
    assert output.startswith("partial-strong identifiability: sigmoid gates, partial score, gelu")


def test_json_holds_the_verdicts_and_equation_8(inside):
    code, output, errors = inside(
        "--expert", "polynomial:1", "--dim", 1, "--condition", "weak", "--extended", "--json"
    )
    assert (code, errors) == (0, "")
    report = json.loads(output)
    assert (report["identifiable"], report["generic"]) == (False, True)
    (extended,) = (s for s in report["strata"] if s["extended"])
    known = {r["known_as"]: r["equation"] for r in extended["identities"] if r["known_as"]}
    assert known == {
        "eq. (8), first": "∂²F/∂A11∂c = ∂²F/∂b1∂b1",
        "eq. (8), second": "∂²F/∂A11∂beta = ∂²F/∂b1∂alpha1",
        "eq. (8), third": "∂²F/∂b1∂beta = ∂²F/∂c∂alpha1",
    }


def test_seed_and_atoms_reach_the_check(inside):
    code, output, _ = inside(
        "--score", "linear", "--dim", 1, "--condition", "weak", "--atoms", 3, "--seed", 5, "--json"
    )
    assert code == 0
    assert {s["n_atoms"] for s in json.loads(output)["strata"]} == {3}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--condition", "partial-strong"],
            "condition must be one for the score 'full'; got 'partial-strong'. "
            "Choose 'strong' or 'weak'.",
        ),
        (
            ["--gate", "hard"],
            "gate must be one of 'sigmoid', 'softmax'; got 'hard'. Choose one of these names.",
        ),
        (
            ["--dim", "9"],
            "dim must be small enough for a family of at most 500 functions; got 9. "
            "This one has 4288; dimension 2 shows all kinds of relations.",
        ),
        (["--seed", "-1"], "seed must be an integer >= 0; got -1. Pass a non-negative integer."),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, message, inside):
    assert inside(*arguments) == (2, "", f"sigmoe: error: {message}\n")
