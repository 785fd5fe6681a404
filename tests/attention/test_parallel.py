"""Keys on 2 and 4 processes: values and gradients are those of one process."""

import math
import multiprocessing
from typing import Any

import pytest
import torch
from torch import Tensor

from parallel_cases import KEYS, OPTIONS, QUERIES, S, gradients, problem, work
from sigmoe import InputError, sigmoid_attention
from sigmoe.attention import context_parallel_attention

Found = list[dict[str, Any]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Run all cases once, in four processes."""
    folder = tmp_path_factory.mktemp("ranks")
    # A server imports once what the first call needs, and forks; four imports took far longer.
    multiprocessing.set_forkserver_preload(["torch._dynamo", "sigmoe.attention"])
    torch.multiprocessing.start_processes(work, (str(folder),), nprocs=4, start_method="forkserver")
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(4)]


def alone(name: str) -> tuple[Tensor, list[Tensor]]:
    whole = problem(name)
    output = sigmoid_attention(*whole.tensors, **whole.options)
    output.backward(whole.upstream)
    return output.detach(), gradients(whole)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("name", OPTIONS)
def test_replicated_queries_give_everything_to_every_rank(
    found: Found, name: str, size: int
) -> None:
    output, (d_query, d_key, d_value, *others) = alone(name)
    for rank in range(4):
        own, own_query, own_key, own_value, *own_others = found[rank][f"{size} replicated {name}"]
        close(own, output)
        close(own_query, d_query)
        for mine, whole in ((own_key, d_key), (own_value, d_value)):
            part = slice_of(KEYS[size], rank % size)
            close(mine[:, :, part], whole[:, :, part])
        for mine, whole in zip(own_others, others, strict=True):
            close(mine, whole)


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("name", OPTIONS)
def test_sharded_queries_give_each_rank_its_share(found: Found, name: str, size: int) -> None:
    output, expected = alone(name)
    ranks = [found[rank][f"{size} sharded {name}"] for rank in range(size)]
    close(torch.cat([one[0] for one in ranks], dim=2), output)
    # Rows of other ranks are 0 in the gradients of query, key and value, and the rest are shares.
    for k, whole in enumerate(expected, start=1):
        close(torch.stack([one[k] for one in ranks]).sum(dim=0), whole)
    for rank, one in enumerate(ranks):
        part = slice_of(QUERIES[size], rank)
        close(one[1][:, :, part], expected[0][:, :, part])


def slice_of(lengths: list[int], rank: int) -> slice:
    start = sum(lengths[:rank])
    return slice(start, start + lengths[rank])


@pytest.mark.parametrize("size", [2, 4])
def test_low_precision_is_added_in_float32(found: Found, size: int) -> None:
    query, key, value = (part.detach().bfloat16() for part in problem("auto").tensors)
    pieces = zip(key.split(KEYS[size], dim=2), value.split(KEYS[size], dim=2), strict=True)
    bias = -math.log(S)
    parts = [sigmoid_attention(query, k, v, bias=bias, enable_gqa=True) for k, v in pieces]
    expected = torch.stack(parts).float().sum(dim=0).bfloat16()
    assert torch.equal(found[0][f"{size} bfloat16"], expected)


def test_replicated_queries_are_as_long_on_every_rank(found: Found) -> None:
    message = (
        "query must be as long on every rank; got [2, 3, 2, 3]. "
        'Pass queries="sharded" for own queries of each rank.'
    )
    assert [one["refusal"] for one in found] == [message] * 4


def test_bad_input_is_refused_in_one_line() -> None:
    query, key, value = (part.detach() for part in problem("auto").tensors)
    key, value = (part.repeat_interleave(2, dim=1) for part in (key, value))
    cases = (
        (
            (query, key, value),
            {},
            "group must be an initialised process group; got None. "
            "Call torch.distributed.init_process_group first.",
        ),
        (
            (query, key, value),
            {"queries": "split"},
            "queries must be one of 'replicated', 'sharded'; got 'split'. "
            "'sharded' if every rank holds its own queries.",
        ),
        (
            (query[0], key[0], value[0]),
            {},
            "query must be of shape (batch, heads, L, head_dim); got (4, 7, 3). "
            "Reshape query, key and value.",
        ),
    )
    for tensors, options, message in cases:
        with pytest.raises(InputError) as caught:
            context_parallel_attention(*tensors, **options)
        assert str(caught.value) == message
