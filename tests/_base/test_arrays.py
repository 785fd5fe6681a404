import numpy as np
import pytest
import torch

from sigmoe._base.arrays import as_inputs, as_responses, as_weights
from sigmoe._base.errors import InputError


@pytest.mark.parametrize(
    "X",
    [[[1, 2], [3, 4]], np.float32([[1, 2], [3, 4]]), torch.tensor([[1, 2], [3, 4]])],
    ids=["list", "numpy", "torch"],
)  # fmt: skip
def test_lists_arrays_and_tensors_become_float64(X):
    tensor = as_inputs(X, 2)
    assert tensor.dtype == torch.float64
    assert tensor.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_the_callers_array_is_not_shared():
    X = np.zeros((2, 2))
    tensor = as_inputs(X)
    X[0, 0] = 7.0
    assert tensor[0, 0] == 0.0


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([1.0, 2.0], "X must be an array of shape (n, 2) with at least one row; got 'shape (2,)'. "
                     "Put samples in rows and features in columns."),
        (np.zeros((0, 2)), "X must be an array of shape (n, 2) with at least one row; "
                           "got 'shape (0, 2)'. Put samples in rows and features in columns."),
        (np.zeros((4, 3)), "X must be an array of shape (n, 2) with at least one row; "
                           "got 'shape (4, 3)'. Put samples in rows and features in columns."),
        ([[1.0, 2.0], [np.nan, 0.0]], "X must be finite; got 'nan in row 1'. "
                                      "Remove or impute rows with NaN or infinity."),
        ([[1.0, 2.0], [0.0, -np.inf]], "X must be finite; got '-inf in row 1'. "
                                       "Remove or impute rows with NaN or infinity."),
        ([["a", "b"]], "X must be an array of numbers; got 'list'. "
                       "Pass a NumPy array or a tensor."),
        (np.zeros((2, 2), dtype=complex), "X must be real; got dtype('complex128'). "
                                          "Pass real numbers."),
        (torch.zeros(2, 2, dtype=torch.complex64), "X must be real; got torch.complex64. "
                                                   "Pass real numbers."),
    ],
    ids=["one axis", "no rows", "columns", "nan", "inf", "text", "complex", "complex tensor"],
)  # fmt: skip
def test_bad_inputs(X, message):
    with pytest.raises(InputError) as caught:
        as_inputs(X, 2)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("y", "n_outputs", "message"),
    [
        (np.zeros((3, 1)), None, "y must be an array of shape (3,); got 'shape (3, 1)'. Give one "
         "response for each row of X; Architecture(n_outputs=) sets the columns."),
        (np.zeros(3), 2, "y must be an array of shape (3, 2); got 'shape (3,)'. Give one "
         "response for each row of X; Architecture(n_outputs=) sets the columns."),
        ([0.0, 1.0, np.nan], None, "y must be finite; got 'nan in row 2'. "
         "Remove or impute rows with NaN or infinity."),
    ],
    ids=["column", "missing axis", "nan"],
)  # fmt: skip
def test_bad_responses(y, n_outputs, message):
    with pytest.raises(InputError) as caught:
        as_responses(y, 3, n_outputs)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1.0, 2.0], "sample_weight must be an array of shape (3,); got 'shape (2,)'. Give one "
         "weight for each row of X."),
        ([1.0, np.nan, 1.0], "sample_weight must be finite; got 'nan in row 1'. Remove or impute "
         "rows with NaN or infinity."),
        ([1.0, 0.0, -2.0], "sample_weight must be >= 0; got '-2 in row 2'. Use 0 to leave a row "
         "out."),
        ([0, 0, 0], "sample_weight must be above 0 for at least one row; got 'zeros'. Leave it "
         "out to weight alike."),
    ],
    ids=["shape", "nan", "negative", "zeros"],
)  # fmt: skip
def test_bad_weights(weight, message):
    with pytest.raises(InputError) as caught:
        as_weights(weight, 3)
    assert str(caught.value) == message
