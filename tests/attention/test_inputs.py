"""Bad input is refused in one line that says what to do."""

import re

import pytest
import torch
from torch import Tensor

from sigmoe import InputError, sigmoid_attention, softmax_attention
from sigmoe.attention import attention_weights, packed_attention

Q = torch.zeros(2, 4, 3, 8)
K = torch.zeros(2, 4, 5, 8)

BAD_TENSORS = {
    "query-list": (
        ([1.0], K, K),
        "query must be a tensor of shape (batch..., heads, length, head_dim); got 'list'. "
        "Convert it by torch.as_tensor.",
    ),
    "query-integers": (
        (Q.long(), K, K),
        "query must be of dtype float16, bfloat16, float32 or float64; got torch.int64. "
        "Convert it: query.float().",
    ),
    "value-without-heads": (
        (Q, K, K[0, 0]),
        "value must be of shape (batch..., heads, length, head_dim); got (5, 8). "
        "Add an axis of heads by unsqueeze(0).",
    ),
    "key-dtype": (
        (Q, K.double(), K),
        "key must be of the dtype of query, torch.float32; got torch.float64. "
        "Convert it: key.to(query.dtype).",
    ),
    "value-device": (
        (Q, K, K.to("meta")),
        "value must be on the device of query, cpu; got device(type='meta'). "
        "Move it: value.to(query.device).",
    ),
    "batch": (
        (Q, K[:1], K[:1]),
        "key must be of the batch shape of query, (2,); got (1,). "
        "Repeat it without a copy: key.expand(...).",
    ),
    "lengths": (
        (Q, K, K[:, :, :4]),
        "value must be as long as key, 5; got 4. Give one value for each key.",
    ),
    "head-dim": (
        (Q, K[..., :7], K),
        "key must be of the head_dim of query, 8, above 0; got 7. "
        "Project both to the same head_dim.",
    ),
    "value-heads": (
        (Q, K, K[:, :2]),
        "value must be of as many heads as key, 4; got 2. Give each key head one value head.",
    ),
    "heads": (
        (Q, K[:, :2], K[:, :2]),
        "key must be of as many heads as query, 4; got 2. Pass enable_gqa=True to share key heads.",
    ),
}


def line(text: str) -> str:
    return f"^{re.escape(text)}$"


@pytest.mark.parametrize("function", [sigmoid_attention, softmax_attention])
@pytest.mark.parametrize(("inputs", "text"), BAD_TENSORS.values(), ids=BAD_TENSORS)
def test_tensors_that_do_not_fit(function, inputs: tuple[object, ...], text: str) -> None:
    with pytest.raises(InputError, match=line(text)):
        function(*inputs)


