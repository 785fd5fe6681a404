import math

import numpy as np
import pytest

from sigmoe._base.constraints import Choice, Flag, Interval, check
from sigmoe._base.errors import InputError, SigmoeError, invalid

CONSTRAINTS = [
    Flag(),
    Interval("integer", 1),
    Interval("integer", 0, 5),
    Interval("number", 0.0, closed="neither"),
    Interval("number", -1.0, 1.0),
    Interval("integer", 0, 3, closed="right"),
    Choice(("dense", "sparse")),
]


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=lambda c: c.rule)
def test_every_bad_value_of_a_constraint_is_refused(constraint):
    values = list(constraint.bad_values())
    assert len(values) >= 4
    for value in values:
        with pytest.raises(InputError):
            check("p", value, constraint, "Do better.")


@pytest.mark.parametrize(
    ("constraint", "value"),
    [
        (Interval("integer", 1), 1),
        (Interval("number", 0.0, closed="neither"), 1e-300),
        (Interval("number", -1.0, 1.0), 1),
        (Interval("integer", 0, 3, closed="right"), 3),
        (Choice(("dense", "sparse")), "sparse"),
        (Flag(), False),
        (Flag(), np.True_),
    ],
    ids=str,
)
def test_good_values_pass_through_unchanged(constraint, value):
    assert check("p", value, constraint, "Do better.") is value


def test_limits_are_open_or_closed_as_declared():
    assert not Interval("number", 0.0, 1.0, closed="left").accepts(1.0)
    assert Interval("number", 0.0, 1.0, closed="left").accepts(0.0)
    assert not Interval("number", 0.0, 1.0, closed="right").accepts(0.0)
    assert not Interval("number", 0.0).accepts(math.inf)


@pytest.mark.parametrize(
    ("constraint", "value", "message"),
    [
        (Interval("integer", 1), 0, "n must be an integer >= 1; got 0. Fix it."),
        (Interval("number", 0.0, 1.0, closed="left"), 1.0,
         "n must be a number >= 0 and < 1; got 1.0. Fix it."),
        (Choice(("a", "b")), "c", "n must be one of 'a', 'b'; got 'c'. Fix it."),
    ],
    ids=["low", "half-open", "choice"],
)  # fmt: skip
def test_messages(constraint, value, message):
    with pytest.raises(InputError) as caught:
        check("n", value, constraint, "Fix it.")
    assert str(caught.value) == message


def test_a_message_is_one_line_and_short():
    text = str(invalid("X", "small", "long\n" * 100, "Shorten it."))
    assert "\n" not in text
    assert text.endswith(".... Shorten it.")
    assert len(text) < 130


def test_input_errors_are_value_errors_and_ours():
    assert issubclass(InputError, ValueError)
    assert issubclass(InputError, SigmoeError)
