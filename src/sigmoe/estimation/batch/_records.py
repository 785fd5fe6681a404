"""Records of tensors with one leading batch axis: take some problems out, put them back."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

T = TypeVar("T")


def select(record: T, index: Tensor) -> T:
    """Return some problems of a tensor, or of a dataclass of such (nested ones too).

    Parameters
    ----------
    record : Tensor of shape (b, ...), or a dataclass of them
    index : Tensor of shape (k,), int64
        Ascending, without repeats; if it names all problems, nothing is copied.
    """
    if isinstance(record, Tensor):
        return cast(T, record if len(index) == len(record) else record.index_select(0, index))
    return _each(record, lambda part, _: select(part, index))


def insert(record: T, index: Tensor, part: T) -> T:
    """Return the record with some problems replaced by those of another; see ``select``."""
    if isinstance(record, Tensor):
        new = cast(Tensor, part)
        return cast(T, new if len(index) == len(record) else record.index_copy(0, index, new))
    return _each(record, lambda old, name: insert(old, index, getattr(part, name)))


def choose(condition: Tensor, yes: T, no: T) -> T:
    """Return one of two records, problem by problem; ``condition`` has shape (b,)."""
    if isinstance(yes, Tensor):
        shape = (-1,) + (1,) * (yes.ndim - 1)
        return cast(T, torch.where(condition.view(shape), yes, cast(Tensor, no)))
    return _each(yes, lambda part, name: choose(condition, part, getattr(no, name)))


def where_true(condition: Tensor) -> Tensor:
    """Return the positions at which a condition of shape (b,) holds, ascending."""
    return condition.nonzero()[:, 0]


def dot(left: Tensor, right: Tensor) -> Tensor:
    """Return the inner products of rows; shapes (b, p) to (b,)."""
    return (left * right).sum(-1)


def _each(record: T, change: Any) -> T:
    if not is_dataclass(record):
        raise TypeError(f"not a tensor or a dataclass of them: {type(record).__name__}")
    kind = cast(Any, type(record))
    named = {field.name: getattr(record, field.name) for field in fields(record)}
    return cast(T, kind(**{name: change(part, name) for name, part in named.items()}))
