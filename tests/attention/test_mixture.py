"""Attention is the mixture of Section 2: random heads, masks and biases, against attention."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from attention_cases import coin, minus_infinity, normal
from mixture_heads import BIASED, HEADS, OUT, TWO, VALUE_WIDTH, D, L, X, random_heads
from sigmoe.attention import HeadWeights, as_mixture, sigmoid_attention, softmax_attention
from sigmoe.moe import MixingMeasure

ATTENTION = {"sigmoid": sigmoid_attention, "softmax": softmax_attention}
GATES = list(ATTENTION)

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "number": {"bias": -1.5},
    "of-heads": {"bias": normal(HEADS, 1, 1)},
    "of-queries": {"bias": normal(L, 1)},
    "of-keys": {"bias": normal(L)},
    "whole": {"bias": normal(HEADS, L, L)},
    "length": {"bias": "length", "attn_mask": lambda _: torch.arange(L) < 4},
    "log-visible": {"bias": "log-visible", "is_causal": True},
    "causal": {"is_causal": True},
    "causal-offset": {"is_causal": True, "causal_offset": -2},
    "window": {"window": (1, 2), "causal_offset": 1},
    "alibi": {"alibi_slopes": normal(HEADS), "is_causal": True},
    "mask": {"attn_mask": coin(L, L)},
    "mask-of-heads": {"attn_mask": coin(HEADS, 1, L), "bias": normal(L, L)},
    "minus-infinity": {"attn_mask": minus_infinity(HEADS, L, L)},
    "minus-infinity-in-the-bias": {"bias": minus_infinity(L, L), "is_causal": True},
    "scale": {"scale": -0.7},
}


def made(options: dict[str, Any]) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(3)
    return {name: make(generator) if callable(make) else make for name, make in options.items()}


def _plus(part: Tensor, bias: Tensor | None) -> Tensor:
    return part if bias is None else part + bias


def attended(heads: list[HeadWeights], gate: str, options: dict[str, Any]) -> Tensor:
    """Return attention on X, all rows, by the package's function on queries, keys and values."""
    query, key, value = (
        torch.stack([_plus(X @ getattr(h, name), getattr(h, f"{name}_bias")) for h in heads])
        for name in ("query", "key", "value")
    )
    outputs = ATTENTION[gate](query, key, value, **options)
    if heads[0].output is None:
        return torch.cat(list(outputs), dim=-1)
    return sum(out @ head.output for out, head in zip(outputs, heads, strict=True))


def gate_of(gate: str, scores: Tensor) -> Tensor:
    if gate == "sigmoid":
        return torch.sigmoid(scores)
    return torch.softmax(scores, dim=-1).nan_to_num(0.0)


def by_section_2(mixture: Any, gate: str, row: int) -> Tensor:
    """Return a row by the paper's formula, with whole matrices and the flattened input alone."""
    x, total = X.flatten(), mixture.offset
    constants = mixture.constants(row)
    for h in range(mixture.n_heads):
        E, P = (lambda j: mixture.E(j).dense()), (lambda j, h=h: mixture.P(j, h).dense())
        u, w = mixture.slopes(h)
        scores = torch.stack(
            [
                x @ (E(row) @ mixture.B(h) @ E(j).T) @ x + x @ E(row) @ u + x @ E(j) @ w
                for j in range(L)
            ]
        )
        gates = gate_of(gate, scores + constants[h])
        constant = mixture.heads.value_bias[h] @ mixture.heads.output[h]
        total = total + sum(gates[j] * (x @ P(j) + constant) for j in range(L))
    return total


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("name", OPTIONS)
def test_a_row_of_attention_is_the_mixture_of_section_2(name: str, gate: str) -> None:
    options = made(OPTIONS[name])
    for heads in (TWO, BIASED):
        expected = attended(heads, gate, options)
        mixture = as_mixture(heads, X, gate=gate, **options)
        for row in range(L):
            for found in (mixture.output(row), by_section_2(mixture, gate, row)):
                torch.testing.assert_close(found, expected[row], rtol=1e-12, atol=1e-13)
            assert mixture.identity_error(row) < 1e-14


def predicted(mixture: Any, row: int, head: int | None) -> Tensor:
    return mixture.row(row, head).predict(X.flatten()[None])[0]


@pytest.mark.parametrize("name", ["plain", "whole", "alibi", "mask-of-heads"])
def test_a_row_is_a_mixing_measure_of_the_flattened_input(name: str) -> None:
    options = made(OPTIONS[name])
    for heads in (TWO, BIASED):
        sigmoid = as_mixture(heads, X, gate="sigmoid", **options)
        softmax = sigmoid.with_gate("softmax")
        for row in (0, 3):
            expected = attended(heads, "sigmoid", options)[row]
            torch.testing.assert_close(predicted(sigmoid, row, None), expected)
            found = sum(predicted(softmax, row, head) for head in range(HEADS))
            torch.testing.assert_close(found, attended(heads, "softmax", options)[row])


