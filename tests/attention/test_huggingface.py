"""Tiny models of transformers, built from a configuration, train and generate with sigmoid."""

import re
import sys
from importlib import import_module

import pytest
import torch
from torch import Tensor

from sigmoe import sigmoid_attention
from sigmoe._base.errors import InputError, SigmoeError
from sigmoe.attention import huggingface
from sigmoe.attention.huggingface import register

TEXT = {
    "vocab_size": 16,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
}
IMAGES = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 8,
    "patch_size": 4,
    "num_labels": 2,
}


def llama(**options) -> torch.nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    name = register(**options)
    model = LlamaForCausalLM(LlamaConfig(**TEXT, attn_implementation=name)).double()
    with torch.no_grad():
        # Far enough from zero that attention has its say.
        for part in model.parameters():
            part.mul_(5.0)
    return model.eval()


def tokens(*shape: int) -> Tensor:
    return torch.randint(1, 16, shape, generator=torch.Generator().manual_seed(1))


def train(model: torch.nn.Module, inputs: dict[str, Tensor], steps: int) -> list[float]:
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(steps):
        loss = model(**inputs).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_a_llama_learns_a_text() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**TEXT, attn_implementation=register()))
    text = tokens(4, 12)
    losses = train(model, {"input_ids": text, "labels": text}, 30)
    assert losses[-1] < 0.5 * losses[0]
    assert model.model.layers[0].self_attn.k_proj.weight.grad.abs().max() > 0


def test_a_vit_learns_two_images() -> None:
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    config = ViTConfig(**IMAGES, attn_implementation=register())
    model = ViTForImageClassification(config)
    inputs = {"pixel_values": torch.randn(2, 3, 8, 8), "labels": torch.tensor([0, 1])}
    losses = train(model, inputs, 15)
    assert losses[-1] < 0.5 * losses[0]
    assert model.vit.layers[0].attention.k_proj.weight.grad.abs().max() > 0


@pytest.mark.parametrize("bias", ["auto", -2.0])
def test_a_cache_gives_what_a_whole_pass_gives(bias: str | float) -> None:
    model, text = llama(bias=bias), tokens(2, 9)
    with torch.no_grad():
        whole = model(text, use_cache=False).logits
        cache, parts = None, []
        # A prompt, a further chunk, and single tokens.
        for part in text.split([4, 2, 1, 1, 1], dim=1):
            result = model(part, cache=cache, use_cache=True)
            cache = result.cache
            parts.append(result.logits)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole)


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_generating_agrees_with_whole_passes(cache: str) -> None:
    model, text = llama(), tokens(2, 5)
    written = model.generate(
        text,
        attention_mask=torch.ones_like(text),
        max_new_tokens=8,
        do_sample=False,
        cache_implementation=cache,
        disable_compile=True,
        return_dict_in_generate=True,
        output_logits=True,
    )
    with torch.no_grad():
        whole = model(written.sequences, use_cache=False).logits
    torch.testing.assert_close(torch.stack(written.logits, dim=1).double(), whole[:, 4:-1])


def test_padding_does_not_count() -> None:
    model, text = llama(), tokens(1, 6)
    padded = torch.cat([torch.zeros(1, 3, dtype=torch.int64), text], dim=1)
    with torch.no_grad():
        alone = model(text).logits
        found = model(padded, attention_mask=(padded > 0).long(), position_ids=PLACES).logits
    torch.testing.assert_close(found[:, 3:], alone)


PLACES = torch.tensor([[0, 0, 0, 0, 1, 2, 3, 4, 5]])


def test_gates_are_what_they_say() -> None:
    """Softmax under our name is torch's softmax, and sigmoid is not."""
    model, text = llama(name="sigmoe_softmax", gate="softmax"), tokens(2, 7)
    with torch.no_grad():
        softmax = model(text).logits
        model.set_attn_implementation("sdpa")
        torch.testing.assert_close(softmax, model(text).logits)
        model.set_attn_implementation(register())
        assert (model(text).logits - softmax).abs().max() > 0.01


@pytest.mark.parametrize("is_causal", [False, True])
def test_the_call_is_sigmoid_attention_of_the_models_heads(is_causal: bool) -> None:
    register()
    attend = import_module("transformers").AttentionInterface()["sigmoe_sigmoid"]
    query = torch.randn(1, 4, 3, 8)
    key, value = torch.randn(2, 1, 2, 5, 8)
    output, weights = attend(
        torch.nn.Module(), query, key, value, None, scaling=0.3, is_causal=is_causal
    )
    order = {"is_causal": True, "causal_offset": 2, "bias": "log-visible"} if is_causal else {}
    expected = sigmoid_attention(query, key, value, scale=0.3, enable_gqa=True, **order)
    torch.testing.assert_close(output, expected.transpose(1, 2))
    assert weights is None


