"""Passes over rows in compiled code, where it exists: gradients take a half to a third of the time.

The kernel (folder ``native``) does what ``TorchPasses`` does with PyTorch, but a tile of rows at
a time, so that nothing between the matrix products leaves the caches. It knows the gates and some
of the experts; PyTorch takes the others, and what does not lie on the CPU. The sums have the same
bits whatever the number of threads.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from sigmoe._base.native_build import Kernel
from sigmoe.estimation.engine._layout import Coefficients, Layout
from sigmoe.estimation.engine._rows import Rows
from sigmoe.estimation.engine._sums import Adjoint
from sigmoe.moe._experts import EXPERTS
from sigmoe.moe._gates import GATES

KERNEL = Kernel(Path(__file__).parent / "native" / "least_squares.cpp")

_GATE_KINDS = {GATES.get(name): kind for kind, name in enumerate(("sigmoid", "softmax"))}
_EXPERT_KINDS = {
    EXPERTS.get(name): kind
    for name, kind in (
        *(("linear", 0), ("relu", 1), ("scaled-relu", 1)),
        *(("tanh", 2), ("scaled-tanh", 2)),
    )
}
_FACTORS = "uvl"
_INTEGERS = (
    "rows",
    "threads",
    "dim",
    "experts",
    "columns",
    "score_powers",
    "gate",
    "expert",
    "input_stride",
    "response_stride",
    "segment_count",
)
_ARRAYS = (
    "inputs",
    "responses",
    "root",
    "score",
    "ridge",
    "scale",
    "segments",
    "square",
    "total",
    "grad_score",
    "grad_ridge",
    "grad_scale",
    "moments",
)


class _Pass(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in _INTEGERS),
        *((name, ctypes.c_void_p) for name in _ARRAYS),
    )


def native_status() -> str:
    """Return one sentence: where the compiled passes of fits lie, or why there are none.

    The first fit compiles them unless the cache folder has them for this machine. That folder is
    ``SIGMOE_CACHE``, else ``XDG_CACHE_HOME``/sigmoe, else ``~/.cache/sigmoe``; ``CXX`` names the
    compiler, and ``SIGMOE_NATIVE=0`` turns all compiled code off. Without it fits take
    half as long again, or twice as long.

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


class NativePasses:
    """What a problem of a model that is ``available`` sums over its rows."""

    def __init__(self, design: Layout) -> None:
        self._design = design
        columns = range(design.architecture.n_columns)
        self._segments = torch.tensor(
            [
                (
                    _FACTORS.index(segment.left),
                    _FACTORS.index(segment.right),
                    columns[segment.summed].start,
                    columns[segment.summed].stop,
                    segment.monomials,
                    segment.start,
                )
                for segment in design.segments
            ]
        )

    def add_gradient(
        self,
        chunks: Iterable[Rows],
        coefficients: Coefficients,
        square: Tensor,
        adjoint: Adjoint | None = None,
        total: Tensor | None = None,
    ) -> None:
        """Add the squared residuals (), and if asked J' residual and the residuals (m,)."""
        sums = {"square": square} if total is None else {"square": square, "total": total}
        if adjoint is not None:
            sums |= {"grad_score": adjoint.score, "grad_ridge": adjoint.ridge}
            sums["grad_scale"] = adjoint.scale
        self._run("sigmoe_gradient", chunks, coefficients, sums)

    def add_moments(
        self, chunks: Iterable[Rows], coefficients: Coefficients, moments: Tensor
    ) -> None:
        """Add the moments of J'J, see ``Layout``; shape (n_moments,)."""
        arrays = {"segments": self._segments, "moments": moments}
        self._run("sigmoe_moments", chunks, coefficients, arrays)

    def _run(
        self,
        name: str,
        chunks: Iterable[Rows],
        coefficients: Coefficients,
        arrays: dict[str, Tensor],
    ) -> None:
        design, library = self._design, KERNEL.built().library
        arrays["score"] = coefficients.score.contiguous()
        arrays["ridge"] = coefficients.ridge.contiguous()
        if design.expert.scaled:
            arrays["scale"] = coefficients.scale.contiguous()
        call = _Pass(
            threads=torch.get_num_threads(),
            dim=design.architecture.dim,
            experts=design.n_experts,
            columns=design.architecture.n_columns,
            score_powers=design.forward_rows,
            gate=_GATE_KINDS[design.gate],
            expert=_EXPERT_KINDS[design.expert],
            segment_count=len(self._segments),
            **{key: array.data_ptr() for key, array in arrays.items()},
        )
        for rows in chunks:
            root = rows.root_weight
            call.rows = len(rows)
            call.inputs, call.input_stride = _columns(rows.inputs)
            call.responses, call.response_stride = _columns(rows.responses)
            call.root = None if root is None else root.data_ptr()
            if getattr(library, name)(ctypes.byref(call)):
                raise MemoryError("no memory for a pass over rows")


def _columns(values: Tensor) -> tuple[int, int]:
    """Return the address of values (k, n) and the numbers from one row to the next."""
    assert values.stride(1) == 1 or values.shape[1] == 1
    return values.data_ptr(), values.stride(0)
