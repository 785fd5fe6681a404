"""What the tiles leave out, how threads share them, and how much memory they need."""

import math
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from attention_cases import CASES
from sigmoe import InputError, sigmoid_attention
from sigmoe.attention import _backends, _block, _tiled, _tiles, _workers
from sigmoe.attention._rules import Rules
from sigmoe.attention._tiles import Chunk, tiles


def looked_at(rules: Rules, n_keys: int, rows: range) -> list[tuple[range, bool]]:
    """Return the columns of each tile and whether it needs a mask."""
    chunk = Chunk(range(2), range(3), 1)
    found = tiles(rules, chunk, rows, n_keys, torch.device("cpu"))
    return [(tile.columns, tile.visible is not None) for tile in found]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tiles, "SIDE", 4)


def test_causal_tiles_beyond_the_diagonal_are_left_out(small: None) -> None:
    rules = Rules("sigmoid", 1.0, causal_offset=0)
    assert looked_at(rules, 16, range(0, 4)) == [(range(0, 4), True)]
    assert looked_at(rules, 16, range(8, 12)) == [
        (range(0, 4), False),
        (range(4, 8), False),
        (range(8, 12), True),
    ]
    assert looked_at(Rules("sigmoid", 1.0, causal_offset=-9), 16, range(0, 8)) == []


def test_a_window_looks_at_its_keys_only(small: None) -> None:
    rules = Rules("sigmoid", 1.0, window=(3, 1), offset=20)
    assert looked_at(rules, 1000, range(0, 4)) == [(range(17, 21), True), (range(21, 25), True)]
    assert looked_at(rules, 10, range(0, 4)) == []


def test_masked_tiles_are_left_out_or_not_masked(small: None) -> None:
    visible = torch.zeros(1, 1, 1, 16, dtype=torch.bool)
    visible[..., 4:10] = True
    found = looked_at(Rules("sigmoid", 1.0, visible=visible), 16, range(0, 4))
    assert found == [(range(4, 8), False), (range(8, 12), True)]


def test_places_cover_every_pair_once(small: None) -> None:
    seen = torch.zeros(3, 6, 11, dtype=torch.int64)
    for of_chunk in _tiles.places(3, 2, 3, 11, 5):
        for chunk, rows in of_chunk:
            chunk.block_of(seen[..., None], rows).add_(1)
    assert torch.equal(seen, torch.ones_like(seen))


@pytest.fixture
def two_threads() -> None:
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.mark.parametrize(
    "name", ["causal", "grouped-heads", "one-of-each", "bias-of-heads", "mask"]
)
@pytest.mark.parametrize("gate", ["sigmoid", "softmax"])
def test_two_threads_give_what_one_gives(
    name: str, gate: str, small: None, two_threads: None
) -> None:
    qkv, options = CASES[name].make()
    rules = Rules(
        gate,
        0.5,
        added=None if "bias" not in options else options["bias"][None],
        visible=options.get("attn_mask"),
        causal_offset=0 if options.get("is_causal") else None,
    )
    gradient = torch.randn_like(_tiled.forward(*qkv, rules))
    two = (_tiled.forward(*qkv, rules), *_tiled.backward(gradient, *qkv, rules))
    again = (_tiled.forward(*qkv, rules), *_tiled.backward(gradient, *qkv, rules))
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    one = (_tiled.forward(*qkv, rules), *_tiled.backward(gradient, *qkv, rules))
    for a, b, c in zip(two, again, one, strict=True):
        if a is None:
            assert c is None
            continue
        assert torch.equal(a, b)
        torch.testing.assert_close(a, c)


def test_one_head_is_shared_by_two_threads(
    small: None, two_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    qkv = CASES["one-of-each"].make()[0]
    query, key, value = (part.expand(1, 1, 16, 1) for part in qkv)
    asked: list[int] = []
    share_out = _workers.share_out

    def spy(function, items, workers: int) -> None:
        asked.append(workers)
        share_out(function, items, workers)

    monkeypatch.setattr(_tiled, "share_out", spy)
    rules = Rules("sigmoid", 1.0)
    _tiled.backward(_tiled.forward(query, key, value, rules), query, key, value, rules)
    assert asked == [2, 2]


def test_an_error_in_a_worker_reaches_the_caller(two_threads: None) -> None:
    def fail(item: int) -> None:
        raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match=r"^item \d$"):
        _workers.share_out(fail, range(4), 2)


def test_new_threads_of_the_caller_still_use_all_cores(two_threads: None) -> None:
    _workers.share_out(lambda _: None, range(4), 3)
    with ThreadPoolExecutor(1) as fresh:
        assert fresh.submit(torch.get_num_threads).result() == 2


def test_threads_work_in_a_forked_process(two_threads: None) -> None:
    _workers.share_out(lambda _: None, range(4), 2)
    child = os.fork()
    if child == 0:
        done: list[int] = []
        _workers.share_out(done.append, range(4), 2)
        os._exit(0 if sorted(done) == [0, 1, 2, 3] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_threads_serve_a_caller_in_inference_mode(small: None, two_threads: None) -> None:
    (query, key, value), _ = CASES["plain"].make()
    expected = sigmoid_attention(query, key, value)
    with torch.inference_mode():
        assert torch.equal(sigmoid_attention(query, key, value), expected)


@pytest.mark.parametrize("is_causal", [False, True])
def test_memory_grows_like_the_length(is_causal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tiles, "SIDE", 32)
    largest = 0
    scores = _block.Block.scores

    def watch(self: _block.Block, tile: _tiles.Tile) -> Tensor:
        nonlocal largest
        found = scores(self, tile)
        largest = max(largest, found.numel())
        return found

    monkeypatch.setattr(_block.Block, "scores", watch)
    query = torch.randn(1, 2, 300, 4, requires_grad=True)
    with _backends.forced("tiled"):
        sigmoid_attention(query, query, query, is_causal=is_causal).sum().backward()
    assert 0 < largest <= 32 * 32


def test_an_unknown_back_end_is_refused() -> None:
    names = "'native', 'triton', 'tiled', 'reference'"
    text = rf"^back end must be one of {names}; got 'x'. Choose one of these names.$"
    with pytest.raises(InputError, match=text), _backends.forced("x"):
        pass


def test_a_preferred_back_end_takes_what_it_accepts(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def forward(query: Tensor, key: Tensor, value: Tensor, rules: Rules) -> Tensor:
        calls.append("new")
        return _tiled.forward(query, key, value, rules)

    def accepts(query: Tensor, key: Tensor, value: Tensor, rules: Rules) -> bool:
        return query.dtype == torch.float32 and math.isclose(rules.constant, -math.log(7))

    new = _backends.Backend(forward, _tiled.backward, accepts)
    monkeypatch.setattr(_backends.BACKENDS, "_items", {"new": new, **_backends.BACKENDS._items})
    (query, key, value), _ = CASES["plain"].make()
    sigmoid_attention(query, key, value)
    assert calls == []
    sigmoid_attention(query.float(), key.float(), value.float())
    assert calls == ["new"]
