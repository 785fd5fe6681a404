// The moments that make up J'J: sums over rows of two of the factors u, v, l times a monomial.
//
// Derivatives of the prediction are u times a monomial for the scores, v for alpha and beta, l for
// the scales. A tile goes in parts, which have their monomials of all degrees in the caches, and
// the products of factors row by row, so that a moment's vectors run over the pairs.
#pragma once
#include "pieces.h"
#include "tile.h"

namespace sigmoe {

constexpr int kPart = 64;
// Registers of pairs that are summed at a time, beside four monomials.
constexpr int kAcross = kRegisterBytes == 64 ? 6 : 3;

SIGMOE_INLINE Index pairs_of(const Pass& p, const Segment& s) {
  return s.left == s.right ? p.experts * (p.experts + 1) / 2 : p.experts * p.experts;
}

// Pairs of a segment, filled up to whole registers.
SIGMOE_INLINE Index width_of(const Pass& p, const Segment& s) {
  return (pairs_of(p, s) + kLanes - 1) / kLanes * kLanes;
}

// Turns values, rates and ridge functions into u, v and l.
template <int Gate, int Kind>
SIGMOE_INLINE void fill_factors(const Pass& p, int t, const Work& w) {
  const V root = load<V>(w.root + t);
  for (Index i = 0; i < p.experts; ++i) {
    const V weight = load<V>(w.weights + i * kTile + t) * root;
    const V slope = Gate == kSigmoid ? load<V>(w.slopes + i * kTile + t) * root : weight;
    for (Index k = 0; k < p.columns; ++k) {
      const Index row = i * p.columns + k, at = row * kTile + t;
      const V mean = Gate == kSoftmax ? load<V>(w.prediction + k * kTile + t) : V{};
      store(w.values + at, slope * (load<V>(w.values + at) - mean));
      V rate = weight * load<V>(w.rates + at);
      if (p.scale) {
        store(w.ridges + at, weight * expert_of<Kind>(load<V>(w.ridges + at)).value);
        rate *= p.scale[row];
      }
      store(w.rates + at, rate);
    }
  }
}

// out (kPart x width): products of two factors, row by row.
inline void fill_products(const Pass& p, const Segment& s, const double* left, const double* right,
                          Index width, double* out) {
  const Index N = p.experts, m = p.columns;
  for (Index t = 0; t < kPart; ++t) {
    double* const row = out + t * width;
    for (Index k = 0; k < width; ++k) row[k] = 0.0;
    for (Index column = s.first_column; column < s.last_column; ++column) {
      const double *a = left + column * kTile + t, *b = right + column * kTile + t;
      double* to = row;
      for (Index i = 0; i < N; ++i)
        for (Index j = s.left == s.right ? i : 0; j < N; ++j) *to++ += a[i * m * kTile] * b[j * m * kTile];
    }
  }
}

// sums (I x J registers of a matrix with that stride) += powers (I x kPart) times products
template <int I, int J>
void add_block(const double* powers, const double* products, double* sums, Index stride) {
  V sum[I][J];
  for (int i = 0; i < I; ++i)
    for (int j = 0; j < J; ++j) sum[i][j] = load<V>(sums + i * stride + j * kLanes);
  for (int t = 0; t < kPart; ++t) {
    V across[J];
#pragma GCC unroll 8
    for (int j = 0; j < J; ++j) across[j] = load<V>(products + t * stride + j * kLanes);
#pragma GCC unroll 4
    for (int i = 0; i < I; ++i)
#pragma GCC unroll 8
      for (int j = 0; j < J; ++j) sum[i][j] += powers[i * kPart + t] * across[j];
  }
  for (int i = 0; i < I; ++i)
    for (int j = 0; j < J; ++j) store(sums + i * stride + j * kLanes, sum[i][j]);
}

template <int J>
void add_columns(const double* powers, Index monomials, const double* products, double* sums, Index stride) {
  by_fours(monomials, [&](Index k, auto I) {
    add_block<I.value, J>(powers + k * kPart, products, sums + k * stride, stride);
  });
}

inline void add_products(const double* powers, Index monomials, const double* products, Index width,
                         double* sums) {
  Index column = 0;
  for (; column + kAcross * kLanes <= width; column += kAcross * kLanes)
    add_columns<kAcross>(powers, monomials, products + column, sums + column, width);
  const auto rest = [&](auto J) {
    add_columns<J.value>(powers, monomials, products + column, sums + column, width);
  };
  switch ((width - column) / kLanes) {
    case 5: return rest(std::integral_constant<int, kAcross == 6 ? 5 : 1>{});
    case 4: return rest(std::integral_constant<int, kAcross == 6 ? 4 : 1>{});
    case 3: return rest(std::integral_constant<int, kAcross == 6 ? 3 : 1>{});
    case 2: return rest(std::integral_constant<int, 2>{});
    case 1: return rest(std::integral_constant<int, 1>{});
  }
}

template <int Gate, int Kind>
void add_moments(const Pass& p, Index first, Index count, Index monomials, const Work& w, double* sums) {
  begin_tile(p, first, count, w);
  for (int t = 0; t < kTile; t += kLanes) {
    fill_gates<Gate>(p.experts, t, w);
    fill_values<Kind>(p, t, w);
    fill_factors<Gate, Kind>(p, t, w);
  }
  const double* const factors[] = {w.values, w.rates, w.ridges};
  double *const powers = w.scratch, *const products = w.scratch + monomials * kPart;
  for (Index part = 0; part < count; part += kPart) {
    fill_powers<kPart>(p, first + part, min(count - part, Index(kPart)), monomials, powers);
    double* to = sums;
    for (Index k = 0; k < p.segment_count; ++k) {
      const Segment& s = p.segments[k];
      const Index width = width_of(p, s);
      fill_products(p, s, factors[s.left] + part, factors[s.right] + part, width, products);
      add_products(powers, s.monomials, products, width, to);
      to += s.monomials * width;
    }
  }
}

template <int Gate, int Kind>
void moments(const Pass& p) {
  Index size = 0, monomials = 0, widest = 0;
  for (Index k = 0; k < p.segment_count; ++k) {
    const Segment& s = p.segments[k];
    size += s.monomials * width_of(p, s);
    monomials = max(monomials, s.monomials);
    widest = max(widest, width_of(p, s));
  }
  const Index scratch = (monomials + widest) * kPart;
  // Few pieces where their sums are many.
  const Index pieces = max(Index(1), min(Index(8), (Index(1) << 21) / size));
  const Index length = ((p.rows + pieces - 1) / pieces + kTile - 1) / kTile * kTile;
  const auto add_tile = [&](Index first, Index count, const Work& work, double* sums) {
    add_moments<Gate, Kind>(p, first, count, monomials, work, sums);
  };
  in_pieces(p, max(length, Index(kTile)), size, scratch, add_tile, [&](const double* sums) {
    for (Index k = 0; k < p.segment_count; ++k) {
      const Segment& s = p.segments[k];
      const Index width = width_of(p, s), pairs = pairs_of(p, s);
      for (Index row = 0; row < s.monomials; ++row, sums += width)
        add(sums, pairs, p.moments + s.start + row * pairs);
    }
  });
}

}  // namespace sigmoe
