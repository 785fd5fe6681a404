"""Dropout: which weights, how many, and the same ones forward, backward and in any tiling."""

import pytest
import torch
from torch import Tensor

from sigmoe import sigmoid_attention, softmax_attention
from sigmoe.attention import _backends, _tiles, attention_weights
from sigmoe.attention._dropout import kept

GATES = {"sigmoid": sigmoid_attention, "softmax": softmax_attention}


@pytest.fixture
def qkv() -> list[Tensor]:
    return [
        torch.randn(2, heads, 11, 4, dtype=torch.float64, requires_grad=True) for heads in (4, 2, 2)
    ]


@pytest.mark.parametrize("backend", ["tiled", "reference"])
@pytest.mark.parametrize("gate", GATES)
def test_forward_and_backward_drop_the_same_weights(
    qkv: list[Tensor], gate: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_tiles, "SIDE", 4)
    query, key, value = qkv
    options = {"is_causal": True, "enable_gqa": True, "dropout_p": 0.4}
    torch.manual_seed(9)
    weights = attention_weights(query, key, gate=gate, **options)
    expected = weights @ value.repeat_interleave(2, dim=1)
    torch.manual_seed(9)
    with _backends.forced(backend):
        output = GATES[gate](query, key, value, **options)
        found = torch.autograd.grad(output.square().sum(), qkv)
    torch.testing.assert_close(output, expected)
    for a, b in zip(found, torch.autograd.grad(expected.square().sum(), qkv), strict=True):
        torch.testing.assert_close(a, b)


def test_the_others_grow_so_that_the_mean_stays(qkv: list[Tensor]) -> None:
    query, key, _ = qkv
    whole = attention_weights(query, key, enable_gqa=True)
    torch.manual_seed(1)
    dropped = attention_weights(query, key, enable_gqa=True, dropout_p=0.25)
    stay = dropped != 0
    torch.testing.assert_close(dropped[stay], whole[stay] / 0.75)
    assert 0.70 < float(stay.double().mean()) < 0.80


def test_torchs_seed_decides(qkv: list[Tensor]) -> None:
    query, key, value = qkv

    def call() -> Tensor:
        return sigmoid_attention(query, key, value, enable_gqa=True, dropout_p=0.5)

    torch.manual_seed(4)
    first, second = call(), call()
    torch.manual_seed(4)
    assert torch.equal(call(), first)
    assert not torch.equal(first, second)


def test_the_dropped_share_is_right_along_every_axis() -> None:
    stay = kept(torch.tensor(123), 0.3, range(8), range(8), range(64), range(64)).double()
    assert float(stay.mean()) == pytest.approx(0.7, abs=4 * (0.21 / stay.numel()) ** 0.5)
    for axis in range(4):
        others = [k for k in range(4) if k != axis]
        spread = (0.21 * stay.shape[axis] / stay.numel()) ** 0.5
        assert float((stay.mean(dim=others) - 0.7).abs().max()) < 4.5 * spread


def test_neighbours_and_seeds_are_unrelated() -> None:
    first, second = (
        kept(torch.tensor(seed), 0.5, range(4), range(4), range(64), range(64)).double() - 0.5
        for seed in (1, 2)
    )
    limit = 4.5 * 0.25 / first.numel() ** 0.5
    assert abs(float((first * second).mean())) < limit
    for axis in range(4):
        assert abs(float((first * first.roll(1, dims=axis)).mean())) < limit
