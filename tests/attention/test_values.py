"""Values and all gradients of attention against an oracle that goes row by row, in float64."""

import pytest
import torch
from torch import Tensor

from attention_cases import CASES, oracle, trainable
from sigmoe.attention import (
    _backends,
    _tiles,
    attention_weights,
    native_status,
    sigmoid_attention,
    softmax_attention,
)

GATES = {"sigmoid": sigmoid_attention, "softmax": softmax_attention}


def gradients(output: Tensor, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    weights = torch.arange(output.numel(), dtype=output.dtype).reshape(output.shape).cos()
    return torch.autograd.grad((output * weights).sum(), inputs)


BACKENDS = [(gate, backend) for gate in GATES for backend in ("tiled", "reference")]
needs_kernel = pytest.mark.skipif(
    not native_status().startswith("loaded"), reason=f"compiled kernel {native_status()}"
)


@pytest.mark.parametrize(
    ("gate", "backend"), [*BACKENDS, pytest.param("sigmoid", "native", marks=needs_kernel)]
)
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_of_the_oracle(
    name: str, gate: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Small tiles: blocks that are hidden, cut by a border and wholly visible all occur.
    monkeypatch.setattr(_tiles, "SIDE", 4)
    qkv, options = CASES[name].make()
    inputs = trainable(*qkv, options.get("bias"), options.get("attn_mask"))
    expected = oracle(gate, *qkv, options)
    expected_gradients = gradients(expected, inputs)
    with _backends.forced(backend):
        output = GATES[gate](*qkv, **options)
        found = gradients(output, inputs)
    torch.testing.assert_close(output, expected, rtol=1e-11, atol=1e-13)
    assert output.is_contiguous()
    for part, expected_part in zip(found, expected_gradients, strict=True):
        torch.testing.assert_close(part, expected_part, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("name", CASES)
def test_weights_times_values_are_the_output(name: str, gate: str) -> None:
    (query, key, value), options = CASES[name].make()
    weights = attention_weights(query, key, gate=gate, **options)
    assert bool(torch.isfinite(weights).all())
    repeated = value.nan_to_num(0, 0, 0).repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    torch.testing.assert_close(weights @ repeated, GATES[gate](query, key, value, **options))


@pytest.mark.parametrize("gate", GATES)
def test_a_row_without_keys_is_exactly_zero_with_zero_gradients(gate: str) -> None:
    (query, key, value), options = CASES["no-visible-keys"].make()
    query[:, :, ::2] = torch.nan
    inputs = trainable(query, key, value)
    output = GATES[gate](*inputs, **options)
    assert torch.equal(output[:, :, ::2], torch.zeros_like(output[:, :, ::2]))
    d_query, d_key, d_value = torch.autograd.grad(output.sum(), inputs)
    assert torch.equal(d_query[:, :, ::2], torch.zeros_like(d_query[:, :, ::2]))
    assert bool(torch.isfinite(d_key).all() & torch.isfinite(d_value).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gate", GATES)
def test_nan_at_a_later_key_reaches_only_those_who_see_it(gate: str, dtype: torch.dtype) -> None:
    qkv, _ = CASES["plain"].make()
    query, key, value = (part.to(dtype) for part in qkv)
    clean = GATES[gate](query, key, value, is_causal=True)
    key[:, :, 4, 1], value[:, :, 5] = torch.nan, torch.nan
    output = GATES[gate](query, key, value, is_causal=True)
    torch.testing.assert_close(output[:, :, :4], clean[:, :, :4])
    assert bool(output[:, :, 4:].isnan().all())


@pytest.mark.parametrize(("special", "shown"), [(torch.inf, torch.inf), (-torch.inf, -torch.inf)])
def test_an_infinite_value_reaches_only_those_who_see_it(special: float, shown: float) -> None:
    (query, key, value), _ = CASES["plain"].make()
    value[:, :, 3] = special
    output = sigmoid_attention(query, key, value, is_causal=True)
    assert bool(torch.isfinite(output[:, :, :3]).all())
    assert bool((output[:, :, 3:] == shown).all())


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize(
    "sizes", [(0, 2, 3, 4), (2, 0, 3, 4), (2, 2, 0, 4)], ids=["no-batch", "no-heads", "no-queries"]
)
def test_zero_lengths_give_empty_outputs(gate: str, sizes: tuple[int, ...]) -> None:
    query = torch.zeros(sizes, requires_grad=True)
    key = torch.zeros(*sizes[:2], 5, 4, requires_grad=True)
    output = GATES[gate](query, key, key, is_causal=True, bias="log-visible")
    assert output.shape == sizes
    output.sum().backward()
    assert torch.equal(key.grad, torch.zeros_like(key))
    weights = attention_weights(query, key, gate=gate)
    assert weights.shape == (*sizes[:3], 5)
    (gradient,) = torch.autograd.grad(weights.sum(), key)
    assert torch.equal(gradient, torch.zeros_like(key))


@pytest.mark.parametrize("gate", GATES)
def test_no_keys_give_zeros(gate: str) -> None:
    query = torch.randn(2, 3, 4, 5, requires_grad=True)
    nothing = torch.zeros(2, 3, 0, 5)
    output = GATES[gate](query, nothing, nothing)
    assert torch.equal(output, torch.zeros(2, 3, 4, 5))
    output.sum().backward()
    assert torch.equal(query.grad, torch.zeros_like(query))


@pytest.mark.parametrize("batch", [(), (2,), (2, 3), (2, 1, 2)])
def test_any_number_of_batch_axes(batch: tuple[int, ...]) -> None:
    query, key, value = torch.randn(3, *batch, 2, 5, 4, dtype=torch.float64)
    mask = torch.rand(*batch, 1, 1, 5) < 0.7
    slopes = torch.rand(*batch, 2)
    output = sigmoid_attention(query, key, value, attn_mask=mask, alibi_slopes=slopes)
    flat = sigmoid_attention(
        *(part.reshape(-1, 2, 5, 4) for part in (query, key, value)),
        attn_mask=mask.reshape(-1, 1, 1, 5),
        alibi_slopes=slopes.reshape(-1, 2),
    )
    torch.testing.assert_close(output, flat.reshape(output.shape))
    assert output.shape == query.shape


def test_softmax_in_float32_is_torchs_own() -> None:
    query, key, value = torch.randn(3, 2, 3, 9, 4)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    assert torch.equal(softmax_attention(query, key, value, is_causal=True), expected)


def test_a_softmax_triangle_of_unequal_sides_in_float32() -> None:
    for length, n_keys in ((9, 4), (4, 9)):
        query, key = torch.randn(2, 4, length, 8), torch.randn(2, 2, n_keys, 8)
        options = {"is_causal": True, "enable_gqa": True}
        output = softmax_attention(query, key, key, **options)
        exact = softmax_attention(query.double(), key.double(), key.double(), **options)
        torch.testing.assert_close(output, exact.float(), rtol=1e-5, atol=1e-6)
