"""The command `sigmoe claims`."""

import json
import signal
import sys

import pytest

from sigmoe.cli import main
from sigmoe.ledger import CLAIMS, load


@pytest.fixture
def run(monkeypatch, capsys):
    """Return a function that runs the command in this process."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["sigmoe", "claims", *map(str, arguments)])
        code = main()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_without_names_it_is_one_table(run):
    code, out, err = run()
    assert (code, err) == (0, "")
    assert all(claim.name in out for claim in CLAIMS)


def test_one_claim_has_its_evidence_in_numbers(run):
    code, out, _ = run("proposition-3")
    assert code == 0
    assert out.startswith("proposition-3 (Proposition 3, Appendix B.5): holds as corrected\n")
    assert "sigma(c) goes to 1 as c goes to +infinity, and to 0 as c goes to -infinity" in out
    assert out.endswith("check it: sigmoe claims proposition-3 --check\n")


def test_json_has_every_claim_and_verdict(run):
    _, out, _ = run("--json")
    rows = json.loads(out)
    assert [row["claim"] for row in rows] == [claim.name for claim in CLAIMS]
    assert {"verdict", "sentence", "place", "evidence"} <= rows[0].keys()


def test_a_check_measures_writes_and_can_be_read_again(run, tmp_path):
    path = tmp_path / "mine.json"
    code, out, err = run("proposition-3", "--check", "--out", path)
    assert code == 0
    assert "sigmoe: proposition-3: limits of the gate" in err
    assert "holds as corrected" in out
    # What was not measured again is still there.
    assert load(path)["claims"].keys() == load()["claims"].keys()
    again = run("proposition-3", "--evidence", path)
    assert again == (0, out, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["theorem-9"],
            "the argument of claims must be the name of a claim; got 'theorem-9'.",
        ),
        (["--deep"], "--deep must be used with --check; got 'no --check'. Add --check."),
        (["--out", "x.json"], "--out must be used with --check; got 'no --check'. Add --check."),
        (["--evidence", "none.json"], "evidence must be a file of `sigmoe claims --check`; got"),
    ],
)
def test_bad_usage_is_one_line(run, arguments, message):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"sigmoe: error: {message}")
    assert err.count("\n") == 1


def test_what_cannot_be_written_is_refused_before_anything_is_measured(run, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = run("proposition-3", "--check", "--out", tmp_path / "file" / "x.json")
    assert code == 2
    assert err.startswith("sigmoe: error: --out must be a file that can be written; got ")
    assert "limits of the gate" not in err


def test_each_claim_is_written_as_soon_as_it_is_measured(run, tmp_path, monkeypatch):
    path = tmp_path / "mine.json"

    def stopped(chosen, deep, tell):
        if chosen[0].name == "proposition-3":
            raise KeyboardInterrupt
        return {"claims": {chosen[0].name: {"mine": {"numbers": {}}}}}

    monkeypatch.setattr("sigmoe.ledger.measured", stopped)
    code, _, _ = run("proposition-2", "proposition-3", "--check", "--out", path)
    assert code == 130
    assert "mine" in load(path)["claims"]["proposition-2"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "It has no claims."),
        ('{"claims": {"proposition-3": 3}}', "Claim 'proposition-3' has no numbers there."),
        (
            '{"claims": {"proposition-3": {"limits of the gate": {"numbers": 7}}}}',
            "Claim 'proposition-3' has no numbers there.",
        ),
        (
            '{"claims": {"proposition-3": {"limits of the gate": {"numbers": {"x": NaN}}}}}',
            "It cannot be read: NaN is no number of a measurement",
        ),
    ],
)
def test_a_file_that_is_no_evidence_is_refused(run, tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.json").write_text(content)
    code, out, err = run("proposition-3", "--evidence", "mine.json")
    assert (code, out) == (2, "")
    assert err == (
        "sigmoe: error: evidence must be a file of `sigmoe claims --check`; got "
        f"PosixPath('mine.json'). {message}\n"
    )


def test_numbers_that_are_not_those_of_the_evidence_are_refused(run, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"claims": {"proposition-3": {"limits of the gate": {"numbers": {}}}}}')
    code, out, err = run("proposition-3", "--evidence", path)
    assert (code, out) == (2, "")
    assert err.startswith(
        "sigmoe: error: evidence must be the numbers of claim 'proposition-3', 'limits of the "
        "gate'; got "
    )
    assert err.endswith("Measure them again: sigmoe claims proposition-3 --check.\n")
    assert err.count("\n") == 1
