// The exponentials of a softmax over one row of scores.
#pragma once

#include "vector_math.h"

namespace stageline {

// scores (count,) -> exp(scale * (scores - max)) in place; returns their sum.
inline float exponentials(float* scores, int64_t count, float scale) {
  float top = scores[0];
#pragma omp simd reduction(max : top)
  for (int64_t i = 0; i < count; ++i) top = scores[i] > top ? scores[i] : top;
  // Sixteen running sums, so that the order of addition depends on positions alone and not on how the compiler cuts
  // off the end.
  float lanes[16] = {};
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
#pragma omp simd
    for (int64_t j = 0; j < 16; ++j) {
      scores[i + j] = fast_exp((scores[i + j] - top) * scale);
      lanes[j] += scores[i + j];
    }
  }
  for (; i < count; ++i) {
    scores[i] = fast_exp((scores[i] - top) * scale);
    lanes[i % 16] += scores[i];
  }
  float sum = 0.0f;
  for (float lane : lanes) sum += lane;
  return sum;
}

}  // namespace stageline
