"""The compiled CPU kernel against attention written out in float64: values and all gradients."""

import ctypes
import math

import pytest
import torch
from torch import Tensor

from naive_sigmoid_attention import (
    naive_attention,
    naive_gradients,
    operands,
    randoms,
    relative_error,
)
from sigmoe.attention import _native
from sigmoe.attention._native_call import _Call
from sigmoe.attention._native_parts import AddedGradient

needs_kernel = pytest.mark.skipif(
    not _native.available(torch.zeros(1)), reason=f"no kernel: {_native.native_status()}"
)

# Rounding of the inputs' dtype, times what a sum of a few hundred terms adds to it.
TOLERANCE = {
    torch.float64: 5e-15,
    torch.float32: 1e-6,
    torch.bfloat16: 4e-3,
    torch.float16: 5e-4,
}
DTYPES = list(TOLERANCE)


def assert_agrees(tensors: tuple[Tensor, ...], terms: dict, factor: float = 1.0) -> None:
    """Compare output and gradients with the naive ones, relative to their own size."""
    gradient, query, key, value = tensors
    terms = {"scale": query.shape[-1] ** -0.5, **terms}
    bound = factor * TOLERANCE[query.dtype]
    out = _native.forward(query, key, value, **terms)
    assert out.dtype == query.dtype
    assert relative_error(out, naive_attention(query, key, value, terms)) <= bound
    found = [g for g in _native.backward(gradient, query, key, value, **terms) if g is not None]
    expected = naive_gradients(gradient, query, key, value, terms)
    assert len(found) == len(expected)
    for name, ours, theirs in zip(
        ("query", "key", "value", "added"), found, expected, strict=False
    ):
        assert ours.shape == theirs.shape, name
        assert relative_error(ours, theirs) <= bound, name


def checkered(*shape: int) -> Tensor:
    return randoms(*shape, seed=5) > -0.3


CASES: dict[str, tuple[dict, dict]] = {
    "one-pair": ({"queries": 1, "keys": 1, "width": 1, "value_width": 1}, {}),
    "one-query": ({"queries": 1, "keys": 300}, {"constant": -5.0}),
    "odd-sizes": ({"queries": 97, "keys": 259, "width": 33, "value_width": 17}, {}),
    "two-key-blocks": ({"queries": 200, "keys": 513, "width": 64, "value_width": 128}, {}),
    "grouped-heads": ({"heads": 6, "key_heads": 2}, {"constant": -math.log(131)}),
    "one-key-head": ({"heads": 3, "key_heads": 1, "keys": 300}, {"causal_offset": 169}),
    "causal": ({"queries": 300, "keys": 300}, {"causal_offset": 0}),
    "causal-bottom-right": ({"queries": 50, "keys": 300}, {"causal_offset": 250}),
    "causal-negative-offset": ({"queries": 300, "keys": 131}, {"causal_offset": -169}),
    "window": ({"queries": 300, "keys": 300}, {"window": (37, 5)}),
    "narrow-window-far-keys": ({"queries": 40, "keys": 600}, {"window": (3, 2), "offset": 530}),
    "causal-window": (
        {"queries": 300, "keys": 310},
        {"causal_offset": 10, "window": (64, 64), "offset": 10},
    ),
    "window-of-one": ({}, {"window": (0, 0)}),
    "slopes": ({}, {"slopes": torch.tensor([[0.5, 0.03]]), "causal_offset": 0}),
    "slopes-by-batch": (
        {"queries": 60},
        {"slopes": torch.tensor([[0.5, 0.03], [0.1, 0.9]]), "offset": 71},
    ),
    "visible": ({}, {"visible": checkered(2, 2, 131, 131)}),
    "visible-padding": ({}, {"visible": (torch.arange(131) < 90).expand(2, 1, 1, 131)}),
    "visible-transposed": ({}, {"visible": checkered(131, 131).T}),
    "added-full": ({}, {"added": randoms(2, 2, 131, 131)}),
    "added-by-pair": ({"key_heads": 1}, {"added": randoms(131, 131)}),
    "added-by-head-and-pair": ({"keys": 300}, {"added": randoms(2, 131, 300)}),
    "added-by-batch-and-pair": ({}, {"added": randoms(2, 1, 131, 131)}),
    "added-by-head": ({}, {"added": randoms(1, 2, 1, 1)}),
    "added-by-row": ({}, {"added": randoms(2, 1, 131, 1)}),
    "added-by-column": ({}, {"added": randoms(2, 131, 131)[:, :1]}),
    "added-number": ({}, {"added": randoms()}),
    "added-transposed": ({}, {"added": randoms(131, 131).T}),
    "added-minus-infinity": (
        {"queries": 90, "keys": 90},
        {"added": randoms(2, 1, 90, 90).masked_fill(~checkered(2, 1, 90, 90), -torch.inf)},
    ),
    "everything": (
        {"heads": 4, "key_heads": 2, "queries": 150, "keys": 277},
        {
            "constant": -3.0,
            "causal_offset": 127,
            "window": (90, 200),
            "offset": 127,
            "slopes": torch.rand(1, 4),
            "visible": checkered(2, 1, 1, 277),
            "added": randoms(4, 1, 277),
        },
    ),
}


