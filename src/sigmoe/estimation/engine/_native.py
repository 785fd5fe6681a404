"""The passes without J'J in compiled code, where it exists: a half to a third of the time.

The kernel (folder ``native``) does what ``LeastSquares`` does with PyTorch, but a tile of rows at
a time, so that nothing between the matrix products leaves the caches. It knows the gates and some
of the experts; PyTorch takes the others, and what does not lie on the CPU. The sums have the same
bits whatever the number of threads.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from sigmoe._base.native_build import Kernel
from sigmoe.estimation.engine._layout import Layout
from sigmoe.estimation.engine._rows import Rows
from sigmoe.estimation.engine._sums import Adjoint
from sigmoe.moe._experts import EXPERTS
from sigmoe.moe._gates import GATES

KERNEL = Kernel(Path(__file__).parent / "native" / "least_squares.cpp")

_GATE_KINDS = {GATES.get(name): kind for kind, name in enumerate(("sigmoid", "softmax"))}
_EXPERT_KINDS = {
    EXPERTS.get(name): kind
    for name, kind in (("linear", 0), ("relu", 1), ("scaled-relu", 1), ("tanh", 2))
}
_INTEGERS = (
    "rows",
    "threads",
    "dim",
    "experts",
    "columns",
    "powers",
    "gate",
    "expert",
    "input_stride",
    "response_stride",
)
_ARRAYS = (
    "inputs",
    "responses",
    "root",
    "score",
    "ridge",
    "scale",
    "square",
    "grad_score",
    "grad_ridge",
    "grad_scale",
)


class _Pass(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in _INTEGERS),
        *((name, ctypes.c_void_p) for name in _ARRAYS),
    )


class Coefficients(Protocol):
    """Score (N, powers), ridge (N, m, 1 + d) and scale (N, m, 1 or 0) in graded order."""

    @property
    def score(self) -> Tensor:
        """Return the coefficients of the scores."""

    @property
    def ridge(self) -> Tensor:
        """Return those of alpha'x + beta."""

    @property
    def scale(self) -> Tensor:
        """Return the scales lambda."""


def native_status() -> str:
    """Return one sentence: where the compiled passes of fits lie, or why there are none.

    The first fit compiles them unless the cache folder has them for this machine. That folder is
    ``SIGMOE_CACHE``, else ``XDG_CACHE_HOME``/sigmoe, else ``~/.cache/sigmoe``; ``CXX`` names the
    compiler, and ``SIGMOE_NATIVE=0`` turns all compiled code off. Without it fits take up to twice
    as long.

    Returns
    -------
    str
        Begins with "loaded from", "not built" or "not used".

    Examples
    --------
    >>> from sigmoe.estimation import native_status
    >>> native_status().split()[0] in {"loaded", "not"}
    True
    """
    return KERNEL.built().status


def available(design: Layout, device: torch.device) -> bool:
    """Return whether the kernel exists here and knows the model."""
    known = design.gate in _GATE_KINDS and design.expert in _EXPERT_KINDS
    return known and device.type == "cpu" and KERNEL.built().library is not None


class NativePass:
    """One pass of the kernel at some coefficients.

    Parameters
    ----------
    design : Layout
        Of a model that is ``available``.
    coefficients : Coefficients
    square : Tensor of shape ()
        Gains the squared residuals.
    adjoint : Adjoint, optional
        Gains J' residual.
    """

    def __init__(
        self, design: Layout, coefficients: Coefficients, square: Tensor, adjoint: Adjoint | None
    ) -> None:
        shape = design.architecture
        tensors = {
            "score": coefficients.score.contiguous(),
            "ridge": coefficients.ridge.contiguous(),
            "square": square,
        }
        if design.expert.scaled:
            tensors["scale"] = coefficients.scale.contiguous()
        if adjoint is not None:
            tensors |= {"grad_score": adjoint.score, "grad_ridge": adjoint.ridge}
            tensors["grad_scale"] = adjoint.scale
        # Held here, since the structure has addresses only.
        self._tensors = tensors
        self._pass = _Pass(
            threads=torch.get_num_threads(),
            dim=shape.dim,
            experts=len(coefficients.score),
            columns=shape.n_columns,
            powers=coefficients.score.shape[1],
            gate=_GATE_KINDS[design.gate],
            expert=_EXPERT_KINDS[design.expert],
            **{name: tensor.data_ptr() for name, tensor in tensors.items()},
        )

    def add(self, rows: Rows) -> None:
        """Add some rows, whose samples lie side by side."""
        root = rows.root_weight
        self._pass.rows = len(rows)
        self._pass.inputs, self._pass.input_stride = _columns(rows.inputs)
        self._pass.responses, self._pass.response_stride = _columns(rows.responses)
        self._pass.root = None if root is None else root.data_ptr()
        library = KERNEL.built().library
        assert library is not None
        if library.sigmoe_pass(ctypes.byref(self._pass)):
            raise MemoryError("no memory for a pass over rows")


def _columns(values: Tensor) -> tuple[int, int]:
    """Return the address of values (k, n) and the numbers from one row to the next."""
    assert values.stride(1) == 1 or values.shape[1] == 1
    return values.data_ptr(), values.stride(0)
