"""SelfAttention: against its parts written out, and in torch's machinery."""

import math
import re

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from sharded_cases import EVERYTHING
from sigmoe._base.errors import InputError
from sigmoe.attention import SelfAttention, TransformerBlock, recipe
from sigmoe.attention.layers._positions import alibi_slopes, rotate

PLAIN = {"heads": 4}
SETTINGS = {
    "plain": PLAIN,
    "softmax": {"heads": 2, "gate": "softmax", "causal": True},
    "number": {"heads": 2, "bias": -1.0},
    "length": {"heads": 2, "bias": "length"},
    "everything": {"heads": 4, "key_heads": 2, "window": (5, 0), **EVERYTHING},
}


def layer_and_tokens(name: str, length: int = 9) -> tuple[SelfAttention, Tensor]:
    torch.manual_seed(3)
    layer = SelfAttention(8, **SETTINGS[name]).double()
    with torch.no_grad():
        # Away from where everything starts, so that each part has its say.
        for part in layer.parameters():
            part.add_(0.3 * torch.randn_like(part))
    return layer, torch.randn(2, length, 8, dtype=torch.float64)


def written_out(layer: SelfAttention, x: Tensor) -> Tensor:
    """Return the layer's output head by head, the weights as a whole matrix."""
    chosen = layer.settings
    output = torch.cat([head_of(layer, x, h) for h in range(chosen.heads)], dim=-1)
    if chosen.output_gate:
        output = output * torch.sigmoid(x @ layer.output_gate.weight.T + layer.output_gate.bias)
    output = output @ layer.output.weight.T
    if chosen.hybrid_norm:
        output = normed(output, layer.output_norm.weight)
    return output if layer.layer_scale is None else output * layer.layer_scale


def head_of(layer: SelfAttention, x: Tensor, head: int) -> Tensor:
    chosen, i, j = layer.settings, torch.arange(x.shape[1])[:, None], torch.arange(x.shape[1])
    width, group = chosen.width, chosen.heads // chosen.n_key_heads
    left, right = chosen.window or (len(j), len(j))
    visible = (j >= i - left) & (j <= i + (0 if chosen.causal else right))
    own, shared = places(width, head), places(width, head // group)
    q, k = x @ layer.query.weight[own].T, x @ layer.key.weight[shared].T
    v = x @ layer.value.weight[shared].T
    if chosen.qk_norm:
        q, k = normed(q, layer.query_norm.weight), normed(k, layer.key_norm.weight)
    if chosen.rotary:
        q, k = turned(q, chosen.rotary), turned(k, chosen.rotary)
    if chosen.value_activation:
        v = torch.nn.functional.gelu(v + layer.value.bias[shared])
    scores = q @ k.mT / math.sqrt(width) + bias_of(layer, head, visible)
    if chosen.alibi:
        scores = scores - 2.0 ** (-8 * (head + 1) / chosen.heads) * (i - j).abs()
    if chosen.gate == "softmax":
        return scores.masked_fill(~visible, -math.inf).softmax(-1) @ v
    return scores.sigmoid() * visible @ v


def places(width: int, head: int) -> slice:
    return slice(head * width, (head + 1) * width)


def normed(x: Tensor, weight: Tensor) -> Tensor:
    return x / x.square().mean(-1, keepdim=True).sqrt() * weight


def bias_of(layer: SelfAttention, head: int, visible: Tensor) -> Tensor | float:
    if layer.bias is not None:
        return layer.bias[head]
    if isinstance(layer.settings.bias, float):
        return layer.settings.bias
    return -visible.sum(-1, keepdim=True).to(layer.query.weight.dtype).log()


def turned(x: Tensor, base: float) -> Tensor:
    """Return the pairs as complex numbers, turned."""
    half = x.shape[-1] // 2
    speeds = torch.tensor([base ** (-i / half) for i in range(half)], dtype=torch.float64)
    angles = torch.arange(x.shape[-2])[:, None] * speeds
    pairs = torch.complex(x[..., :half], x[..., half:]) * torch.exp(1j * angles)
    return torch.cat([pairs.real, pairs.imag], dim=-1)


@pytest.mark.parametrize("name", SETTINGS)
def test_output_and_gradients_are_those_of_the_parts_written_out(name: str) -> None:
    layer, x = layer_and_tokens(name)
    inputs = [x.requires_grad_(), *layer.parameters()]
    output, expected = layer(x), written_out(layer, x)
    torch.testing.assert_close(output, expected)
    gradients = torch.autograd.grad(output.square().sum(), inputs)
    wanted = torch.autograd.grad(expected.square().sum(), inputs)
    for found, part in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(found, part)
        assert found.abs().max() > 0


def test_weights_times_values_are_the_output() -> None:
    layer, x = layer_and_tokens("softmax")
    values = layer.value(x).unflatten(2, (2, -1)).transpose(1, 2)
    gathered = (layer.weights(x) @ values).transpose(1, 2).flatten(2)
    torch.testing.assert_close(layer.output(gathered), layer(x))


def test_hidden_tokens_do_not_count() -> None:
    layer, x = layer_and_tokens("plain")
    shown = torch.arange(9) < 6
    torch.testing.assert_close(layer(x, shown)[:, :6], layer(x[:, :6]))


def test_a_fresh_layer_is_calm() -> None:
    torch.manual_seed(0)
    layer = SelfAttention(64, 4, bias="learned", length=32, output_gate=True, layer_scale=1e-4)
    x = torch.randn(4, 32, 64)
    # Scores of variance 1 make exp(1/2) of the mean row sum; saturation makes it less.
    assert layer.weights(x).sum(-1).mean().item() == pytest.approx(math.exp(0.5), rel=0.15)
    assert layer(x).square().mean().sqrt() < 1e-4
    torch.testing.assert_close(layer.bias, torch.full((4, 1, 1), -math.log(32)))
    before = layer.query.weight.clone()
    layer.reset_parameters()
    assert not torch.equal(layer.query.weight, before)


def test_rotary_products_depend_on_the_distance_alone() -> None:
    query, key = torch.randn(2, 1, 1, 1, 8, dtype=torch.float64)
    near = rotate(query, 5, 1e4) @ rotate(key, 2, 1e4).mT
    torch.testing.assert_close(rotate(query, 905, 1e4) @ rotate(key, 902, 1e4).mT, near)


@pytest.mark.parametrize(
    ("heads", "expected"),
    [(1, [2**-8]), (4, [2**-2, 2**-4, 2**-6, 2**-8]), (3, [2**-4, 2**-8, 2**-2])],
)
def test_slopes_of_alibi(heads: int, expected: list[float]) -> None:
    assert alibi_slopes(heads).tolist() == expected


def test_a_layer_may_be_built_without_memory() -> None:
    layer = SelfAttention(12, 3, alibi=True, bias="learned", length=5).to("meta")
    # The memory is filled with NaN here.
    layer = layer.to_empty(device="cpu")
    assert bool(layer.slopes.isnan().all())
    layer.reset_parameters()
    torch.testing.assert_close(layer.slopes, alibi_slopes(3))
    assert bool(layer(torch.randn(1, 5, 12)).isfinite().all())


def test_a_block_is_its_two_steps() -> None:
    block = TransformerBlock(8, 2, **recipe("vision"), hidden=12)
    x = torch.randn(1, 5, 8)
    middle = x + block.attention(block.attention_norm(x))
    fed = block.feed_forward.inner(block.feed_forward_norm(middle))
    added = block.feed_forward.outer(torch.nn.functional.gelu(fed)) * 1e-4
    torch.testing.assert_close(block(x), middle + added)
    assert not torch.equal(block(x), middle)


def test_compiles_whole() -> None:
    torch.compiler.reset()
    layer, x = layer_and_tokens("everything")
    output = torch.compile(layer, backend="aot_eager", fullgraph=True)(x)
    expected = layer(x)
    torch.testing.assert_close(output, expected)
    found = torch.autograd.grad(output.square().sum(), layer.query.weight)
    wanted = torch.autograd.grad(expected.square().sum(), layer.query.weight)
    torch.testing.assert_close(found, wanted)


def test_a_checkpoint_gives_the_same_gradients_with_dropout() -> None:
    layer, x = SelfAttention(8, 2, dropout=0.4), torch.randn(2, 9, 8, requires_grad=True)
    gradients = []
    for call in (layer, lambda x: checkpoint(layer, x, use_reentrant=False)):
        torch.manual_seed(5)
        gradients.append(torch.autograd.grad(call(x).square().sum(), x)[0])
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0.0, atol=0.0)


