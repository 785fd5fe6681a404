"""Layers under FSDP on two processes: outputs, gradients and a step are those of one process."""

import multiprocessing
from typing import Any

import pytest
import torch
from torch import Tensor

from sharded_cases import MODULES, RANKS, module, tokens, train, work
from sigmoe.attention import SelfAttention, TransformerBlock
from sigmoe.attention.layers._positions import alibi_slopes

Found = list[dict[str, Any]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Run all cases once, in two processes."""
    folder = tmp_path_factory.mktemp("ranks")
    # As for keys on several processes: one import, then forks.
    multiprocessing.set_forkserver_preload(["torch._dynamo", "sigmoe.attention"])
    torch.multiprocessing.start_processes(
        work, (str(folder),), nprocs=RANKS, start_method="forkserver"
    )
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(RANKS)]


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", [*MODULES, "checkpointed"])
def test_a_step_is_that_of_the_whole_module(found: Found, name: str) -> None:
    outputs, gradients, after = train(module("block" if name == "checkpointed" else name), tokens())
    close(torch.cat([rank[name][0] for rank in found], dim=1), outputs)
    for _, own_gradients, own_after in (rank[name] for rank in found):
        for own, expected in ((own_gradients, gradients), (own_after, after)):
            assert own.keys() == expected.keys()
            for part in expected:
                close(own[part], expected[part])
    assert all(gradient.abs().max() > 0 for gradient in gradients.values())


def test_mixed_precision_is_that_of_a_bfloat16_module(found: Found) -> None:
    for rank in found:
        output, expected = rank["bfloat16"]
        assert output.dtype == torch.bfloat16
        assert torch.equal(output, expected)


def test_weights_can_be_seen_once_the_method_is_registered(found: Found) -> None:
    for rank in found:
        assert torch.equal(*rank["weights"])


def test_a_block_from_the_meta_device_is_drawn_whole(found: Found) -> None:
    for rank in found:
        held = rank["meta"]
        assert all(part.isfinite().all() for part in held.values())
        assert torch.equal(held["attention.slopes"], alibi_slopes(3))
        assert torch.equal(held["attention_norm.weight"], torch.ones(8))
        torch.testing.assert_close(held["attention.bias"], torch.full((3, 1, 1), 16.0).log().neg())


@pytest.mark.parametrize("kind", [SelfAttention, TransformerBlock])
def test_a_layer_from_the_meta_device_is_that_of_the_seed(kind: type[torch.nn.Module]) -> None:
    settings = {"alibi": True, "bias": "learned", "length": 9, "layer_scale": 0.5, "qk_norm": True}
    with torch.device("meta"):
        drawn = kind(8, 2, **settings).to_empty(device="cpu")
    expected, x = kind(8, 2, **settings), torch.randn(1, 9, 8)
    for layer in (drawn, expected):
        torch.manual_seed(2)
        layer.reset_parameters()
    assert torch.equal(drawn(x), expected(x))
