"""Sigmoid attention adds up over keys: caches, chunked prefill and split keys need no more."""

import math

import pytest
import torch
from torch import Tensor

from sigmoe import sigmoid_attention


@pytest.fixture
def qkv() -> Tensor:
    return torch.randn(
        3, 2, 3, 12, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )


def test_split_keys_add_up_with_their_gradients(qkv: Tensor) -> None:
    query, key, value = (part.clone().requires_grad_() for part in qkv)
    whole = sigmoid_attention(query, key, value)
    # The bias counts all keys, not those of one part.
    bias = -math.log(12)
    parts = [
        sigmoid_attention(query, key[:, :, cut], value[:, :, cut], bias=bias)
        for cut in (slice(0, 5), slice(5, 6), slice(6, 12))
    ]
    torch.testing.assert_close(sum(parts), whole)
    found = torch.autograd.grad(sum(parts).square().sum(), (query, key, value))
    expected = torch.autograd.grad(whole.square().sum(), (query, key, value))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_split_keys_under_a_causal_mask_shift_the_offset(qkv: Tensor) -> None:
    query, key, value = qkv
    options = {"bias": -2.0, "is_causal": True, "alibi_slopes": torch.tensor([0.1, 0.2, 0.3])}
    whole = sigmoid_attention(query, key, value, window=(6, 0), **options)
    first = sigmoid_attention(query, key[:, :, :7], value[:, :, :7], window=(6, 0), **options)
    second = sigmoid_attention(
        query, key[:, :, 7:], value[:, :, 7:], window=(6, 0), causal_offset=-7, **options
    )
    torch.testing.assert_close(first + second, whole)


@pytest.mark.parametrize("chunk", [1, 5], ids=["token-by-token", "chunked-prefill"])
@pytest.mark.parametrize("bias", [-2.0, "log-visible"])
def test_a_cache_gives_the_rows_of_the_whole(qkv: Tensor, chunk: int, bias: float | str) -> None:
    query, key, value = qkv
    whole = sigmoid_attention(query, key, value, bias=bias, is_causal=True)
    rows = []
    for start in range(0, 12, chunk):
        stop = min(start + chunk, 12)
        rows.append(
            sigmoid_attention(
                query[:, :, start:stop],
                key[:, :, :stop],
                value[:, :, :stop],
                bias=bias,
                is_causal=True,
                causal_offset=start,
            )
        )
    torch.testing.assert_close(torch.cat(rows, dim=2), whole)


def test_the_order_of_keys_does_not_matter(qkv: Tensor) -> None:
    query, key, value = qkv
    order = torch.randperm(12)
    torch.testing.assert_close(
        sigmoid_attention(query, key[:, :, order], value[:, :, order]),
        sigmoid_attention(query, key, value),
    )


def test_the_gradient_of_a_bias_is_the_sum_of_the_gradients_of_the_scores(qkv: Tensor) -> None:
    query, key, value = qkv
    whole = torch.zeros(2, 3, 12, 12, dtype=torch.float64, requires_grad=True)
    heads = torch.zeros(3, 1, 1, dtype=torch.float64, requires_grad=True)
    of_scores, of_heads = (
        torch.autograd.grad(sigmoid_attention(query, key, value, bias=b).square().sum(), b)[0]
        for b in (whole, heads)
    )
    torch.testing.assert_close(of_scores.sum(dim=(0, 2, 3)), of_heads[:, 0, 0])
