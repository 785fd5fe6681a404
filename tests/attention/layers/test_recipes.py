"""Recipes: each makes a block that learns."""

import math

import pytest
import torch

from sigmoe._base.errors import InputError
from sigmoe.attention import TransformerBlock, recipe
from sigmoe.attention.layers._recipes import RECIPES


@pytest.mark.parametrize("name", RECIPES.names())
def test_a_block_learns(name: str) -> None:
    """Learn the mean of the tokens so far, which only attention can."""
    torch.manual_seed(0)
    block = TransformerBlock(8, 2, **recipe(name, length=12))
    optimizer = torch.optim.AdamW(block.parameters(), lr=1e-2, weight_decay=0.0)
    losses = []
    for _ in range(60):
        x = torch.randn(16, 12, 8)
        wanted = x.mean(1, keepdim=True).expand_as(x)
        if block.attention.settings.causal:
            wanted = x.cumsum(1) / torch.arange(1, 13)[:, None]
        loss = (block(x) - x - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_a_recipe_is_a_new_one_at_each_call() -> None:
    recipe("vision")["bias"] = 0.0
    assert recipe("vision") == {"bias": "auto", "qk_norm": True, "layer_scale": 1e-4}
    assert recipe("language-small", length=100)["bias"] == -math.log(100)
    assert recipe("language-1b", length=100)["hybrid_norm"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "language-1b",
            "length must be an integer >= 1; got None. "
            "Pass the number of tokens of the training sequences.",
        ),
        (
            "video",
            "recipe must be one of 'vision', 'language-small', 'language-1b'; got 'video'. "
            "Choose one of these names.",
        ),
    ],
)
def test_what_is_missing_is_said(name: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        recipe(name)
    assert str(error.value) == message
