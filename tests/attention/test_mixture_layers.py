"""The mixture behind layers, and the picture of its gates."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from sigmoe import InputError, sigmoid_attention
from sigmoe.attention import SelfAttention, as_mixture, plot_gates

L, D, HEADS = 6, 8, 4


@pytest.fixture
def tokens() -> Tensor:
    return torch.randn(L, D, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def rows(mixture: Any) -> Tensor:
    return torch.stack([mixture.output(i) for i in range(mixture.n_tokens)])


@pytest.mark.parametrize("bias", [True, False])
def test_torch_s_layer_is_a_mixture(tokens: Tensor, bias: bool) -> None:
    torch.manual_seed(1)
    layer = torch.nn.MultiheadAttention(D, HEADS, bias=bias, batch_first=True).double().eval()
    if bias:
        for part in (layer.in_proj_bias, layer.out_proj.bias):
            torch.nn.init.normal_(part)
    seen = torch.ones(L, L, dtype=torch.bool).tril()
    batch = tokens[None]
    # torch's layer hides where its mask is True.
    expected, weights = layer(batch, batch, batch, attn_mask=~seen, average_attn_weights=False)
    mixture = as_mixture(layer, tokens, attn_mask=seen)
    assert (mixture.gate, mixture.n_heads, mixture.n_tokens) == ("softmax", HEADS, L)
    torch.testing.assert_close(rows(mixture), expected[0].detach())
    gates = torch.stack([mixture.gates(i) for i in range(L)], dim=1)
    torch.testing.assert_close(gates, weights[0].detach())


def test_the_mixture_stays_as_it_was_when_training_goes_on(tokens: Tensor) -> None:
    layer = torch.nn.MultiheadAttention(D, HEADS, batch_first=True).double()
    added = torch.zeros(HEADS, 1, 1, dtype=torch.float64, requires_grad=True)
    mask = torch.ones(L, L, dtype=torch.bool)
    mixture = as_mixture(layer, tokens, gate="sigmoid", bias=added, attn_mask=mask)
    before = mixture.output(3)
    assert not before.requires_grad
    with torch.no_grad():
        for part in (*layer.parameters(), added, tokens):
            part.add_(1.0)
        mask[:] = False
    assert torch.equal(mixture.output(3), before)


@pytest.mark.parametrize("key_heads", [HEADS, 2, 1])
@pytest.mark.parametrize("gate", ["sigmoid", "softmax"])
def test_linear_projections_are_a_mixture(tokens: Tensor, gate: str, key_heads: int) -> None:
    torch.manual_seed(3)
    width = 2
    q, k, v = (torch.nn.Linear(D, n * width).double() for n in (HEADS, key_heads, key_heads))
    out = torch.nn.Linear(HEADS * width, D).double()
    layer = SimpleNamespace(query=q, key=k, value=v, output=out, heads=HEADS, gate=gate)
    parts = [p(tokens).unflatten(1, (-1, width)).transpose(0, 1)[None] for p in (q, k, v)]
    if gate == "softmax":
        heads = scaled_dot_product_attention(*parts, is_causal=True, enable_gqa=True)
    else:
        heads = sigmoid_attention(*parts, is_causal=True, enable_gqa=True)
    expected = out(heads[0].transpose(0, 1).flatten(1)).detach()
    mixture = as_mixture(layer, tokens, is_causal=True)
    torch.testing.assert_close(rows(mixture), expected)
    assert mixture.gate == gate
    layer.output = None
    expected = heads[0].transpose(0, 1).flatten(1).detach()
    torch.testing.assert_close(rows(as_mixture(layer, tokens, is_causal=True)), expected)


def test_layers_that_are_no_plain_projections_are_refused(tokens: Tensor) -> None:
    layer = torch.nn.MultiheadAttention(D, HEADS, kdim=4)
    message = (
        "layer_or_weights must be of one width for query, key and value, without added keys; "
        "got 'kdim=4, vdim=8, added keys: False'. Give the weights of each head."
    )
    with pytest.raises(InputError) as caught:
        as_mixture(layer, tokens)
    assert str(caught.value) == message
    for added in ({"add_bias_kv": True}, {"add_zero_attn": True}):
        with pytest.raises(InputError, match="added keys: True"):
            as_mixture(torch.nn.MultiheadAttention(D, HEADS, **added), tokens)
    linear = torch.nn.Linear(D, D)
    odd = torch.nn.Linear(D, 6)
    layer = SimpleNamespace(
        query=linear, key=odd, value=odd, output=None, heads=HEADS, gate="sigmoid"
    )
    message = (
        "key must be a projection to heads of width 2 whose number divides 4; got 6. "
        "Change out_features or heads."
    )
    with pytest.raises(InputError) as caught:
        as_mixture(layer, tokens)
    assert str(caught.value) == message


def test_the_picture_shows_weights_and_who_competes(tokens: Tensor) -> None:
    mixture = as_mixture((torch.eye(D), torch.eye(D), torch.eye(D)), tokens, is_causal=True)
    figure = plot_gates(mixture, 4, labels=list("abcdef"))
    assert isinstance(figure, Figure)
    weights, slopes = figure.axes[0:4:2], figure.axes[1:4:2]
    for ax, heat, gate in zip(weights, slopes, ("sigmoid", "softmax"), strict=True):
        view = mixture.with_gate(gate)
        drawn = [bar.get_height() for bar in ax.patches]
        np.testing.assert_allclose(drawn, view.gates(4)[0])
        scores = view.scores(4)[0].clone()
        scores[scores.argmax()] += 2.0
        raised = torch.sigmoid(scores) if gate == "sigmoid" else torch.softmax(scores, 0)
        np.testing.assert_allclose(ax.lines[0].get_ydata(), raised)
        assert [text.get_text() for text in ax.get_xticklabels()] == list("abcdef")
        np.testing.assert_allclose(heat.images[0].get_array().filled(0.0), view.jacobian(4))
        assert ax.get_title() == f"{gate}: weights add up to {float(view.gates(4).sum()):.2f}"
    # Row 4 sees 5 tokens: 5 x 4 pairs compete.
    titles = [ax.get_title() for ax in slopes]
    assert titles == ["0 of 30 off the diagonal are not 0", "20 of 30 off the diagonal are not 0"]


def test_the_picture_is_drawn_where_it_is_told_to(tokens: Tensor) -> None:
    mixture = as_mixture((torch.eye(D), torch.eye(D), torch.eye(D)), tokens)
    figure = Figure()
    axes = list(figure.subplots(2, 2).flat)
    assert plot_gates(mixture, 0, axes=axes) is figure
    for arguments, message in (
        ({"axes": axes[:2]}, "axes must be four of them; got 2. Two for each gate."),
        ({"labels": ["a"]}, "labels must be 6 names; got 1. Give one for each token."),
    ):
        with pytest.raises(InputError) as caught:
            plot_gates(mixture, 0, **arguments)
        assert str(caught.value) == message


@pytest.mark.parametrize("gate", ["sigmoid", "softmax"])
def test_our_own_layer_is_read_with_its_heads_and_its_gate(gate: str) -> None:
    layer = SelfAttention(12, 4, key_heads=2, gate=gate, causal=True).double()
    X = torch.randn(1, 9, 12, dtype=torch.float64)
    mixture = as_mixture(layer, X[0], is_causal=True, bias="log-visible")
    torch.testing.assert_close(mixture.output(5), layer(X)[0, 5].detach(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    "settings",
    [
        {"causal": True},
        {"window": (2, 1), "bias": -1.5},
        {"causal": True, "alibi": True, "bias": "learned", "length": 4},
    ],
    ids=["causal", "window", "alibi"],
)
def test_our_own_layer_brings_its_options(settings: dict[str, Any]) -> None:
    layer = SelfAttention(12, 4, **settings).double()
    X = torch.randn(1, 9, 12, dtype=torch.float64)
    mask = torch.arange(9) != 3
    mixture = as_mixture(layer, X[0], attn_mask=mask)
    whole = layer(X, mask)[0].detach()
    torch.testing.assert_close(rows(mixture), whole, rtol=1e-11, atol=1e-12)
    # What is passed counts.
    other = as_mixture(layer, X[0], bias=2.0, is_causal=False, window=(8, 8))
    assert bool((other.gates(4) > 0).all())


def test_a_layer_that_does_more_is_refused() -> None:
    layer = SelfAttention(16, 4, qk_norm=True, rotary=10000.0)
    text = (
        r"^layer_or_weights must be made of projections and attention only; got \('rotary', "
        r"'qk_norm'\). Build it without these, or give the weights of each head.$"
    )
    with pytest.raises(InputError, match=text):
        as_mixture(layer, torch.zeros(3, 16))
