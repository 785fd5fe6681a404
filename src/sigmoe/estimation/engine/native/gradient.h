// The squared residuals of some rows, their gradient, and the sums of the residuals themselves.
#pragma once
#include "pieces.h"
#include "tile.h"

namespace sigmoe {

// Where a piece of the rows adds its sums: square, total, score, ridge, scale.
struct Sums {
  double *square, *total, *score, *ridge, *scale;

  static Index size(const Pass& p) {
    const Index experts = p.experts * p.columns;
    return 1 + p.columns + p.experts * p.score_powers + experts * (1 + p.dim) + experts;
  }

  Sums(const Pass& p, double* memory)
      : square(memory),
        total(memory + 1),
        score(total + p.columns),
        ridge(score + p.experts * p.score_powers),
        scale(ridge + p.experts * p.columns * (1 + p.dim)) {}
};

// Turns responses into residuals, and returns their squares.
SIGMOE_INLINE V fill_residual(const Pass& p, int t, const Work& w) {
  V square{};
  const V root = load<V>(w.root + t);
  for (Index k = 0; k < p.columns; ++k) {
    double* const at = w.residual + k * kTile + t;
    const V residual = (load<V>(w.prediction + k * kTile + t) - load<V>(at)) * root;
    square += residual * residual;
    store(at, residual * root);
  }
  return square;
}

// Turns scores, rates and (for scaled experts) ridge functions into the factors of the adjoints.
template <int Gate, int Kind>
SIGMOE_INLINE void fill_adjoints(const Pass& p, int t, const Work& w) {
  for (Index i = 0; i < p.experts; ++i) {
    const V weight = load<V>(w.weights + i * kTile + t);
    V pull{};
    for (Index k = 0; k < p.columns; ++k) {
      const Index row = i * p.columns + k, at = row * kTile + t;
      const V residual = load<V>(w.residual + k * kTile + t), value = load<V>(w.values + at);
      const V mean = Gate == kSoftmax ? load<V>(w.prediction + k * kTile + t) : V{};
      pull += residual * (value - mean);
      V rate = weight * residual;
      if (p.scale) {
        store(w.ridges + at, rate * expert_of<Kind>(load<V>(w.ridges + at)).value);
        rate *= p.scale[row];
      }
      store(w.rates + at, rate * load<V>(w.rates + at));
    }
    const V slope = Gate == kSigmoid ? load<V>(w.slopes + i * kTile + t) : weight;
    store(w.scores + i * kTile + t, pull * slope);
  }
}

template <int Gate, int Kind>
void add_gradient(const Pass& p, Index first, Index count, const Work& w, const Sums& sums) {
  begin_tile(p, first, count, w);
  for (Index k = 0; k < p.columns; ++k)
    copy_tile<kTile>(p.responses + k * p.response_stride + first, count, w.residual + k * kTile);
  V square{};
  for (int t = 0; t < kTile; t += kLanes) {
    fill_gates<Gate>(p.experts, t, w);
    fill_values<Kind>(p, t, w);
    square += fill_residual(p, t, w);
    if (p.grad_score) fill_adjoints<Gate, Kind>(p, t, w);
  }
  *sums.square += sum_of(square);
  if (p.total) contract_with_one(p.columns, w.residual, sums.total);
  if (!p.grad_score) return;
  const Index experts = p.experts * p.columns;
  contract(p.experts, w.scores, w.powers, p.score_powers, sums.score);
  contract(experts, w.rates, w.powers, 1 + p.dim, sums.ridge);
  if (p.scale) contract_with_one(experts, w.ridges, sums.scale);
}

template <int Gate, int Kind>
void gradient(const Pass& p) {
  const auto add_tile = [&](Index first, Index count, const Work& work, double* memory) {
    add_gradient<Gate, Kind>(p, first, count, work, Sums(p, memory));
  };
  in_pieces(p, 8 * kTile, Sums::size(p), 0, add_tile, [&](double* memory) {
    const Sums sums(p, memory);
    *p.square += *sums.square;
    if (p.total) add(sums.total, p.columns, p.total);
    if (!p.grad_score) return;
    add(sums.score, sums.ridge - sums.score, p.grad_score);
    add(sums.ridge, sums.scale - sums.ridge, p.grad_ridge);
    if (p.scale) add(sums.scale, p.experts * p.columns, p.grad_scale);
  });
}

}  // namespace sigmoe
