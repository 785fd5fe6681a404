"""Single fits and fits of blocks on a pretend device: the same bits."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pretend_device import pretend_device
from sigmoe.estimation import fit_blocks, fit_least_squares, near_truth_start
from sigmoe.estimation.engine import _chunks, _least_squares
from sigmoe.moe import Architecture, draw_sample, draw_truth


@pytest.fixture(autouse=True)
def same_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut rows alike on both and sum them with PyTorch, so that sums round alike."""
    monkeypatch.setattr(_least_squares, "available", lambda *_: False)
    monkeypatch.setattr(_chunks, "_MOST_NUMBERS_GPU", 1)
    monkeypatch.setattr(_chunks, "LIGHT_NUMBERS", 10**9)


CASES = [
    pytest.param("sigmoid", "relu", None, {}, id="plain"),
    pytest.param("softmax", "scaled-gelu", 2, {"ridge": 0.01}, id="columns-and-ridge"),
    pytest.param(
        "softmax", "linear", None, {"sample_weight": torch.arange(300.0) % 3}, id="weights"
    ),
]


@pytest.mark.parametrize("begin", ["near", "random"])
@pytest.mark.parametrize(("gate", "expert", "n_outputs", "options"), CASES)
def test_fits_on_another_device_are_the_same(
    gate: str, expert: str, n_outputs: int | None, options: dict[str, Any], begin: str
) -> None:
    architecture = Architecture(gate, "full", expert, 2, n_outputs)
    truth = draw_truth(architecture, 2, seed=1)
    X, y = draw_sample(truth, 300, 0.01, seed=2)
    start = near_truth_start(truth, 2, scale=0.1, seed=0) if begin == "near" else "random"
    options = {"n_starts": 2, "max_iterations": 4, **options}
    plain = fit_least_squares(X, y, architecture, 2, start, **options)
    with pretend_device() as pretend:
        fit = fit_least_squares(X, y, architecture, 2, start, device="meta", **options)
    assert pretend.operations > 500
    assert fit.measure == plain.measure
    assert fit.objective == plain.objective
    assert fit.status == plain.status


def test_a_matrix_from_part_of_the_rows_is_taken_on_the_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_chunks, "CURVATURE_LEAST", 100)
    monkeypatch.setattr(_chunks, "_FEWEST_ROWS", 100)
    architecture = Architecture("sigmoid", "linear", "tanh", 1)
    truth = draw_truth(architecture, 2, seed=1)
    X, y = draw_sample(truth, 1000, 0.01, seed=2)
    start = near_truth_start(truth, 2, scale=0.1, seed=0)
    plain = fit_least_squares(X, y, architecture, 2, start, max_iterations=4)
    chunks = [(X[:700], y[:700]), (X[700:], y[700:])]
    blocks = fit_blocks(chunks, architecture, 2, start, max_iterations=4)
    with pretend_device() as pretend:
        fit = fit_least_squares(X, y, architecture, 2, start, device="meta", max_iterations=4)
        there = fit_blocks(chunks, architecture, 2, start, device="meta", max_iterations=4)
    assert pretend.operations > 500
    assert fit.measure == plain.measure
    assert there.measure == blocks.measure
