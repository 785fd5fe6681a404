"""What the Triton kernels share: tiles, visible pairs, scores, the gate, and guarded products.

Index tensors ``i`` (queries) and ``j`` (keys) broadcast against each other, so that the same code
serves tiles of shape (rows, columns) and their transposes. Scores are in units of log 2.

``matrices`` is a tensor with four axes and its strides: (tensor, batch, head, row, column).
``rules`` is (n_queries, n_keys, low, high, offset, scale, constant), see ``Rules`` and ``Band``;
scale and constant are in units of log 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
INFINITY = tl.constexpr(float("inf"))

# Polynomials P with (1 + t) P(t) = 1 - T(u(t)) / T(u(-1)) for the Chebyshev polynomial T of degree
# DEGREE + 1, where u is linear, u(1) = 1 and u(0) is the least root of T.
COEFFICIENT_4_1 = tl.constexpr(-0.9888031057426667)
COEFFICIENT_4_2 = tl.constexpr(0.8800155977883619)
COEFFICIENT_4_3 = tl.constexpr(-0.5514739186494177)
COEFFICIENT_4_4 = tl.constexpr(0.1604387679867546)
COEFFICIENT_5_1 = tl.constexpr(-0.9973081897042878)
COEFFICIENT_5_2 = tl.constexpr(0.9591548201441471)
COEFFICIENT_5_3 = tl.constexpr(-0.7835405258708437)
COEFFICIENT_5_4 = tl.constexpr(0.4307769996443523)
COEFFICIENT_5_5 = tl.constexpr(-0.10911263617573973)


@dataclass(frozen=True)
class Form:
    """What a kernel is compiled for, beside its tile.

    Parameters
    ----------
    width, value_width : int
        head_dim and value_dim.
    width_block, value_block : int
        The same, rounded up to a power of two that a tile can have.
    has_low, has_high : bool
        Whether the band of visible diagonals ends below, above.
    has_mask, has_added, has_slopes : bool
        Which of the rules are given.
    degree : int
        Of the polynomial for 1 / (1 + t); 0 divides.
    upcast : bool
        Whether products are taken in float32 whatever the dtype.
    """

    width: int
    value_width: int
    width_block: int
    value_block: int
    has_low: bool
    has_high: bool
    has_mask: bool
    has_added: bool
    has_slopes: bool
    degree: int
    upcast: bool


@triton.jit
def head_of(matrices, b, h):
    """Return where the matrix of a batch entry and a head begins."""
    return matrices[0] + tl.cast(b, tl.int64) * matrices[1] + tl.cast(h, tl.int64) * matrices[2]


@triton.jit
def places_of(base, matrices, i, j):
    """Return the addresses of entries; 64 bits, as a whole tensor may need them."""
    return base + i.to(tl.int64) * matrices[3] + j.to(tl.int64) * matrices[4]


@triton.jit
def load_rows(base, matrices, index, limit, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """Return rows of a matrix, 0 beyond its last row and its last column."""
    lanes = tl.arange(0, BLOCK)[None, :]
    keep = (index < limit)[:, None]
    if WIDTH != BLOCK:
        keep = keep & (lanes < WIDTH)
    return tl.load(places_of(base, matrices, index[:, None], lanes), mask=keep, other=0.0)


@triton.jit
def store_rows(base, matrices, tile, index, limit, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """Write rows of a matrix in the dtype that the matrix has."""
    lanes = tl.arange(0, BLOCK)[None, :]
    keep = (index < limit)[:, None] & (lanes < WIDTH)
    places = places_of(base, matrices, index[:, None], lanes)
    tl.store(places, tile.to(base.dtype.element_ty), mask=keep)


@triton.jit
def borders(
    first,
    last,
    low,
    high,
    length,
    HAS_LOW: tl.constexpr,
    HAS_HIGH: tl.constexpr,
    HAS_MASK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Return begin, inner_begin, inner_end and end of the positions that a block sees.

    Some x of first..last sees p if 0 <= p < length and low <= p - x <= high. All of them see what
    lies between the inner borders, which are multiples of BLOCK; with a mask nothing lies there.
    """
    begin = length * 0
    end = length
    inner_begin = begin
    inner_end = end
    if HAS_LOW:
        begin = tl.maximum(first + low, 0)
        inner_begin = tl.maximum(last + low, 0)
    if HAS_HIGH:
        end = tl.minimum(last + high + 1, length)
        inner_end = tl.maximum(tl.minimum(first + high + 1, length), 0)
    begin = begin // BLOCK * BLOCK
    inner_begin = (inner_begin + BLOCK - 1) // BLOCK * BLOCK
    inner_end = inner_end // BLOCK * BLOCK
    if HAS_MASK:
        inner_end = begin
    some = inner_begin < inner_end
    inner_begin = tl.where(some, inner_begin, begin)
    inner_end = tl.where(some, inner_end, begin)
    return begin, inner_begin, inner_end, end


