// The block product: six rows by a few vectors of columns, all sums in registers.
#pragma once
#include "kinds.h"

namespace sigmoe {

constexpr int kTileRows = 6;

template <class Kind, int Vectors>
using Tile = typename Kind::Lanes[kTileRows][Vectors];

// sum[m][n] = sum over depth of a(m, k) b(k, n). `a` is rows (a(m, k) at m * stride + k) or, if
// `Paired`, pairs (at k * stride + m).
template <class Kind, bool Paired, int Vectors>
SIGMOE_INLINE void multiply(const typename Kind::Unit* a, Index a_stride,
                            const typename Kind::Unit* b, Index b_stride, Index depth,
                            Tile<Kind, Vectors>& sum) {
  using UnitLanes = typename Kind::UnitLanes;
#pragma GCC unroll 8
  for (int m = 0; m < kTileRows; ++m)
#pragma GCC unroll 8
    for (int n = 0; n < Vectors; ++n) sum[m][n] = typename Kind::Lanes{};
  for (Index k = 0; k < depth; ++k) {
    UnitLanes columns[Vectors];
#pragma GCC unroll 8
    for (int n = 0; n < Vectors; ++n) columns[n] = load<UnitLanes>(b + n * Kind::lanes);
#pragma GCC unroll 8
    for (int m = 0; m < kTileRows; ++m) {
      const UnitLanes row = Kind::spread(Paired ? a[m] : a[m * a_stride]);
#pragma GCC unroll 8
      for (int n = 0; n < Vectors; ++n) sum[m][n] = Kind::dot(sum[m][n], row, columns[n]);
    }
    a += Paired ? a_stride : 1;
    b += b_stride;
  }
}

// Columns split into panels of at most kTileVectors vectors, as even as can be.
struct Panels {
  Index vectors, count;
  explicit Panels(Index all) : vectors(all), count(ceil_div(all, kTileVectors)) {}
  Index first(Index panel) const {
    return panel * (vectors / count) + least(panel, vectors % count);
  }
  int width(Index panel) const { return int(first(panel + 1) - first(panel)); }
};

// Call `work` with the number of vectors as a constant.
template <class Work>
SIGMOE_INLINE void with_width(int width, Work&& work) {
  static_assert(kTileVectors == 2 || kTileVectors == 4, "the cases below");
  switch (width) {
    case 1: return work(std::integral_constant<int, 1>{});
    case 2: return work(std::integral_constant<int, 2>{});
    default:
      if constexpr (kTileVectors == 4) {
        if (width == 3) return work(std::integral_constant<int, 3>{});
        return work(std::integral_constant<int, 4>{});
      }
  }
}

// out += factor * a b for six rows and all columns of `out`.
template <class Kind, bool Paired>
inline void add_product(const typename Kind::Unit* a, Index a_stride, const typename Kind::Unit* b,
                        Index b_stride, Index depth, typename Kind::Number factor,
                        typename Kind::Number* out, Index out_stride, Panels panels) {
  for (Index panel = 0; panel < panels.count; ++panel) {
    const Index column = panels.first(panel) * Kind::lanes;
    with_width(panels.width(panel), [&](auto width) {
      constexpr int vectors = width;
      Tile<Kind, vectors> sum;
      multiply<Kind, Paired, vectors>(a, a_stride, b + column, b_stride, depth, sum);
#pragma GCC unroll 8
      for (int m = 0; m < kTileRows; ++m)
#pragma GCC unroll 8
        for (int n = 0; n < vectors; ++n) {
          auto* to = out + m * out_stride + column + n * Kind::lanes;
          store(to, load<typename Kind::Lanes>(to) + sum[m][n] * factor);
        }
    });
  }
}

}  // namespace sigmoe
