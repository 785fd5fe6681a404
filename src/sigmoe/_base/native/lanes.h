// Vectors of the widest registers that the compiler targets, and the gate on them.
// Shared by the kernels of attention and of least squares.
#pragma once
#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace sigmoe {

#if defined(__AVX512F__)
constexpr int kRegisterBytes = 64;
constexpr int kTileVectors = 4;
#elif defined(__AVX__)
constexpr int kRegisterBytes = 32;
constexpr int kTileVectors = 2;
#elif defined(__aarch64__)
constexpr int kRegisterBytes = 16;
constexpr int kTileVectors = 4;
#else
constexpr int kRegisterBytes = 16;
constexpr int kTileVectors = 2;
#endif

#define SIGMOE_INLINE inline __attribute__((always_inline))

typedef float FloatLanes __attribute__((vector_size(kRegisterBytes)));
typedef double DoubleLanes __attribute__((vector_size(kRegisterBytes)));
typedef std::int32_t IntLanes __attribute__((vector_size(kRegisterBytes)));
typedef std::int64_t LongLanes __attribute__((vector_size(kRegisterBytes)));
typedef std::uint32_t WordLanes __attribute__((vector_size(kRegisterBytes)));

template <class Lanes, class Element>
SIGMOE_INLINE Lanes load(const Element* from) {
  Lanes lanes;
  std::memcpy(&lanes, from, sizeof lanes);
  return lanes;
}

template <class Lanes, class Element>
SIGMOE_INLINE void store(Element* to, Lanes lanes) {
  std::memcpy(to, &lanes, sizeof lanes);
}

// 2^f on [-1/2, 1/2], minimax in relative error: 7.5e-5 (degree 3), 7.5e-8 (5), 3.1e-18 (11).
template <int Degree>
struct PowerOfTwo;
template <>
struct PowerOfTwo<3> {
  static constexpr double coefficient[] = {0.99992807354, 0.69326098545, 0.24261112222,
                                           0.055171669093};
};
template <>
struct PowerOfTwo<5> {
  static constexpr double coefficient[] = {1.0000000717,   0.69314696707,  0.24022119724,
                                           0.055507132729, 0.009675541331, 0.0013276472168};
};
template <>
struct PowerOfTwo<11> {
  static constexpr double coefficient[] = {
      0.999999999999999997,  0.69314718055994533,   0.240226506959101562,  0.0555041086648199215,
      0.00961812910758833508, 0.00133335581467899503, 0.00015403530462514613, 1.52527334899608046e-5,
      1.3215433089594629e-6, 1.01781980333285277e-7, 7.07410562624565937e-9, 4.43528094461033616e-10};
};

template <int Degree, class Number, class Lanes>
SIGMOE_INLINE Lanes polynomial(Lanes fraction) {
  constexpr auto& c = PowerOfTwo<Degree>::coefficient;
  Lanes sum = Lanes{} + Number(c[Degree]);
#pragma GCC unroll 16
  for (int k = Degree - 1; k >= 0; --k) sum = sum * fraction + Number(c[k]);
  return sum;
}

template <class Number>
struct Format;
template <>
struct Format<float> {
  using Lanes = FloatLanes;
  using Bits = IntLanes;
  static constexpr int mantissa = 23;
  static constexpr float smallest_exponent = -126, round = 12582912.0f;
};
template <>
struct Format<double> {
  using Lanes = DoubleLanes;
  using Bits = LongLanes;
  static constexpr int mantissa = 52;
  static constexpr double smallest_exponent = -1022, round = 6755399441055744.0;
};

template <class Lanes>
SIGMOE_INLINE Lanes choose(decltype(Lanes{} < Lanes{}) when, Lanes yes, Lanes no) {
  return when ? yes : no;
}

// 2^y for y <= 0, zero below the smallest normal number; a NaN stays one.
template <int Degree, class Number>
SIGMOE_INLINE typename Format<Number>::Lanes power_of_two(typename Format<Number>::Lanes y) {
  using F = Format<Number>;
  using Lanes = typename F::Lanes;
  using Bits = typename F::Bits;
  const Lanes floor = Lanes{} + F::smallest_exponent;
  const Lanes clamped = choose(y < floor, floor, y);
  const Lanes shifted = clamped + F::round;
  const Lanes fraction = clamped - (shifted - F::round);
  const Bits bits = (Bits)polynomial<Degree, Number>(fraction) + ((Bits)shifted << F::mantissa);
  return choose(y < floor, Lanes{}, choose(y == y, (Lanes)bits, y));
}

#if defined(__AVX512F__)
template <int Degree>
SIGMOE_INLINE FloatLanes power_of_two_fast(FloatLanes y) {
  // The second operand is returned where one is NaN.
  const __m512 clamped = _mm512_max_ps(_mm512_set1_ps(-300.0f), (__m512)y);
  const __m512 whole = _mm512_roundscale_ps(clamped, 8);
  const FloatLanes fraction = (FloatLanes)_mm512_sub_ps(clamped, whole);
  return (FloatLanes)_mm512_scalef_ps((__m512)polynomial<Degree, float>(fraction), whole);
}
#endif

template <class Lanes>
struct Gated {
  Lanes weight, slope;
};

// sigmoid(x) and sigmoid'(x) from y = x / log 2, without cancellation in either tail:
// with t = 2^-|y| the two weights of the pair are 1/(1+t) and t/(1+t), their product t/(1+t)^2.
template <int Degree, class Number>
SIGMOE_INLINE Gated<typename Format<Number>::Lanes> gate(typename Format<Number>::Lanes y) {
  using Lanes = typename Format<Number>::Lanes;
#if defined(__AVX512F__)
  if constexpr (sizeof(Number) == 4) {
    const __m512 sign = _mm512_set1_ps(-0.0f);
    const FloatLanes t = power_of_two_fast<Degree>((FloatLanes)_mm512_or_ps((__m512)y, sign));
    const FloatLanes sum = t + 1.0f;
    FloatLanes inverse = (FloatLanes)_mm512_rcp14_ps((__m512)sum);
    if constexpr (Degree > 3) inverse = inverse * (2.0f - sum * inverse);
    const FloatLanes small = t * inverse;
    const __mmask16 negative = _mm512_movepi32_mask((__m512i)y);
    return {(FloatLanes)_mm512_mask_mov_ps((__m512)inverse, negative, (__m512)small),
            small * inverse};
  } else
#endif
  {
    const Lanes t = power_of_two<Degree, Number>(choose(y > Lanes{}, -y, y));
    const Lanes inverse = Number(1) / (t + Number(1));
    const Lanes small = t * inverse;
    return {choose(y < Lanes{}, small, inverse), small * inverse};
  }
}

}  // namespace sigmoe
