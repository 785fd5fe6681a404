"""The structure that the compiled kernel reads: the Python side of native/call.h."""

from __future__ import annotations

import ctypes
from typing import TypedDict

import torch
from torch import Tensor

TYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
_UNBOUNDED = 1 << 60
# Below this many products a second thread costs more than it brings.
_FEW_PRODUCTS = 1 << 20


class Terms(TypedDict, total=False):
    """The keywords of a call, named and meant as the fields of ``Rules``."""

    scale: float
    constant: float
    added: Tensor | None
    visible: Tensor | None
    causal_offset: int | None
    window: tuple[int, int] | None
    offset: int
    slopes: Tensor | None


class _Tensor(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("stride", ctypes.c_int64 * 4))


_INTEGERS = (
    "type",
    "threads",
    "batch",
    "heads",
    "key_heads",
    "queries",
    "keys",
    "width",
    "value_width",
    "band_low",
    "band_high",
    "distance_offset",
)
_NUMBERS = ("scale", "constant")
_TENSORS = (
    "query",
    "key",
    "value",
    "out",
    "added",
    "visible",
    "slopes",
    "grad_out",
    "grad_query",
    "grad_key",
    "grad_value",
    "grad_pairs",
    "grad_rows",
    "grad_columns",
)


class _Call(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in _INTEGERS),
        *((name, ctypes.c_double) for name in _NUMBERS),
        *((name, _Tensor) for name in _TENSORS),
    )


def number_type(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of sums, masks and biases for arrays of a dtype."""
    return torch.float64 if dtype == torch.float64 else torch.float32


class Call:
    """One call of the kernel, and the tensors that it points into.

    Parameters
    ----------
    query, key, value : Tensor
        Of shape (B, Hq, L, E), (B, Hk, S, E), (B, Hk, S, Ev), any strides, one dtype of ``TYPES``.
    terms : Terms
        As the fields of ``Rules``; ``scale`` is needed.
    """

    def __init__(self, query: Tensor, key: Tensor, value: Tensor, terms: Terms) -> None:
        self._call = _Call()
        self._kept: list[Tensor] = []
        batch, heads, queries, width = query.shape
        keys, value_width = value.shape[-2:]
        products = batch * heads * queries * keys * (width + value_width)
        low, high = _band(terms)
        self._set(
            type=TYPES[query.dtype],
            threads=torch.get_num_threads() if products > _FEW_PRODUCTS else 1,
            batch=batch,
            heads=heads,
            key_heads=key.shape[1],
            queries=queries,
            keys=keys,
            width=width,
            value_width=value_width,
            band_low=low,
            band_high=high,
            distance_offset=terms.get("offset", 0),
            scale=terms["scale"],
            constant=terms.get("constant", 0.0),
        )
        self.point(query=dense(query), key=dense(key), value=dense(value))
        number = number_type(query.dtype)
        pairs = (batch, heads, queries, keys)
        added, visible, slopes = (terms.get(name) for name in ("added", "visible", "slopes"))
        if isinstance(added, Tensor):
            self.point(added=added.detach().to(number).expand(pairs))
        if isinstance(visible, Tensor):
            self.point(visible=visible.expand(pairs))
        if isinstance(slopes, Tensor):
            self.point(slopes=slopes.detach().to(number).expand(batch, heads))

    def _set(self, **fields: float) -> None:
        for name, field in fields.items():
            setattr(self._call, name, field)

    def point(self, **tensors: Tensor) -> None:
        """Point fields of the structure at tensors, which are kept alive."""
        for name, tensor in tensors.items():
            self._kept.append(tensor)
            field = getattr(self._call, name)
            field.data = tensor.data_ptr()
            field.stride[:] = [*tensor.stride(), *[0] * (4 - tensor.dim())]

    def run(self, library: ctypes.CDLL, function: str) -> None:
        """Call a function of the kernel; raise MemoryError if it found none."""
        if getattr(library, function)(ctypes.byref(self._call)):
            raise MemoryError("the CPU kernel of attention found no memory for its tiles")


def dense(tensor: Tensor) -> Tensor:
    """Return the tensor with neighbouring elements in its last axis, copied only if need be."""
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


def _band(terms: Terms) -> tuple[int, int]:
    """Return the least and the largest j - i that is visible."""
    low, high = -_UNBOUNDED, _UNBOUNDED
    window, causal_offset = terms.get("window"), terms.get("causal_offset")
    if window is not None:
        offset = terms.get("offset", 0)
        low, high = max(low, offset - window[0]), min(high, offset + window[1])
    if causal_offset is not None:
        high = min(high, causal_offset)
    return low, high
