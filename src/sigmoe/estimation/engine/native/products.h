// Products of small matrices with tiles: rows of kTile numbers, one a sample.
#pragma once
#include <cstdint>
#include <type_traits>

#include "lanes.h"

namespace sigmoe {

using Index = std::int64_t;
using V = DoubleLanes;

constexpr int kLanes = sizeof(V) / sizeof(double);
constexpr int kTile = 256;
constexpr double kPerLogTwo = 1.4426950408889634074;

SIGMOE_INLINE V spread(double x) { return V{} + x; }
SIGMOE_INLINE Index min(Index a, Index b) { return a < b ? a : b; }
SIGMOE_INLINE Index max(Index a, Index b) { return a < b ? b : a; }

// The first address of a register at or after this one.
SIGMOE_INLINE double* aligned(double* memory) {
  const auto over = reinterpret_cast<std::uintptr_t>(memory) % kRegisterBytes;
  return memory + (over ? (kRegisterBytes - over) / sizeof(double) : 0);
}

SIGMOE_INLINE double sum_of(V v) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_pd((__m512d)v);
#else
  double sum = 0.0;
  for (int k = 0; k < kLanes; ++k) sum += v[k];
  return sum;
#endif
}

// Call `work` with blocks of four, and at the end with the one to three that are left.
template <class Work>
SIGMOE_INLINE void by_fours(Index count, Work&& work) {
  Index first = 0;
  for (; first + 4 <= count; first += 4) work(first, std::integral_constant<int, 4>{});
  switch (count - first) {
    case 3: return work(first, std::integral_constant<int, 3>{});
    case 2: return work(first, std::integral_constant<int, 2>{});
    case 1: return work(first, std::integral_constant<int, 1>{});
  }
}

// out (I tile rows) = left (I x depth) times right (depth tile rows)
template <int I>
void multiply_block(const double* left, Index stride, const double* right, Index depth, double* out) {
  constexpr int J = 4;
  for (int column = 0; column < kTile; column += J * kLanes) {
    V sum[I][J] = {};
    for (Index k = 0; k < depth; ++k) {
      V across[J];
#pragma GCC unroll 4
      for (int j = 0; j < J; ++j) across[j] = load<V>(right + k * kTile + column + j * kLanes);
#pragma GCC unroll 4
      for (int i = 0; i < I; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < J; ++j) sum[i][j] += left[i * stride + k] * across[j];
    }
#pragma GCC unroll 4
    for (int i = 0; i < I; ++i)
#pragma GCC unroll 4
      for (int j = 0; j < J; ++j) store(out + i * kTile + column + j * kLanes, sum[i][j]);
  }
}

inline void multiply(Index rows, const double* left, Index stride, const double* right, Index depth,
                     double* out) {
  by_fours(rows, [&](Index i, auto block) {
    multiply_block<block.value>(left + i * stride, stride, right, depth, out + i * kTile);
  });
}

// sums (I x J of a matrix with that stride) += left (I tile rows) times right (J tile rows)'
template <int I, int J>
void contract_block(const double* left, const double* right, double* sums, Index stride) {
  V sum[I][J] = {};
  for (int column = 0; column < kTile; column += kLanes) {
    V across[J];
#pragma GCC unroll 4
    for (int j = 0; j < J; ++j) across[j] = load<V>(right + j * kTile + column);
#pragma GCC unroll 4
    for (int i = 0; i < I; ++i) {
      const V down = load<V>(left + i * kTile + column);
#pragma GCC unroll 4
      for (int j = 0; j < J; ++j) sum[i][j] += down * across[j];
    }
  }
  for (int i = 0; i < I; ++i)
    for (int j = 0; j < J; ++j) sums[i * stride + j] += sum_of(sum[i][j]);
}

// sums (rows x count) += left (tile rows) times right (count tile rows)'
inline void contract(Index rows, const double* left, const double* right, Index count, double* sums) {
  by_fours(rows, [&](Index i, auto I) {
    by_fours(count, [&](Index j, auto J) {
      contract_block<I.value, J.value>(left + i * kTile, right + j * kTile, sums + i * count + j, count);
    });
  });
}

// sums (rows) += the sum of each tile row
inline void contract_with_one(Index rows, const double* left, double* sums) {
  for (Index i = 0; i < rows; ++i) {
    V sum{};
    for (int t = 0; t < kTile; t += kLanes) sum += load<V>(left + i * kTile + t);
    sums[i] += sum_of(sum);
  }
}

}  // namespace sigmoe
