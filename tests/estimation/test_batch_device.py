"""Batched fits on a pretend device: the same bits, and few waits for the host."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from pretend_device import DEVICE, pretend_device
from sigmoe.estimation import Bounds, fit_batch, random_start
from sigmoe.estimation.batch import _tiles
from sigmoe.estimation.batch._levenberg_marquardt import STATUSES
from sigmoe.moe import Architecture, MixingMeasure, draw_sample, draw_truth


def problem(
    gate: str = "sigmoid", expert: str = "relu", n_outputs: int | None = None, n_starts: int = 2
) -> tuple[Tensor, Tensor, MixingMeasure]:
    """Return two samples and a few random starts for each."""
    architecture = Architecture(gate, "full", expert, 2, n_outputs)
    truth = draw_truth(architecture, 2, seed=1)
    samples = [draw_sample(truth, 120, 0.01, seed) for seed in (2, 3)]
    starts = [
        MixingMeasure.stack([random_start(X, y, architecture, 2, seed=k) for k in range(n_starts)])
        for X, y in samples
    ]
    X, y = (torch.stack(parts) for parts in zip(*samples, strict=True))
    return X, y, MixingMeasure.stack(starts)


CASES = [
    pytest.param("sigmoid", "relu", None, {}, id="plain"),
    pytest.param("softmax", "scaled-gelu", 2, {"ridge": 0.01}, id="columns-and-ridge"),
    pytest.param("sigmoid", "tanh", None, {"bounds": Bounds(*[(-8.0, 8.0)] * 4)}, id="bounds"),
    pytest.param(
        "softmax", "linear", None, {"sample_weight": torch.arange(120.0) % 3}, id="weights"
    ),
]


@pytest.mark.parametrize(("gate", "expert", "n_outputs", "options"), CASES)
def test_fits_on_another_device_are_the_same(
    gate: str,
    expert: str,
    n_outputs: int | None,
    options: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    X, y, starts = problem(gate, expert, n_outputs)
    # Several tiles and chunks, the same on both.
    for name in ("CHUNK_NUMBERS", "CHUNK_NUMBERS_GPU"):
        monkeypatch.setattr(_tiles, name, 4096)
    plain = fit_batch(X, y, starts, max_iterations=4, **options)
    with pretend_device() as pretend:
        fit = fit_batch(X, y, starts, max_iterations=4, device="meta", **options)
    assert pretend.operations > 500
    assert torch.equal(fit.objective, plain.objective)
    assert fit.measure == plain.measure
    assert fit.status.tolist() == plain.status.tolist()
    assert set(fit.status.flatten()) <= set(STATUSES)


def test_many_copies_of_a_fit_cost_as_many_calls_and_waits_as_one() -> None:
    X, y, starts = problem(n_starts=1)
    counts = []
    for copies in (1, 40):
        many = MixingMeasure.stack([starts[0][0]] * copies)
        with pretend_device() as pretend:
            fit = fit_batch(X[0], y[0], many, max_iterations=4, device="meta")
        assert fit.n_iterations.tolist() == [4] * copies
        counts.append((pretend.operations, pretend.waits))
    (operations, waits), (many_operations, many_waits) = counts
    assert many_waits == waits
    # A product of one matrix is called by other names than one of many.
    assert many_operations <= 1.02 * operations
    # A round waits to see who goes on: a few times for each of 12 cheap steps, and for a matrix.
    assert waits <= 4 * 60


def test_the_pretend_device_refuses_what_a_gpu_refuses() -> None:
    with pretend_device():
        here, there = torch.ones(3), torch.ones(3, device="meta")
        with pytest.raises(RuntimeError, match="meet those of the device"):
            here + there
        with pytest.raises(RuntimeError, match="meet those of the device"):
            there[torch.arange(2)]
        assert (there + torch.tensor(1.0)).device == DEVICE
        assert (there + here.to("meta")).cpu().tolist() == [2.0, 2.0, 2.0]
