"""The forward kernel: a program takes a block of queries of one head through the keys it sees."""

from __future__ import annotations

import triton
import triton.language as tl

from sigmoe.attention._triton_tiles import (
    borders,
    gate,
    head_of,
    load_rows,
    product,
    scores_of,
    slope_of,
    store_rows,
    visible_pairs,
    visible_product,
)


@triton.jit
def _through_keys(
    total,
    q,
    rows,
    begin,
    end,
    bases,
    key,
    value,
    added,
    visible,
    slope,
    rules,
    MASKED: tl.constexpr,
    FORM: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Add to a block's output what the keys begin..end give."""
    key_base, value_base, added_base, visible_base = bases
    n_keys = rules[1]
    i = rows[:, None]
    for start in range(begin, end, COLUMNS):
        columns = start + tl.arange(0, COLUMNS)
        j = columns[None, :]
        k = load_rows(key_base, key, columns, n_keys, FORM.width, FORM.width_block)
        v = load_rows(value_base, value, columns, n_keys, FORM.value_width, FORM.value_block)
        products = product(q, tl.trans(k), FORM.upcast)
        scores = scores_of(products, i, j, added_base, added, slope, rules, FORM)
        weights, _ = gate(scores, FORM.degree)
        seen = i >= 0
        if MASKED:
            seen = visible_pairs(visible_base, visible, i, j, rules, FORM)
            weights = tl.where(seen, weights, 0.0)
        total += visible_product(weights, seen, v, MASKED, FORM.upcast)
    return total


@triton.jit(do_not_specialize=["queries_class", "keys_class"])
def attend(
    query,
    key,
    value,
    added,
    visible,
    slopes,
    output,
    rules,
    heads,
    group,
    queries_class,  # noqa: ARG001 - names the shape for the choice of a tile
    keys_class,  # noqa: ARG001 - likewise
    FORM: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Write the output of a block of queries; the last blocks, long ones if causal, come first."""
    n_queries, n_keys, low, high, _, _, _ = rules
    n_blocks = tl.cdiv(n_queries, ROWS)
    block = n_blocks - 1 - tl.program_id(0) % n_blocks
    b = tl.program_id(0) // n_blocks // heads
    h = tl.program_id(0) // n_blocks % heads
    first = block * ROWS
    rows = first + tl.arange(0, ROWS)
    q = load_rows(head_of(query, b, h), query, rows, n_queries, FORM.width, FORM.width_block)
    bases = (
        head_of(key, b, h // group),
        head_of(value, b, h // group),
        head_of(added, b, h),
        head_of(visible, b, h),
    )
    slope = slope_of(slopes, b, h, FORM)
    last = tl.minimum(first + ROWS, n_queries) - 1
    begin, inner_begin, inner_end, end = borders(
        first, last, low, high, n_keys, FORM.has_low, FORM.has_high, FORM.has_mask, COLUMNS
    )
    total = tl.full((ROWS, FORM.value_block), 0.0, tl.float32)
    if not FORM.has_mask:
        if FORM.has_low:
            total = _through_keys(
                total, q, rows, begin, inner_begin, bases, key, value, added, visible, slope,
                rules, True, FORM, COLUMNS,
            )  # fmt: skip
        total = _through_keys(
            total, q, rows, inner_begin, inner_end, bases, key, value, added, visible, slope,
            rules, False, FORM, COLUMNS,
        )  # fmt: skip
    total = _through_keys(
        total, q, rows, inner_end, end, bases, key, value, added, visible, slope, rules,
        True, FORM, COLUMNS,
    )  # fmt: skip
    place = head_of(output, b, h)
    store_rows(place, output, total, rows, n_queries, FORM.value_width, FORM.value_block)
