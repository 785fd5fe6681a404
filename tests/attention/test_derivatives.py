"""First and second derivatives by finite differences, and under torch.func."""

import pytest
import torch
from torch import Tensor

from attention_cases import CASES, trainable
from sigmoe import sigmoid_attention, softmax_attention
from sigmoe.attention import attention_weights

GATES = {"sigmoid": sigmoid_attention, "softmax": softmax_attention}
NAMES = [
    *("plain", "causal", "grouped-heads", "alibi", "bias-of-heads", "bias-of-keys"),
    *("no-visible-keys", "minus-infinity", "window-offset"),
]


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_finite_differences(name: str, gate: str) -> None:
    qkv, options = CASES[name].make()
    bias = options.pop("bias", torch.zeros((), dtype=torch.float64))
    inputs = trainable(*qkv, bias)

    def call(*inputs: Tensor) -> Tensor:
        return GATES[gate](*inputs[:3], bias=inputs[3], **options)

    # One random projection of the Jacobian instead of all its columns.
    assert torch.autograd.gradcheck(call, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(call, inputs, fast_mode=True)


def test_second_derivatives_with_dropout() -> None:
    inputs = [torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]

    def call(*inputs: Tensor) -> Tensor:
        torch.manual_seed(3)
        return sigmoid_attention(*inputs, dropout_p=0.4)

    assert torch.autograd.gradcheck(call, inputs)
    assert torch.autograd.gradgradcheck(call, inputs)


SPOILT = [name for name in CASES if name.startswith("nan-")]


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("name", SPOILT)
def test_second_derivatives_do_not_see_what_is_hidden(name: str, gate: str) -> None:
    (query, key, value), options = CASES[name].make()
    clean = [query, key.nan_to_num(0.0, 0.0, 0.0), value.nan_to_num(0.0, 0.0, 0.0)]

    def seconds(*parts: Tensor) -> tuple[Tensor, ...]:
        inputs = trainable(*(part.clone() for part in parts))
        output = GATES[gate](*inputs, **options)
        firsts = torch.autograd.grad(output.square().sum(), inputs, create_graph=True)
        return torch.autograd.grad(sum(part.square().sum() for part in firsts), inputs)

    torch.testing.assert_close(seconds(query, key, value), seconds(*clean))


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("name", SPOILT)
def test_gradients_of_weights_do_not_see_what_is_hidden(name: str, gate: str) -> None:
    (query, key, _), options = CASES[name].make()
    found = []
    for part in (key, key.nan_to_num(0.0, 0.0, 0.0)):
        inputs = trainable(query.clone(), part.clone())
        weights = attention_weights(*inputs, gate=gate, **options)
        found.append(torch.autograd.grad(weights.square().sum(), inputs))
    torch.testing.assert_close(*found)


def test_a_second_derivative_of_nothing_is_zero() -> None:
    query = torch.zeros(1, 1, 2, 3, dtype=torch.float64, requires_grad=True)
    nothing = torch.zeros(1, 1, 0, 3, dtype=torch.float64, requires_grad=True)
    output = sigmoid_attention(query, nothing, nothing)
    (gradient,) = torch.autograd.grad(output.sum(), query, create_graph=True)
    (second,) = torch.autograd.grad(gradient.sum(), query, allow_unused=True)
    assert second is None or torch.equal(second, torch.zeros_like(query))


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("mapped", [0, 2], ids=["first-axis", "inner-axis"])
def test_vmap_is_a_loop(mapped: int, gate: str) -> None:
    query = torch.randn(2, 3, 4, 5, 4, dtype=torch.float64).movedim(0, mapped)
    key, value = torch.randn(2, 3, 4, 6, 4, dtype=torch.float64)
    bias = torch.randn(2, 4, 1, 1, dtype=torch.float64)

    def call(query: Tensor, bias: Tensor) -> Tensor:
        return GATES[gate](query, key, value, bias=bias, is_causal=True)

    output = torch.vmap(call, in_dims=(mapped, 0))(query, bias)
    for k in range(2):
        torch.testing.assert_close(output[k], call(query.select(mapped, k), bias[k]))


def test_gradients_of_each_sample_by_vmap() -> None:
    query, key, value = torch.randn(3, 2, 3, 4, 5, 4, dtype=torch.float64)
    bias = torch.randn(4, 1, 1, dtype=torch.float64)

    def loss(bias: Tensor, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return sigmoid_attention(query, key, value, bias=bias).square().sum()

    each = torch.vmap(torch.func.grad(loss), in_dims=(None, 0, 0, 0))(bias, query, key, value)
    for k in range(2):
        expected = torch.func.grad(loss)(bias, query[k], key[k], value[k])
        torch.testing.assert_close(each[k], expected)


def test_dropout_differs_between_mapped_samples() -> None:
    query, key, value = torch.randn(3, 1, 2, 5, 4, dtype=torch.float64)

    def call(query: Tensor) -> Tensor:
        return sigmoid_attention(query, key, value, dropout_p=0.5)

    torch.manual_seed(3)
    first, second = torch.vmap(call, randomness="different")(torch.stack([query, query]))
    assert not torch.equal(first, second)
    # Sums over the samples' own keys: nothing else was dropped or grown.
    sums = torch.vmap(lambda q: call(q).abs().sum(), randomness="different")(query[None])
    assert 0.0 < float(sums) < 10.0 * float(sigmoid_attention(query, key, value).abs().sum())


def test_a_hessian_by_torch_func() -> None:
    query, key, value = torch.randn(3, 1, 1, 2, 2, dtype=torch.float64)

    def loss(bias: Tensor) -> Tensor:
        return sigmoid_attention(query, key, value, bias=bias).sum()

    bias = torch.tensor(0.3, dtype=torch.float64)
    step = 1e-5
    difference = torch.func.grad(loss)(bias + step) - torch.func.grad(loss)(bias - step)
    second = torch.func.grad(torch.func.grad(loss))(bias)
    torch.testing.assert_close(second, difference / (2 * step), rtol=1e-6, atol=1e-8)
