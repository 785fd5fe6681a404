"""Random heads and tokens that the tests of the mixture view share."""

import torch
from torch import Tensor

from attention_cases import normal
from sigmoe.attention import HeadWeights

L, D, HEADS, WIDTH, VALUE_WIDTH, OUT = 5, 3, 2, 4, 2, 3


def random_heads(n_heads: int, *, biased: bool = False, output: bool = True) -> list[HeadWeights]:
    generator = torch.Generator().manual_seed(11)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return [
        HeadWeights(
            draw(D, WIDTH),
            draw(D, WIDTH),
            draw(D, VALUE_WIDTH),
            draw(VALUE_WIDTH, OUT) if output else None,
            *((draw(WIDTH), draw(WIDTH), draw(VALUE_WIDTH)) if biased else ()),
        )
        for _ in range(n_heads)
    ]


X = normal(L, D)(torch.Generator().manual_seed(5))
TWO = random_heads(HEADS)
BIASED = random_heads(HEADS, biased=True)


X = normal(L, D)(torch.Generator().manual_seed(5))
TWO = random_heads(HEADS)
BIASED = random_heads(HEADS, biased=True)
