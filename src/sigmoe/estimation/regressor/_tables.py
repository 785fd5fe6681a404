"""Tables come in as arrays or as pandas and polars frames and go on as checked float64 arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data

from sigmoe._base.arrays import ArrayLike, as_weights
from sigmoe._base.errors import InputError, invalid
from sigmoe.estimation.regressor._standardise import Array

#: Kinds of NumPy and pandas dtypes that hold real numbers: bool, int, unsigned, float.
_NUMBERS = "biuf"


def as_table(
    estimator: Any, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, *, reset: bool
) -> tuple[Array, Array, Array | None]:
    """Return inputs (n, d), responses (n,) or (n, m) and weights (n,) or None, checked.

    Parameters
    ----------
    estimator : estimator of scikit-learn
        Keeps number and names of the features; compared with them unless ``reset``.
    X : array_like or frame of shape (n, d)
    y : array_like, series or frame of shape (n,) or (n, m)
    sample_weight : array_like of shape (n,), optional
    reset : bool
        Whether this table says what the features are.

    Raises
    ------
    InputError
        For columns that hold no numbers, and bad weights.
    ValueError
        For whatever scikit-learn refuses: NaN, infinity, other shapes or names, sparse matrices.
    """
    require_numbers(X, "X")
    require_numbers(y, "y")
    inputs, responses = validate_data(
        estimator, X, y, reset=reset, dtype=np.float64, multi_output=True, y_numeric=True
    )
    responses = responses.astype(np.float64, copy=False)
    if sample_weight is None:
        return inputs, responses, None
    return inputs, responses, as_weights(sample_weight, len(inputs)).numpy()


def as_features(estimator: Any, X: ArrayLike) -> Array:
    """Return inputs (n, d) that have the features of the table that was fitted."""
    require_numbers(X, "X")
    inputs: Array = validate_data(estimator, X, reset=False, dtype=np.float64)
    return inputs


def require_numbers(table: Any, name: str) -> None:
    """Raise InputError, naming the first column of a frame that holds no numbers.

    Anything that is not a frame passes. Without this, dates would turn into nanoseconds, and text
    would be refused without saying where it is.
    """
    if not (hasattr(table, "columns") and hasattr(table, "dtypes")):
        return
    for column, dtype in zip(table.columns, table.dtypes, strict=True):
        if not _holds_numbers(table, column, dtype):
            raise _no_numbers(name, column, dtype)


def _holds_numbers(frame: Any, column: Any, dtype: Any) -> bool:
    if hasattr(dtype, "is_numeric"):
        # polars; its booleans are not numeric there but turn into 0 and 1 as elsewhere.
        return bool(dtype.is_numeric()) or str(dtype) == "Boolean"
    if str(dtype) != "object":
        # Text like "01234" could be read as a number, and so could a category: neither is one.
        return getattr(dtype, "kind", "O") in _NUMBERS
    return not any(isinstance(value, (str, bytes)) for value in frame[column]) and _converts(
        frame[column]
    )


def _converts(values: Any) -> bool:
    try:
        np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        return False
    return True


def _no_numbers(name: str, column: Any, dtype: Any) -> InputError:
    return invalid(
        f"column {column!r} of {name}",
        "of numbers",
        str(dtype),
        "Encode it first, for example with OneHotEncoder in a ColumnTransformer.",
    )
