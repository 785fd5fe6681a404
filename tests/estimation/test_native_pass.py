"""The compiled passes against those of PyTorch, and where they are not used."""

from __future__ import annotations

import ctypes
import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from sigmoe.estimation import fit_least_squares, native_status, near_truth_start
from sigmoe.estimation.engine import _least_squares, _native
from sigmoe.estimation.engine._layout import layout
from sigmoe.estimation.engine._least_squares import LeastSquares
from sigmoe.estimation.engine._native import NativePasses
from sigmoe.estimation.engine._rows import Rows
from sigmoe.estimation.engine._torch_passes import TorchPasses
from sigmoe.moe import Architecture, MixingMeasure, draw_sample, draw_truth, register_expert
from sigmoe.moe._experts import EXPERTS

KNOWN = ("linear", "relu", "scaled-relu", "tanh", "scaled-tanh")
CPU = torch.device("cpu")
CASES = [
    pytest.param(Architecture(gate, score, expert, 3, m), id=f"{gate}-{score}-{expert}-{m}")
    for gate, score, expert, m in itertools.product(
        ("sigmoid", "softmax"), ("full", "partial", "linear"), KNOWN, (None, 1, 3)
    )
]
needs_kernel = pytest.mark.skipif(_native.KERNEL.built().library is None, reason="no C++ compiler")


@contextmanager
def without_kernel() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_least_squares, "available", lambda *_: False)
        yield


def both(
    X: Tensor, y: Tensor, weight: Tensor | None, architecture: Architecture, n_experts: int
) -> tuple[LeastSquares, LeastSquares]:
    """Return the same problem for the kernel and for PyTorch."""
    rows = Rows.of(X, y, weight)
    with without_kernel():
        plain = LeastSquares(rows, architecture, n_experts)
    return LeastSquares(rows, architecture, n_experts), plain


@needs_kernel
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("architecture", CASES)
def test_passes_agree_with_those_of_torch(architecture: Architecture, weighted: bool) -> None:
    # Neither tiles nor pieces nor registers are filled.
    n = 2337
    X, y = draw_sample(draw_truth(architecture, 5, seed=1), n, seed=1)
    weight = torch.linspace(0.0, 2.0, n, dtype=torch.float64) if weighted else None
    for n_experts in (1, 2, 3, 4, 7):
        theta = draw_truth(architecture, n_experts, seed=2).coordinates
        kernel, plain = both(X, y, weight, architecture, n_experts)
        assert isinstance(kernel.passes, NativePasses)
        assert isinstance(plain.passes, TorchPasses)
        objective, gradient = kernel.gradient(theta)
        expected = plain.gradient(theta)
        assert objective == pytest.approx(expected[0], rel=1e-13)
        assert kernel.objective(theta) == objective
        scale = float(expected[1].abs().max())
        torch.testing.assert_close(gradient, expected[1], rtol=0.0, atol=1e-13 * scale)
        found, matrix = kernel.matrix(theta), plain.matrix(theta)
        assert float(matrix.abs().max()) > 0.0
        scale = float(matrix.abs().max())
        torch.testing.assert_close(found, matrix, rtol=0.0, atol=1e-13 * scale)


@needs_kernel
@pytest.mark.parametrize("n", [1, 7, 8, 255, 256, 257, 2048, 2049])
@pytest.mark.parametrize("dim", [1, 2, 9])
def test_every_row_counts_once(n: int, dim: int) -> None:
    architecture = Architecture("softmax", "full", "relu", dim, n_outputs=2)
    X, y = draw_sample(draw_truth(architecture, 2, seed=1), n, seed=1)
    theta = draw_truth(architecture, 3, seed=2).coordinates
    kernel, plain = both(X, y, None, architecture, 3)
    assert kernel.objective(theta) == pytest.approx(plain.objective(theta), rel=1e-13)
    torch.testing.assert_close(
        kernel.gradient(theta)[1], plain.gradient(theta)[1], rtol=1e-10, atol=1e-12
    )
    torch.testing.assert_close(kernel.matrix(theta), plain.matrix(theta), rtol=1e-10, atol=1e-12)


@needs_kernel
def test_the_bits_do_not_depend_on_the_threads() -> None:
    architecture = Architecture("sigmoid", "full", "tanh", 4)
    X, y = draw_sample(draw_truth(architecture, 3, seed=1), 20_000, seed=1)
    theta = draw_truth(architecture, 3, seed=2).coordinates
    problem = LeastSquares(Rows.of(X, y), architecture, 3)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append((*problem.gradient(theta), problem.matrix(theta)))
    finally:
        torch.set_num_threads(before)
    for objective, gradient, matrix in found[1:]:
        assert objective == found[0][0]
        assert torch.equal(gradient, found[0][1])
        assert torch.equal(matrix, found[0][2])


