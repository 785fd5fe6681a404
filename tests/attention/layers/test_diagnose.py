"""The report on attention weights, on weights whose numbers are known."""

import math

import pytest
import torch

from sigmoe._base.errors import InputError
from sigmoe.attention import SelfAttention, TransformerBlock, diagnose, recipe

# Rows: one weight; two equal weights; a sink; nothing visible.
KNOWN = torch.tensor([[[1.0, 0, 0, 0], [0.25, 0.25, 0, 0], [0.995, 0.005, 0.5, 0.5], [0, 0, 0, 0]]])


def test_numbers_of_known_weights() -> None:
    report = diagnose(KNOWN)
    assert report.row_sum == pytest.approx((1 + 0.5 + 2) / 3)
    assert report.smallest_row_sum == pytest.approx(0.5)
    assert report.largest_row_sum == pytest.approx(2.0)
    assert report.saturated == pytest.approx(2 / 7)
    shares = [0.995 / 2, 0.005 / 2, 0.25, 0.25]
    entropy = -sum(p * math.log(p) for p in shares) / math.log(4)
    assert report.entropy == pytest.approx((1 + entropy) / 2, abs=1e-6)
    assert report.first_token == pytest.approx((0.5 + 0.995 / 2) / 2)
    assert report.even_first_token == pytest.approx((1 / 2 + 1 / 4) / 2)


def test_the_report_is_one_line() -> None:
    assert str(diagnose(KNOWN)) == (
        "row sums 1.17 (0.5 to 2); saturated 28.6%; entropy 0.88 of its maximum; "
        "first token 49.9% of a row (evenly 37.5%)"
    )


def test_a_layer_is_diagnosed_by_its_weights() -> None:
    block = TransformerBlock(8, 2, **recipe("language-small", length=6))
    x = torch.randn(2, 6, 8)
    assert diagnose(block.attention, x) == diagnose(block.attention.weights(x))
    softmax = diagnose(SelfAttention(8, 2, gate="softmax"), x, torch.arange(6) < 3)
    assert softmax.row_sum == pytest.approx(1.0)
    assert softmax.even_first_token == pytest.approx(1 / 3)


def test_nothing_visible_gives_nan() -> None:
    report = diagnose(torch.zeros(2, 3, 3))
    assert math.isnan(report.row_sum)
    assert math.isnan(report.largest_row_sum)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            SelfAttention(8, 2),
            "x must be a tensor for a layer; got None. "
            "Pass what the layer takes, of shape (batch, length, dim).",
        ),
        (
            torch.nn.Identity(),
            "layer_or_weights must be a SelfAttention or a floating tensor of shape (..., L, S); "
            "got 'Identity'. Pass block.attention of a block.",
        ),
    ],
    ids=["no tokens", "no layer"],
)
def test_what_cannot_be_diagnosed(given: object, message: str) -> None:
    with pytest.raises(InputError) as error:
        diagnose(given)
    assert str(error.value) == message
