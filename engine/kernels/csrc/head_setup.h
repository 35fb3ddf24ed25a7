// What happens to a head's query or key before attention: an RMS norm, rotary positions, or neither.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "vector_math.h"

namespace stageline {

struct Rotary {
  const float *cos, *sin;  // (positions, rotary / 2); null without rotary positions
  int64_t rotary;          // leading dimensions of a head that turn
};

struct HeadNorms {
  const float *q, *k;  // (D,), null without norms
  float eps;
};

// RMS norm of one head.
inline void normalize(float* head, const float* weight, int64_t width, float eps) {
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < width; ++i) sum += head[i] * head[i];
  const float scale = 1.0f / std::sqrt(sum / static_cast<float>(width) + eps);
#pragma omp simd
  for (int64_t i = 0; i < width; ++i) head[i] = head[i] * scale * weight[i];
}

// Turns the pairs (i, i + rotary/2), as Hugging Face checkpoints order them.
inline void rotate(float* head, const Rotary& rope, int64_t position) {
  const int64_t half = rope.rotary / 2;
  const float* cos = rope.cos + position * half;
  const float* sin = rope.sin + position * half;
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    const float a = head[i], b = head[i + half];
    head[i] = a * cos[i] - b * sin[i];
    head[i + half] = b * cos[i] + a * sin[i];
  }
}

inline Rotary rotary_of(const std::optional<at::Tensor>& cos, const std::optional<at::Tensor>& sin) {
  if (!cos.has_value()) return {nullptr, nullptr, 0};
  return {cos->const_data_ptr<float>(), sin->const_data_ptr<float>(), 2 * cos->size(1)};
}

inline HeadNorms norms_of(const std::optional<at::Tensor>& q_norm, const std::optional<at::Tensor>& k_norm,
                          double eps) {
  return {q_norm.has_value() ? q_norm->const_data_ptr<float>() : nullptr,
          k_norm.has_value() ? k_norm->const_data_ptr<float>() : nullptr, static_cast<float>(eps)};
}

}  // namespace stageline
