"""The backward kernel of the queries: dQ, and the sums over keys of the scores' gradients."""

from __future__ import annotations

import triton
import triton.language as tl

from sigmoe.attention._triton_tiles import (
    borders,
    gate,
    head_of,
    load_rows,
    product,
    score_product,
    scores_of,
    slope_of,
    store_rows,
    visible_pairs,
)


@triton.jit
def _through_keys(
    total,
    sums,
    q,
    d_out,
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
    """Add to a block's gradient, and to its sums, what the keys begin..end give."""
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
        _, derivative = gate(scores, FORM.degree)
        d_scores = derivative * product(d_out, tl.trans(v), FORM.upcast)
        seen = i >= 0
        if MASKED:
            seen = visible_pairs(visible_base, visible, i, j, rules, FORM)
            d_scores = tl.where(seen, d_scores, 0.0)
        total += score_product(d_scores, seen, k, MASKED, FORM.upcast)
        sums += tl.sum(d_scores, axis=1)
    return total, sums


@triton.jit(do_not_specialize=["queries_class", "keys_class"])
def query_gradients(
    gradient,
    query,
    key,
    value,
    added,
    visible,
    slopes,
    d_query,
    row_sums,
    rules,
    scale,
    heads,
    group,
    queries_class,  # noqa: ARG001 - names the shape for the choice of a tile
    keys_class,  # noqa: ARG001 - likewise
    SUM: tl.constexpr,
    FORM: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Write the gradient of a block of queries and, if SUM, its rows' sums."""
    n_queries, n_keys, low, high, _, _, _ = rules
    n_blocks = tl.cdiv(n_queries, ROWS)
    block = n_blocks - 1 - tl.program_id(0) % n_blocks
    b = tl.program_id(0) // n_blocks // heads
    h = tl.program_id(0) // n_blocks % heads
    first = block * ROWS
    rows = first + tl.arange(0, ROWS)
    q = load_rows(head_of(query, b, h), query, rows, n_queries, FORM.width, FORM.width_block)
    d_out = load_rows(
        head_of(gradient, b, h), gradient, rows, n_queries, FORM.value_width, FORM.value_block
    )
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
    total = tl.full((ROWS, FORM.width_block), 0.0, tl.float32)
    sums = tl.full((ROWS,), 0.0, tl.float32)
    if not FORM.has_mask:
        if FORM.has_low:
            total, sums = _through_keys(
                total, sums, q, d_out, rows, begin, inner_begin, bases, key, value, added, visible,
                slope, rules, True, FORM, COLUMNS,
            )  # fmt: skip
        total, sums = _through_keys(
            total, sums, q, d_out, rows, inner_begin, inner_end, bases, key, value, added, visible,
            slope, rules, False, FORM, COLUMNS,
        )  # fmt: skip
    total, sums = _through_keys(
        total, sums, q, d_out, rows, inner_end, end, bases, key, value, added, visible,
        slope, rules, True, FORM, COLUMNS,
    )  # fmt: skip
    place = head_of(d_query, b, h)
    store_rows(place, d_query, total * scale, rows, n_queries, FORM.width, FORM.width_block)
    if SUM:
        places = head_of(row_sums, b, h) + rows.to(tl.int64) * row_sums[3]
        tl.store(places, sums, mask=rows < n_queries)
