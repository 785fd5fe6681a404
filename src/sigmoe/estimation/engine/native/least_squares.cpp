// Passes over the rows of a least squares problem for a mixture of experts: the squared residuals,
// their gradient, and the moments of J'J. Plain C++17 behind a C interface; _native.py compiles and
// calls it.
//
// Rows come in tiles that stay in the caches with their monomials. Scores, experts, adjoints and
// moments of a tile are small matrix products; what lies between them is done a register at a time.
#include <new>

#include "gradient.h"
#include "library.h"
#include "moments.h"

namespace sigmoe {

using Run = void (*)(const Pass&);

// 0 if done, 1 if memory was short.
int run(const Run (&runs)[2][3], const Pass& p) {
  try {
    runs[p.gate][p.expert](p);
    return 0;
  } catch (const std::bad_alloc&) {
    return 1;
  }
}

}  // namespace sigmoe

SIGMOE_EXPORT int sigmoe_gradient(const sigmoe::Pass* p) {
  using namespace sigmoe;
  static constexpr Run runs[2][3] = {
      {gradient<kSigmoid, kLinear>, gradient<kSigmoid, kRelu>, gradient<kSigmoid, kTanh>},
      {gradient<kSoftmax, kLinear>, gradient<kSoftmax, kRelu>, gradient<kSoftmax, kTanh>}};
  return run(runs, *p);
}

SIGMOE_EXPORT int sigmoe_moments(const sigmoe::Pass* p) {
  using namespace sigmoe;
  static constexpr Run runs[2][3] = {
      {moments<kSigmoid, kLinear>, moments<kSigmoid, kRelu>, moments<kSigmoid, kTanh>},
      {moments<kSoftmax, kLinear>, moments<kSoftmax, kRelu>, moments<kSoftmax, kTanh>}};
  return run(runs, *p);
}

SIGMOE_EXPORT int sigmoe_size_of_pass() { return int(sizeof(sigmoe::Pass)); }
