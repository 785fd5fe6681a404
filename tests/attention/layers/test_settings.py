"""Settings out of range, or that do not fit each other, are refused in one line."""

import pytest

from sigmoe._base.errors import InputError
from sigmoe.attention import FeedForward, SelfAttention
from sigmoe.attention.layers._settings import CONSTRAINTS

BAD = [
    (name, value)
    for name, (constraint, _) in CONSTRAINTS.items()
    for value in constraint.bad_values()
    if value is not None or name in ("dim", "heads", "gate")
]


@pytest.mark.parametrize(("name", "value"), BAD, ids=str)
def test_values_out_of_range(name: str, value: object) -> None:
    with pytest.raises(InputError) as error:
        SelfAttention(**{"dim": 8, "heads": 2, name: value})
    assert str(error.value).startswith(f"{name} must be {CONSTRAINTS[name][0].rule}; got ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"heads": 3},
            "dim must be a multiple of heads, 3, without head_dim; got 8. "
            "Pass head_dim to choose the width of a head.",
        ),
        (
            {"heads": 4, "key_heads": 3},
            "key_heads must be a divisor of heads, 4; got 3. Change one of the two.",
        ),
        (
            {"heads": 2, "head_dim": 3, "rotary": 1e4},
            "head_dim must be even with rotary; got 3. Add or drop a feature.",
        ),
        (
            {"heads": 2, "bias": "learned"},
            "length must be an integer >= 1 with bias='learned'; got None. "
            "A learned bias starts at -log(length).",
        ),
        (
            {"heads": 2, "bias": "learned", "length": 4, "gate": "softmax"},
            "bias must be 'auto' with gate='softmax'; got 'learned'. "
            "Softmax does not see what is the same for a whole row.",
        ),
        (
            {"heads": 2, "bias": "lenght"},
            "bias must be one of 'auto', 'length', 'log-visible', a number or a tensor; "
            "got 'lenght'. Choose one of these.",
        ),
        (
            {"heads": 2, "window": 3},
            "window must be a pair (left, right) of integers >= 0; got 3. "
            "window=(128, 0) shows 128 keys before each query and its own.",
        ),
        (
            {"heads": 2, "dropout": 1.0},
            "dropout_p must be a number >= 0 and < 1; got 1.0. Pass 0.0 to drop nothing.",
        ),
    ],
    ids=lambda part: "-".join(part) if isinstance(part, dict) else "",
)
def test_settings_that_do_not_fit(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as error:
        SelfAttention(8, **settings)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dim": 0}, "dim must be an integer >= 1; got 0. Pass the width of the tokens."),
        ({"hidden": 2.5}, "hidden must be an integer >= 1; got 2.5. 4 * dim is usual."),
        (
            {"layer_scale": -1.0},
            "layer_scale must be a number > 0; got -1.0. 1e-4 is usual; leave it out for none.",
        ),
    ],
)
def test_settings_of_the_feed_forward_layer(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as error:
        FeedForward(**{"dim": 4, "hidden": 8, **settings})
    assert str(error.value) == message
