"""The settings of a layer, checked once."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from sigmoe._base.constraints import Choice, Constraint, Interval, check
from sigmoe._base.errors import invalid
from sigmoe.attention._bias import split_bias
from sigmoe.attention._gates import GATES
from sigmoe.attention._inputs import check_dropout, check_window
from sigmoe.attention.layers._activations import ACTIVATIONS

_COUNT = Interval("integer", 1)
_POSITIVE = Interval("number", 0.0, closed="neither")

#: What each setting must be where it is not None, and what to do if it is not.
CONSTRAINTS: dict[str, tuple[Constraint, str]] = {
    "dim": (_COUNT, "Pass the width of the tokens."),
    "heads": (_COUNT, "Pass the number of query heads."),
    "key_heads": (_COUNT, "Leave it out for as many as heads."),
    "head_dim": (_COUNT, "Leave it out for dim // heads."),
    "gate": (Choice(GATES.names()), "Choose one of these names."),
    "length": (_COUNT, "Pass the number of keys that the layer will see."),
    "rotary": (_POSITIVE, "10000.0 is usual; leave it out for no rotation."),
    "layer_scale": (_POSITIVE, "1e-4 is usual; leave it out for none."),
    "value_activation": (Choice(ACTIVATIONS.names()), "Leave it out for linear values."),
}


def counted(bias: str | float, hides: bool) -> str | float:
    """Return the bias of a call, "auto" being -log of the number of keys that a query sees.

    Parameters
    ----------
    bias : str or float
        What the user chose.
    hides : bool
        Whether any key may be hidden; where all are visible, one number for all rows does.
    """
    return "log-visible" if bias == "auto" and hides else bias


@dataclass(frozen=True)
class Settings:
    """Settings of ``SelfAttention``, whose docstring says what they mean."""

    dim: int
    heads: int
    key_heads: int | None = None
    head_dim: int | None = None
    gate: str = "sigmoid"
    bias: str | float = "auto"
    length: int | None = None
    rotary: float | None = None
    alibi: bool = False
    qk_norm: bool = False
    layer_scale: float | None = None
    hybrid_norm: bool = False
    output_gate: bool = False
    value_activation: str | None = None
    dropout: float = 0.0
    causal: bool = False
    window: tuple[int, int] | None = None

    @property
    def beyond_projections(self) -> tuple[str, ...]:
        """Return the settings in use that change a layer beyond projections and attention."""
        names = ("rotary", "qk_norm", "layer_scale", "hybrid_norm", "output_gate")
        return tuple(name for name in (*names, "value_activation") if getattr(self, name))

    def __post_init__(self) -> None:
        """Check every setting by itself, and what they ask of each other.

        Raises
        ------
        InputError
            Naming the setting and what to change.
        """
        for name, (constraint, remedy) in CONSTRAINTS.items():
            value = getattr(self, name)
            if value is not None or name in ("dim", "heads", "gate"):
                check(name, value, constraint, remedy)
        self._check_heads()
        self._check_bias()
        check_dropout(self.dropout)
        check_window(self.window)

    def _check_heads(self) -> None:
        if self.head_dim is None and self.dim % self.heads:
            rule = f"a multiple of heads, {self.heads}, without head_dim"
            raise invalid("dim", rule, self.dim, "Pass head_dim to choose the width of a head.")
        if self.heads % self.n_key_heads:
            rule = f"a divisor of heads, {self.heads}"
            raise invalid("key_heads", rule, self.key_heads, "Change one of the two.")
        if self.rotary is not None and self.width % 2:
            raise invalid("head_dim", "even with rotary", self.width, "Add or drop a feature.")

    def _check_bias(self) -> None:
        if self.bias != "learned":
            split_bias(self.bias, self.gate)
        elif self.gate == "softmax":
            remedy = "Softmax does not see what is the same for a whole row."
            raise invalid("bias", "'auto' with gate='softmax'", self.bias, remedy)
        elif self.length is None:
            remedy = "A learned bias starts at -log(length)."
            raise invalid("length", "an integer >= 1 with bias='learned'", None, remedy)

    @property
    def n_key_heads(self) -> int:
        """Return the number of key and value heads."""
        return self.heads if self.key_heads is None else self.key_heads

    @property
    def width(self) -> int:
        """Return the width of a head."""
        return self.dim // self.heads if self.head_dim is None else self.head_dim

    @property
    def hides(self) -> bool:
        """Return whether a token may not see some others, whatever the mask."""
        return self.causal or self.window is not None

    @property
    def first_bias(self) -> float:
        """Return where a learned bias starts: -log(length)."""
        assert self.length is not None
        return -math.log(self.length)

    def changed(self) -> dict[str, Any]:
        """Return the settings that differ from their defaults, dim and heads among them."""
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if getattr(self, field.name) != field.default
        }
