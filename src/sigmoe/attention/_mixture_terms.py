"""The terms of attention as a mixture: matrices, scores, gates and experts, Section 2."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sigmoe._base.constraints import Interval, check
from sigmoe.attention import _reference
from sigmoe.attention._arguments import Options
from sigmoe.attention._mixture_heads import Heads
from sigmoe.attention._mixture_matrix import OneBlock
from sigmoe.attention._rules import Rules, hide_minus_infinity
from sigmoe.attention._visibility import dense_visible


@dataclass(frozen=True)
class MixtureTerms:
    """What the rows of attention are sums of; see ``AttentionMixture``.

    Parameters
    ----------
    X : Tensor of shape (L, d), float64
    heads : Heads
    options : Options
    rules : Rules
    """

    X: Tensor
    heads: Heads
    options: Options
    rules: Rules

    @property
    def gate(self) -> str:
        """Return "sigmoid" or "softmax"."""
        return self.rules.gate

    @property
    def n_tokens(self) -> int:
        """Return the number L of tokens."""
        return len(self.X)

    @property
    def n_heads(self) -> int:
        """Return the number of heads."""
        return len(self.heads.query)

    @property
    def offset(self) -> Tensor:
        """Return what is added after all heads, shape (d_out,): the output projection's bias."""
        return self.heads.offset.clone()

    def E(self, i: int) -> OneBlock:
        """Return E_i, of shape (L d, d): ``X.flatten() @ E_i`` is token i."""
        d = self.X.shape[1]
        identity = torch.eye(d, dtype=self.X.dtype, device=self.X.device)
        return OneBlock(identity, (self._token(i), 0), (self.n_tokens, 1))

    def B(self, head: int = 0) -> Tensor:
        """Return B = scale W_Q W_K', of shape (d, d)."""
        h = self._head(head)
        return self.rules.scale * self.heads.query[h] @ self.heads.key[h].mT

    def M(self, i: int, j: int, head: int = 0) -> OneBlock:
        """Return M_ij = E_i B E_j', of shape (L d, L d)."""
        place = (self._token(i, "i"), self._token(j, "j"))
        return OneBlock(self.B(head), place, (self.n_tokens, self.n_tokens))

    def P(self, j: int, head: int = 0) -> OneBlock:
        """Return P_j = E_j W_V W_O, of shape (L d, d_out), the slope of expert j."""
        h = self._head(head)
        slope = self.heads.value[h] @ self.heads.output[h]
        return OneBlock(slope, (self._token(j, "j"), 0), (self.n_tokens, 1))

    def slopes(self, head: int = 0) -> tuple[Tensor, Tensor]:
        """Return u and w, each (d,): what biases of the projections add is x_i u + x_j w."""
        h = self._head(head)
        u = self.heads.query[h] @ self.heads.key_bias[h]
        w = self.heads.key[h] @ self.heads.query_bias[h]
        return self.rules.scale * u, self.rules.scale * w

    def constants(self, row: int) -> Tensor:
        """Return what scores hold besides X, shape (heads, L): biases and masks; -inf is hidden."""
        rules = self._rules_of(row)
        tokens = self.X.expand(1, self.n_heads, *self.X.shape)
        without_X = torch.zeros_like(tokens[:, :, :1])
        constants = _reference.scores(without_X, tokens, rules)[0, :, 0]
        products = (self.heads.query_bias * self.heads.key_bias).sum(dim=1, keepdim=True)
        constants = constants + self.rules.scale * products
        seen = dense_visible(rules, 1, self.n_tokens, self.X.device)
        if seen is None:
            return constants
        seen = seen.expand(1, self.n_heads, 1, self.n_tokens)[0, :, 0]
        return constants.masked_fill(~seen, -math.inf)

    def scores(self, row: int) -> Tensor:
        """Return the scores X M_ij X' + ... of all tokens j, shape (heads, L); -inf is hidden."""
        x = self.X[self._token(row)]
        scores = []
        for head, constant in enumerate(self.constants(row)):
            u, w = self.slopes(head)
            scores.append(self.X @ (x @ self.B(head) + w) + x @ u + constant)
        return torch.stack(scores)

    def gates(self, row: int) -> Tensor:
        """Return the gates of all tokens, shape (heads, L)."""
        return _reference.gate_weights(self.scores(row), self.gate)

    def experts(self, head: int = 0) -> Tensor:
        """Return what each token says through one head, X P_j + ..., shape (L, d_out)."""
        h = self._head(head)
        values = self.X @ self.heads.value[h] + self.heads.value_bias[h]
        return values @ self.heads.output[h]

    def _rules_of(self, row: int) -> Rules:
        """Return the rules of one query alone."""
        i, rules = self._token(row), self.rules

        def at_row(part: Tensor | None) -> Tensor | None:
            return part if part is None or part.shape[2] == 1 else part[:, :, i : i + 1]

        offset = None if rules.causal_offset is None else rules.causal_offset + i
        alone = replace(
            rules,
            added=at_row(rules.added),
            visible=at_row(rules.visible),
            causal_offset=offset,
            offset=rules.offset + i,
        )
        return hide_minus_infinity(alone)

    def _token(self, i: int, name: str = "row") -> int:
        return check(name, i, Interval("integer", 0, self.n_tokens - 1), "Count tokens from 0.")

    def _head(self, head: int) -> int:
        return check("head", head, Interval("integer", 0, self.n_heads - 1), "Count heads from 0.")
