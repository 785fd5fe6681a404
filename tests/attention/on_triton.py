"""Tests of Triton's kernels, on a GPU or in Triton's interpreter; ``test_triton.py`` runs them.

The interpreter has to be asked for before Triton is imported, so that it needs a process of its
own: hence a module that pytest does not find by itself.
"""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from attention_cases import CASES, trainable
from sigmoe import sigmoid_attention
from sigmoe.attention import _backends, _triton_launch

# NumPy, in which the interpreter computes, warns of NaN where a test wants it.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

DEVICE = "cpu" if _triton_launch.INTERPRETED else "cuda"

#: Each feature once, and the side of a tile; together they reach every branch of the kernels.
NAMES = {
    "odd-sizes": 8,
    "one-key-head": 4,
    "more-queries-than-keys": 4,
    "causal-rows-without-keys": 4,
    "window-causal": 4,
    "window-offset": 8,
    "alibi-of-each-entry": 8,
    "mask-causal": 8,
    "minus-infinity": 8,
    "bias-of-keys": 8,
    "bias-of-heads-and-places": 8,
    "bias-whole": 4,
    "bias-grouped": 8,
    "scores-to-100-causal": 8,
    "nan-behind-padding": 8,
    "nan-before-the-window": 4,
    "nan-beyond-the-queries": 8,
}


def moved(part: Any, dtype: torch.dtype, device: str) -> Any:
    """Return what is floating in a dtype, and every tensor on a device."""
    if not isinstance(part, Tensor):
        return part
    part = part.detach().to(device)
    return part.to(dtype) if part.is_floating_point() else part


def results(
    backend: str, qkv: list[Tensor], options: dict[str, Any], weights: Tensor | None = None
) -> list[Tensor]:
    """Return the output and all gradients, in float64 on the CPU."""
    inputs = trainable(*qkv, options.get("bias"), options.get("attn_mask"))
    with _backends.forced(backend):
        output = sigmoid_attention(*qkv, **options)
        if weights is None:
            weights = torch.arange(output.numel()).reshape(output.shape).cos()
        found = torch.autograd.grad(output, inputs, weights.to(output))
    return [part.detach().cpu().double() for part in (output, *found)]


def relative_error(found: Tensor, exact: Tensor) -> float:
    """Return the root mean square of the error over that of the exact values."""
    error = (found - exact).square().mean().sqrt()
    return float(error / exact.square().mean().sqrt().clamp(min=1e-300))


@pytest.mark.parametrize("name", NAMES if _triton_launch.INTERPRETED else CASES)
def test_values_and_gradients_are_those_of_the_reference(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Small tiles: blocks that are hidden, cut by a border and wholly visible all occur.
    side = NAMES.get(name, 8)
    monkeypatch.setattr(_triton_launch, "INTERPRETER_TILE", {"ROWS": side, "COLUMNS": side})
    qkv, options = CASES[name].make()
    # The reference gets the rounded inputs.
    rounded = [moved(part, torch.float32, "cpu") for part in (*qkv, *options.values())]
    exact = [moved(part, torch.float64, "cpu") for part in rounded]
    given = [moved(part, torch.float32, DEVICE) for part in rounded]
    expected = results("reference", exact[:3], dict(zip(options, exact[3:], strict=True)))
    found = results("triton", given[:3], dict(zip(options, given[3:], strict=True)))
    for part, expected_part in zip(found, expected, strict=True):
        assert relative_error(part, expected_part) < 1e-6


def test_a_row_without_keys_is_exactly_zero_with_zero_gradients() -> None:
    (query, key, value), options = CASES["no-visible-keys"].make()
    query[:, :, ::2] = torch.nan
    qkv = [moved(part, torch.float32, DEVICE) for part in (query, key, value)]
    mask = options["attn_mask"].to(DEVICE)
    output, d_query, *others = results("triton", qkv, {"attn_mask": mask})
    assert torch.equal(output[:, :, ::2], torch.zeros_like(output[:, :, ::2]))
    assert torch.equal(d_query[:, :, ::2], torch.zeros_like(d_query[:, :, ::2]))
    assert all(bool(part.isfinite().all()) for part in others)


@pytest.mark.parametrize("special", [math.nan, math.inf, -math.inf])
def test_a_special_value_reaches_only_those_who_see_it(special: float) -> None:
    qkv, _ = CASES["odd-sizes"].make()
    query, key, value = (moved(part, torch.float32, DEVICE) for part in qkv)
    value[:, :, 5] = special
    output = results("triton", [query, key, value], {"is_causal": True})[0]
    assert bool(output[:, :, :5].isfinite().all())
    expected = torch.full_like(output[:, :, 5:], special)
    torch.testing.assert_close(output[:, :, 5:], expected, equal_nan=True)


def honest(query: Tensor, key: Tensor, value: Tensor, bias: float) -> Tensor:
    """Return eq. (2) as one writes it: scores and sums in float32, weights of the inputs' dtype."""
    scores = query.float() @ key.float().mT * query.shape[3] ** -0.5 + bias
    weights = torch.sigmoid(scores).to(query.dtype)
    return (weights.float() @ value.float()).to(query.dtype)


# The interpreter's bfloat16 is wrong, and its float32 is judged by the cases above.
DTYPES = [torch.float16]
if not _triton_launch.INTERPRETED:
    DTYPES += [torch.bfloat16, torch.float32]


@pytest.mark.parametrize("factor", [1.0, 20.0], ids=["logits-of-1", "logits-to-100"])
@pytest.mark.parametrize("bias", [0.0, -math.log(130), -15.0, 5.0])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_errors_are_at_most_twice_those_of_the_honest_reference(
    dtype: torch.dtype, bias: float, factor: float
) -> None:
    generator = torch.Generator().manual_seed(3)
    shapes = [(1, 1, 40, 64), (1, 1, 130, 64), (1, 1, 130, 64), (1, 1, 40, 64)]
    inputs = [torch.randn(shape, generator=generator) for shape in shapes]
    inputs[0] *= factor
    *qkv, weights = (part.to(dtype) for part in inputs)
    exact = results("reference", [p.double() for p in qkv], {"bias": bias}, weights.double())
    found = results("triton", [p.to(DEVICE) for p in qkv], {"bias": bias}, weights.to(DEVICE))
    peers = trainable(*(part.clone() for part in qkv))
    output = honest(*peers, bias)
    peer = [output, *torch.autograd.grad(output, peers, weights)]
    for part, peer_part, exact_part in zip(found, peer, exact, strict=True):
        allowed = 2 * relative_error(peer_part.detach().double(), exact_part)
        assert relative_error(part, exact_part) <= allowed


def test_small_score_gradients_do_not_underflow_in_float16() -> None:
    generator = torch.Generator().manual_seed(5)
    query, key, value = torch.randn(3, 1, 1, 40, 16, generator=generator)
    # The gradient of the query is of normal size, those of the scores are not.
    qkv = [(query / 256).half(), (key * 256).half(), value.half()]
    exact = results("reference", [part.double() for part in qkv], {"bias": -15.0})[1]
    found = results("triton", [part.to(DEVICE) for part in qkv], {"bias": -15.0})[1]
    assert relative_error(found, exact) < 1e-3


def test_bfloat16_runs() -> None:
    qkv = [torch.randn(1, 2, 9, 24, dtype=torch.bfloat16) for _ in range(3)]
    exact = results("reference", [part.double() for part in qkv], {"is_causal": True})
    found = results("triton", [part.to(DEVICE) for part in qkv], {"is_causal": True})
    assert all(relative_error(a, b) < 0.05 for a, b in zip(found, exact, strict=True))
