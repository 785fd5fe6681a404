"""Bad input of the mixture view: one line that says what to do."""

from collections.abc import Callable

import pytest
import torch

from mixture_heads import TWO, L, X
from sigmoe import InputError
from sigmoe.attention import as_mixture

BAD: dict[str, tuple[Callable[[], object], str]] = {
    "another-layer": (
        lambda: as_mixture(torch.nn.Linear(3, 3), X),
        "layer_or_weights must be (W_Q, W_K, W_V[, W_O]), a list of such tuples, or a layer with "
        "linear projections; got 'Linear'. "
        "Give the weights of each head, each of shape (inputs, outputs).",
    ),
    "two-arrays": (
        lambda: as_mixture((X, X), X),
        "layer_or_weights must be of 3 to 7 arrays a head: query, key, value, output, query_bias, "
        "key_bias, value_bias; got [2]. Put several heads into a list.",
    ),
    "key-of-another-width": (
        lambda: as_mixture((torch.ones(3, 2), torch.ones(3, 4), torch.ones(3, 2)), X),
        "key must be of the shape of query, (3, 2), value of as many rows; got ((3, 4), (3, 2)). "
        "All three take the tokens of X.",
    ),
    "heads-of-two-widths": (
        lambda: as_mixture([(torch.ones(3, k), torch.ones(3, k), X.T[:, :2]) for k in (2, 4)], X),
        "query must be of one shape (inputs, outputs) for all heads; got [(3, 2), (3, 4)]. "
        "Transpose the weights of a torch.nn.Linear.",
    ),
    "output-of-one-head": (
        lambda: as_mixture([TWO[0], TWO[1]._replace(output=None)], X),
        "output must be given for every head or for none; got [True, False]. Add the missing ones.",
    ),
    "output-of-another-height": (
        lambda: as_mixture((*TWO[0][:3], torch.ones(3, 3)), X),
        "output must be of as many rows as value has columns, 2; got 3. "
        "W_O takes the head's output.",
    ),
    "bias-of-another-length": (
        lambda: as_mixture(TWO[0]._replace(key_bias=[1.0]), X),
        "key_bias must be of shape (4,); got (1,). Give one number for each column.",
    ),
    "row": (
        lambda: as_mixture(TWO, X).gates(L),
        "row must be an integer >= 0 and <= 4; got 5. Count tokens from 0.",
    ),
    "head": (
        lambda: as_mixture(TWO, X).B(2),
        "head must be an integer >= 0 and <= 1; got 2. Count heads from 0.",
    ),
    "heads-of-softmax": (
        lambda: as_mixture(TWO, X, gate="softmax").row(0),
        "head must be a number below 2 under softmax; got None. "
        "Add the measures of the heads, and offset.",
    ),
    "nothing-visible": (
        lambda: as_mixture(TWO, X, is_causal=True, causal_offset=-1).row(0),
        "row must be one that sees a token; got 0. "
        "A row that sees nothing is 0: there is no mixture.",
    ),
    "too-large": (
        lambda: as_mixture(TWO, X.repeat(40, 1)).row(0),
        "the row's measure must be at most 33554432 numbers, atoms (L d)^2; got 144000000. "
        "Use gates(row) and experts(head), which need no such matrices.",
    ),
    "factor-of-another-height": (
        lambda: as_mixture(TWO, X).E(0) @ torch.ones(4),
        "right factor must be of 3 rows; got 4. Look at the shapes of both factors.",
    ),
    "gate": (
        lambda: as_mixture(TWO, X, gate="relu"),  # type: ignore[arg-type]  # bad on purpose
        "gate must be one of 'sigmoid', 'softmax'; got 'relu'. Choose one of these names.",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_in_one_line(name: str) -> None:
    call, message = BAD[name]
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value) == message
