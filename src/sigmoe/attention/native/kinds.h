// The arithmetic of a call: what is multiplied (units), what is summed (numbers), how they meet.
//
// A unit is one number, or for bfloat16 a pair of neighbours along the summed axis, as the dot
// product instruction takes it. "Rows" keep an array's rows, "pairs" interleave neighbouring rows.
#pragma once
#include "call.h"
#include "lanes.h"

namespace sigmoe {

template <class NumberType, int DegreeValue>
struct Plain {
  using Number = NumberType;
  using Unit = NumberType;
  using Element = NumberType;
  using Lanes = typename Format<Number>::Lanes;
  using UnitLanes = Lanes;
  static constexpr int lanes = kRegisterBytes / sizeof(Number);
  static constexpr int pair = 1;
  static constexpr int degree = DegreeValue;

  static SIGMOE_INLINE UnitLanes spread(Unit unit) { return UnitLanes{} + unit; }
  static SIGMOE_INLINE Lanes dot(Lanes sum, UnitLanes a, UnitLanes b) { return sum + a * b; }
  static Number number(Element element) { return element; }

  template <int Rows, int Vectors>
  static SIGMOE_INLINE void store_rows(const Lanes (&tile)[Rows][Vectors], Unit* to, Index stride) {
#pragma GCC unroll 8
    for (int m = 0; m < Rows; ++m)
#pragma GCC unroll 8
      for (int n = 0; n < Vectors; ++n) store(to + m * stride + n * lanes, tile[m][n]);
  }
  template <int Rows, int Vectors>
  static SIGMOE_INLINE void store_pairs(const Lanes (&tile)[Rows][Vectors], Unit* to,
                                        Index stride) {
    store_rows(tile, to, stride);
  }
};

using Float32 = Plain<float, 5>;
using Float64 = Plain<double, 11>;

SIGMOE_INLINE float widen(std::uint16_t half) {
  const std::uint32_t bits = std::uint32_t(half) << 16;
  float number;
  std::memcpy(&number, &bits, sizeof number);
  return number;
}

SIGMOE_INLINE std::uint16_t narrow(float number) {
  std::uint32_t bits;
  std::memcpy(&bits, &number, sizeof bits);
  const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return std::uint16_t(number == number ? rounded : (bits >> 16) | 0x40u);
}

#if defined(__AVX512BF16__)
struct Bfloat16 {
  using Number = float;
  using Unit = std::uint32_t;
  using Element = std::uint16_t;
  using Lanes = FloatLanes;
  using UnitLanes = WordLanes;
  static constexpr int lanes = 16;
  static constexpr int pair = 2;
  static constexpr int degree = 3;

  static SIGMOE_INLINE UnitLanes spread(Unit unit) { return UnitLanes{} + unit; }
  static SIGMOE_INLINE Lanes dot(Lanes sum, UnitLanes a, UnitLanes b) {
    return (Lanes)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
  }
  static Number number(Element element) { return widen(element); }
  static SIGMOE_INLINE __m512i both(Lanes first, Lanes second) {
    return (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
  }

  template <int Rows, int Vectors>
  static SIGMOE_INLINE void store_rows(const Lanes (&tile)[Rows][Vectors], Unit* to, Index stride) {
#pragma GCC unroll 8
    for (int m = 0; m < Rows; ++m) {
      Unit* row = to + m * stride;
#pragma GCC unroll 4
      for (int n = 0; n + 1 < Vectors; n += 2)
        _mm512_storeu_si512(row + n * 8, both(tile[m][n], tile[m][n + 1]));
      if constexpr (Vectors % 2)
        _mm256_storeu_si256((__m256i*)(row + (Vectors - 1) * 8),
                            (__m256i)_mm512_cvtneps_pbh((__m512)tile[m][Vectors - 1]));
    }
  }
  template <int Rows, int Vectors>
  static SIGMOE_INLINE void store_pairs(const Lanes (&tile)[Rows][Vectors], Unit* to,
                                        Index stride) {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                           8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
#pragma GCC unroll 4
    for (int m = 0; m < Rows; m += 2)
#pragma GCC unroll 8
      for (int n = 0; n < Vectors; ++n)
        _mm512_storeu_si512(to + (m / 2) * stride + n * lanes,
                            _mm512_permutexvar_epi16(order, both(tile[m][n], tile[m + 1][n])));
  }
};
#endif

// Number `depth` of row `row` of an array of rows, or of column `row` of an array of pairs.
template <class Kind, bool Paired>
SIGMOE_INLINE typename Kind::Number entry(const typename Kind::Unit* units, Index stride, Index row,
                                          Index depth) {
  const auto* elements = reinterpret_cast<const typename Kind::Element*>(units);
  if constexpr (Paired)
    return Kind::number(
        elements[((depth / Kind::pair) * stride + row) * Kind::pair + depth % Kind::pair]);
  else
    return Kind::number(elements[row * stride * Kind::pair + depth]);
}

}  // namespace sigmoe