def test_a_sliding_window_decodes() -> None:
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    config = MistralConfig(**TEXT, sliding_window=3, attn_implementation=register())
    model, text = MistralForCausalLM(config).double().eval(), tokens(1, 7)
    with torch.no_grad():
        whole, cache = model(text, use_cache=False).logits, None
        for place in range(7):
            result = model(text[:, place : place + 1], cache=cache, use_cache=True)
            cache = result.cache
            torch.testing.assert_close(result.logits, whole[:, place : place + 1])
        model.config.sliding_window = None
        assert (model(text).logits - whole).abs().max() > 1e-6


def test_gradient_checkpointing_changes_nothing() -> None:
    model, text = llama(), tokens(2, 6)
    gradients = []
    for on in (False, True):
        if on:
            model.activation_checkpointing_enable()
        model.train()
        model.zero_grad()
        model(text, labels=text).loss.backward()
        gradients.append(model.model.layers[0].self_attn.q_proj.weight.grad.clone())
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0.0, atol=0.0)


def test_what_only_softmax_has_is_refused() -> None:
    register()
    attend = import_module("transformers").AttentionInterface()["sigmoe_sigmoid"]
    part = torch.randn(1, 1, 2, 4)
    with pytest.raises(InputError) as error:
        attend(torch.nn.Module(), part, part, part, None, softcap=30.0)
    assert str(error.value) == (
        "softcap must be None with 'sigmoe_sigmoid'; got 'a value'. "
        "This model needs attn_implementation='eager'."
    )


def test_masks_and_position_biases_reach_the_scores() -> None:
    register()
    attend = import_module("transformers").AttentionInterface()["sigmoe_sigmoid"]
    query, key, value = torch.randn(3, 1, 2, 4, 8)
    mask, bias = torch.rand(1, 1, 4, 4) < 0.6, torch.randn(1, 2, 4, 4, requires_grad=True)
    hidden = torch.zeros(1, 1, 4, 4).masked_fill(~mask, -torch.inf)
    for given in (mask, hidden):
        for added in (None, bias):
            output, _ = attend(
                torch.nn.Module(), query, key, value, given, is_causal=False, position_bias=added
            )
            whole = hidden if added is None else hidden + added
            expected = sigmoid_attention(query, key, value, bias="log-visible", attn_mask=whole)
            torch.testing.assert_close(output, expected.transpose(1, 2))
    output.sum().backward()
    assert bias.grad.abs().max() > 0


def test_a_t5_learns_and_decodes() -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    sizes = {"vocab_size": 16, "d_model": 16, "d_kv": 4, "d_ff": 32, "num_layers": 1}
    config = T5Config(
        **sizes, num_heads=4, decoder_start_token_id=0, attn_implementation=register()
    )
    model, text = T5ForConditionalGeneration(config).double(), tokens(2, 6)
    losses = train(model, {"input_ids": text, "labels": text}, 15)
    assert losses[-1] < 0.9 * losses[0]
    model.eval()
    with torch.no_grad():
        whole, cache = model(text, decoder_input_ids=text, use_cache=False).logits, None
        for place in range(6):
            result = model(
                text,
                decoder_input_ids=text[:, place : place + 1],
                cache=cache,
                use_cache=True,
            )
            cache = result.cache
            torch.testing.assert_close(result.logits, whole[:, place : place + 1])


@pytest.mark.parametrize("name", ["sdpa", "eager", "flash_sigmoid", "a/b", "", 3])
def test_names_that_are_taken_or_mean_something_else(name: object) -> None:
    rule = "name must be a new name of letters, digits and _, without 'flash'; got "
    with pytest.raises(InputError, match=f"^{re.escape(rule + repr(name))}"):
        register(name)


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(InputError, match=r"^gate must be one of 'sigmoid', 'softmax'; got 'relu'"):
        register(gate="relu")
    with pytest.raises(InputError, match=r"^bias must be one of 'auto', "):
        register(bias="none")


def test_without_transformers_the_message_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(SigmoeError) as error:
        huggingface.register()
    assert str(error.value) == "register needs transformers: pip install 'transformers>=5.24'"