def test_the_measure_has_an_atom_for_each_visible_token_and_the_score_of_the_paper() -> None:
    measure = as_mixture(TWO, X, is_causal=True).row(2)
    assert isinstance(measure, MixingMeasure)
    assert measure.n_experts == 3 * HEADS
    assert measure.architecture.score == "partial"
    assert measure.architecture.n_outputs == OUT
    assert as_mixture(BIASED, X).row(2).architecture.score == "full"


def test_heads_without_output_stand_side_by_side() -> None:
    heads = random_heads(HEADS, output=False)
    expected = attended(heads, "sigmoid", {})
    assert expected.shape == (L, HEADS * VALUE_WIDTH)
    mixture = as_mixture(heads, X)
    torch.testing.assert_close(torch.stack([mixture.output(i) for i in range(L)]), expected)
    assert as_mixture(tuple(heads[0][:3]), X.numpy()).output(1).shape == (VALUE_WIDTH,)


@pytest.mark.parametrize("gate", GATES)
def test_tokens_may_change_places(gate: str) -> None:
    order = torch.tensor([3, 0, 4, 1, 2])
    first = as_mixture(TWO, X, gate=gate)
    moved = as_mixture(TWO, X[order], gate=gate)
    for row in range(L):
        before = int(order[row])
        torch.testing.assert_close(moved.output(row), first.output(before))
        torch.testing.assert_close(moved.gates(row), first.gates(before)[:, order])


@pytest.mark.parametrize("name", ["plain", "mask", "alibi"])
def test_a_sigmoid_gate_depends_on_no_other_score(name: str) -> None:
    mixture = as_mixture(TWO, X, **made(OPTIONS[name]))
    off = ~torch.eye(L, dtype=torch.bool)
    for row in range(L):
        for head in range(HEADS):
            weight = mixture.gates(row)[head]
            jacobian = mixture.jacobian(row, head)
            assert torch.equal(jacobian[off], torch.zeros(L * (L - 1), dtype=torch.float64))
            torch.testing.assert_close(jacobian.diagonal(), weight * (1.0 - weight))
            softmax = mixture.with_gate("softmax")
            weight = softmax.gates(row)[head]
            expected = weight.diag() - torch.outer(weight, weight)
            torch.testing.assert_close(softmax.jacobian(row, head), expected)


def test_every_softmax_gate_depends_on_every_score() -> None:
    jacobian = as_mixture(TWO, X, gate="softmax").jacobian(1)
    off = ~torch.eye(L, dtype=torch.bool)
    assert bool((jacobian[off] < 0.0).all())
    assert bool((jacobian.diagonal() > 0.0).all())


def test_autograd_through_attention_finds_no_competition_either() -> None:
    added = torch.zeros(L, L, dtype=torch.float64, requires_grad=True)
    query, key = (X @ TWO[0].query)[None], (X @ TWO[0].key)[None]
    for gate, competes in (("sigmoid", False), ("softmax", True)):
        # The values are unit vectors, so that the output of row 1 is its weights.
        output = ATTENTION[gate](query, key, torch.eye(L, dtype=X.dtype)[None], bias=added)
        (gradient,) = torch.autograd.grad(output[0, 1, 2], added)
        gradient[1, 2] = 0.0
        assert bool(gradient.any()) == competes


def test_a_single_row_of_a_long_sequence_takes_no_square_memory() -> None:
    n = 200_000
    tokens = torch.randn(n, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mixture = as_mixture(TWO, tokens, is_causal=True)
    assert mixture.gates(n - 1).shape == (HEADS, n)
    # Sums of 200 000 terms round in another order.
    assert mixture.identity_error(n - 1) < 1e-12
    M = mixture.M(7, n - 1)
    assert M.shape == (n * D, n * D)
    flat = tokens.flatten()
    torch.testing.assert_close(flat @ M @ flat, tokens[7] @ mixture.B() @ tokens[n - 1])


def test_matrices_multiply_as_their_dense_forms() -> None:
    mixture = as_mixture(TWO, X)
    E, M, P = mixture.E(1), mixture.M(1, 4), mixture.P(4)
    composed = E @ mixture.B() @ mixture.E(4).T
    torch.testing.assert_close(composed.dense(), M.dense())
    torch.testing.assert_close(E.dense() @ mixture.B() @ mixture.E(4).dense().T, M.dense())
    flat = X.flatten()
    torch.testing.assert_close(M @ flat, M.dense() @ flat)
    torch.testing.assert_close(flat @ M, flat @ M.dense())
    torch.testing.assert_close(M.T.dense(), M.dense().T)
    batch = torch.stack([flat, 2.0 * flat])
    torch.testing.assert_close(batch @ P, batch @ P.dense())
    torch.testing.assert_close((mixture.M(0, 1) @ M).dense(), mixture.M(0, 1).dense() @ M.dense())
    assert not bool((mixture.M(0, 2) @ M).dense().any())


def test_a_row_that_sees_nothing_is_zero() -> None:
    mixture = as_mixture(TWO, X, is_causal=True, causal_offset=-1)
    for view in (mixture, mixture.with_gate("softmax")):
        assert not bool(view.output(0).any())
        assert view.identity_error(0) == 0.0
        assert not bool(view.jacobian(0).any())
        assert bool((view.scores(0) == -math.inf).all())
