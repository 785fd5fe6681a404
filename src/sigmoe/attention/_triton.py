"""Sigmoid attention on a GPU by Triton's kernels: forward, backward, and which calls they take.

Nothing but query, key and value is kept for the backward pass, which makes the scores anew. No
kernel adds to memory that another program writes, so that results do not depend on timing.
Triton is imported by the first call that needs it.
"""

from __future__ import annotations

import math
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from sigmoe.attention._rules import Rules

#: A tensor with four axes and its strides, as the kernels take it.
Matrices = tuple[Tensor, int, int, int, int]

#: Degree of the polynomial for 1 / (1 + t): its error stays below half a unit in the last place.
#: 0 divides.
DEGREES = {torch.bfloat16: 4, torch.float16: 5, torch.float32: 0}

#: The widest head that a tile holds whole.
WIDEST = 256

#: The oldest GPUs that the kernels are compiled for: compute capability 8.0.
_OLDEST = (8, 0)


def accepts(query: Tensor, key: Tensor, value: Tensor, rules: Rules) -> bool:
    """Return whether the kernels can do a call; ``_tiled`` does the others."""
    return (
        query.is_cuda
        and query.dtype in DEGREES
        and key.dtype == value.dtype == query.dtype
        and max(query.shape[3], value.shape[3]) <= WIDEST
        and rules.gate == "sigmoid"
        and rules.dropout == 0.0
        and _runs_on(query.device)
    )


@cache
def _runs_on(device: torch.device) -> bool:
    if torch.version.cuda is None or find_spec("triton") is None:
        return False
    return torch.cuda.get_device_capability(device) >= _OLDEST


def forward(query: Tensor, key: Tensor, value: Tensor, rules: Rules) -> Tensor:
    """Return the output of attention; arguments as in ``_reference.forward``."""
    from sigmoe.attention import _triton_forward, _triton_launch

    output = query.new_empty(*query.shape[:3], value.shape[3])
    batch, heads, length, _ = query.shape
    _triton_launch.launch(
        _triton_forward.attend,
        lambda tile: -(-length // tile["ROWS"]) * batch * heads,
        query.device,
        **_inputs(query, key, value, rules),
        output=_matrices(output),
        heads=heads,
    )
    return output


def backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rules: Rules,
    *,
    with_added: bool = True,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Return the gradients of query, key, value and ``rules.added``.

    Arguments as in ``_reference.backward``.
    """
    from sigmoe.attention import _triton_keys, _triton_launch, _triton_queries

    batch, heads, length, _ = query.shape
    n_keys, added = key.shape[2], rules.added if with_added else None
    d_query, d_key, d_value = (part.new_empty(part.shape) for part in (query, key, value))
    along_row = added is not None and added.shape[3] == 1
    along_column = added is not None and added.shape[2] == 1 and not along_row
    row_sums = _sums(query, (batch, heads, length, 1), along_row)
    column_sums = _sums(query, (batch, heads, 1, n_keys), along_column)
    shared: dict[str, Any] = {
        **_inputs(query, key, value, rules),
        "gradient": _matrices(gradient.to(query.dtype)),
    }
    _triton_launch.launch(
        _triton_queries.query_gradients,
        lambda tile: -(-length // tile["ROWS"]) * batch * heads,
        query.device,
        **shared,
        d_query=_matrices(d_query),
        row_sums=_matrices(row_sums),
        scale=rules.scale,
        heads=heads,
        SUM=along_row,
    )
    _triton_launch.launch(
        _triton_keys.key_gradients,
        lambda tile: -(-n_keys // tile["COLUMNS"]) * batch * key.shape[1],
        query.device,
        **shared,
        d_key=_matrices(d_key),
        d_value=_matrices(d_value),
        column_sums=_matrices(column_sums),
        scale=rules.scale,
        heads=heads,
        SUM=along_column,
    )
    if added is None:
        return d_query, d_key, d_value, None
    if along_row or along_column:
        sums = row_sums if along_row else column_sums
        d_added = sums.sum_to_size(added.shape).to(added.dtype)
    else:
        d_added = _added_gradient(added, query, n_keys, shared)
    return d_query, d_key, d_value, d_added


def _sums(query: Tensor, shape: tuple[int, int, int, int], wanted: bool) -> Tensor:
    """Return unwritten memory for sums of float32, next to none where they are not wanted."""
    return query.new_empty(shape if wanted else (1, 1, 1, 1), dtype=torch.float32)


def _added_gradient(added: Tensor, query: Tensor, n_keys: int, shared: dict[str, Any]) -> Tensor:
    """Return the gradient of a bias that has an entry for each query and key."""
    from sigmoe.attention import _triton_added, _triton_launch

    d_added = added.new_empty(added.shape)
    own_batches, own_heads = added.shape[:2]
    length = query.shape[2]

    def programs(tile: dict[str, int]) -> int:
        tiles = -(-length // tile["ROWS"]) * -(-n_keys // tile["COLUMNS"])
        return tiles * own_batches * own_heads

    _triton_launch.launch(
        _triton_added.added_gradients,
        programs,
        query.device,
        **shared,
        d_added=_matrices(d_added),
        heads_of_added=own_heads,
        shared_batches=query.shape[0] // own_batches,
        shared_heads=query.shape[1] // own_heads,
    )
    return d_added


def _inputs(query: Tensor, key: Tensor, value: Tensor, rules: Rules) -> dict[str, Any]:
    """Return the arguments that all kernels share."""
    from sigmoe.attention._triton_launch import form_of

    batch, heads, length, _ = query.shape
    n_keys = key.shape[2]
    whole = (batch, heads, length, n_keys)
    nothing = (query, 0, 0, 0, 0)
    added, visible, slopes = rules.added, rules.visible, rules.slopes
    return {
        "query": _matrices(query),
        "key": _matrices(key),
        "value": _matrices(value),
        "added": nothing if added is None else _matrices(added.expand(whole)),
        "visible": nothing if visible is None else _matrices(_bytes(visible).expand(whole)),
        "slopes": nothing if slopes is None else _matrices(_per_head(slopes, batch)),
        "rules": _numbers(rules, length, n_keys),
        "group": heads // key.shape[1],
        "queries_class": length.bit_length(),
        "keys_class": n_keys.bit_length(),
        "FORM": form_of(query, value, rules),
    }


def _numbers(rules: Rules, length: int, n_keys: int) -> tuple[int | float, ...]:
    """Return the numbers of the rules; diagonals that no pair has are moved to the nearest."""
    low, high = rules.band
    return (
        length,
        n_keys,
        0 if low is None else min(max(low, -length), n_keys),
        0 if high is None else min(max(high, -length), n_keys),
        rules.offset,
        float(rules.scale * math.log2(math.e)),
        float(rules.constant * math.log2(math.e)),
    )


def _matrices(tensor: Tensor) -> Matrices:
    batch, head, row, column = tensor.stride()
    return tensor, batch, head, row, column


def _bytes(visible: Tensor) -> Tensor:
    return visible.view(torch.uint8)


def _per_head(slopes: Tensor, batch: int) -> Tensor:
    """Return slopes of shape (1 or B, Hq) as (B, Hq, 1, 1)."""
    return slopes.expand(batch, -1)[:, :, None, None]
