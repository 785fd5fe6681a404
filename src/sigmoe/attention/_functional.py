"""The public functions: sigmoid attention, softmax attention, and their weights."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from sigmoe.attention import _reference
from sigmoe.attention._arguments import Arguments, Options
from sigmoe.attention._attend import attend
from sigmoe.attention._bias import Bias
from sigmoe.attention._gates import GATES
from sigmoe.attention._operators import rules_of
from sigmoe.attention._packed import is_jagged, jagged_attention
from sigmoe.attention._rules import hide_minus_infinity


def sigmoid_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    bias: Bias = "auto",
    attn_mask: Tensor | None = None,
    is_causal: bool = False,
    causal_offset: int = 0,
    window: tuple[int, int] | None = None,
    alibi_slopes: Tensor | None = None,
    dropout_p: float = 0.0,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Return sigmoid attention, eq. (2): every key is weighed by itself.

    Output i is the sum over the visible keys j of ``sigmoid(s_ij) value_j`` with the score
    ``s_ij = scale query_i.key_j + bias_ij + attn_mask_ij - slope |i + causal_offset - j|``.

    Parameters
    ----------
    query : Tensor of shape (batch..., heads, L, head_dim)
        float16, bfloat16, float32 or float64, of any strides; or a jagged nested tensor of shape
        (batch, heads, L of each, head_dim).
    key : Tensor of shape (batch..., key_heads, S, head_dim)
    value : Tensor of shape (batch..., key_heads, S, value_dim)
    bias : "auto", "length", "log-visible", float or Tensor
        "auto" is -log S. "length" is -log of the number of keys that ``attn_mask`` leaves to the
        sequence. "log-visible" is -log of the number of keys that the query sees. A tensor
        broadcasts to (batch..., heads, L, S) and receives its gradient; -inf hides.
    attn_mask : Tensor, optional
        Broadcasts to (batch..., heads, L, S). Boolean: True is visible. Floating: added to the
        scores; -inf hides.
    is_causal : bool
        Query i sees keys j <= i + causal_offset only.
    causal_offset : int
        Position of query 0 among the keys, for ``is_causal``, ``window`` and ``alibi_slopes``.
    window : (int, int), optional
        Query i sees i + causal_offset - left <= j <= i + causal_offset + right only.
    alibi_slopes : Tensor of shape (heads,) or (batch..., heads), optional
        What a unit of distance takes from the score; without gradient.
    dropout_p : float
        Share in [0, 1) of the weights that are dropped; the others grow by 1 / (1 - dropout_p).
        Always applied, as in ``scaled_dot_product_attention``: pass 0.0 to evaluate.
    scale : float, optional
        1 / sqrt(head_dim) if it is left out.
    enable_gqa : bool
        Whether ``heads`` may be a multiple of ``key_heads``: query head h reads key head
        h // (heads // key_heads).

    Returns
    -------
    Tensor of shape (batch..., heads, L, value_dim)
        Of the dtype of ``query``, contiguous. Exactly 0, with gradient 0, where a query sees no
        key. What a key hides, NaN included, does not reach the query.

    Raises
    ------
    InputError
        For inputs that do not fit each other, naming what to change.

    Notes
    -----
    Which keys (x) a query sees with ``is_causal``, for L = 3 queries and S = 5 keys::

        causal_offset=0           causal_offset=S - L = 2
            j  0 1 2 3 4              j  0 1 2 3 4
        i = 0  x . . . .          i = 0  x x x . .
        i = 1  x x . . .          i = 1  x x x x .
        i = 2  x x x . .          i = 2  x x x x x

    The left one is that of ``scaled_dot_product_attention``; the right one is that of a cache,
    whose newest keys belong to the queries.

    Sources: eq. (2) of the paper; -log S is the bias of Ramapuram et al., "Theory, analysis, and
    best practices for sigmoid self-attention", 2025.

    Examples
    --------
    >>> import torch
    >>> query, key, value = torch.ones(3, 1, 2, 4, 8)
    >>> sigmoid_attention(query, key, value, bias=0.0)[0, 0, 0, 0]
    tensor(3.7768)
    >>> sigmoid_attention(query, key, value, bias=0.0, is_causal=True)[0, 0, :, 0]
    tensor([0.9442, 1.8884, 2.8326, 3.7768])
    """
    options = Options(
        bias=bias,
        attn_mask=attn_mask,
        is_causal=is_causal,
        causal_offset=causal_offset,
        window=window,
        alibi_slopes=alibi_slopes,
        dropout_p=dropout_p,
        scale=scale,
        enable_gqa=enable_gqa,
    )
    return _attend("sigmoid", query, key, value, options)


