// One pass over some rows: the squared residuals of a mixture of experts, and their gradient.
//
// Rows come in tiles that stay in the caches with their monomials. Scores, experts and adjoints of
// a tile are small matrix products; what lies between them is done a register at a time.
// _native.py compiles and calls it.
#include <new>
#include <vector>

#include "products.h"

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace sigmoe {

// The C side of _Pass in _native.py. Samples are last; weights, scales and gradients may be null.
// The residual of a row counts `root` times, its root weight.
struct Pass {
  Index rows, threads, dim, experts, columns, powers, gate, expert, input_stride, response_stride;
  const double *inputs, *responses, *root;
  const double *score, *ridge, *scale;
  double *square, *grad_score, *grad_ridge, *grad_scale;
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

// A tile's intermediate results, each a few rows of kTile numbers.
class Work {
 public:
  double *powers, *scores, *weights, *slopes, *ridges, *values, *rates, *prediction, *residual, *root;

  explicit Work(const Pass& p) {
    const Index N = p.experts, m = p.columns;
    double** const parts[] = {&powers, &scores, &weights, &slopes, &ridges, &values, &rates,
                              &prediction, &residual, &root};
    const Index rows[] = {p.powers, N, N, N, N * m, N * m, N * m, m, m, 1};
    Index total = 0;
    for (Index count : rows) total += count;
    memory_.resize(total * kTile + kLanes);
    const auto address = reinterpret_cast<std::uintptr_t>(memory_.data());
    double* at = memory_.data() + (kRegisterBytes - address % kRegisterBytes) / sizeof(double);
    for (int k = 0; k < 10; ++k) {
      *parts[k] = at;
      at += rows[k] * kTile;
    }
  }

 private:
  std::vector<double> memory_;
};

// Where a piece of the rows adds its sums: square, score, ridge, scale.
struct Sums {
  double *square, *score, *ridge, *scale;

  static Index size(const Pass& p) {
    const Index experts = p.experts * p.columns;
    return 1 + p.experts * p.powers + experts * (1 + p.dim) + experts;
  }

  Sums(const Pass& p, double* memory)
      : square(memory),
        score(memory + 1),
        ridge(score + p.experts * p.powers),
        scale(ridge + p.experts * p.columns * (1 + p.dim)) {}
};

// Copy up to kTile numbers, and fill up with the last one: such rows have no weight, and whatever
// is finite in the last row is finite in them.
void copy_tile(const double* from, Index count, double* to) {
  for (Index t = 0; t < kTile; ++t) to[t] = from[t < count ? t : count - 1];
}

// 1, x_u and, if they are asked for, x_u x_v for u <= v.
void fill_powers(const Pass& p, Index first, Index count, double* powers) {
  for (int t = 0; t < kTile; ++t) powers[t] = 1.0;
  const double* const x = powers + kTile;
  for (Index u = 0; u < p.dim; ++u)
    copy_tile(p.inputs + u * p.input_stride + first, count, powers + (1 + u) * kTile);
  if (p.powers == 1 + p.dim) return;
  double* row = powers + (1 + p.dim) * kTile;
  for (Index u = 0; u < p.dim; ++u)
    for (Index v = u; v < p.dim; ++v, row += kTile)
      for (int t = 0; t < kTile; t += kLanes)
        store(row + t, load<V>(x + u * kTile + t) * load<V>(x + v * kTile + t));
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

// Experts, their slopes, prediction and residual; returns the squared residuals.
template <int Kind>
SIGMOE_INLINE V fill_residual(const Pass& p, int t, const Work& w) {
  V square{};
  const V root = load<V>(w.root + t);
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
    // The residual's memory holds the response.
    const V residual = (prediction - load<V>(w.residual + k * kTile + t)) * root;
    square += residual * residual;
    store(w.prediction + k * kTile + t, prediction);
    store(w.residual + k * kTile + t, residual * root);
  }
  return square;
}

// Turns scores, rates and (for scaled experts) ridge functions into the factors of the adjoints.
template <int Gate, int Kind>
SIGMOE_INLINE void fill_factors(const Pass& p, int t, const Work& w) {
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
void add_tile(const Pass& p, Index first, Index count, const Work& w, const Sums& sums) {
  const Index N = p.experts, experts = N * p.columns;
  fill_powers(p, first, count, w.powers);
  for (Index k = 0; k < p.columns; ++k)
    copy_tile(p.responses + k * p.response_stride + first, count, w.residual + k * kTile);
  for (Index t = 0; t < kTile; ++t) w.root[t] = t >= count ? 0.0 : p.root ? p.root[first + t] : 1.0;
  multiply(N, p.score, p.powers, w.powers, p.powers, w.scores);
  multiply(experts, p.ridge, 1 + p.dim, w.powers, 1 + p.dim, w.ridges);
  V square{};
  for (int t = 0; t < kTile; t += kLanes) {
    fill_gates<Gate>(N, t, w);
    square += fill_residual<Kind>(p, t, w);
    if (p.grad_score) fill_factors<Gate, Kind>(p, t, w);
  }
  *sums.square += sum_of(square);
  if (!p.grad_score) return;
  contract(N, w.scores, w.powers, p.powers, sums.score);
  contract(experts, w.rates, w.powers, 1 + p.dim, sums.ridge);
  if (p.scale) contract_with_one(experts, w.ridges, sums.scale);
}

// Every piece has sums of its own, added up in order: the bits do not depend on the threads.
constexpr Index kPiece = 8 * kTile;

template <int Gate, int Kind>
void run(const Pass& p) {
  const Index pieces = (p.rows + kPiece - 1) / kPiece, size = Sums::size(p);
  std::vector<double> memory(pieces * size, 0.0);
  std::vector<Work> works;
  const int threads = int(p.threads < pieces ? p.threads : pieces);
  for (int k = 0; k < threads; ++k) works.emplace_back(p);
#pragma omp parallel for num_threads(threads) schedule(static)
  for (Index piece = 0; piece < pieces; ++piece) {
    int thread = 0;
#if defined(_OPENMP)
    thread = omp_get_thread_num();
#endif
    const Sums sums(p, memory.data() + piece * size);
    const Index last = (piece + 1) * kPiece < p.rows ? (piece + 1) * kPiece : p.rows;
    for (Index first = piece * kPiece; first < last; first += kTile)
      add_tile<Gate, Kind>(p, first, last - first < kTile ? last - first : kTile, works[thread], sums);
  }
  const auto add = [](const double* from, Index count, double* to) {
    for (Index k = 0; k < count; ++k) to[k] += from[k];
  };
  for (Index piece = 0; piece < pieces; ++piece) {
    const Sums sums(p, memory.data() + piece * size);
    *p.square += *sums.square;
    if (!p.grad_score) continue;
    add(sums.score, sums.ridge - sums.score, p.grad_score);
    add(sums.ridge, sums.scale - sums.ridge, p.grad_ridge);
    if (p.scale) add(sums.scale, p.experts * p.columns, p.grad_scale);
  }
}

}  // namespace sigmoe

#define SIGMOE_EXPORT extern "C" __attribute__((visibility("default")))

// 0 if done, 1 if memory was short.
SIGMOE_EXPORT int sigmoe_pass(const sigmoe::Pass* p) {
  using namespace sigmoe;
  static constexpr void (*runs[2][3])(const Pass&) = {
      {run<kSigmoid, kLinear>, run<kSigmoid, kRelu>, run<kSigmoid, kTanh>},
      {run<kSoftmax, kLinear>, run<kSoftmax, kRelu>, run<kSoftmax, kTanh>}};
  try {
    runs[p->gate][p->expert](*p);
    return 0;
  } catch (const std::bad_alloc&) {
    return 1;
  }
}

SIGMOE_EXPORT int sigmoe_has_threads() {
#if defined(_OPENMP)
  return 1;
#else
  return 0;
#endif
}

SIGMOE_EXPORT int sigmoe_size_of_pass() { return int(sizeof(sigmoe::Pass)); }
