"""Which back end does the work of a call."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sigmoe import sigmoid_attention, softmax_attention
from sigmoe._base.native_build import Built
from sigmoe.attention import _backends, _native
from sigmoe.attention._rules import Rules

needs_kernel = pytest.mark.skipif(
    not _native.native_status().startswith("loaded"), reason=f"kernel {_native.native_status()}"
)


def chosen(dtype: torch.dtype = torch.float32, **fields: object) -> _backends.Backend:
    query = torch.zeros(1, 1, 2, 4, dtype=dtype)
    return _backends.choose(
        query, query, query, Rules(**{"gate": "sigmoid", "scale": 1.0} | fields)
    )


@needs_kernel
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_compiled_kernel_does_sigmoid_attention(dtype: torch.dtype) -> None:
    assert chosen(dtype) is _backends.BACKENDS.get("native")


@pytest.mark.parametrize("fields", [{"gate": "softmax"}, {"dropout": 0.5}], ids=str)
def test_tiles_do_what_the_kernel_does_not(fields: dict[str, object]) -> None:
    assert chosen(**fields) is _backends.BACKENDS.get("tiled")


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("name", [pytest.param("native", marks=needs_kernel), "tiled", "reference"])
def test_a_mask_gets_a_gradient_only_where_one_is_wanted(
    name: str, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = _backends.BACKENDS.get(name)
    found: list[object] = []

    def watch(*inputs: object, **more: object) -> object:
        found.append(backend.backward(*inputs, **more))
        return found[-1]

    watched = replace(backend, backward=watch)
    items = _backends.BACKENDS._items
    monkeypatch.setattr(_backends.BACKENDS, "_items", {**items, name: watched})
    query = torch.randn(2, 2, 5, 4, requires_grad=True)
    mask = torch.randn(5, 5).requires_grad_(wanted)
    with _backends.forced(name):
        sigmoid_attention(query, query, query, attn_mask=mask).sum().backward()
    ((*_, d_added),) = found
    assert (d_added is not None) == wanted == (mask.grad is not None)


def test_tiles_do_all_where_there_is_no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_native.KERNEL, "_built", Built(None, "not built: a test"))
    assert chosen() is _backends.BACKENDS.get("tiled")


@needs_kernel
@pytest.mark.parametrize("function", [sigmoid_attention, softmax_attention])
def test_the_choice_holds_for_both_passes(function, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def watched(name: str):
        run = getattr(_native, name)

        def watch(*tensors: Tensor, **terms: object) -> object:
            calls.append(name)
            return run(*tensors, **terms)

        return watch

    for name in ("forward", "backward"):
        monkeypatch.setattr(_native, name, watched(name))
    query = torch.randn(1, 2, 5, 4, requires_grad=True)
    function(query, query, query, window=(2, 0)).sum().backward()
    assert calls == (["forward", "backward"] if function is sigmoid_attention else [])
