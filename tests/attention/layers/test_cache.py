"""Decoding with a cache gives what the whole sequence gives."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sigmoe._base.errors import InputError
from sigmoe.attention import KeyValueCache, SelfAttention, TransformerBlock, recipe

SETTINGS = {
    "plain": {},
    "softmax": {"gate": "softmax"},
    "learned": {"bias": "learned", "length": 16, "qk_norm": True},
    "rotary": {"rotary": 100.0, "key_heads": 1},
    "alibi": {"alibi": True, "bias": -2.0},
    "window": {"window": (3, 0), "value_activation": "relu", "output_gate": True},
}


def decode(layer: torch.nn.Module, x: Tensor, sizes: list[int]) -> Tensor:
    cache = KeyValueCache()
    with torch.no_grad():
        return torch.cat([layer(part, cache=cache) for part in x.split(sizes, dim=1)], dim=1)


@pytest.mark.parametrize("sizes", [[1] * 11, [4, 3, 1, 1, 2]], ids=["tokens", "chunks"])
@pytest.mark.parametrize("name", SETTINGS)
def test_parts_give_the_whole(name: str, sizes: list[int]) -> None:
    torch.manual_seed(2)
    layer = SelfAttention(8, 2, causal=True, **SETTINGS[name]).double()
    x = torch.randn(2, 11, 8, dtype=torch.float64)
    torch.testing.assert_close(decode(layer, x, sizes), layer(x))


@pytest.mark.parametrize("name", ["language-small", "language-1b"])
def test_blocks_decode(name: str) -> None:
    block = TransformerBlock(8, 2, **recipe(name, length=7)).double()
    x = torch.randn(1, 7, 8, dtype=torch.float64)
    torch.testing.assert_close(decode(block, x, [1] * 7), block(x))


def test_entries_are_reordered_and_tokens_forgotten() -> None:
    layer, cache = SelfAttention(8, 2, causal=True).double(), KeyValueCache()
    x = torch.randn(2, 6, 8, dtype=torch.float64)
    cache.reorder(torch.tensor([0]))
    assert cache.length == 0
    with torch.no_grad():
        layer(x, cache=cache)
        cache.truncate(4)
        assert cache.length == 4
        cache.reorder(torch.tensor([1, 1, 0]))
        rest = x[[1, 1, 0], 4:]
        torch.testing.assert_close(layer(rest, cache=cache), layer(x)[[1, 1, 0], 4:])


def test_a_cache_of_inference_mode_serves_outside_of_it() -> None:
    layer, cache = SelfAttention(8, 2, causal=True).double(), KeyValueCache()
    x = torch.randn(1, 4, 8, dtype=torch.float64)
    with torch.inference_mode():
        for part in x[:, :3].split(1, dim=1):
            layer(part, cache=cache)
    with torch.no_grad():
        torch.testing.assert_close(layer(x[:, 3:], cache=cache), layer(x)[:, 3:])


def test_memory_doubles() -> None:
    cache, one = KeyValueCache(), torch.zeros(1, 1, 1, 2)
    places = set()
    for step in range(64):
        key, value = cache.append(one + step, one - step)
        places.add(key.data_ptr())
        assert key.shape == value.shape == (1, 1, step + 1, 2)
    assert key[0, 0, :, 0].tolist() == list(range(64))
    assert value[0, 0, :, 0].tolist() == [-step for step in range(64)]
    # 1, 2, 4, ..., 64; a fresh piece may lie where an old one was.
    assert len(places) <= 7


TOKENS = torch.zeros(1, 2, 8)


def decode_with_gradients() -> None:
    SelfAttention(8, 2, causal=True)(TOKENS, cache=KeyValueCache())


def decode_without_order() -> None:
    SelfAttention(8, 2)(TOKENS, cache=KeyValueCache())


def decode_with_another_bias() -> None:
    SelfAttention(8, 2, causal=True, bias="length")(TOKENS, cache=KeyValueCache())


def change_the_batch() -> None:
    layer, cache = SelfAttention(8, 2, causal=True), KeyValueCache()
    with torch.no_grad():
        layer(TOKENS, cache=cache)
        layer(TOKENS.expand(3, 2, 8), cache=cache)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            decode_with_gradients,
            "cache must be None where gradients are wanted; got 'a cache'. "
            "Decode inside torch.no_grad().",
        ),
        (
            decode_without_order,
            "cache must be None without causal=True; got 'a cache'. "
            "Build the layer with causal=True to decode.",
        ),
        (
            decode_with_another_bias,
            "cache must be None with bias='length'; got 'a cache'. "
            "It counts the keys so far, which training did not: 'auto' counts those seen.",
        ),
        (
            lambda: KeyValueCache().truncate(0.0),
            "length must be an integer >= 0 and <= 0; got 0.0. Append the tokens first.",
        ),
        (
            lambda: KeyValueCache().truncate(1),
            "length must be an integer >= 0 and <= 0; got 1. Append the tokens first.",
        ),
        (
            change_the_batch,
            "cache must be fed with (batch, heads, width, dtype, device) = (1, 2, 4, torch.float32"
            ", device(type='cpu')), as before; got (3, 2, 4, torch.float32, "
            "device(type='cpu')). Start a new KeyValueCache().",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call: Callable[[], None], message: str) -> None:
    with pytest.raises(InputError) as error:
        call()
    assert str(error.value) == message