@triton.jit
def visible_pairs(base, visible, i, j, rules, FORM: tl.constexpr):
    """Return which pairs exist and are visible."""
    n_queries, n_keys, low, high, _, _, _ = rules
    seen = (i < n_queries) & (j < n_keys)
    if FORM.has_low:
        seen = seen & (j - i >= low)
    if FORM.has_high:
        seen = seen & (j - i <= high)
    if FORM.has_mask:
        seen = seen & (tl.load(places_of(base, visible, i, j), mask=seen, other=0) != 0)
    return seen


@triton.jit
def scores_of(products, i, j, base, added, slope, rules, FORM: tl.constexpr):
    """Return scores in units of log 2."""
    n_queries, n_keys, _, _, offset, scale, constant = rules
    scores = products * scale + constant
    if FORM.has_slopes:
        scores -= slope * tl.abs(i + offset - j).to(tl.float32)
    if FORM.has_added:
        exists = (i < n_queries) & (j < n_keys)
        found = tl.load(places_of(base, added, i, j), mask=exists, other=0.0)
        scores += found.to(tl.float32) * LOG2_E
    return scores


@triton.jit
def slope_of(slopes, b, h, FORM: tl.constexpr):
    """Return a head's slope in units of log 2."""
    slope = 0.0
    if FORM.has_slopes:
        slope = tl.load(head_of(slopes, b, h)).to(tl.float32) * LOG2_E
    return slope


@triton.jit
def reciprocal(t, DEGREE: tl.constexpr):
    """Return 1 / (1 + t) for t in [0, 1]; DEGREE 0 divides.

    The polynomials are exact at t = 0, where the left tail lies, and have the smallest largest
    relative error beside that: 3.5e-4 (degree 4) and 5.9e-5 (degree 5).
    """
    if DEGREE == 4:
        r = t * COEFFICIENT_4_4 + COEFFICIENT_4_3
        r = r * t + COEFFICIENT_4_2
        r = r * t + COEFFICIENT_4_1
        r = r * t + 1.0
    elif DEGREE == 5:
        r = t * COEFFICIENT_5_5 + COEFFICIENT_5_4
        r = r * t + COEFFICIENT_5_3
        r = r * t + COEFFICIENT_5_2
        r = r * t + COEFFICIENT_5_1
        r = r * t + 1.0
    else:
        r = 1.0 / (1.0 + t)
    return r


@triton.jit
def gate(scores, DEGREE: tl.constexpr):
    """Return sigmoid and its derivative of scores in units of log 2, by one exp2.

    With t = exp(-|x|) and r = 1 / (1 + t) they are r or t r, and t r^2: no digits cancel in a tail.
    """
    t = tl.exp2(-tl.abs(scores))
    r = reciprocal(t, DEGREE)
    small = t * r
    return tl.where(scores >= 0, r, small), small * r


@triton.jit
def product(left, right, UPCAST: tl.constexpr):
    """Return left @ right in float32; the left factor takes the dtype of the right one.

    UPCAST is for Triton's interpreter, whose products of bfloat16 are wrong.
    """
    left = left.to(right.dtype)
    if UPCAST:
        left = left.to(tl.float32)
        right = right.to(tl.float32)
    return tl.dot(left, right, input_precision="ieee")


@triton.jit
def visible_product(weights, seen, values, GUARD: tl.constexpr, UPCAST: tl.constexpr):
    """Return weights @ values; with GUARD what is hidden does not take part, not even as 0 * NaN.

    NaN and infinities reach the rows that see them: NaN counts as both infinities.
    """
    if GUARD:
        wide = values.to(tl.float32)
        finite = tl.abs(wide) < INFINITY
        total = product(weights, tl.where(finite, values, 0.0).to(values.dtype), UPCAST)
        if tl.min(finite.to(tl.int32)) == 0:
            shown = seen.to(tl.float16)
            above = (~finite & ~(wide < 0)).to(tl.float16)
            below = (~finite & ~(wide > 0)).to(tl.float16)
            total = tl.where(product(shown, above, UPCAST) > 0, total + INFINITY, total)
            total = tl.where(product(shown, below, UPCAST) > 0, total - INFINITY, total)
    else:
        total = product(weights, values, UPCAST)
    return total


@triton.jit
def score_product(d_scores, seen, values, GUARD: tl.constexpr, UPCAST: tl.constexpr):
    """Return d_scores @ values; float16 tiles are moved into its range by a power of two."""
    if values.dtype == tl.float16:
        largest = tl.max(tl.abs(d_scores))
        usual = (largest > 0.0) & (largest < INFINITY)
        exponent = tl.maximum(tl.ceil(tl.log2(tl.where(usual, largest, 1.0))), -100.0)
        size = tl.exp2(14.0 - exponent)
        total = visible_product(d_scores * size, seen, values, GUARD, UPCAST)
        total *= tl.exp2(exponent - 14.0)
    else:
        total = visible_product(d_scores, seen, values, GUARD, UPCAST)
    return total
