"""The accuracy contract: relative errors at most twice those of an honest reference."""

import math

import pytest
import torch
from torch import Tensor

from sigmoe import sigmoid_attention, softmax_attention
from sigmoe.attention import _backends, _native, _tiles

BIASES = {"0": 0.0, "-log-n": "auto", "-15": -15.0, "5": 5.0}
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
FACTORS = pytest.mark.parametrize("factor", [1.0, 20.0], ids=["logits-of-1", "logits-to-100"])


def honest(query: Tensor, key: Tensor, value: Tensor, bias: float | str | Tensor) -> Tensor:
    """Return eq. (2) as one writes it: scores and sums in float32, weights of the inputs' dtype.

    Inputs of float64 stay so in every step.
    """
    work = torch.float64 if query.dtype == torch.float64 else torch.float32
    number = -math.log(key.shape[2]) if isinstance(bias, str) else bias
    scores = query.to(work) @ key.to(work).mT * query.shape[3] ** -0.5 + number
    weights = torch.sigmoid(scores).to(query.dtype)
    return (weights.to(work) @ value.to(work)).to(query.dtype)


def relative_error(found: Tensor, exact: Tensor) -> float:
    """Return the root mean square of the error over that of the exact values."""
    found, exact = found.detach(), exact.detach()
    return float((found.double() - exact).square().mean().sqrt() / exact.square().mean().sqrt())


def gradients(function, inputs: list[Tensor], weights: Tensor) -> list[Tensor]:
    """Return the output and the gradients of all inputs."""
    inputs = [part.detach().requires_grad_() for part in inputs]
    output = function(*inputs)
    return [output, *torch.autograd.grad(output, inputs, weights.to(output.dtype))]


def results(function, inputs: list[Tensor], weights: Tensor, bias: float | str) -> list[Tensor]:
    """Return the output and the gradients of query, key and value."""
    return gradients(lambda *parts: function(*parts, bias), inputs, weights)


@FACTORS
@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [196, 2048])
def test_errors_are_at_most_twice_those_of_the_honest_reference(
    n: int, dtype: str, bias: str, factor: float
) -> None:
    generator = torch.Generator().manual_seed(n)
    rows = min(n, 256)
    shapes = [(1, 1, rows, 64), (1, 1, n, 64), (1, 1, n, 64)]
    inputs = [torch.randn(shape, generator=generator).to(DTYPES[dtype]) for shape in shapes]
    inputs[0] = inputs[0] * factor
    weights = torch.randn(1, 1, rows, 64, generator=generator).to(DTYPES[dtype])

    def ours(query: Tensor, key: Tensor, value: Tensor, bias: float | str) -> Tensor:
        return sigmoid_attention(query, key, value, bias=bias)

    exact = results(ours, [part.double() for part in inputs], weights.double(), BIASES[bias])
    found = results(ours, inputs, weights, BIASES[bias])
    peer = results(honest, inputs, weights, BIASES[bias])
    for name, ours_part, peer_part, exact_part in zip(
        ("output", "query", "key", "value"), found, peer, exact, strict=True
    ):
        error = relative_error(ours_part, exact_part)
        assert error <= 2 * relative_error(peer_part, exact_part), name
        assert error < {"bfloat16": 5e-3, "float16": 2e-3, "float32": 1e-4}[dtype], name


def test_a_mask_and_a_bias_are_added_in_float32() -> None:
    inputs = torch.randn(3, 1, 2, 40, 16).bfloat16()
    bias = torch.full((2, 1, 1), -8.3).bfloat16()
    mask = (-3.0 * torch.rand(40, 40)).bfloat16()
    output = sigmoid_attention(*inputs, bias=bias, attn_mask=mask)
    whole = bias.double() + mask.double()
    exact = sigmoid_attention(*(part.double() for part in inputs), bias=whole)
    assert relative_error(output, exact) < 3e-3


def learned_bias(inputs: list[Tensor], bias: float | str, generator: torch.Generator) -> Tensor:
    """Return a bias for each head of each entry, near a number, in the dtype of the inputs."""
    number = -math.log(inputs[1].shape[2]) if isinstance(bias, str) else bias
    noise = torch.randn(*inputs[0].shape[:2], 1, 1, generator=generator)
    return (number + 0.1 * noise).to(inputs[0].dtype)


@FACTORS
@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", ["native", "tiled"])
def test_every_gradient_of_each_back_end_keeps_the_contract(
    backend: str, dtype: str, bias: str, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(11)
    shapes = [(2, 16, 97, 64), (2, 16, 131, 64), (2, 16, 131, 64), (2, 16, 97, 64)]
    *inputs, weights = (torch.randn(s, generator=generator).to(DTYPES[dtype]) for s in shapes)
    if backend == "native" and not _native.available(inputs[0]):
        pytest.skip(f"no compiled kernel for {dtype}: {_native.native_status()}")
    inputs[0] = inputs[0] * factor
    inputs.append(learned_bias(inputs, BIASES[bias], generator))
    # Sums over several tiles.
    monkeypatch.setattr(_tiles, "SIDE", 32)
    with _backends.forced(backend):
        found = gradients(lambda q, k, v, b: sigmoid_attention(q, k, v, bias=b), inputs, weights)
    peer = gradients(honest, inputs, weights)
    exact = gradients(honest, [part.double() for part in inputs], weights.double())
    for name, ours_part, peer_part, exact_part in zip(
        ("output", "query", "key", "value", "bias"), found, peer, exact, strict=True
    ):
        error = relative_error(ours_part, exact_part)
        assert error <= 2 * relative_error(peer_part, exact_part), name


def test_the_left_tail_keeps_its_digits() -> None:
    query, key = torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 1, 2)
    for bias in (-15.0, -40.0, -80.0):
        output = sigmoid_attention(query, key, torch.ones(1, 1, 1, 1), bias=bias)
        assert float(output) == pytest.approx(1 / (1 + math.exp(-bias)), rel=1e-6)


def test_tiled_softmax_in_float32_is_as_good_as_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tiles, "SIDE", 64)
    query, key, value = torch.randn(3, 1, 2, 300, 64)
    query = query * 20
    exact = softmax_attention(query.double(), key.double(), value.double())
    peer = softmax_attention(query, key, value)
    tiled = softmax_attention(query, key, value, window=(300, 300))
    assert relative_error(tiled, exact) <= 2 * relative_error(peer, exact)
