// A tile of rows from its monomials to gates, experts and prediction, a register at a time.
#pragma once
#include <vector>

#include "products.h"

namespace sigmoe {

// Which moments of a tile are wanted: products of two of the factors u, v, l, summed over some
// columns of the response, times the first monomials; where they lie among all moments.
struct Segment {
  Index left, right, first_column, last_column, monomials, start;
};

// The C side of _Pass in _native.py. Samples are last; what is not wanted is null. A row counts
// `root` times in residuals and derivatives: the root of its weight.
struct Pass {
  Index rows, threads, dim, experts, columns, score_powers, gate, expert;
  Index input_stride, response_stride, segment_count;
  const double *inputs, *responses, *root;
  const double *score, *ridge, *scale;
  const Segment* segments;
  double *square, *total, *grad_score, *grad_ridge, *grad_scale, *moments;
};

enum { kSigmoid, kSoftmax };
enum { kLinear, kRelu, kTanh };

struct Expert {
  V value, slope;
};

// With t = exp(-2 |z|): tanh |z| = (1 - t) / (1 + t), tanh' z = 4 t / (1 + t)^2.
SIGMOE_INLINE Expert tanh_of(V z) {
  constexpr auto& c = PowerOfTwo<11>::coefficient;
  const V y = choose(z > V{}, -z, z) * (2.0 * kPerLogTwo);
  const V t = power_of_two<11, double>(y), inverse = 1.0 / (1.0 + t);
  // 1 - t without cancellation where t is near 1.
  V sum = spread(c[11]);
#pragma GCC unroll 16
  for (int k = 10; k >= 1; --k) sum = sum * y + c[k];
  const V size = choose(y > spread(-0.5), -y * sum, 1.0 - t) * inverse;
  return {choose(z < V{}, -size, size), 4.0 * t * inverse * inverse};
}

template <int Kind>
SIGMOE_INLINE Expert expert_of(V z) {
  if constexpr (Kind == kLinear) return {z, spread(1.0)};
  if constexpr (Kind == kRelu) {
    // A NaN stays one.
    const auto positive = z > V{};
    return {choose(z <= V{}, V{}, z), choose(positive, spread(1.0), V{})};
  }
  return tanh_of(z);
}

// A thread's intermediate results of a tile, each a few rows of kTile numbers, and what else a pass
// needs.
class Work {
 public:
  double *powers, *scores, *weights, *slopes, *ridges, *values, *rates, *prediction, *residual, *root;
  double* scratch;

  Work(const Pass& p, Index scratch_size) {
    const Index N = p.experts, m = p.columns, powers_needed = max(p.score_powers, 1 + p.dim);
    double** const parts[] = {&powers, &scores, &weights, &slopes, &ridges, &values, &rates,
                              &prediction, &residual, &root};
    const Index rows[] = {powers_needed, N, N, N, N * m, N * m, N * m, m, m, 1};
    Index total = 0;
    for (Index count : rows) total += count;
    memory_.resize(total * kTile + scratch_size + kLanes);
    double* at = aligned(memory_.data());
    for (int k = 0; k < 10; ++k) {
      *parts[k] = at;
      at += rows[k] * kTile;
    }
    scratch = at;
  }

 private:
  std::vector<double> memory_;
};

// Copy up to `Tile` numbers, and fill up with the last one: such rows have no weight, and whatever
// is finite in the last row is finite in them.
template <int Tile>
SIGMOE_INLINE void copy_tile(const double* from, Index count, double* to) {
  for (Index t = 0; t < Tile; ++t) to[t] = from[t < count ? t : count - 1];
}

// The first `wanted` graded monomials: 1, then x_u, then x_u x_v (u <= v), and so on.
template <int Tile>
void fill_powers(const Pass& p, Index first, Index count, Index wanted, double* powers) {
  for (int t = 0; t < Tile; ++t) powers[t] = 1.0;
  // Where the monomials begin, of the last degree, whose smallest index is at least u.
  std::vector<Index> begin(p.dim), next(p.dim);
  for (Index u = 0; u < p.dim; ++u) {
    begin[u] = 1 + u;
    copy_tile<Tile>(p.inputs + u * p.input_stride + first, count, powers + (1 + u) * Tile);
  }
  for (Index row = 1 + p.dim, end = row; row < wanted; end = row) {
    for (Index u = 0; u < p.dim; ++u) {
      next[u] = row;
      const double* const x = powers + (1 + u) * Tile;
      for (Index k = begin[u]; k < end; ++k, ++row)
        for (int t = 0; t < Tile; t += kLanes)
          store(powers + row * Tile + t, load<V>(x + t) * load<V>(powers + k * Tile + t));
    }
    begin.swap(next);
  }
}

template <int Gate>
SIGMOE_INLINE void fill_gates(Index N, int t, const Work& w) {
  if constexpr (Gate == kSigmoid) {
    for (Index i = 0; i < N; ++i) {
      const Gated<V> g = gate<11, double>(load<V>(w.scores + i * kTile + t) * kPerLogTwo);
      store(w.weights + i * kTile + t, g.weight);
      store(w.slopes + i * kTile + t, g.slope);
    }
    return;
  }
  V most = load<V>(w.scores + t), sum{};
  for (Index i = 1; i < N; ++i) {
    const V score = load<V>(w.scores + i * kTile + t);
    most = choose(score > most, score, most);
  }
  for (Index i = 0; i < N; ++i) {
    const V score = load<V>(w.scores + i * kTile + t);
    const V weight = power_of_two<11, double>((score - most) * kPerLogTwo);
    store(w.weights + i * kTile + t, weight);
    sum += weight;
  }
  const V inverse = 1.0 / sum;
  for (Index i = 0; i < N; ++i)
    store(w.weights + i * kTile + t, load<V>(w.weights + i * kTile + t) * inverse);
}

// Experts, their slopes (rates), and the prediction.
template <int Kind>
SIGMOE_INLINE void fill_values(const Pass& p, int t, const Work& w) {
  for (Index k = 0; k < p.columns; ++k) {
    V prediction{};
    for (Index i = 0; i < p.experts; ++i) {
      const Index row = i * p.columns + k, at = row * kTile + t;
      const Expert e = expert_of<Kind>(load<V>(w.ridges + at));
      const V value = p.scale ? e.value * p.scale[row] : e.value;
      store(w.values + at, value);
      store(w.rates + at, e.slope);
      prediction += load<V>(w.weights + i * kTile + t) * value;
    }
    store(w.prediction + k * kTile + t, prediction);
  }
}

// All of the above for a tile, before what is done a register at a time.
inline void begin_tile(const Pass& p, Index first, Index count, const Work& w) {
  fill_powers<kTile>(p, first, count, p.score_powers, w.powers);
  for (Index t = 0; t < kTile; ++t) w.root[t] = t >= count ? 0.0 : p.root ? p.root[first + t] : 1.0;
  multiply(p.experts, p.score, p.score_powers, w.powers, p.score_powers, w.scores);
  multiply(p.experts * p.columns, p.ridge, 1 + p.dim, w.powers, 1 + p.dim, w.ridges);
}

}  // namespace sigmoe
