"""A device that is not there, by which nothing computed on it depends on what lies on the CPU.

A tensor of the pretend device wraps an ordinary one and reports the device "meta". As on a GPU,
an operation that mixes it with a tensor of the CPU fails (a number without axes may come from
there, as PyTorch allows), and values reach the host by a transfer only. Unlike on the real meta
device all values are there, so that code runs to its end and its results can be compared. The
transfers are counted: each of them is a place where a GPU would be waited for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("meta")
CPU = torch.device("cpu")
#: Operations whose result the host reads, or whose shape depends on values.
_WAITS = ("_local_scalar_dense", "nonzero", "_unique2", "unique_consecutive", "unique_dim", "equal")


class OnDevice(Tensor):
    """A tensor of the pretend device; ``inner`` holds its values on the CPU."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnDevice:
        made = Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), dtype=inner.dtype, device=DEVICE
        )
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError("a tensor of the pretend device was used outside of `pretend_device`")


class Pretend(TorchDispatchMode):
    """Runs every operation on the values, after a look at where its tensors say they are."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0
        self.waits = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor)]
        name = func.overloadpacket.__name__
        mine = [tensor for tensor in tensors if isinstance(tensor, OnDevice)]
        others = [tensor for tensor in tensors if not isinstance(tensor, OnDevice)]
        if mine and any(tensor.ndim for tensor in others):
            shapes = [tuple(tensor.shape) for tensor in others]
            raise RuntimeError(f"{name}: tensors of the CPU, {shapes}, meet those of the device")
        target = kwargs.get("device")
        if target is not None:
            kwargs["device"] = CPU
        place = DEVICE if mine else CPU
        place = torch.device(target) if target is not None else place
        self.operations += bool(mine)
        self.waits += bool(mine) and (name in _WAITS or place == CPU)
        result = func(*tree_map(_values, args), **tree_map(_values, kwargs))
        if place != DEVICE:
            return result
        return _placed(result, {id(tensor.inner): tensor for tensor in mine})


def _values(leaf: Any) -> Any:
    return leaf.inner if isinstance(leaf, OnDevice) else leaf


def _placed(result: Any, known: dict[int, OnDevice]) -> Any:
    """Wrap what came out; what was written in place keeps its wrapper."""

    def wrap(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        return known[id(leaf)] if id(leaf) in known else OnDevice(leaf)

    return tree_map(wrap, result)


@contextmanager
def pretend_device() -> Iterator[Pretend]:
    """Give a pretend device under the name "meta" for the length of a block."""
    with Pretend() as pretend:
        yield pretend