@needs_kernel
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_agree_with_the_naive_ones(case: str, dtype: torch.dtype) -> None:
    sizes, terms = CASES[case]
    # The gradient of one number is a sum with cancellation over all pairs.
    factor = 5.0 if case == "added-number" else 1.0
    assert_agrees(operands(**sizes, dtype=dtype), terms, factor)


@needs_kernel
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_strided_operands_are_read_where_they_lie(dtype: torch.dtype) -> None:
    gradient, query, key, value = operands(width=64, value_width=64, dtype=dtype)
    by_token = [t.transpose(1, 2).contiguous().transpose(1, 2) for t in (gradient, query, key)]
    every_third = torch.repeat_interleave(value, 3, 2)[:, :, ::3]
    columns_apart = torch.repeat_interleave(value, 2, 3)[..., ::2]
    odd_row_stride = torch.cat([value, value[..., :1]], 3)[..., :64]
    for strided in (every_third, columns_apart, odd_row_stride):
        assert torch.equal(strided, value)
        assert_agrees((*by_token, strided), {})
    assert_agrees((gradient[:1, :1].expand_as(gradient), *by_token[1:], value), {})


@needs_kernel
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    "terms",
    [{}, {"causal_offset": 0}, {"added": randoms(4, 1, 1)}, {"added": randoms(3, 1, 700)}],
    ids=["full", "causal", "by-head", "by-key"],
)
def test_the_number_of_threads_changes_no_bit(dtype: torch.dtype, terms: dict) -> None:
    if "added" in terms and terms["added"].shape[0] == 3:
        tensors = operands(1, 3, 800, 700, 40, 40, dtype=dtype)
    else:
        tensors = operands(1, 4, 700, 800, 40, 40, key_heads=1, dtype=dtype)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        try:
            out = _native.forward(*tensors[1:], scale=0.2, **terms)
            grads = _native.backward(*tensors, scale=0.2, **terms)
        finally:
            torch.set_num_threads(1)
        results.append([out, *(g for g in grads if g is not None)])
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            assert torch.equal(one, two)


@needs_kernel
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "terms",
    [
        {"causal_offset": -50},
        {"visible": (torch.arange(131) >= 50).view(131, 1)},
        {"added": torch.where(torch.arange(131) >= 50, 0.0, -torch.inf).view(131, 1)},
        {"window": (0, 0), "offset": -50},
    ],
    ids=["causal", "visible", "added", "window"],
)
def test_queries_without_keys_give_exact_zeros(dtype: torch.dtype, terms: dict) -> None:
    tensors = operands(dtype=dtype)
    out = _native.forward(*tensors[1:], scale=0.2, **terms)
    grads = _native.backward(*tensors, scale=0.2, **terms)
    assert torch.equal(out[:, :, :50], torch.zeros_like(out[:, :, :50]))
    assert torch.equal(grads[0][:, :, :50], torch.zeros_like(grads[0][:, :, :50]))
    assert bool(out[:, :, 50:].any(dim=-1).all())


