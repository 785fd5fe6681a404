// What one call of the kernel is told: the C side of the ctypes structures in _native_call.py.
#pragma once
#include <cstddef>
#include <cstdint>

namespace sigmoe {

using Index = std::int64_t;

enum class Type : Index { float32 = 0, float64 = 1, bfloat16 = 2, float16 = 3 };

// A tensor of up to four axes; strides count elements, and 0 repeats an axis.
struct Tensor {
  void* data;
  Index stride[4];
};

// Query i sees key j if i + band_low <= j <= i + band_high and no mask hides the pair.
struct Call {
  Index type, threads;
  Index batch, heads, key_heads, queries, keys, width, value_width;
  Index band_low, band_high, distance_offset;
  double scale, constant;
  Tensor query, key, value, out;
  Tensor added, visible, slopes;
  Tensor grad_out, grad_query, grad_key, grad_value;
  // Gradients of the scores, null if not asked: each pair (added to what is there, so that heads
  // of one key head may share it by a stride of 0), sums over keys, sums over queries.
  Tensor grad_pairs, grad_rows, grad_columns;
};

struct Range {
  Index begin, end;
  bool empty() const { return begin >= end; }
};

inline Index least(Index a, Index b) { return a < b ? a : b; }
inline Index most(Index a, Index b) { return a > b ? a : b; }
inline Index ceil_div(Index a, Index b) { return (a + b - 1) / b; }
inline Index round_up(Index a, Index b) { return ceil_div(a, b) * b; }

// Keys that some query of [begin, end) may see.
inline Range keys_of(const Call& call, Index begin, Index end) {
  return {most(0, begin + call.band_low), least(call.keys, end + call.band_high)};
}

// Queries that may see some key of [begin, end).
inline Range queries_of(const Call& call, Index begin, Index end) {
  return {most(0, begin - call.band_high), least(call.queries, end - call.band_low)};
}

// Whether every query of `rows` sees every key of `columns`, as far as the band goes.
inline bool band_covers(const Call& call, Range rows, Range columns) {
  return columns.begin >= rows.end - 1 + call.band_low &&
         columns.end - 1 <= rows.begin + call.band_high;
}

inline bool band_hides_some(const Call& call) {
  return !band_covers(call, {0, call.queries}, {0, call.keys});
}

inline bool has_masks(const Call& call) {
  return call.added.data || call.visible.data || call.slopes.data;
}

template <class Number>
const Number* row_of(const Tensor& tensor, Index batch, Index head, Index row) {
  return static_cast<const Number*>(tensor.data) + batch * tensor.stride[0] +
         head * tensor.stride[1] + row * tensor.stride[2];
}

}  // namespace sigmoe
