// Rows in pieces, each with sums of its own that are added up in order: the bits do not depend on
// how many threads share the pieces.
#pragma once
#include <vector>

#if defined(_OPENMP)
#include <omp.h>
#endif

#include "tile.h"

namespace sigmoe {

inline void add(const double* from, Index count, double* to) {
  for (Index k = 0; k < count; ++k) to[k] += from[k];
}

// Calls add_tile(first row, rows, work, sums of the piece) for each tile, then finish(sums) piece
// by piece; a piece has `size` sums, at first zero, and a thread's work `scratch` more numbers.
template <class AddTile, class Finish>
void in_pieces(const Pass& p, Index length, Index size, Index scratch, AddTile&& add_tile, Finish&& finish) {
  const Index pieces = (p.rows + length - 1) / length;
  if (pieces == 0) return;
  std::vector<double> memory(pieces * size, 0.0);
  std::vector<Work> works;
  const int threads = int(min(p.threads, pieces));
  works.reserve(threads);
  for (int k = 0; k < threads; ++k) works.emplace_back(p, scratch);
#pragma omp parallel for num_threads(threads) schedule(static)
  for (Index piece = 0; piece < pieces; ++piece) {
    int thread = 0;
#if defined(_OPENMP)
    thread = omp_get_thread_num();
#endif
    const Index last = min((piece + 1) * length, p.rows);
    for (Index first = piece * length; first < last; first += kTile)
      add_tile(first, min(last - first, Index(kTile)), works[thread], memory.data() + piece * size);
  }
  for (Index piece = 0; piece < pieces; ++piece) finish(memory.data() + piece * size);
}

}  // namespace sigmoe
