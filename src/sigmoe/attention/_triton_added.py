"""The backward kernel of a bias that has an entry for each pair of a query and a key.

A program takes one tile of the bias through the batch entries and heads that share it, always in
the same order, so that nothing is added by several programs at once. Biases that are shared along
a row or a column need no tiles: the other kernels sum them up.
"""

from __future__ import annotations

import triton
import triton.language as tl

from sigmoe.attention._triton_tiles import (
    gate,
    head_of,
    load_rows,
    places_of,
    product,
    scores_of,
    slope_of,
    visible_pairs,
)


@triton.jit(do_not_specialize=["queries_class", "keys_class"])
def added_gradients(
    gradient,
    query,
    key,
    value,
    added,
    visible,
    slopes,
    d_added,
    rules,
    heads_of_added,
    shared_batches,
    shared_heads,
    group,
    queries_class,  # noqa: ARG001 - names the shape for the choice of a tile
    keys_class,  # noqa: ARG001 - likewise
    FORM: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Write the gradient of one tile of the bias."""
    n_queries, n_keys, low, high = rules[0], rules[1], rules[2], rules[3]
    row_blocks, column_blocks = tl.cdiv(n_queries, ROWS), tl.cdiv(n_keys, COLUMNS)
    n_blocks = tl.cast(row_blocks, tl.int64) * column_blocks
    block = tl.program_id(0) % n_blocks
    pair = tl.program_id(0) // n_blocks
    first_row = (block // column_blocks).to(tl.int32) * ROWS
    first_column = (block % column_blocks).to(tl.int32) * COLUMNS
    rows, columns = first_row + tl.arange(0, ROWS), first_column + tl.arange(0, COLUMNS)
    i, j = rows[:, None], columns[None, :]
    total = tl.full((ROWS, COLUMNS), 0.0, tl.float32)
    turns = shared_batches * shared_heads
    if FORM.has_low:
        turns = tl.where(first_column + COLUMNS - 1 - first_row >= low, turns, 0)
    if FORM.has_high:
        turns = tl.where(first_column - (first_row + ROWS - 1) <= high, turns, 0)
    for turn in range(0, turns):
        b = pair // heads_of_added + turn // shared_heads
        h = pair % heads_of_added + turn % shared_heads
        q = load_rows(head_of(query, b, h), query, rows, n_queries, FORM.width, FORM.width_block)
        d_out = load_rows(
            head_of(gradient, b, h), gradient, rows, n_queries, FORM.value_width, FORM.value_block
        )
        key_base, value_base = head_of(key, b, h // group), head_of(value, b, h // group)
        k = load_rows(key_base, key, columns, n_keys, FORM.width, FORM.width_block)
        v = load_rows(value_base, value, columns, n_keys, FORM.value_width, FORM.value_block)
        slope = slope_of(slopes, b, h, FORM)
        products = product(q, tl.trans(k), FORM.upcast)
        scores = scores_of(products, i, j, head_of(added, b, h), added, slope, rules, FORM)
        _, derivative = gate(scores, FORM.degree)
        d_scores = derivative * product(d_out, tl.trans(v), FORM.upcast)
        seen = visible_pairs(head_of(visible, b, h), visible, i, j, rules, FORM)
        total += tl.where(seen, d_scores, 0.0)
    base = head_of(d_added, pair // heads_of_added, pair % heads_of_added)
    places = places_of(base, d_added, i, j)
    exists = (i < n_queries) & (j < n_keys)
    tl.store(places, total.to(d_added[0].dtype.element_ty), mask=exists)
