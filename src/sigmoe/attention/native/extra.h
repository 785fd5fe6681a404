// What is added to the scores of a tile in which not all pairs are alike: masks, band, slopes.
#pragma once
#include <cmath>
#include <limits>

#include "product.h"

namespace sigmoe {

constexpr double kLog2E = 1.4426950408889634;
constexpr Index kTileColumns = kTileVectors * kRegisterBytes / sizeof(float);

// A score over log 2 from a product: scale (product + rest) + constant. Rounding the constant would
// move all scores of a call alike, by up to 1e-6 at 15; `rest` is what it takes, over the scale.
template <class Number>
struct Score {
  explicit Score(const Call& call)
      : scale(Number(call.scale * kLog2E)),
        constant(Number(call.constant * kLog2E)),
        rest(scale == 0 ? Number(0)
                        : Number((call.constant * kLog2E - double(constant)) / double(scale))) {}
  const Number scale, constant, rest;
};

// Numbers of a row of `extra`: constant + added - slope * distance, over log 2; -infinity hides.
template <class Number>
inline void fill_extra_row(const Call& call, Index batch, Index head, Index row, Index first,
                           Index count, Number* extra) {
  constexpr Number hidden = -std::numeric_limits<Number>::infinity();
  const Number constant = Number(call.constant * kLog2E);
  const Index used = most(0, least(count, call.keys - first));
  for (Index c = 0; c < count; ++c) extra[c] = constant;
  if (call.slopes.data) {
    const Number slope = *row_of<Number>(call.slopes, batch, head, 0) * Number(kLog2E);
    const std::int32_t start = std::int32_t(row + call.distance_offset - first);
    for (std::int32_t c = 0; c < used; ++c)
      extra[c] -= slope * Number(start > c ? start - c : c - start);
  }
  if (call.added.data) {
    const Number* added = row_of<Number>(call.added, batch, head, row) + first * call.added.stride[3];
    if (call.added.stride[3] == 1)
      for (Index c = 0; c < used; ++c) extra[c] += added[c] * Number(kLog2E);
    else
      for (Index c = 0; c < used; ++c)
        extra[c] += added[c * call.added.stride[3]] * Number(kLog2E);
  }
  if (call.visible.data) {
    const auto* visible =
        row_of<std::uint8_t>(call.visible, batch, head, row) + first * call.visible.stride[3];
    if (call.visible.stride[3] == 1)
      for (Index c = 0; c < used; ++c) extra[c] = visible[c] ? extra[c] : hidden;
    else
      for (Index c = 0; c < used; ++c)
        extra[c] = visible[c * call.visible.stride[3]] ? extra[c] : hidden;
  }
  const Index begin = most(0, least(count, row + call.band_low - first));
  const Index end = most(begin, least(used, row + call.band_high + 1 - first));
  for (Index c = 0; c < begin; ++c) extra[c] = hidden;
  for (Index c = end; c < count; ++c) extra[c] = hidden;
}

// Rows beyond the last query repeat it: their results are not kept.
template <class Number>
inline void fill_extra(const Call& call, Index batch, Index head, Index row, Index first,
                       Index count, Number (&extra)[kTileRows][kTileColumns]) {
  for (int m = 0; m < kTileRows; ++m)
    fill_extra_row(call, batch, head, least(row + m, call.queries - 1), first, count, extra[m]);
}

// Weights of a tile from its products, and the gate's slopes if asked.
template <class Kind, bool Masked, int Vectors>
SIGMOE_INLINE void gate_tile(Tile<Kind, Vectors>& tile, const Score<typename Kind::Number>& score,
                             const typename Kind::Number (&extra)[kTileRows][kTileColumns],
                             typename Kind::Number* slopes) {
  using Number = typename Kind::Number;
  using Lanes = typename Kind::Lanes;
#pragma GCC unroll 8
  for (int m = 0; m < kTileRows; ++m)
#pragma GCC unroll 8
    for (int n = 0; n < Vectors; ++n) {
      Lanes shift = Lanes{} + score.constant;
      if constexpr (Masked) shift = load<Lanes>(&extra[m][n * Kind::lanes]);
      // For bfloat16 the rest is far below the rounding of the weights.
      if constexpr (Kind::degree > 3) tile[m][n] = tile[m][n] + score.rest;
      auto gated = gate<Kind::degree, Number>(tile[m][n] * score.scale + shift);
      if constexpr (Masked) {
        const auto hidden = shift == -std::numeric_limits<Number>::infinity();
        gated.weight = choose(hidden, Lanes{}, gated.weight);
        gated.slope = choose(hidden, Lanes{}, gated.slope);
      }
      tile[m][n] = gated.weight;
      if (slopes) store(slopes + m * kTileColumns + n * Kind::lanes, gated.slope);
    }
}

}  // namespace sigmoe
