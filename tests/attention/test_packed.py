"""Packed and jagged sequences, and padding, are the sequences one by one."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from sigmoe import sigmoid_attention, softmax_attention
from sigmoe.attention import _packed, packed_attention

GATES = {"sigmoid": sigmoid_attention, "softmax": softmax_attention}
STARTS_Q = torch.tensor([0, 3, 3, 9, 10])
STARTS_K = torch.tensor([0, 4, 6, 13, 13])


def packed(total: int, heads: int, width: int) -> Tensor:
    return torch.randn(total, heads, width, dtype=torch.float64, requires_grad=True)


def one_by_one(gate: str, qkv: list[Tensor], starts: Any, **options: Any) -> Tensor:
    outputs = []
    for (q0, q1), (k0, k1) in zip(*(pairwise(s.tolist()) for s in starts), strict=True):
        query, key, value = qkv[0][q0:q1], qkv[1][k0:k1], qkv[2][k0:k1]
        if options.get("causal_offset") == "end":
            offset = {"causal_offset": len(key) - len(query)}
        else:
            offset = {}
        heads_first = (part.transpose(0, 1) for part in (query, key, value))
        outputs.append(GATES[gate](*heads_first, **{**options, **offset}).transpose(0, 1))
    return torch.cat(outputs)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize(
    "options",
    [{}, {"is_causal": True, "causal_offset": "end"}, {"window": (1, 1), "bias": "log-visible"}],
    ids=["plain", "causal-end", "window"],
)
def test_packed_sequences_are_worked_on_one_by_one(gate: str, options: dict[str, Any]) -> None:
    torch.manual_seed(1)
    qkv = [packed(10, 4, 4), packed(13, 2, 4), packed(13, 2, 3)]
    starts = (STARTS_Q, STARTS_K)
    output = packed_attention(*qkv, *starts, gate=gate, enable_gqa=True, **options)
    expected = one_by_one(gate, qkv, starts, enable_gqa=True, **options)
    torch.testing.assert_close(output, expected)
    found = torch.autograd.grad(output.square().sum(), qkv)
    for a, b in zip(found, torch.autograd.grad(expected.square().sum(), qkv), strict=True):
        torch.testing.assert_close(a, b)


def test_sequences_of_one_length_are_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(4)
    qkv = [packed(14, 4, 4), packed(18, 2, 4), packed(18, 2, 3)]
    starts = (torch.tensor([0, 2, 5, 7, 10, 14]), torch.tensor([0, 5, 6, 11, 12, 18]))
    options = {"enable_gqa": True, "is_causal": True, "causal_offset": "end"}
    expected = one_by_one("sigmoid", qkv, starts, **options)
    shapes: list[torch.Size] = []
    alone = _packed.attend

    def watch(gate: str, query: Tensor, *others: Any) -> Tensor:
        shapes.append(query.shape[::2])
        return alone(gate, query, *others)

    monkeypatch.setattr(_packed, "attend", watch)
    output = packed_attention(*qkv, *starts, **options)
    assert shapes == [(2, 2), (2, 3), (1, 4)]
    torch.testing.assert_close(output, expected)
    found = torch.autograd.grad(output.square().sum(), qkv)
    for a, b in zip(found, torch.autograd.grad(expected.square().sum(), qkv), strict=True):
        torch.testing.assert_close(a, b)


def test_no_sequences() -> None:
    nothing = torch.zeros(0, 2, 4)
    assert packed_attention(nothing, nothing, nothing, torch.tensor([0])).shape == (0, 2, 4)


@pytest.mark.parametrize("gate", GATES)
def test_a_per_head_bias_of_packed_sequences_gets_its_gradient(gate: str) -> None:
    query, bias = packed(10, 2, 4), torch.randn(2, 1, 1, dtype=torch.float64, requires_grad=True)
    output = packed_attention(query, query, query, STARTS_Q, gate=gate, bias=bias)
    (gradient,) = torch.autograd.grad(output.square().sum(), bias)
    scale = 1.0 if gate == "sigmoid" else 0.0
    step = 1e-6
    plus, minus = (
        packed_attention(query, query, query, STARTS_Q, gate=gate, bias=bias + s).square().sum()
        for s in (step, -step)
    )
    total = (plus - minus) / (2 * step)
    torch.testing.assert_close(gradient.sum(), total.detach(), rtol=1e-6, atol=1e-8)
    assert (float(gradient.abs().max()) > 1e-3) == bool(scale)


@pytest.mark.parametrize("gate", GATES)
def test_jagged_tensors_are_packed_sequences(gate: str) -> None:
    torch.manual_seed(2)
    lengths = (3, 1, 5)
    parts = [torch.randn(n, 2, 4, dtype=torch.float64) for n in lengths]
    nested = torch.nested.nested_tensor(parts, layout=torch.jagged, requires_grad=True)
    heads_first = nested.transpose(1, 2)
    output = GATES[gate](heads_first, heads_first, heads_first, is_causal=True)
    assert output.shape == heads_first.shape
    for part, row in zip(parts, output.transpose(1, 2).unbind(), strict=True):
        alone = GATES[gate](*[part.transpose(0, 1)] * 3, is_causal=True)
        torch.testing.assert_close(row, alone.transpose(0, 1))
    output.values().sum().backward()
    assert bool((nested.grad.values() != 0).any())


@pytest.mark.parametrize("gate", GATES)
def test_jagged_tensors_may_have_holes(gate: str) -> None:
    torch.manual_seed(2)
    padded = torch.randn(2, 6, 2, 4, dtype=torch.float64, requires_grad=True)
    starts, lengths = (1, 0), (3, 5)
    # A view of the padded batch: what lies between the sequences stays in its memory.
    nested = torch.nested.narrow(
        padded, 1, torch.tensor(starts), torch.tensor(lengths), layout=torch.jagged
    ).transpose(1, 2)
    output = GATES[gate](nested, nested, nested, is_causal=True)
    assert (output + nested).shape == nested.shape
    rows = output.transpose(1, 2).unbind()
    alone = []
    for b, (start, n) in enumerate(zip(starts, lengths, strict=True)):
        part = padded[b, start : start + n].transpose(0, 1)
        alone.append(GATES[gate](part, part, part, is_causal=True).transpose(0, 1))
    torch.testing.assert_close(rows, tuple(alone))
    found, expected = (
        torch.autograd.grad(sum(row.square().sum() for row in some), padded)[0]
        for some in (rows, alone)
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("gate", GATES)
def test_padding_by_a_mask_is_the_sequences_one_by_one(gate: str) -> None:
    torch.manual_seed(3)
    lengths = torch.tensor([5, 2, 7])
    query, key, value = torch.randn(3, 3, 2, 7, 4, dtype=torch.float64)
    mask = (torch.arange(7) < lengths[:, None])[:, None, None]
    for part in (key, value):
        part.masked_fill_(~mask.mT, torch.nan)
    output = GATES[gate](query, key, value, attn_mask=mask, bias="length")
    for b, n in enumerate(lengths.tolist()):
        alone = GATES[gate](query[b], key[b, :, :n], value[b, :, :n])
        torch.testing.assert_close(output[b], alone)
