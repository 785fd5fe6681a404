"""What pictures of a mixture are made of: inputs to draw along, and the parts of predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sigmoe._base.arrays import ArrayLike
from sigmoe._base.constraints import Interval, check
from sigmoe._base.errors import invalid
from sigmoe.estimation.regressor._fitted import FittedMixture
from sigmoe.estimation.regressor._standardise import Array
from sigmoe.estimation.regressor._tables import as_features

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Okabe and Ito's colours, which colour-blind readers tell apart; yellow is too light for lines.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
#: When the colours begin again lines are dashed and areas hatched.
_DASHES = ("solid", (0, (4, 2)), (0, (1, 1.5)))
_HATCHES = (None, "////", "....")
#: Predictions, and what is known without any expert.
INK, GREY = "#1a1a1a", "#8a929b"
#: Points of a curve.
_POINTS = 301


@dataclass(frozen=True)
class Parts:
    """Predictions of one response in parts, at n inputs.

    Attributes
    ----------
    weights, experts, contributions : array of shape (n, N)
    intercept : float
    """

    weights: Array
    experts: Array
    contributions: Array
    intercept: float

    @property
    def prediction(self) -> Array:
        """Return the intercept plus all contributions, shape (n,)."""
        total: Array = self.contributions.sum(axis=1) + self.intercept
        return total


def parts_at(model: FittedMixture, inputs: Array, output: int) -> Parts:
    """Return the parts at checked inputs of shape (n, d), for one response."""
    columns = np.atleast_1d(model.intercept_)
    rule = Interval("integer", 0, len(columns) - 1)
    check("output", output, rule, "Count the responses from 0.")
    weights, experts, contributions = model._parts(inputs)
    if np.ndim(model.intercept_):
        experts, contributions = experts[..., output], contributions[..., output]
    return Parts(weights, experts, contributions, float(columns[output]))


def position_of(model: FittedMixture, feature: str | int) -> int:
    """Return the position of a column that is given by name or number."""
    names = model._features()
    if isinstance(feature, str):
        if feature not in names:
            rule = "a column of X, by name or by number from 0"
            raise invalid("feature", rule, feature, "Look at feature_names_in_.")
        return names.index(feature)
    numbers = Interval("integer", 0, len(names) - 1)
    return check("feature", feature, numbers, "Count the columns from 0.")


def along(model: FittedMixture, X: ArrayLike, position: int, row: Any) -> Array:
    """Return inputs that differ in one column, which goes from its least to its largest value.

    The others are those of the row, or the medians of X.
    """
    table = as_features(model, X)
    low, high = table[:, position].min(), table[:, position].max()
    if low == high:
        name = model._features()[position]
        raise invalid("feature", "a column that varies in X", name, "Choose another column.")
    fixed = np.median(table, axis=0) if row is None else one_row(model, row)[0]
    inputs = np.repeat(fixed[None], _POINTS, axis=0)
    inputs[:, position] = np.linspace(low, high, _POINTS)
    return inputs


def one_row(model: FittedMixture, row: Any) -> Array:
    """Return a row, given as values, as a series or as a frame of one row, of shape (1, d)."""
    if hasattr(row, "to_frame") and getattr(row, "ndim", 2) == 1:
        # A row of a pandas frame: its index holds the names of the columns.
        row = row.to_frame().T
    if hasattr(row, "columns"):
        inputs = as_features(model, row)
    else:
        d = len(model.input_centre_)
        values = np.asarray(row, dtype=np.float64)
        if values.size != d or not np.isfinite(values).all():
            found = f"shape {values.shape}" if values.size != d else "a value that is not finite"
            raise invalid("row", f"of {d} finite values", found, "Pass one row of X.")
        inputs = values.reshape(1, d)
    if len(inputs) != 1:
        raise invalid("row", "a single row", f"{len(inputs)} rows", "Pass for example X[:1].")
    return inputs


def style(expert: int) -> dict[str, Any]:
    """Return colour and dashes of an expert's lines."""
    rounds, place = divmod(expert, len(_COLOURS))
    return {"color": _COLOURS[place], "linestyle": _DASHES[rounds % len(_DASHES)]}


def fill(expert: int) -> dict[str, Any]:
    """Return colours of an expert's areas."""
    rounds, place = divmod(expert, len(_COLOURS))
    return {
        "facecolor": _COLOURS[place],
        "edgecolor": "white",
        "hatch": _HATCHES[rounds % len(_HATCHES)],
        "linewidth": 0,
    }


def tidy(ax: Axes, axis: str) -> None:
    """Take away two spines and put a faint grid behind the values."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    # The stubs want a literal "x", "y" or "both".
    ax.grid(visible=True, axis=axis, color="#e4e7ea", linewidth=0.6)  # type: ignore[arg-type]
    ax.set_axisbelow(True)
