// Work shared between threads: torch's own OpenMP pool where the library is loaded.
#pragma once
#include <atomic>
#include <new>

#if defined(_OPENMP)
#include <omp.h>
#endif
#include <sched.h>

#include "call.h"

namespace sigmoe {

// Run `work()` on up to `threads` threads at once; false if none of them got its memory.
// A thread without memory leaves the work to the others.
template <class Work>
bool on_threads(Index threads, Work&& work) {
  std::atomic<Index> ready{0};
  const auto attempt = [&] {
    try {
      work();
      ++ready;
    } catch (const std::bad_alloc&) {
    }
  };
#if defined(_OPENMP)
#pragma omp parallel num_threads(int(threads))
  attempt();
#else
  (void)threads;
  attempt();
#endif
  return ready > 0;
}

inline void wait_a_little(int& patience) {
  if (++patience < 200) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  } else {
    sched_yield();
  }
}

}  // namespace sigmoe
