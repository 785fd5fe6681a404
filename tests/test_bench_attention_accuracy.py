"""``make bench-attention-accuracy``: what it compares, what it calls broken, and its files."""

import json
import sys
from pathlib import Path

import pytest
import torch

# The benchmarks are no part of the installed package.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import attention_accuracy as command
from benchmarks.attention_accuracy import PARTS, Case

from sigmoe.attention import _native

NATIVE = ["native"] if _native.available(torch.zeros(1)) else []
METHODS = ["softmax", "eager", "reference", *NATIVE, "tiled"]


def in_double(case: Case) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    operands, gradient = case.operands()
    return [part.double() for part in operands], gradient.double(), case.places


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, part in expected.items():
        torch.testing.assert_close(found[name], part, rtol=1e-12, atol=1e-12)


def test_rows_and_columns_are_those_of_the_whole() -> None:
    inputs = in_double(Case("float32", "auto", 100))
    expected = command.at_once(command.eager, *inputs)
    assert list(expected) == list(PARTS)
    assert expected["bias"].shape == (1, 1, command.CHECKED, 1)
    assert_same(command.by_sample(command.eager, *inputs), expected)
    assert_same(command.at_once(command.ours, *inputs), expected)


def test_softmax_by_blocks_is_torchs() -> None:
    inputs = in_double(Case("float32", "0", 1100))
    assert_same(command.softmax_by_blocks(*inputs), command.at_once(command.softmax, *inputs))


def test_everybody_sees_the_same_rounded_inputs() -> None:
    query, *_, bias = Case("bfloat16", "-15", 64, scores=20.0).operands()[0]
    assert query.dtype == bias.dtype == torch.bfloat16
    assert float(query.float().square().mean().sqrt()) == pytest.approx(20.0, rel=0.1)
    assert bias.unique().tolist() == [-15.0]


def test_an_error_above_twice_the_references_breaks_the_contract() -> None:
    errors = {method: dict.fromkeys(PARTS, 1e-3) for method in ("reference", "native", "tiled")}
    errors["native"]["key"] = 1.9e-3
    assert list(command.broken(errors)) == []
    errors["tiled"] |= {"output": 2.5e-3, "bias": float("nan")}
    assert list(command.broken(errors)) == [
        "tiled, output: 2.50 times the reference",
        "tiled, gradient, bias: nan times the reference",
    ]


def test_the_whole_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--longest", "128", "--biases", "auto", "--out", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "attention-accuracy.json", "attention-accuracy.png"
    }  # fmt: skip
    rows = json.loads((tmp_path / "attention-accuracy.json").read_text())["rows"]
    assert [(row["dtype"], row["bias"], row["n"]) for row in rows] == [
        (dtype, "auto", n) for dtype in ("float32", "bfloat16") for n in (64, 128)
    ]
    assert list(rows[-1]["errors"]) == METHODS
    # What the figure is about: written out in bfloat16 it loses digits where the bias is large.
    at_auto = next(row["errors"] for row in rows if row["dtype"] == "bfloat16")
    assert at_auto["eager"]["output"] > 2 * at_auto["reference"]["output"]
    assert capsys.readouterr().out.count("reference") == len(rows)


def test_a_broken_contract_is_said_and_drawn_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    errors = {method: dict.fromkeys(PARTS, 1.0) for method in ("reference", "native")}
    errors["native"]["output"] = 3.0
    monkeypatch.setattr(command, "measure", lambda _: errors)
    monkeypatch.setattr(command, "LENGTHS", (64,))
    monkeypatch.setattr(command, "DTYPES", {"float32": torch.float32})
    assert command.main(["--biases", "5", "--out", str(tmp_path)]) == 1
    assert (
        "float32, bias 5, n = 64: native, output: 3.00 times the reference"
        in capsys.readouterr().out.splitlines()
    )
    assert (tmp_path / "attention-accuracy.png").exists()


def test_the_figure_has_a_panel_for_each_part_and_a_bound() -> None:
    errors = {method: dict.fromkeys(PARTS, 0.5) for method in ("softmax", "reference", "native")}
    del errors["softmax"]["bias"]
    rows = [
        {"dtype": "float32", "bias": bias, "n": n, "errors": errors}
        for bias in ("auto", "0")
        for n in (64, 128)
    ]
    panels = command.draw(rows).axes
    assert len(panels) == 2 * len(PARTS)
    drawn = {line.get_label(): list(line.get_ydata()) for line in panels[0].lines}
    labels = {command.CURVES[name][0] for name in errors}
    assert drawn == {"bound": [1.0, 1.0]} | {label: [0.5, 0.5] for label in labels}
    assert command.CURVES["softmax"][0] not in {line.get_label() for line in panels[4].lines}
    assert panels[0].get_xscale() == panels[0].get_yscale() == "log"
