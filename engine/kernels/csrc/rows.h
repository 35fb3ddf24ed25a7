// The walk of a product on vectors: panels in parallel, and for each a few rows at a time, which share its weights.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include "packing.h"
#include "parallel.h"

namespace stageline {

// Rows that are multiplied together, each with two vectors of sums: as many as registers hold.
#if defined(__AVX512F__)
constexpr int kVectorRows = 12;
#else
constexpr int kVectorRows = 2;
#endif

// Bytes of x that stay in a core's cache while all panels pass by.
constexpr int64_t kRowBytes = 256 << 10;

// How many of `left` rows go together next: about as many each time, for one row alone costs as much as several.
inline int64_t rows_together(int64_t left) {
  const int64_t times = (left + kVectorRows - 1) / kVectorRows;
  return (left + times - 1) / times;
}

// Calls done(row, rows, panel, sums) with the sums (rows, 32) of all `m` rows and all panels, a few rows at a time.
// `by` computes them: by.run<R>(row, panel, sums) those of R rows, By::Sum what they are, by.row_bytes the size of a
// row of x.
template <class By, class Done>
void multiply_rows(const By& by, int64_t m, int64_t panels, const Done& done) {
  using Sum = typename By::Sum;
  using Run = void (By::*)(int64_t, int64_t, Sum*) const;
  static constexpr auto runs = []<int... R>(std::integer_sequence<int, R...>) {
    return std::array<Run, kVectorRows>{&By::template run<R + 1>...};
  }(std::make_integer_sequence<int, kVectorRows>{});
  const int64_t block = std::max<int64_t>(kRowBytes / by.row_bytes, kVectorRows);
  parallel(panels, 1, [&](int64_t begin, int64_t end) {
    alignas(64) Sum sums[kVectorRows * kColumns];
    for (int64_t first = 0; first < m; first += block) {
      const int64_t last = std::min(first + block, m);
      for (int64_t panel = begin; panel < end; ++panel) {
        for (int64_t row = first; row < last;) {
          const int64_t count = rows_together(last - row);
          (by.*runs[count - 1])(row, panel, sums);
          done(row, count, panel, sums);
          row += count;
        }
      }
    }
  });
}

}  // namespace stageline
