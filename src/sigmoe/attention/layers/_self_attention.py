"""Self-attention with a sigmoid or softmax gate, and what makes it train well."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sigmoe._base.errors import invalid
from sigmoe.attention._functional import attention_weights, sigmoid_attention, softmax_attention
from sigmoe.attention.layers._activations import ACTIVATIONS
from sigmoe.attention.layers._cache import KeyValueCache
from sigmoe.attention.layers._norm import Norm
from sigmoe.attention.layers._positions import alibi_slopes, rotate
from sigmoe.attention.layers._settings import Settings, counted

_FUNCTIONS = {"sigmoid": sigmoid_attention, "softmax": softmax_attention}


class SelfAttention(nn.Module):
    """Self-attention over a sequence of tokens.

    Parameters
    ----------
    dim : int
        Width of the tokens.
    heads : int
        Number of query heads.
    key_heads : int, optional
        Number of key and value heads, a divisor of ``heads``, which is the default.
    head_dim : int, optional
        Width of a head; dim // heads if it is left out.
    gate : "sigmoid" or "softmax"
    bias : "auto", "length", "log-visible", "learned" or float
        "auto" is -log of the number of keys that a query sees: -log n, or -log(i + 1) in row i of a
        causal layer, so that decoding with a cache gives what the whole sequence gives. "length" is
        -log of the number of keys that the mask leaves to the sequence. "learned" is one number for
        each head, which starts at -log(length); leave it out of weight decay.
    length : int, optional
        Number of keys of a usual sequence; needed for ``bias="learned"``.
    rotary : float, optional
        Base of rotary positions, such as 10000.0; none if it is left out.
    alibi : bool
        Whether scores fall with the distance, by ALiBi's slopes.
    qk_norm : bool
        Whether each query and each key is brought to root-mean-square 1, times a learned factor of
        each feature. It bounds the scores.
    layer_scale : float, optional
        Where learned factors of the output's features start; none if it is left out.
    hybrid_norm : bool
        Whether the output has a norm of its own, besides that before the layer.
    output_gate : bool
        Whether attention's output is multiplied by sigmoid(linear(x)), which starts at 1/2.
    value_activation : "relu", "gelu", "silu" or "tanh", optional
        Makes the values activation(linear(x) + shift): experts that are not linear.
    dropout : float
        Share in [0, 1) of the weights that are dropped in training.
    causal : bool
        Whether a token sees itself and those before it only.
    window : (int, int), optional
        How many tokens before and after itself a token sees.

    Attributes
    ----------
    query, key, value, output : torch.nn.Linear
    bias : Parameter of shape (heads, 1, 1), or None unless ``bias="learned"``

    Raises
    ------
    InputError
        For a setting out of range, or settings that do not fit each other.

    Notes
    -----
    Weights start normal with variance 1 / (features that come in), so that tokens of unit variance
    give queries, keys and values of unit variance.

    Sources: ``recipe`` says which settings come from where. Non-linear values are the "active
    attention" of Akbarian et al., "Quadratic gating mixture of experts: statistical insights into
    self-attention", 2024. The output gate is that of Qiu et al., "Gated attention for large
    language models", 2025.

    Examples
    --------
    >>> import torch
    >>> layer = SelfAttention(64, 4, causal=True, bias="learned", length=128, qk_norm=True)
    >>> layer(torch.randn(2, 10, 64)).shape
    torch.Size([2, 10, 64])
    >>> layer.bias[0]
    tensor([[-4.8520]], grad_fn=<SelectBackward0>)
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        key_heads: int | None = None,
        head_dim: int | None = None,
        gate: str = "sigmoid",
        bias: str | float = "auto",
        length: int | None = None,
        rotary: float | None = None,
        alibi: bool = False,
        qk_norm: bool = False,
        layer_scale: float | None = None,
        hybrid_norm: bool = False,
        output_gate: bool = False,
        value_activation: str | None = None,
        dropout: float = 0.0,
        causal: bool = False,
        window: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.settings = Settings(
            dim=dim,
            heads=heads,
            key_heads=key_heads,
            head_dim=head_dim,
            gate=gate,
            bias=bias,
            length=length,
            rotary=rotary,
            alibi=alibi,
            qk_norm=qk_norm,
            layer_scale=layer_scale,
            hybrid_norm=hybrid_norm,
            output_gate=output_gate,
            value_activation=value_activation,
            dropout=dropout,
            causal=causal,
            window=window,
        )
        chosen, width = self.settings, self.settings.heads * self.settings.width
        key_width = chosen.n_key_heads * chosen.width
        self.query = nn.Linear(dim, width, bias=False)
        self.key = nn.Linear(dim, key_width, bias=False)
        self.value = nn.Linear(dim, key_width, bias=chosen.value_activation is not None)
        self.output = nn.Linear(width, dim, bias=False)
        self.output_gate = nn.Linear(dim, width) if chosen.output_gate else None
        self.query_norm = _norm(chosen.width, chosen.qk_norm)
        self.key_norm = _norm(chosen.width, chosen.qk_norm)
        self.output_norm = _norm(dim, chosen.hybrid_norm)
        learned, scaled = chosen.bias == "learned", chosen.layer_scale is not None
        self.bias = nn.Parameter(torch.empty(heads, 1, 1)) if learned else None
        self.layer_scale = nn.Parameter(torch.empty(dim)) if scaled else None
        slopes = alibi_slopes(heads) if chosen.alibi else None
        self.register_buffer("slopes", slopes, persistent=False)
        self.reset_parameters()

    @property
    def heads(self) -> int:
        """Return the number of heads of queries."""
        return self.settings.heads

    @property
    def gate(self) -> str:
        """Return the name of the gate."""
        return self.settings.gate

    def reset_parameters(self) -> None:
        """Draw the weights anew, from torch's generator, and write all that is constant."""
        for linear in (self.query, self.key, self.value, self.output):
            nn.init.normal_(linear.weight, std=linear.in_features**-0.5)
        if self.value.bias is not None:
            nn.init.zeros_(self.value.bias)
        if self.output_gate is not None:
            nn.init.zeros_(self.output_gate.weight)
            nn.init.zeros_(self.output_gate.bias)
        for norm in (self.query_norm, self.key_norm, self.output_norm):
            if isinstance(norm, Norm):
                norm.reset_parameters()
        if self.bias is not None:
            nn.init.constant_(self.bias, self.settings.first_bias)
        if self.layer_scale is not None and self.settings.layer_scale is not None:
            nn.init.constant_(self.layer_scale, self.settings.layer_scale)
        # No state_dict holds them: after the meta device nothing else would write them.
        if isinstance(self.slopes, Tensor):
            self.slopes.copy_(alibi_slopes(self.heads))

    def forward(
        self, x: Tensor, attn_mask: Tensor | None = None, cache: KeyValueCache | None = None
    ) -> Tensor:
        """Return what each token gathers from the tokens that it sees.

        Parameters
        ----------
        x : Tensor of shape (batch, length, dim)
        attn_mask : Tensor, optional
            Broadcasts to (batch, heads, length, keys); boolean (True is visible) or added.
        cache : KeyValueCache, optional
            Holds the tokens before ``x``, and takes up those of ``x``. Needs ``causal=True``, a
            bias other than "length", and no gradients.

        Returns
        -------
        Tensor of shape (batch, length, dim)

        Raises
        ------
        InputError
            For inputs that do not fit the layer or each other.
        """
        first = self._first_position(cache)
        query, key, value = self._parts(x, first)
        if cache is not None:
            key, value = cache.append(key, value)
        dropout = self.settings.dropout if self.training else 0.0
        options = self._options(attn_mask, first)
        attend = _FUNCTIONS[self.settings.gate]
        gathered = attend(query, key, value, dropout_p=dropout, **options)
        gathered = gathered.transpose(1, 2).flatten(2)
        if self.output_gate is not None:
            gathered = gathered * self.output_gate(x).sigmoid()
        output: Tensor = self.output_norm(self.output(gathered))
        return output if self.layer_scale is None else output * self.layer_scale

    def weights(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """Return the weights of all tokens, of shape (batch, heads, length, length).

        Parameters
        ----------
        x, attn_mask
            As for ``forward``.
        """
        query, key, _ = self._parts(x, 0)
        return attention_weights(
            query,
            key,
            gate=self.settings.gate,  # type: ignore[arg-type]  # a str, checked by Settings
            **self._options(attn_mask, 0),
        )

    def extra_repr(self) -> str:
        """Return the settings that differ from their defaults."""
        return ", ".join(f"{name}={value!r}" for name, value in self.settings.changed().items())

    def _first_position(self, cache: KeyValueCache | None) -> int:
        if cache is None:
            return 0
        if not self.settings.causal:
            remedy = "Build the layer with causal=True to decode."
            raise invalid("cache", "None without causal=True", "a cache", remedy)
        if self.settings.bias == "length" and self.settings.gate == "sigmoid":
            remedy = "It counts the keys so far, which training did not: 'auto' counts those seen."
            raise invalid("cache", "None with bias='length'", "a cache", remedy)
        return cache.length

    def _parts(self, x: Tensor, first: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, each of shape (batch, its heads, length, head_dim)."""
        if x.ndim != 3 or x.shape[2] != self.settings.dim:
            rule = f"of shape (batch, length, {self.settings.dim})"
            remedy = "One sequence becomes a batch by unsqueeze(0)."
            raise invalid("x", rule, tuple(x.shape), remedy)
        width, base = self.settings.width, self.settings.rotary
        query, key, value = (
            part(x).unflatten(2, (-1, width)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        query, key = self.query_norm(query), self.key_norm(key)
        if base is not None:
            query, key = rotate(query, first, base), rotate(key, first, base)
        if self.settings.value_activation is not None:
            value = ACTIVATIONS.get(self.settings.value_activation)(value)
        # Norms and rotations may work in float32 under autocast.
        return query.to(value.dtype), key.to(value.dtype), value

    def _options(self, attn_mask: Tensor | None, first: int) -> dict[str, Any]:
        """Return what the functions of attention and of its weights take alike."""
        chosen = self.settings
        return {
            "bias": self._bias(attn_mask),
            "attn_mask": attn_mask,
            "is_causal": chosen.causal,
            "causal_offset": first,
            "window": chosen.window,
            "alibi_slopes": self.slopes,
            "enable_gqa": chosen.n_key_heads != chosen.heads,
        }

    def _bias(self, attn_mask: Tensor | None) -> Tensor | str | float:
        if self.bias is not None:
            return self.bias
        chosen = self.settings
        return counted(chosen.bias, chosen.hides or attn_mask is not None)


def _norm(width: int, wanted: bool) -> nn.Module:
    return Norm(width) if wanted else nn.Identity()
