"""Sigmoid attention on the CPU by a small compiled kernel: forward, backward, status.

The kernel is plain C++ (folder ``native``), compiled for this machine on first use and called
through ctypes. Beside operands and results it needs tiles of fixed size for each thread and, in
the backward, sums of L x E numbers for each query head that is being worked on. It skips tiles
without a visible key, and gives the same bits whatever the number of threads.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Unpack

import torch
from torch import Tensor

from sigmoe._base.native_build import Kernel
from sigmoe.attention._native_call import TYPES, Call, Terms, dense, number_type
from sigmoe.attention._native_parts import AddedGradient, Part

KERNEL = Kernel(Path(__file__).parent / "native" / "attention.cpp")


def native_status() -> str:
    """Return one sentence: where the compiled kernel lies, or why there is none.

    The first call compiles the kernel unless the cache folder has it for this machine. That folder
    is ``SIGMOE_CACHE``, else ``XDG_CACHE_HOME``/sigmoe, else ``~/.cache/sigmoe``; ``CXX`` names the
    compiler, and ``SIGMOE_NATIVE=0`` turns the kernel off.

    Returns
    -------
    str
        Begins with "loaded from", "not built" or "not used".

    Examples
    --------
    >>> from sigmoe.attention import native_status
    >>> native_status().split()[0] in {"loaded", "not"}
    True
    """
    return KERNEL.built().status


def available(tensor: Tensor) -> bool:
    """Return whether the kernel exists here and takes tensors of this device and dtype."""
    if tensor.device.type != "cpu" or tensor.dtype not in TYPES:
        return False
    library = KERNEL.built().library
    return library is not None and (
        tensor.dtype != torch.float16 or bool(library.sigmoe_takes_float16())
    )


def forward(query: Tensor, key: Tensor, value: Tensor, **terms: Unpack[Terms]) -> Tensor:
    """Return the output of sigmoid attention, eq. (2).

    Parameters
    ----------
    query, key, value : Tensor
        Of shape (B, Hq, L, E), (B, Hk, S, E), (B, Hk, S, Ev) with Hq a multiple of Hk; one dtype,
        on the CPU, any strides.
    **terms
        The fields of ``Rules`` by name: ``scale`` and, if wanted, ``constant``, ``added``,
        ``visible``, ``causal_offset``, ``window``, ``offset``, ``slopes``.

    Returns
    -------
    Tensor
        Of shape (B, Hq, L, Ev), dtype of `query`; rows that see no key are zero.

    Raises
    ------
    RuntimeError
        If there is no kernel; ask ``available`` first.
    """
    shape = (*query.shape[:-1], value.shape[-1])
    if not (query.numel() and value.numel()):
        return query.new_zeros(shape)
    # The kernel writes every element: filling with zeros would be one more parallel pass.
    out = query.new_empty(shape)
    call = Call(query, key, value, terms)
    call.point(out=out)
    call.run(_library(), "sigmoe_forward")
    return out


def backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    with_added: bool = True,
    **terms: Unpack[Terms],
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Return the gradients of query, key, value and ``added``.

    The weights are computed anew from `query` and `key`.

    Parameters
    ----------
    gradient : Tensor of shape (B, Hq, L, Ev)
        Gradient of the output; any strides.
    query, key, value, **terms
        As in `forward`.
    with_added : bool
        Whether ``added``, if given, wants its gradient. It costs memory of the size of ``added``.

    Returns
    -------
    tuple of Tensor
        Of the shapes and dtypes of `query`, `key`, `value` and ``added``; the last is None if
        ``added`` is None or not wanted.
    """
    empty = not (query.numel() and value.numel())
    gradients = [
        part.new_zeros(part.shape) if empty else part.new_empty(part.shape)
        for part in (query, key, value)
    ]
    added = terms.get("added") if with_added else None
    if added is None:
        _run_backward([gradient, query, key, value, *gradients], terms, None)
        return gradients[0], gradients[1], gradients[2], None
    sums = AddedGradient.fresh(query, key, added)
    _run_backward([gradient, query, key, value, *gradients], terms, sums)
    return gradients[0], gradients[1], gradients[2], sums.finish(added)


def _run_backward(tensors: list[Tensor], terms: Terms, sums: AddedGradient | None) -> None:
    gradient, query, key, value, grad_query, grad_key, grad_value = tensors
    if not (query.numel() and value.numel()):
        return
    terms = _expanded(terms, query, key)
    whole = Part(slice(0, query.shape[0]), slice(0, key.shape[1]), query.shape[1] // key.shape[1])
    for part in [whole] if sums is None else sums.parts(query, key):
        call = Call(
            part.of_queries(query), part.of_keys(key), part.of_keys(value), _of_part(terms, part)
        )
        call.point(
            grad_out=dense(part.of_queries(gradient)),
            grad_query=part.of_queries(grad_query),
            grad_key=part.of_keys(grad_key),
            grad_value=part.of_keys(grad_value),
        )
        if sums is not None:
            call.point(**{sums.field: part.of_queries(sums.expanded(query, key))})
        call.run(_library(), "sigmoe_backward")


def _expanded(terms: Terms, query: Tensor, key: Tensor) -> Terms:
    """Return the terms with each tensor expanded to all batches and heads, without a copy."""
    batch, heads, queries = query.shape[:3]
    number = number_type(query.dtype)

    def expand(part: Tensor) -> Tensor:
        # Converted first: what is expanded would be converted element by element.
        part = part if part.dtype == torch.bool else part.detach().to(number)
        return part.expand(batch, heads, queries, key.shape[2])

    return _mapped(terms, expand)


def _of_part(terms: Terms, part: Part) -> Terms:
    """Return expanded terms for some batches and heads."""
    return _mapped(terms, part.of_queries)


def _mapped(terms: Terms, change: Callable[[Tensor], Tensor]) -> Terms:
    """Return the terms with their tensors, as arrays of four axes, changed."""
    mapped = terms.copy()
    added, visible, slopes = terms.get("added"), terms.get("visible"), terms.get("slopes")
    if added is not None:
        mapped["added"] = change(added)
    if visible is not None:
        mapped["visible"] = change(visible)
    if slopes is not None:
        mapped["slopes"] = change(slopes[..., None, None])[..., 0, 0]
    return mapped


def _library() -> ctypes.CDLL:
    library = KERNEL.built().library
    if library is None:
        raise RuntimeError(f"the CPU kernel of attention is {KERNEL.built().status}")
    return library