def test_dropout_is_for_training_and_the_seed_decides() -> None:
    layer, x = SelfAttention(8, 2, dropout=0.4), torch.randn(2, 9, 8)
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(layer(x))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    layer.eval()
    torch.testing.assert_close(layer(x), written_out(layer, x))


@pytest.mark.parametrize("name", ["plain", "everything"])
def test_autocast_works_in_bfloat16(name: str) -> None:
    layer, x = layer_and_tokens(name)
    layer, x = layer.float(), x.float()
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(x)
        output.float().square().sum().backward()
    exact = layer(x)
    assert (output.float() - exact).norm() < 0.03 * exact.norm()
    assert layer.query.weight.grad.isfinite().all()


@pytest.mark.parametrize("name", SETTINGS)
def test_saved_tensors_make_the_same_layer(name: str, tmp_path) -> None:
    layer, x = layer_and_tokens(name)
    assert layer.state_dict().keys() == dict(layer.named_parameters()).keys()
    save_file(layer.state_dict(), tmp_path / "layer.safetensors")
    other = SelfAttention(8, **SETTINGS[name]).double()
    other.load_state_dict(load_file(tmp_path / "layer.safetensors"))
    assert torch.equal(other(x), layer(x))


def test_the_settings_are_shown() -> None:
    shown = repr(SelfAttention(8, 2, causal=True, window=(3, 0)))
    assert "\n  dim=8, heads=2, causal=True, window=(3, 0)\n" in shown
    block = repr(TransformerBlock(8, 2, activation="silu", layer_scale=0.1))
    assert "activation='silu', layer_scale=0.1" in block


def test_tokens_of_another_width_are_refused() -> None:
    with pytest.raises(InputError) as error:
        SelfAttention(8, 2)(torch.randn(5, 8))
    assert str(error.value) == (
        "x must be of shape (batch, length, 8); got (5, 8). "
        "One sequence becomes a batch by unsqueeze(0)."
    )


def test_unknown_names_are_refused() -> None:
    message = "activation must be one of 'relu', 'gelu', 'silu', 'tanh'; got 'swish'. Choose"
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        TransformerBlock(8, 2, activation="swish")
