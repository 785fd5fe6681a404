"""Attention seen as a mixture of experts, Section 2 of the paper."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from sigmoe._base.arrays import ArrayLike, as_inputs
from sigmoe._base.errors import invalid
from sigmoe.attention import _reference
from sigmoe.attention._arguments import Arguments, Options
from sigmoe.attention._backends import choose
from sigmoe.attention._bias import Bias
from sigmoe.attention._gates import GATES
from sigmoe.attention._inputs import check_scale
from sigmoe.attention._mixture_heads import Heads, Layer, read_heads
from sigmoe.attention._mixture_terms import MixtureTerms
from sigmoe.attention._operators import rules_of
from sigmoe.attention.layers import SelfAttention
from sigmoe.moe import Architecture, MixingMeasure

Gate = Literal["sigmoid", "softmax"]

#: Numbers in the matrices of all atoms of one row's measure: 256 MiB.
_LARGEST = 2**25


def as_mixture(
    layer_or_weights: Layer,
    X: ArrayLike,
    *,
    gate: Gate | None = None,
    bias: Bias | None = None,
    attn_mask: Tensor | None = None,
    is_causal: bool | None = None,
    causal_offset: int = 0,
    window: tuple[int, int] | None = None,
    alibi_slopes: Tensor | None = None,
    scale: float | None = None,
) -> AttentionMixture:
    """Return self-attention on the tokens X as a mixture of experts, Section 2.

    Row i of one head is ``sum_j gate(X M_ij X' + ...) X P_j``, where X is now the flattened
    input: token j is an expert that is linear in X, and its score is quadratic in X.

    Parameters
    ----------
    layer_or_weights : tuple, list of tuples, torch.nn.MultiheadAttention or a layer
        ``(W_Q, W_K, W_V[, W_O])`` of one head, or ``HeadWeights``; a list of these for several
        heads; or a layer with ``torch.nn.Linear`` named ``query``, ``key``, ``value`` and
        ``output``, a number ``heads`` and a name ``gate``, and nothing between its projections
        and attention.
    X : array_like of shape (L, d)
        The tokens.
    gate : "sigmoid" or "softmax", optional
        That of the layer if it is left out; for weights, "sigmoid".
    bias, attn_mask, is_causal, causal_offset, window, alibi_slopes, scale
        As for ``sigmoid_attention``, without batch axes: tensors broadcast to (heads, L, L), and
        True in a mask is visible, for ``torch.nn.MultiheadAttention`` too. A ``SelfAttention``
        brings its own bias, causality, window and slopes where these are left out.

    Returns
    -------
    AttentionMixture
        In float64, without gradients, of the weights as they are now; nothing of size L L is
        computed before it is asked for.

    Raises
    ------
    InputError
        For weights and options that do not fit each other or X.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> X = torch.randn(5, 3, dtype=torch.float64)
    >>> mixture = as_mixture((torch.randn(3, 2), torch.randn(3, 2), torch.randn(3, 4)), X)
    >>> mixture.gates(row=1).shape
    torch.Size([1, 5])
    >>> flat = X.flatten()
    >>> bool(torch.isclose(flat @ mixture.M(1, 2) @ flat, X[1] @ mixture.B() @ X[2]))
    True
    >>> mixture.identity_error(row=1) < 1e-14
    True
    """
    heads, own_gate = read_heads(layer_or_weights)
    inputs = as_inputs(X, heads.query.shape[1]).to(heads.query.device, copy=True)
    given: dict[str, Any] = {
        "bias": bias,
        "is_causal": is_causal,
        "window": window,
        "alibi_slopes": alibi_slopes,
    }
    own = _own_options(layer_or_weights, attn_mask)
    chosen = {name: own[name] if value is None else value for name, value in given.items()}
    options = Options(
        bias=_snapshot(chosen["bias"]),
        attn_mask=_snapshot(attn_mask),
        is_causal=chosen["is_causal"],
        causal_offset=causal_offset,
        window=chosen["window"],
        alibi_slopes=_snapshot(chosen["alibi_slopes"]),
        dropout_p=0.0,
        scale=check_scale(scale, heads.query.shape[2]),
        enable_gqa=False,
    )
    return _assemble(heads, inputs, own_gate if gate is None else gate, options)


def _own_options(layer: object, attn_mask: Tensor | None) -> dict[str, Any]:
    """Return what holds where an option is left out."""
    if isinstance(layer, SelfAttention):
        return layer._options(attn_mask, 0)
    return {"bias": "auto", "is_causal": False, "window": None, "alibi_slopes": None}


def _snapshot(part: Any) -> Any:
    """Return what a later step of training does not change."""
    return part.detach().clone() if isinstance(part, Tensor) else part


def _assemble(heads: Heads, X: Tensor, gate: str, options: Options) -> AttentionMixture:
    GATES.get(gate)
    tokens = X.expand(len(heads.query), *X.shape)
    call = Arguments.checked(gate, tokens, tokens, tokens, options)
    return AttentionMixture(X, heads, options, rules_of(len(X), *call.settings))


@dataclass(frozen=True)
class AttentionMixture(MixtureTerms):
    """Self-attention as a mixture of experts; made by ``as_mixture``.

    With several heads the mixture has two levels: the heads, each with the gate 1, and below each
    head its tokens.

    Attributes
    ----------
    X : Tensor of shape (L, d), float64
        The tokens; the flattened input of Section 2 is ``X.flatten()``.
    heads : Heads
        The weights.
    options : Options
        As they were passed.
    rules : Rules
        The same, as the core of attention takes them.
    """

    def with_gate(self, gate: Gate) -> AttentionMixture:
        """Return the mixture of the same weights and options under another gate."""
        return _assemble(self.heads, self.X, gate, self.options)

    def head_outputs(self, row: int) -> Tensor:
        """Return the mixture of each head, shape (heads, d_out)."""
        mixtures = [gates @ self.experts(head) for head, gates in enumerate(self.gates(row))]
        return torch.stack(mixtures)

    def output(self, row: int) -> Tensor:
        """Return row i of attention as the mixture, shape (d_out,)."""
        return self.head_outputs(row).sum(dim=0) + self.offset

    def attention(self, row: int) -> Tensor:
        """Return row i as attention computes it, from queries, keys and values, shape (d_out,)."""
        parts, tokens = self.heads, self.X[None]
        i = self._token(row)
        query = self.X[None, i : i + 1] @ parts.query + parts.query_bias[:, None]
        key = tokens @ parts.key + parts.key_bias[:, None]
        value = tokens @ parts.value + parts.value_bias[:, None]
        rules = self._rules_of(row)
        query, key, value = query[None], key[None], value[None]
        found = choose(query, key, value, rules).forward(query, key, value, rules)
        return torch.einsum("hv,hvo->o", found[0, :, 0], parts.output) + self.offset

    def identity_error(self, row: int) -> float:
        """Return how far the mixture and attention are apart in a row, relative to its terms.

        Returns
        -------
        float
            The largest difference, over the largest sum of absolute terms. Rounding leaves about
            1e-15, and more where scores are in the thousands.
        """
        difference = (self.output(row) - self.attention(row)).abs().max()
        terms = self.offset.abs()
        for head, gates in enumerate(self.gates(row)):
            terms = terms + gates @ self.experts(head).abs()
        largest = float(terms.max())
        return float(difference) / largest if largest > 0.0 else float(difference)

    def jacobian(self, row: int, head: int = 0) -> Tensor:
        """Return the derivatives of the gates with respect to the scores, shape (L, L).

        Entry (j, k) is that of token j's gate by token k's score, by automatic differentiation of
        the gate itself. It is exactly 0 for j != k under sigmoid.
        """

        def gates(scores: Tensor) -> Tensor:
            return _reference.gate_weights(scores, self.gate)

        jacobian: Tensor = torch.func.jacrev(gates)(self.scores(row)[self._head(head)])
        return jacobian

    def row(self, row: int, head: int | None = None) -> MixingMeasure:
        """Return a row as a mixing measure of the flattened input.

        Parameters
        ----------
        row : int
        head : int, optional
            None takes all heads; softmax gates compete inside a head only, so that several heads
            of softmax are not one measure.

        Returns
        -------
        MixingMeasure
            One atom for each visible token, head after head, with linear experts and a partial
            score; with biases of the queries' or keys' projection the score is full.
            ``measure.predict(X.flatten()[None])[0] + offset`` is the row, offset for all heads.

        Raises
        ------
        InputError
            If no token is visible, if the matrices are too large, or for several heads of softmax.
        """
        heads = self._heads_of(head)
        constants = self.constants(row)
        atoms = [(h, j) for h in heads for j in (constants[h] > -math.inf).nonzero()[:, 0].tolist()]
        if not atoms:
            remedy = "A row that sees nothing is 0: there is no mixture."
            raise invalid("row", "one that sees a token", row, remedy)
        L, d = self.X.shape
        if len(atoms) * (L * d) ** 2 > _LARGEST:
            rule, found = f"at most {_LARGEST} numbers, atoms (L d)^2", len(atoms) * (L * d) ** 2
            remedy = "Use gates(row) and experts(head), which need no such matrices."
            raise invalid("the row's measure", rule, found, remedy)
        A = torch.stack([self.M(row, j, h).dense() for h, j in atoms])
        b = torch.stack([self._linear_part(row, j, h) for h, j in atoms])
        c = torch.stack([constants[h, j] for h, j in atoms])
        eta = torch.stack([self._expert(j, h) for h, j in atoms])
        score = "full" if bool((b != 0.0).any()) else "partial"
        columns = self.heads.output.shape[2]
        shape = Architecture(self.gate, score, "linear", dim=L * d, n_outputs=columns)
        return MixingMeasure(shape, A, b if score == "full" else None, c, eta)

    def _linear_part(self, i: int, j: int, head: int) -> Tensor:
        u, w = self.slopes(head)
        return u @ self.E(i).T + w @ self.E(j).T

    def _expert(self, j: int, head: int) -> Tensor:
        """Return slope and intercept of an expert, shape (d_out, L d + 1)."""
        intercept = self.heads.value_bias[head] @ self.heads.output[head]
        return torch.cat([self.P(j, head).dense().mT, intercept[:, None]], dim=1)

    def _heads_of(self, head: int | None) -> list[int]:
        if head is not None:
            return [self._head(head)]
        if self.gate == "softmax" and self.n_heads > 1:
            rule = f"a number below {self.n_heads} under softmax"
            raise invalid("head", rule, head, "Add the measures of the heads, and offset.")
        return list(range(self.n_heads))
