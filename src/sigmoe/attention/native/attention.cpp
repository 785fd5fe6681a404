// Sigmoid attention on the CPU: out_i = sum over visible j of sigmoid(s_ij) v_j, and its gradient.
// Plain C++17 behind a C interface; _native.py compiles and calls it.
#include "backward.h"
#include "library.h"

namespace sigmoe {

template <class Work>
bool with_kind(const Call& call, Work&& work) {
  switch (Type(call.type)) {
    case Type::float64: return work(Float64{});
#if defined(__AVX512BF16__)
    case Type::bfloat16: return work(Bfloat16{});
#endif
    default: return work(Float32{});
  }
}

template <class Work>
int for_kind(const Call& call, Work&& work) {
  try {
    return !with_kind(call, work);
  } catch (const std::bad_alloc&) {
    return 1;
  }
}

}  // namespace sigmoe

// 0 if done, 1 if memory was short.
SIGMOE_EXPORT int sigmoe_forward(const sigmoe::Call* call) {
  return sigmoe::for_kind(*call, [&](auto kind) { return sigmoe::forward<decltype(kind)>(*call); });
}

SIGMOE_EXPORT int sigmoe_backward(const sigmoe::Call* call) {
  return sigmoe::for_kind(*call, [&](auto kind) { return sigmoe::backward<decltype(kind)>(*call); });
}

SIGMOE_EXPORT int sigmoe_takes_float16() {
#if defined(__FLT16_MAX__)
  return 1;
#else
  return 0;
#endif
}

SIGMOE_EXPORT int sigmoe_size_of_call() { return int(sizeof(sigmoe::Call)); }