BAD_OPTIONS = {
    "bias-name": (
        {"bias": "log"},
        "bias must be one of 'auto', 'length', 'log-visible', a number or a tensor; got 'log'. "
        "Choose one of these.",
    ),
    "bias-nan": (
        {"bias": float("nan")},
        "bias must be one of 'auto', 'length', 'log-visible', a finite number or a tensor; "
        "got nan. Leave it out for -log S.",
    ),
    "bias-integers": (
        {"bias": torch.zeros(5, dtype=torch.int64)},
        "bias must be floating; got torch.int64. Pass what hides keys as attn_mask.",
    ),
    "bias-shape": (
        {"bias": torch.zeros(4)},
        "bias must be broadcastable to (batch..., heads, L, S) = (2, 4, 3, 5); got (4,). "
        "Add axes of size 1 where it is shared.",
    ),
    "bias-too-many-axes": (
        {"bias": torch.zeros(1, 1, 1, 1, 1)},
        "bias must be broadcastable to (batch..., heads, L, S) = (2, 4, 3, 5); "
        "got (1, 1, 1, 1, 1). Add axes of size 1 where it is shared.",
    ),
    "mask-list": (
        {"attn_mask": [True]},
        "attn_mask must be a boolean or floating tensor; got 'list'. "
        "Convert it by torch.as_tensor.",
    ),
    "mask-integers": (
        {"attn_mask": torch.ones(3, 5, dtype=torch.uint8)},
        "attn_mask must be boolean (True = visible) or floating (added to the scores); "
        "got torch.uint8. Convert it: attn_mask.bool().",
    ),
    "mask-shape": (
        {"attn_mask": torch.ones(2, 5, dtype=torch.bool)},
        "attn_mask must be broadcastable to (batch..., heads, L, S) = (2, 4, 3, 5); got (2, 5). "
        "Add axes of size 1 where it is shared.",
    ),
    "mask-device": (
        {"attn_mask": torch.ones(3, 5, dtype=torch.bool, device="meta")},
        "attn_mask must be on the device of query, cpu; got device(type='meta'). "
        "Move it: attn_mask.to(query.device).",
    ),
    "offset-far": (
        {"causal_offset": 1 << 63},
        "causal_offset must be between -2**30 and 2**30; got 9223372036854775808. "
        "It is the position of the first query among the keys.",
    ),
    "offset": (
        {"causal_offset": 1.5},
        "causal_offset must be an integer; got 1.5. "
        "Pass S - L to align the last query with the last key.",
    ),
    "window-negative": (
        {"window": (-1, 0)},
        "window must be a pair (left, right) of integers >= 0; got (-1, 0). "
        "window=(128, 0) shows 128 keys before each query and its own.",
    ),
    "window-number": (
        {"window": 4},
        "window must be a pair (left, right) of integers >= 0; got 4. "
        "window=(128, 0) shows 128 keys before each query and its own.",
    ),
    "slopes-list": (
        {"alibi_slopes": [1.0] * 4},
        "alibi_slopes must be a floating tensor; got 'list'. Convert it by torch.tensor.",
    ),
    "slopes-shape": (
        {"alibi_slopes": torch.ones(3)},
        "alibi_slopes must be of shape (4,) or (2, 4); got (3,). Give one slope for each head.",
    ),
    "slopes-gradient": (
        {"alibi_slopes": torch.ones(4, requires_grad=True)},
        "alibi_slopes must be without gradient; got 'requires_grad=True'. "
        "Pass -slopes * distance as the bias to train them.",
    ),
    "dropout": (
        {"dropout_p": 1.0},
        "dropout_p must be a number >= 0 and < 1; got 1.0. Pass 0.0 to drop nothing.",
    ),
    "scale": (
        {"scale": float("inf")},
        "scale must be a finite number; got inf. Leave it out for 1 / sqrt(head_dim).",
    ),
}


@pytest.mark.parametrize("function", [sigmoid_attention, softmax_attention])
@pytest.mark.parametrize(("options", "text"), BAD_OPTIONS.values(), ids=BAD_OPTIONS)
def test_options_that_do_not_fit(function, options: dict[str, object], text: str) -> None:
    with pytest.raises(InputError, match=line(text)):
        function(Q, K, K, **options)


def test_trainable_slopes_are_taken_where_no_gradient_is_wanted() -> None:
    slopes = torch.ones(4, requires_grad=True)
    with torch.no_grad():
        output = sigmoid_attention(Q, K, K, alibi_slopes=slopes)
    assert torch.equal(output, sigmoid_attention(Q, K, K, alibi_slopes=slopes.detach()))


def test_head_counts_that_do_not_divide() -> None:
    text = (
        "key must be of a number of heads that divides that of query, 4; got 3. "
        "Change one of the numbers of heads."
    )
    with pytest.raises(InputError, match=line(text)):
        sigmoid_attention(Q, K[:, :3], K[:, :3], enable_gqa=True)


# PyTorch calls its strided layout a prototype, once a process, when such a tensor is made.
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_nested_tensors_that_are_not_taken(layout: torch.layout) -> None:
    nested = torch.nested.nested_tensor([torch.zeros(3, 2, 4)] * 2, layout=layout)
    text = (
        "query must be dense, or jagged for sigmoid_attention and softmax_attention; "
        f"got 'a nested tensor of layout {layout}'. Pad it: torch.nested.to_padded_tensor(...)."
    )
    with pytest.raises(InputError, match=line(text)):
        attention_weights(nested, nested)
    if layout == torch.strided:
        with pytest.raises(InputError, match=line(text)):
            sigmoid_attention(nested, nested, nested)


