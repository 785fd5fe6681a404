"""The operators in torch's machinery: opcheck, compile, export, autocast, checkpoints, flops."""

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from attention_cases import CASES, trainable
from sigmoe import sigmoid_attention, softmax_attention
from sigmoe.attention import _backends, packed_attention
from sigmoe.attention._arguments import Arguments, Options

DEFAULTS = {
    "bias": "auto",
    "attn_mask": None,
    "is_causal": False,
    "causal_offset": 0,
    "window": None,
    "alibi_slopes": None,
    "dropout_p": 0.0,
    "scale": None,
    "enable_gqa": False,
}


def operator_inputs(name: str, **more: object) -> tuple[object, ...]:
    """Return the operator's arguments for a case; what is floating wants a gradient."""
    qkv, options = CASES[name].make()
    call = Arguments.checked("sigmoid", *qkv, Options(**{**DEFAULTS, **options, **more}))
    inputs = (call.query, call.key, call.value, *call.settings)
    trainable(*inputs[:4])
    return inputs


EVERYTHING = {
    "attn_mask": torch.ones(7, 11).triu(-2) > 0,
    "alibi_slopes": torch.tensor([0.1, 0.2, 0.3]),
    "dropout_p": 0.3,
    "is_causal": True,
    "causal_offset": 4,
    "window": (6, 1),
}


@pytest.mark.parametrize(
    ("name", "more"), [("plain", {}), ("bias-of-heads", EVERYTHING)], ids=["nothing", "everything"]
)
def test_opcheck(name: str, more: dict[str, object]) -> None:
    inputs = operator_inputs(name, **more)
    torch.library.opcheck(torch.ops.sigmoe.attention, inputs)
    gradient = torch.ones_like(torch.ops.sigmoe.attention(*inputs)).requires_grad_()
    torch.library.opcheck(torch.ops.sigmoe.attention_backward, (gradient, *inputs, True))


@pytest.mark.parametrize("function", [sigmoid_attention, softmax_attention])
def test_compiles_whole_with_dynamic_shapes(function) -> None:
    def block(query: Tensor, key: Tensor, bias: Tensor) -> Tensor:
        offset = key.shape[2] - query.shape[2]
        output = function(query, key, key, is_causal=True, causal_offset=offset)
        return output + function(query, key, key, bias=bias, window=(3, 1), dropout_p=0.0)

    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(block, backend=counter, fullgraph=True, dynamic=True)
    frames = set()
    for length, n_keys in ((5, 9), (6, 11), (13, 17)):
        query, key = torch.randn(2, 3, length, 4), torch.randn(2, 3, n_keys, 4)
        bias = torch.randn(3, 1, 1)
        inputs = trainable(query, key, bias)
        output = compiled(*inputs)
        found = torch.autograd.grad(output.square().sum(), inputs)
        expected = block(*inputs)
        torch.testing.assert_close(output, expected)
        for part, other in zip(
            found, torch.autograd.grad(expected.square().sum(), inputs), strict=True
        ):
            torch.testing.assert_close(part, other)
        frames.add(counter.frame_count)
    # Later lengths need no further compilation.
    assert len(frames) == 1