def softmax_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    bias: Bias = "auto",
    attn_mask: Tensor | None = None,
    is_causal: bool = False,
    causal_offset: int = 0,
    window: tuple[int, int] | None = None,
    alibi_slopes: Tensor | None = None,
    dropout_p: float = 0.0,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Return softmax attention, eq. (1), with all options of ``sigmoid_attention``.

    Without mask, bias tensor, window, slopes and dropout the work is done by
    ``torch.nn.functional.scaled_dot_product_attention``, float64 excepted; else by tiles of our
    own, which need O(L + S) memory. The former's fused kernels have no second derivative: pass
    float64, or call inside ``torch.nn.attention.sdpa_kernel(SDPBackend.MATH)``.

    Parameters
    ----------
    query, key, value
        As for ``sigmoid_attention``.
    bias : "auto", "length", "log-visible", float or Tensor
        Softmax does not see what is the same for a whole row: the names and numbers change
        nothing. A tensor is added to the scores and receives its gradient.
    attn_mask, is_causal, causal_offset, window, alibi_slopes, dropout_p, scale, enable_gqa
        As for ``sigmoid_attention``.

    Returns
    -------
    Tensor of shape (batch..., heads, L, value_dim)
        Exactly 0, with gradient 0, where a query sees no key.

    Raises
    ------
    InputError
        For inputs that do not fit each other, naming what to change.

    Examples
    --------
    >>> import torch
    >>> query, key, value = torch.ones(3, 1, 2, 4, 8)
    >>> softmax_attention(query, key, value)[0, 0, 0, 0]
    tensor(1.)
    >>> hidden = torch.zeros(4, 4, dtype=torch.bool)
    >>> softmax_attention(query, key, value, attn_mask=hidden)[0, 0, 0, 0]
    tensor(0.)
    """
    options = Options(
        bias=bias,
        attn_mask=attn_mask,
        is_causal=is_causal,
        causal_offset=causal_offset,
        window=window,
        alibi_slopes=alibi_slopes,
        dropout_p=dropout_p,
        scale=scale,
        enable_gqa=enable_gqa,
    )
    return _attend("softmax", query, key, value, options)


def attention_weights(
    query: Tensor,
    key: Tensor,
    *,
    gate: Literal["sigmoid", "softmax"] = "sigmoid",
    bias: Bias = "auto",
    attn_mask: Tensor | None = None,
    is_causal: bool = False,
    causal_offset: int = 0,
    window: tuple[int, int] | None = None,
    alibi_slopes: Tensor | None = None,
    dropout_p: float = 0.0,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Return the weights that attention gives to the values, whole.

    Parameters
    ----------
    query, key
        As for ``sigmoid_attention``.
    gate : "sigmoid" or "softmax"
    bias, attn_mask, is_causal, causal_offset, window
        As for ``sigmoid_attention``.
    alibi_slopes, dropout_p, scale, enable_gqa
        As for ``sigmoid_attention``.

    Returns
    -------
    Tensor of shape (batch..., heads, L, S)
        Of the dtype of ``query``, with gradients; 0 where a key is hidden.

    Raises
    ------
    InputError
        For inputs that do not fit each other, naming what to change.

    Examples
    --------
    >>> import torch
    >>> query, key = torch.zeros(2, 1, 1, 2, 8)
    >>> attention_weights(query, key, is_causal=True)
    tensor([[[[0.3333, 0.0000],
              [0.3333, 0.3333]]]])
    >>> attention_weights(query, key, gate="softmax", is_causal=True)
    tensor([[[[1.0000, 0.0000],
              [0.5000, 0.5000]]]])
    """
    GATES.get(gate)
    options = Options(
        bias=bias,
        attn_mask=attn_mask,
        is_causal=is_causal,
        causal_offset=causal_offset,
        window=window,
        alibi_slopes=alibi_slopes,
        dropout_p=dropout_p,
        scale=scale,
        enable_gqa=enable_gqa,
    )
    call = Arguments.checked(gate, query, key, key, options)
    shape = (*call.batch_shape, *call.query.shape[1:3], call.key.shape[2])
    if call.query.numel() == 0 or call.key.numel() == 0:
        # Empty, and a function of both: their gradients are zeros.
        return (call.query.sum() + call.key.sum()).expand(shape)
    rules = hide_minus_infinity(rules_of(call.key.shape[2], *call.settings))
    return _reference.final_weights(call.query, call.key, rules).reshape(shape)


def _attend(gate: str, query: Tensor, key: Tensor, value: Tensor, options: Options) -> Tensor:
    if is_jagged(query):
        return jagged_attention(gate, query, key, value, options)
    return attend(gate, query, key, value, options)
