// From tensors to the layouts that the block product reads, and back.
#pragma once
#include <memory>
#include <new>

#include "product.h"

namespace sigmoe {

// Memory on a cache line's boundary, not initialised.
template <class Element>
class Buffer {
 public:
  explicit Buffer(Index size)
      : data_(static_cast<Element*>(::operator new(size_t(most(size, 1)) * sizeof(Element),
                                                   std::align_val_t(64)))) {}
  ~Buffer() { ::operator delete(data_, std::align_val_t(64)); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  operator Element*() const { return data_; }

 private:
  Element* data_;
};

// Rows of units in memory, a tensor's own or a copy.
template <class Kind>
struct Rows {
  const typename Kind::Unit* data;
  Index stride;
  const typename Kind::Unit* row(Index index) const { return data + index * stride; }
  const typename Kind::Element* elements(Index index) const {
    return reinterpret_cast<const typename Kind::Element*>(row(index));
  }
};

// Numbers of a row, rounded up so that its units fill whole vectors.
template <class Kind>
constexpr Index padded(Index width) {
  return round_up(width, Kind::lanes * Kind::pair);
}

template <class To, class From>
inline void convert(const From* from, To* to, Index count) {
  for (Index c = 0; c < count; ++c) to[c] = To(from[c]);
}

#if defined(__FLT16_MAX__)
typedef _Float16 Float16;
#endif

// Copy one row of a tensor as the kind's elements.
template <class Kind>
inline void load_row(const Tensor& tensor, Type type, Index batch, Index head, Index row,
                     Index width, typename Kind::Element* to) {
  using Element = typename Kind::Element;
  if constexpr (sizeof(Element) == 2 || sizeof(Element) == 8) {
    std::memcpy(to, row_of<Element>(tensor, batch, head, row), size_t(width) * sizeof(Element));
  } else if (type == Type::bfloat16) {
    const auto* from = row_of<std::uint16_t>(tensor, batch, head, row);
    for (Index c = 0; c < width; ++c) to[c] = widen(from[c]);
#if defined(__FLT16_MAX__)
  } else if (type == Type::float16) {
    convert(row_of<Float16>(tensor, batch, head, row), to, width);
#endif
  } else {
    std::memcpy(to, row_of<float>(tensor, batch, head, row), size_t(width) * sizeof(float));
  }
}

template <class Number>
inline void store_row(const Number* from, Number factor, const Tensor& tensor, Type type,
                      Index batch, Index head, Index row, Index width) {
  auto* start = static_cast<char*>(tensor.data);
  const Index offset =
      batch * tensor.stride[0] + head * tensor.stride[1] + row * tensor.stride[2];
  if (type == Type::bfloat16) {
    auto* to = reinterpret_cast<std::uint16_t*>(start) + offset;
    for (Index c = 0; c < width; ++c) to[c] = narrow(float(from[c] * factor));
#if defined(__FLT16_MAX__)
  } else if (type == Type::float16) {
    auto* to = reinterpret_cast<Float16*>(start) + offset;
    for (Index c = 0; c < width; ++c) to[c] = Float16(from[c] * factor);
#endif
  } else {
    auto* to = reinterpret_cast<Number*>(start) + offset;
    for (Index c = 0; c < width; ++c) to[c] = from[c] * factor;
  }
}

// Copy `count` rows into `to`, zeros after each row's end and in rows up to `padded_count`.
template <class Kind>
inline void load_rows(const Tensor& tensor, Type type, Index batch, Index head, Index first,
                      Index count, Index padded_count, Index width, typename Kind::Unit* to) {
  using Element = typename Kind::Element;
  const Index full = padded<Kind>(width);
  auto* elements = reinterpret_cast<Element*>(to);
  for (Index r = 0; r < padded_count; ++r) {
    Element* row = elements + r * full;
    const Index used = r < count ? width : 0;
    if (used) load_row<Kind>(tensor, type, batch, head, first + r, width, row);
    std::memset(row + used, 0, size_t(full - used) * sizeof(Element));
  }
}

// The rows of a tensor where they lie if the kind can read them there, else a copy in `space`.
template <class Kind>
inline Rows<Kind> view_rows(const Tensor& tensor, Type type, Index batch, Index head, Index first,
                            Index count, Index width, typename Kind::Unit* space) {
  using Element = typename Kind::Element;
  const bool same_type = sizeof(Element) == 8   ? type == Type::float64
                         : sizeof(Element) == 4 ? type == Type::float32
                                                : type == Type::bfloat16;
  if (same_type && width == padded<Kind>(width) && tensor.stride[2] % Kind::pair == 0) {
    const auto* start = row_of<Element>(tensor, batch, head, first);
    return {reinterpret_cast<const typename Kind::Unit*>(start), tensor.stride[2] / Kind::pair};
  }
  load_rows<Kind>(tensor, type, batch, head, first, count, count, width, space);
  return {space, padded<Kind>(width) / Kind::pair};
}

// One stage of a transposition: exchange blocks of `Step` lanes between vectors `Step` apart.
template <int Step, class Lanes, size_t... Lane>
SIGMOE_INLINE void exchange(Lanes& a, Lanes& b, std::index_sequence<Lane...>) {
  constexpr int count = sizeof...(Lane);
  const Lanes low = __builtin_shufflevector(
      a, b, ((Lane & Step) ? int(Lane - Step) + count : int(Lane))...);
  b = __builtin_shufflevector(a, b, ((Lane & Step) ? int(Lane) + count : int(Lane + Step))...);
  a = low;
}

template <int Step, int Count, class Lanes>
SIGMOE_INLINE void transpose(Lanes (&block)[Count]) {
#pragma GCC unroll 16
  for (int i = 0; i < Count; ++i)
    if (!(i & Step)) exchange<Step>(block[i], block[i + Step], std::make_index_sequence<Count>{});
  if constexpr (Step > 1) transpose<Step / 2>(block);
}

// Columns become the lanes: to[panel][unit][column of the panel], zeros beyond `count` columns.
template <class Kind>
inline void pack_transposed(Rows<Kind> rows, Index count, Index width, Panels panels,
                            typename Kind::Unit* to) {
  using UnitLanes = typename Kind::UnitLanes;
  constexpr int lanes = Kind::lanes;
  const Index units = padded<Kind>(width) / Kind::pair;
  for (Index panel = 0; panel < panels.count; ++panel) {
    const Index stride = panels.width(panel) * lanes;
    auto* start = to + panels.first(panel) * lanes * units;
    for (Index vector = 0; vector < panels.width(panel); ++vector) {
      const Index column = (panels.first(panel) + vector) * lanes;
      for (Index unit = 0; unit < units; unit += lanes) {
        UnitLanes block[lanes];
#pragma GCC unroll 16
        for (int i = 0; i < lanes; ++i)
          block[i] = column + i < count ? load<UnitLanes>(rows.row(column + i) + unit)
                                        : UnitLanes{};
        transpose<lanes / 2>(block);
#pragma GCC unroll 16
        for (int i = 0; i < lanes; ++i) store(start + (unit + i) * stride + vector * lanes, block[i]);
      }
    }
  }
}

// Rows that hold an infinity or a NaN: left out of the block product and added row by row.
struct BadRows {
  Index count = 0;
  int rows[1024];
};

template <class Element>
inline bool all_finite(const Element* row, Index width) {
  constexpr bool half = sizeof(Element) == 2, single = sizeof(Element) == 4;
  using Bits = std::conditional_t<half, std::uint16_t,
                                  std::conditional_t<single, std::uint32_t, std::uint64_t>>;
  constexpr Bits exponent = half     ? Bits(0x7f80)
                            : single ? Bits(0x7f800000)
                                     : Bits(0x7ff0000000000000);
  const Bits* bits = reinterpret_cast<const Bits*>(row);
  Bits found = 0;
  for (Index c = 0; c < width; ++c) found |= Bits((bits[c] & exponent) == exponent);
  return !found;
}

template <class Kind>
inline void find_bad_rows(Rows<Kind> rows, Index count, Index width, BadRows& bad) {
  bad.count = 0;
  for (Index r = 0; r < count; ++r)
    if (!all_finite(rows.elements(r), width)) bad.rows[bad.count++] = int(r);
}

// Interleave neighbouring rows; bad rows and rows up to `padded_count` are zeros.
template <class Kind>
inline void pack_pairs(Rows<Kind> rows, Index count, Index padded_count, Index width,
                       const BadRows& bad, typename Kind::Unit* to) {
  using Element = typename Kind::Element;
  const Index full = padded<Kind>(width);
  Index next_bad = 0;
  const auto source = [&](Index row) -> const Element* {
    const bool is_bad = next_bad < bad.count && bad.rows[next_bad] == row;
    next_bad += is_bad;
    return is_bad || row >= count ? nullptr : rows.elements(row);
  };
  for (Index r = 0; r < padded_count; r += Kind::pair) {
    auto* target = reinterpret_cast<Element*>(to + (r / Kind::pair) * full);
    for (int half = 0; half < Kind::pair; ++half) {
      const Element* from = source(r + half);
      if (!from)
        for (Index c = 0; c < full; ++c) target[c * Kind::pair + half] = Element(0);
      else
        for (Index c = 0; c < full; ++c) target[c * Kind::pair + half] = from[c];
    }
  }
}

// out += factor * a(m, k) * row k, for the bad rows of `range`; a weight of exactly zero, as that
// of a hidden pair, adds nothing.
template <class Kind, bool Paired>
inline void add_bad_rows(const BadRows& bad, Rows<Kind> rows, Index width, Range range,
                         const typename Kind::Unit* a, Index a_stride, Index first,
                         typename Kind::Number factor, typename Kind::Number* out,
                         Index out_stride) {
  for (Index index = 0; index < bad.count; ++index) {
    const Index k = bad.rows[index];
    if (k < range.begin || k >= range.end) continue;
    for (Index m = 0; m < kTileRows; ++m) {
      const auto weight = entry<Kind, Paired>(a, a_stride, first + m, k) * factor;
      if (weight == 0) continue;
      for (Index c = 0; c < width; ++c)
        out[m * out_stride + c] += weight * Kind::number(rows.elements(k)[c]);
    }
  }
}

}  // namespace sigmoe