def test_an_unknown_gate() -> None:
    text = "gate must be one of 'sigmoid', 'softmax'; got 'relu'. Choose one of these names."
    with pytest.raises(InputError, match=line(text)):
        attention_weights(Q, K, gate="relu")


PACKED = torch.zeros(5, 2, 4)
BAD_LENGTHS = {
    "floats": (
        (torch.tensor([0.0, 5.0]),),
        "cu_seqlens_q must be an integer tensor of shape (sequences + 1,); "
        "got 'torch.float32 of shape (2,)'. Start with 0.",
    ),
    "end": (
        (torch.tensor([0, 3]),),
        "cu_seqlens_q must be rising from 0 to 5; got [0, 3]. "
        "Use the cumulative sum of the lengths, after a 0.",
    ),
    "falling": (
        (torch.tensor([0, 4, 3, 5]),),
        "cu_seqlens_q must be rising from 0 to 5; got [0, 4, 3, 5]. "
        "Use the cumulative sum of the lengths, after a 0.",
    ),
    "sequences": (
        (torch.tensor([0, 5]), torch.tensor([0, 2, 5])),
        "cu_seqlens_k must be 1 sequences, as cu_seqlens_q; got 2. Use 0 for empty ones.",
    ),
}


@pytest.mark.parametrize(("starts", "text"), BAD_LENGTHS.values(), ids=BAD_LENGTHS)
def test_lengths_that_do_not_fit(starts: tuple[Tensor, ...], text: str) -> None:
    with pytest.raises(InputError, match=line(text)):
        packed_attention(PACKED, PACKED, PACKED, *starts)


def test_packed_keys_have_a_value_each() -> None:
    text = "value must be as long as key, 5; got 4. Give one value for each key."
    with pytest.raises(InputError, match=line(text)):
        packed_attention(PACKED, PACKED, PACKED[:4], torch.tensor([0, 5]))


def jagged(*lengths: int) -> Tensor:
    parts = [torch.zeros(n, 2, 4) for n in lengths]
    return torch.nested.nested_tensor(parts, layout=torch.jagged).transpose(1, 2)


def test_jagged_tensors_whose_lengths_do_not_fit() -> None:
    text = "value must be of the lengths of key, [2, 3]; got [3, 2]. Give one value for each key."
    with pytest.raises(InputError, match=line(text)):
        sigmoid_attention(jagged(2, 3), jagged(2, 3), jagged(3, 2))
    text = "key must be of as many sequences as query, 2; got 1. Use length 0 for empty ones."
    with pytest.raises(InputError, match=line(text)):
        sigmoid_attention(jagged(2, 3), jagged(5), jagged(5))


def test_packed_sequences_have_three_axes() -> None:
    text = (
        "key must be of shape (total length, heads, width); got (1, 5, 2, 4). "
        "Pack the sequences one after the other."
    )
    with pytest.raises(InputError, match=line(text)):
        packed_attention(PACKED, PACKED[None], PACKED, torch.tensor([0, 5]))


def test_jagged_and_dense_do_not_mix() -> None:
    nested = torch.nested.nested_tensor([torch.zeros(3, 2, 4)], layout=torch.jagged).transpose(1, 2)
    text = (
        "key must be a jagged nested tensor of shape (batch, heads, lengths, width), as query; "
        "got 'shape (1, 2, 3, 4)'. Build all three from (lengths, heads, width) parts."
    )
    dense = torch.zeros(1, 2, 3, 4)
    with pytest.raises(InputError, match=line(text)):
        sigmoid_attention(nested, dense, dense)
    text = (
        "attn_mask must be None with jagged tensors; got 'a mask'. "
        "Lengths need no mask; pass the rest as a dense batch."
    )
    with pytest.raises(InputError, match=line(text)):
        sigmoid_attention(nested, nested, nested, attn_mask=torch.ones(1, dtype=torch.bool))