@needs_kernel
@pytest.mark.parametrize("bad", [math.nan, math.inf], ids=["nan", "inf"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", ["visible", "added", "causal"])
def test_nothing_of_a_hidden_key_or_an_idle_query_leaks(
    kind: str, dtype: torch.dtype, bad: float
) -> None:
    gradient, query, key, value = operands(keys=140, dtype=dtype)
    hidden = torch.zeros(131, 140, dtype=torch.bool)
    hidden[:, 100:] = True
    hidden[:10] = True
    terms: dict = {"visible": {"visible": ~hidden}, "causal": {"causal_offset": -10}}.get(
        kind, {"added": torch.zeros(131, 140).masked_fill(hidden, -torch.inf)}
    )
    clean = [t.clone() for t in (gradient, query, key, value)]
    last = 121 if kind == "causal" else 100
    for tensor in (key, value):
        tensor[:, :, last:] = bad
    for tensor in (query, gradient):
        tensor[:, :, :10] = bad
    out = _native.forward(query, key, value, scale=0.2, **terms)
    assert torch.equal(out, _native.forward(*clean[1:], scale=0.2, **terms))
    found = _native.backward(gradient, query, key, value, scale=0.2, **terms)
    expected = _native.backward(*clean, scale=0.2, **terms)
    for ours, theirs in zip(found[:3], expected[:3], strict=True):
        assert torch.equal(ours, theirs)


@needs_kernel
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_visible_nan_reaches_those_who_see_it_and_no_others(dtype: torch.dtype) -> None:
    gradient, query, key, value = operands(1, 1, dtype=dtype)
    value[0, 0, 40, 3] = math.nan
    out = _native.forward(query, key, value, scale=0.2, causal_offset=0)
    assert torch.equal(out[0, 0].isnan().nonzero().unique(dim=0)[:, 1].unique(), torch.tensor([3]))
    assert torch.equal(out[0, 0, :, 3].isnan(), torch.arange(131) >= 40)
    key[0, 0, 40, 0] = math.nan
    out = _native.forward(query, key, value, scale=0.2, causal_offset=0)
    assert torch.equal(out[0, 0].isnan().all(dim=1), torch.arange(131) >= 40)
    d_query, _, d_value, _ = _native.backward(
        gradient, query, key, value, scale=0.2, causal_offset=0
    )
    assert torch.equal(d_query[0, 0].isnan().any(dim=1), torch.arange(131) >= 40)
    assert torch.equal(d_value[0, 0].isnan().any(dim=1), torch.arange(131) == 40)


@needs_kernel
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_weights_keep_their_relative_accuracy_in_both_tails(dtype: torch.dtype) -> None:
    scores = torch.linspace(-80, 80, 1601, dtype=torch.float64)
    query = scores.to(dtype).view(1, 1, -1, 1)
    one = torch.ones(1, 1, 1, 1, dtype=dtype)
    weight = torch.sigmoid(query.double())
    # Not weight * (1 - weight), which is 0 from a score of 37 on.
    slope = weight * torch.sigmoid(-query.double())
    out = _native.forward(query, one, one, scale=1.0)
    d_query = _native.backward(torch.ones_like(query), query, one, one, scale=1.0)[0]
    # A score of 80 is itself known to half a unit in its last place only.
    bound = 100 * torch.finfo(dtype).eps
    assert ((out.double() - weight) / weight).abs().max() <= bound
    assert ((d_query.double() - slope) / slope).abs().max() <= bound


@needs_kernel
def test_infinite_and_huge_scores_saturate() -> None:
    scores = torch.tensor([-math.inf, -3e38, -120.0, 120.0, 3e38, math.inf])
    one = torch.ones(1, 1, 1, 1)
    out = _native.forward(scores.view(1, 1, -1, 1), one, one, scale=1.0)
    assert out.flatten().tolist() == [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]


@needs_kernel
@pytest.mark.parametrize("sizes", [{"queries": 0}, {"keys": 0}, {"batch": 0}], ids=str)
def test_empty_operands_give_zeros_of_the_right_shape(sizes: dict) -> None:
    tensors = operands(**sizes)
    terms = {"added": torch.zeros(2, 1, 1)}
    out = _native.forward(*tensors[1:], scale=0.2, **terms)
    assert torch.equal(out, torch.zeros_like(tensors[0]))
    for grad, tensor in zip(
        _native.backward(*tensors, scale=0.2, **terms),
        (*tensors[1:], terms["added"]),
        strict=True,
    ):
        assert torch.equal(grad, torch.zeros_like(tensor))


@needs_kernel
def test_the_gradient_of_added_is_left_out_if_not_wanted() -> None:
    terms = {"scale": 0.2, "added": randoms(131, 131)}
    tensors = operands()
    asked, not_asked = (
        _native.backward(*tensors, with_added=flag, **terms) for flag in (True, False)
    )
    assert not_asked[3] is None
    assert all(torch.equal(a, b) for a, b in zip(asked[:3], not_asked[:3], strict=True))


@needs_kernel
def test_the_structure_is_as_long_as_the_kernel_reads() -> None:
    library = _native.KERNEL.built().library
    assert library is not None
    assert library.sigmoe_size_of_call() == ctypes.sizeof(_Call)


@pytest.mark.parametrize(
    ("shape", "calls"),
    [((131, 131), 6), ((3, 131, 131), 2), ((2, 1, 131, 131), 3), ((2, 3, 131, 131), 1), ((), 1)],
    ids=str,
)
def test_heads_that_share_a_sum_are_never_in_one_call(shape: tuple[int, ...], calls: int) -> None:
    _, query, key, _ = operands(heads=3)
    parts = AddedGradient.fresh(query, key, torch.zeros(shape)).parts(query, key)
    assert len(parts) == calls
    assert sum(part.of_queries(query).shape[:2].numel() for part in parts) == 6
