"""A Transformer block: attention and a feed-forward layer, each with a norm before it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sigmoe._base.constraints import Interval, check
from sigmoe.attention.layers._activations import ACTIVATIONS
from sigmoe.attention.layers._cache import KeyValueCache
from sigmoe.attention.layers._norm import Norm
from sigmoe.attention.layers._self_attention import SelfAttention
from sigmoe.attention.layers._settings import CONSTRAINTS


class FeedForward(nn.Module):
    """Two linear maps with an activation between them.

    Parameters
    ----------
    dim : int
        Width of the tokens.
    hidden : int
        Width between the maps.
    activation : "relu", "gelu", "silu" or "tanh"
    layer_scale : float, optional
        Where learned factors of the output's features start; none if it is left out.

    Raises
    ------
    InputError
        For a setting out of range or an unknown activation.

    Examples
    --------
    >>> import torch
    >>> FeedForward(8, 32)(torch.randn(2, 5, 8)).shape
    torch.Size([2, 5, 8])
    """

    def __init__(
        self, dim: int, hidden: int, activation: str = "gelu", layer_scale: float | None = None
    ) -> None:
        super().__init__()
        check("dim", dim, *CONSTRAINTS["dim"])
        check("hidden", hidden, Interval("integer", 1), "4 * dim is usual.")
        if layer_scale is not None:
            check("layer_scale", layer_scale, *CONSTRAINTS["layer_scale"])
        ACTIVATIONS.get(activation)
        self.activation, self.start = activation, layer_scale
        self.inner, self.outer = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.layer_scale = None if layer_scale is None else nn.Parameter(torch.empty(dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew, from torch's generator."""
        for linear in (self.inner, self.outer):
            nn.init.normal_(linear.weight, std=linear.in_features**-0.5)
            nn.init.zeros_(linear.bias)
        if self.layer_scale is not None and self.start is not None:
            nn.init.constant_(self.layer_scale, self.start)

    def forward(self, x: Tensor) -> Tensor:
        """Return each token's new features.

        Parameters
        ----------
        x : Tensor of shape (..., dim)

        Returns
        -------
        Tensor of shape (..., dim)
        """
        output: Tensor = self.outer(ACTIVATIONS.get(self.activation)(self.inner(x)))
        return output if self.layer_scale is None else output * self.layer_scale

    def extra_repr(self) -> str:
        """Return the activation and where the factors of the output start."""
        return f"activation={self.activation!r}, layer_scale={self.start!r}"


class TransformerBlock(nn.Module):
    """``x + attention(norm(x))``, then ``x + feed_forward(norm(x))``.

    Parameters
    ----------
    dim, heads
        As for ``SelfAttention``.
    hidden : int, optional
        Width inside the feed-forward layer; 4 dim if it is left out.
    activation : "relu", "gelu", "silu" or "tanh"
        That of the feed-forward layer.
    **settings
        All others of ``SelfAttention``, such as ``**recipe("vision")``. The feed-forward layer
        shares ``layer_scale``.

    Raises
    ------
    InputError
        For a setting out of range, or settings that do not fit each other.

    Examples
    --------
    >>> import torch
    >>> from sigmoe.attention import recipe
    >>> block = TransformerBlock(64, 4, **recipe("language-small", length=128))
    >>> block(torch.randn(2, 10, 64)).shape
    torch.Size([2, 10, 64])
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        hidden: int | None = None,
        activation: str = "gelu",
        **settings: Any,
    ) -> None:
        super().__init__()
        self.attention = SelfAttention(dim, heads, **settings)
        self.attention_norm = Norm(dim)
        self.feed_forward = FeedForward(
            dim, 4 * dim if hidden is None else hidden, activation, settings.get("layer_scale")
        )
        self.feed_forward_norm = Norm(dim)

    def reset_parameters(self) -> None:
        """Draw the weights of all parts anew, from torch's generator."""
        for part in (self.attention, self.feed_forward):
            part.reset_parameters()
        for norm in (self.attention_norm, self.feed_forward_norm):
            norm.reset_parameters()

    def forward(
        self, x: Tensor, attn_mask: Tensor | None = None, cache: KeyValueCache | None = None
    ) -> Tensor:
        """Return the tokens after the block.

        Parameters
        ----------
        x, attn_mask, cache
            As for ``SelfAttention``.

        Returns
        -------
        Tensor of shape (batch, length, dim)
        """
        x = x + self.attention(self.attention_norm(x), attn_mask, cache)
        output: Tensor = x + self.feed_forward(self.feed_forward_norm(x))
        return output
