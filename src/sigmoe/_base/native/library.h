// What every compiled library exports; included once, by the file that is compiled.
#pragma once

#define SIGMOE_EXPORT extern "C" __attribute__((visibility("default")))

SIGMOE_EXPORT int sigmoe_has_threads() {
#if defined(_OPENMP)
  return 1;
#else
  return 0;
#endif
}