@needs_kernel
@pytest.mark.parametrize("size", [1e-12, 1e-6, 0.01, 0.17, 0.18, 0.5, 1.0, 5.0, 25.0, 300.0])
def test_tanh_is_right_to_the_last_digits(size: float) -> None:
    # One softmax gate is 1, so that the prediction is tanh(x) and the gradient 2 tanh tanh' x.
    architecture = Architecture("softmax", "linear", "tanh", 1)
    X = size * torch.tensor([[-1.0], [0.75]], dtype=torch.float64)
    theta = torch.tensor([[0.0, 0.0, 1.0, 0.0]], dtype=torch.float64)
    problem = LeastSquares(Rows.of(X, torch.zeros(2, dtype=torch.float64)), architecture, 1)
    values = [math.tanh(x) for x in X[:, 0].tolist()]
    slopes = [1.0 / math.cosh(x) ** 2 for x in X[:, 0].tolist()]
    objective, gradient = problem.gradient(theta)
    assert objective == pytest.approx(sum(v * v for v in values) / 2, rel=2e-15, abs=0.0)
    expected = sum(v * s * x for v, s, x in zip(values, slopes, X[:, 0].tolist(), strict=True))
    # Far out the slope is an exponential, whose relative error is that of its argument.
    assert float(gradient[2]) == pytest.approx(expected, rel=5e-15 * max(1.0, size), abs=0.0)


@needs_kernel
@pytest.mark.parametrize("gate", ["sigmoid", "softmax"])
@pytest.mark.parametrize("size", [1e-300, 30.0, 700.0, 1e5, 1e300])
def test_extreme_scores_are_those_of_torch(gate: str, size: float) -> None:
    architecture = Architecture(gate, "linear", "linear", 1)
    X = torch.linspace(-1.0, 1.0, 40, dtype=torch.float64).unsqueeze(1)
    theta = torch.tensor(
        [[size, 0.1, 1.0, 2.0], [-size, 0.2, -1.0, 1.0], [0.5, 0.0, 0.3, 0.0]], dtype=torch.float64
    )
    kernel, plain = both(X, X[:, 0], None, architecture, 3)
    assert kernel.objective(theta) == pytest.approx(plain.objective(theta), rel=1e-13)
    torch.testing.assert_close(kernel.gradient(theta)[1], plain.gradient(theta)[1])


@needs_kernel
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("expert", KNOWN)
@pytest.mark.parametrize("gate", ["sigmoid", "softmax"])
def test_what_is_not_finite_stays_so(gate: str, expert: str, bad: float) -> None:
    architecture = Architecture(gate, "linear", expert, 1)
    X, y = draw_sample(draw_truth(architecture, 2, seed=1), 20, seed=1)
    theta = draw_truth(architecture, 2, seed=1).coordinates
    for column in (0, 1, 2, 3):
        spoilt = theta.clone()
        spoilt[0, column] = bad
        kernel, plain = both(X, y, None, architecture, 2)
        found, expected = kernel.objective(spoilt), plain.objective(spoilt)
        assert math.isfinite(found) == math.isfinite(expected)
        if math.isfinite(expected):
            assert found == pytest.approx(expected, rel=1e-13)


def test_other_experts_and_devices_are_left_to_torch() -> None:
    for name in ("gelu", "scaled-gelu", "polynomial:2"):
        assert not _native.available(layout(Architecture(expert=name, dim=2), 2), CPU)
    assert not _native.available(layout(Architecture(dim=2), 2), torch.device("meta"))
    register_expert("sine", torch.sin, torch.cos, lambda z: -torch.sin(z))
    try:
        assert not _native.available(layout(Architecture(expert="sine", dim=2), 2), CPU)
    finally:
        EXPERTS.unregister("sine")


@needs_kernel
def test_the_structure_is_as_long_as_the_kernel_reads() -> None:
    library = _native.KERNEL.built().library
    assert library is not None
    assert library.sigmoe_size_of_pass() == ctypes.sizeof(_native._Pass)
    assert native_status() == _native.KERNEL.built().status
    assert native_status().startswith("loaded from ")


def test_a_fit_is_the_same_without_the_kernel() -> None:
    architecture = Architecture("sigmoid", "full", "tanh", 2)
    truth = draw_truth(architecture, 2, seed=1)
    X, y = draw_sample(truth, 3000, seed=1)
    start = near_truth_start(truth, 2, scale=0.05, seed=1)

    def fit() -> MixingMeasure:
        return fit_least_squares(X, y, architecture, 2, start, gradient_tolerance=1e-6).measure

    with without_kernel():
        plain = fit()
    torch.testing.assert_close(fit().predict(X), plain.predict(X), rtol=1e-9, atol=1e-11)
