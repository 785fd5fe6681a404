"""Samples come in as lists, NumPy arrays or tensors and go on as checked float64 tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sigmoe._base.errors import invalid

#: What the public functions accept as an array.
ArrayLike = Any


def as_float64(value: ArrayLike, name: str) -> Tensor:
    """Return the value as a float64 tensor on its own device; complex and text are refused."""
    if isinstance(value, Tensor):
        tensor = value.detach()
        if tensor.is_complex():
            raise invalid(name, "real", tensor.dtype, "Pass real numbers.")
        return tensor.to(torch.float64)
    try:
        array = np.asarray(value)
        if array.dtype.kind == "c":
            raise invalid(name, "real", array.dtype, "Pass real numbers.")
        return torch.from_numpy(np.array(array, dtype=np.float64))
    except (TypeError, ValueError) as error:
        if isinstance(error, ValueError) and "must be real" in str(error):
            raise
        raise invalid(
            name, "an array of numbers", type(value).__name__, "Pass a NumPy array or a tensor."
        ) from None


def require_finite(tensor: Tensor, name: str) -> Tensor:
    """Return the tensor, or raise InputError that names the first row with NaN or infinity."""
    finite = torch.isfinite(tensor)
    if bool(finite.all()):
        return tensor
    row = int((~finite.reshape(len(tensor), -1).all(dim=1)).nonzero()[0, 0])
    bad = tensor[row].flatten()
    first = float(bad[~torch.isfinite(bad)][0])
    raise invalid(
        name, "finite", f"{first} in row {row}", "Remove or impute rows with NaN or infinity."
    )


def as_inputs(X: ArrayLike, dim: int | None = None, name: str = "X") -> Tensor:
    """Return inputs as a finite float64 tensor of shape (n, d), n >= 1.

    Parameters
    ----------
    X : array_like of shape (n, d)
        Rows are samples.
    dim : int, optional
        The number of columns that is wanted.
    name : str
        Name of the argument in errors.

    Raises
    ------
    InputError
        For a wrong number of axes or columns, no rows, NaN or infinity.

    Examples
    --------
    >>> as_inputs([[1, 2], [3, 4]]).shape
    torch.Size([2, 2])
    """
    tensor = as_float64(X, name)
    wanted = "(n, d)" if dim is None else f"(n, {dim})"
    if tensor.ndim != 2 or len(tensor) == 0 or (dim is not None and tensor.shape[1] != dim):
        raise invalid(
            name,
            f"an array of shape {wanted} with at least one row",
            f"shape {tuple(tensor.shape)}",
            "Put samples in rows and features in columns.",
        )
    return require_finite(tensor, name)


def as_responses(y: ArrayLike, n: int, n_outputs: int | None = None, name: str = "y") -> Tensor:
    """Return responses as a finite float64 tensor of shape (n,), or (n, n_outputs).

    Parameters
    ----------
    y : array_like of shape (n,) or (n, n_outputs)
        One response a row of X.
    n : int
        Number of rows of X.
    n_outputs : int, optional
        None for a scalar response.
    name : str
        Name of the argument in errors.

    Raises
    ------
    InputError
        For a wrong shape, NaN or infinity.
    """
    tensor = as_float64(y, name)
    wanted = (n,) if n_outputs is None else (n, n_outputs)
    if tuple(tensor.shape) != wanted:
        raise invalid(
            name,
            f"an array of shape {wanted}",
            f"shape {tuple(tensor.shape)}",
            "Give one response for each row of X; Architecture(n_outputs=) sets the columns.",
        )
    return require_finite(tensor, name)


def as_weights(sample_weight: ArrayLike, n: int, name: str = "sample_weight") -> Tensor:
    """Return weights of samples as a float64 tensor of shape (n,).

    Parameters
    ----------
    sample_weight : array_like of shape (n,)
        Non-negative, with at least one above zero.
    n : int
        Number of rows of X.
    name : str
        Name of the argument in errors.

    Raises
    ------
    InputError
        For a wrong shape, NaN, infinity, a negative weight, or weights that are all zero.

    Examples
    --------
    >>> as_weights([1, 0, 2], 3)
    tensor([1., 0., 2.], dtype=torch.float64)
    """
    weights = as_float64(sample_weight, name)
    if tuple(weights.shape) != (n,):
        found = f"shape {tuple(weights.shape)}"
        raise invalid(
            name, f"an array of shape ({n},)", found, "Give one weight for each row of X."
        )
    require_finite(weights, name)
    if bool((weights < 0).any()):
        row = int((weights < 0).nonzero()[0, 0])
        found = f"{float(weights[row]):g} in row {row}"
        raise invalid(name, ">= 0", found, "Use 0 to leave a row out.")
    if not bool((weights > 0).any()):
        raise invalid(
            name, "above 0 for at least one row", "zeros", "Leave it out to weight alike."
        )
    return weights
