"""The backward kernel of the keys: dK, dV, and the sums over queries of the scores' gradients.

Tiles have shape (keys, queries), so that the products dV and dK take them as they are.
"""

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
    visible_product,
)


@triton.jit
def _through_queries(
    d_k,
    d_v,
    sums,
    k,
    v,
    columns,
    begin,
    end,
    bases,
    query,
    gradient,
    added,
    visible,
    slope,
    rules,
    MASKED: tl.constexpr,
    FORM: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Add to a block's gradients, and to its sums, what the queries begin..end give."""
    query_base, gradient_base, added_base, visible_base = bases
    n_queries = rules[0]
    j = columns[:, None]
    for start in range(begin, end, ROWS):
        rows = start + tl.arange(0, ROWS)
        i = rows[None, :]
        q = load_rows(query_base, query, rows, n_queries, FORM.width, FORM.width_block)
        d_out = load_rows(
            gradient_base, gradient, rows, n_queries, FORM.value_width, FORM.value_block
        )
        products = product(k, tl.trans(q), FORM.upcast)
        scores = scores_of(products, i, j, added_base, added, slope, rules, FORM)
        weights, derivative = gate(scores, FORM.degree)
        d_scores = derivative * product(v, tl.trans(d_out), FORM.upcast)
        seen = j >= 0
        if MASKED:
            seen = visible_pairs(visible_base, visible, i, j, rules, FORM)
            weights = tl.where(seen, weights, 0.0)
            d_scores = tl.where(seen, d_scores, 0.0)
        d_v += visible_product(weights, seen, d_out, MASKED, FORM.upcast)
        d_k += score_product(d_scores, seen, q, MASKED, FORM.upcast)
        sums += tl.sum(d_scores, axis=1)
    return d_k, d_v, sums


@triton.jit(do_not_specialize=["queries_class", "keys_class"])
def key_gradients(
    gradient,
    query,
    key,
    value,
    added,
    visible,
    slopes,
    d_key,
    d_value,
    column_sums,
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
    """Write the gradients of a block of keys and values and, if SUM, each query head's sums."""
    n_queries, n_keys, low, high, _, _, _ = rules
    n_blocks = tl.cdiv(n_keys, COLUMNS)
    key_heads = heads // group
    block = tl.program_id(0) % n_blocks
    b = tl.program_id(0) // n_blocks // key_heads
    key_head = tl.program_id(0) // n_blocks % key_heads
    first = block * COLUMNS
    columns = first + tl.arange(0, COLUMNS)
    k = load_rows(head_of(key, b, key_head), key, columns, n_keys, FORM.width, FORM.width_block)
    v = load_rows(
        head_of(value, b, key_head), value, columns, n_keys, FORM.value_width, FORM.value_block
    )
    last = tl.minimum(first + COLUMNS, n_keys) - 1
    begin, inner_begin, inner_end, end = borders(
        first, last, -high, -low, n_queries, FORM.has_high, FORM.has_low, FORM.has_mask, ROWS
    )
    d_k = tl.full((COLUMNS, FORM.width_block), 0.0, tl.float32)
    d_v = tl.full((COLUMNS, FORM.value_block), 0.0, tl.float32)
    for h in range(key_head * group, (key_head + 1) * group):
        sums = tl.full((COLUMNS,), 0.0, tl.float32)
        bases = (
            head_of(query, b, h),
            head_of(gradient, b, h),
            head_of(added, b, h),
            head_of(visible, b, h),
        )
        slope = slope_of(slopes, b, h, FORM)
        if not FORM.has_mask:
            if FORM.has_high:
                d_k, d_v, sums = _through_queries(
                    d_k, d_v, sums, k, v, columns, begin, inner_begin, bases, query, gradient,
                    added, visible, slope, rules, True, FORM, ROWS,
                )  # fmt: skip
            d_k, d_v, sums = _through_queries(
                d_k, d_v, sums, k, v, columns, inner_begin, inner_end, bases, query, gradient,
                added, visible, slope, rules, False, FORM, ROWS,
            )  # fmt: skip
        d_k, d_v, sums = _through_queries(
            d_k, d_v, sums, k, v, columns, inner_end, end, bases, query, gradient,
            added, visible, slope, rules, True, FORM, ROWS,
        )  # fmt: skip
        if SUM:
            places = head_of(column_sums, b, h) + columns.to(tl.int64) * column_sums[4]
            tl.store(places, sums, mask=columns < n_keys)
    place = head_of(d_key, b, key_head)
    store_rows(place, d_key, d_k * scale, columns, n_keys, FORM.width, FORM.width_block)
    place = head_of(d_value, b, key_head)
    store_rows(place, d_value, d_v, columns, n_keys, FORM.value_width, FORM.value_block)