class OfFixedSizes(torch.nn.Module):
    """The sizes of parameters and buffers stay fixed when torch.compile opens all others."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function
        self.bias = torch.nn.Parameter(torch.randn(4, 1, 1))
        self.register_buffer("slopes", torch.rand(4))

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        output = self.function(query, key, key, enable_gqa=True)
        return output + self.function(
            query, key, key, bias=self.bias, alibi_slopes=self.slopes, enable_gqa=True
        )


@pytest.mark.parametrize("key_heads", [2, 4])
@pytest.mark.parametrize("function", [sigmoid_attention, softmax_attention])
def test_heads_may_be_open_beside_a_bias_of_fixed_size(function, key_heads: int) -> None:
    torch.compiler.reset()
    module = OfFixedSizes(function)
    query, key = torch.randn(2, 4, 5, 8), torch.randn(2, key_heads, 7, 8)
    compiled = torch.compile(module, backend="eager", fullgraph=True, dynamic=True)
    torch.testing.assert_close(compiled(query, key), module(query, key))


def test_compiles_with_schedules_masks_and_dropout() -> None:
    def block(query: Tensor, mask: Tensor) -> Tensor:
        output = sigmoid_attention(
            query, query, query, bias="log-visible", attn_mask=mask, dropout_p=0.5
        )
        return output + sigmoid_attention(query, query, query, bias="length", attn_mask=mask)

    compiled = torch.compile(block, backend="aot_eager", fullgraph=True)
    query, mask = torch.randn(2, 3, 5, 4), torch.rand(2, 1, 1, 5) < 0.7
    torch.manual_seed(1)
    output = compiled(query, mask)
    torch.manual_seed(1)
    torch.testing.assert_close(output, block(query, mask))


class Layer(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bias = torch.nn.Parameter(torch.randn(3, 1, 1))

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        return sigmoid_attention(query, key, key, bias=self.bias, is_causal=True)


def test_exports_with_a_dynamic_length() -> None:
    layer, length = Layer(), torch.export.Dim("length", min=2, max=4096)
    query, key = torch.randn(2, 3, 5, 4), torch.randn(2, 3, 7, 4)
    program = torch.export.export(layer, (query, key), dynamic_shapes=({2: length}, None))
    longer = torch.randn(2, 3, 19, 4)
    torch.testing.assert_close(program.module()(longer, key), layer(longer, key))


def test_exports_with_an_offset_that_is_traced() -> None:
    class Decoder(torch.nn.Module):
        def forward(self, query: Tensor, key: Tensor) -> Tensor:
            offset = key.shape[2] - query.shape[2]
            return sigmoid_attention(query, key, key, is_causal=True, causal_offset=offset)

    query, key = torch.randn(1, 2, 5, 4), torch.randn(1, 2, 7, 4)
    shapes = tuple({2: torch.export.Dim(name, min=2, max=4096)} for name in ("queries", "keys"))
    program = torch.export.export(Decoder(), (query, key), dynamic_shapes=shapes, strict=False)
    longer = torch.randn(1, 2, 19, 4)
    torch.testing.assert_close(program.module()(query, longer), Decoder()(query, longer))


def test_shapes_without_memory() -> None:
    query = torch.zeros(2, 3, 5, 4, device="meta")
    for function in (sigmoid_attention, softmax_attention):
        assert function(query, query, query[..., :2], window=(1, 0)).shape == (2, 3, 5, 2)


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_a_checkpoint_gives_the_same_gradients_with_dropout(use_reentrant: bool) -> None:
    query, key, value = torch.randn(3, 1, 2, 5, 4)
    inputs = trainable(query, key, value)

    def call(*inputs: Tensor) -> Tensor:
        return sigmoid_attention(*inputs, dropout_p=0.5)

    torch.manual_seed(5)
    expected = torch.autograd.grad(call(*inputs).square().sum(), inputs)
    torch.manual_seed(5)
    output = checkpoint(call, *inputs, use_reentrant=use_reentrant)
    # The reentrant kind knows backward() only.
    output.square().sum().backward()
    assert all(torch.equal(a.grad, b) for a, b in zip(inputs, expected, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("function", [sigmoid_attention, softmax_attention])
def test_autocast_works_in_its_dtype_and_returns_it(function, dtype: torch.dtype) -> None:
    query, key, value = torch.randn(3, 2, 3, 7, 8)
    inputs = trainable(query, key, value)
    with torch.autocast("cpu", dtype):
        output = function(*inputs)
    assert output.dtype == dtype
    assert torch.equal(output, function(*(part.to(dtype) for part in inputs)))
    output.float().sum().backward()
    assert query.grad.dtype == torch.float32


def test_autocast_brings_inputs_to_one_dtype() -> None:
    # As after a norm of queries and keys, which autocast keeps in float32.
    query, key, value = torch.randn(3, 2, 3, 7, 8)
    value = value.bfloat16()
    packed = [part[0].transpose(0, 1) for part in (query, key, value)]
    with torch.autocast("cpu", torch.bfloat16):
        for function in (sigmoid_attention, softmax_attention):
            assert function(query, key, value).dtype == torch.bfloat16
        assert packed_attention(*packed, torch.tensor([0, 7])).dtype == torch.bfloat16


def test_autocast_leaves_float64_alone() -> None:
    query, key, value = torch.randn(3, 1, 1, 9, 8, dtype=torch.float64)
    expected = sigmoid_attention(query, key, value)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(sigmoid_attention(query, key, value), expected)


@pytest.mark.parametrize("backend", ["tiled", "reference"])
def test_autocast_does_not_reach_into_the_operators(backend: str) -> None:
    inputs = [part.detach().float() for part in operator_inputs("plain")[:3]]
    settings = operator_inputs("plain")[3:]
    with _backends.forced(backend):
        expected = torch.ops.sigmoe.attention(*inputs, *settings)
        gradients = torch.ops.sigmoe.attention_backward(expected, *inputs, *settings, False)
        with torch.autocast("cpu", torch.bfloat16):
            output = torch.ops.sigmoe.attention(*inputs, *settings)
            again = torch.ops.sigmoe.attention_backward(expected, *inputs, *settings, False)
    for a, b in zip((output, *again), (expected, *gradients), strict=True):
        assert torch.equal(a, b)


def test_flops_are_counted_as_torch_counts_its_own() -> None:
    query, key = torch.randn(2, 3, 10, 8, requires_grad=True), torch.randn(2, 3, 20, 8)
    value = torch.randn(2, 3, 20, 16)
    with FlopCounterMode(display=False) as forward:
        output = sigmoid_attention(query, key, value)
    product = 2 * 2 * 3 * 10 * 20
    assert forward.get_total_flops() == product * (8 + 16)
    with FlopCounterMode(display=False) as backward:
        output.sum().backward()
    assert backward.get_total_flops() == product * (3 * 8 + 2 * 16)


def test_inference_mode_and_no_grad() -> None:
    query, key, value = torch.randn(3, 1, 2, 5, 4)
    expected = sigmoid_attention(query, key, value)
    with torch.inference_mode():
        assert torch.equal(sigmoid_attention(query, key, value), expected)
    with torch.no_grad():
        assert torch.equal(sigmoid_attention(query.requires_grad_(), key, value), expected)


def test_only_the_inputs_are_kept_for_the_backward_pass() -> None:
    kept: list[Tensor] = []
    inputs = trainable(*torch.randn(3, 1, 2, 50, 4))

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        sigmoid_attention(*inputs, is_causal=True)
    assert {t.data_ptr() for t in kept} == {t.data_ptr() for t in inputs}
