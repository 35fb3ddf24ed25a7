// What choosing tokens needs to know of logits (R, V) fp32: the logarithm of a row's sum of exponentials, and its best.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "lanes.h"
#include "parallel.h"

namespace stageline {
namespace {

constexpr int64_t kBlock = 64;  // logits that are looked at together
constexpr float kLowest = -std::numeric_limits<float>::infinity();

float highest(const float* x, int64_t count) {
  float top = x[0];
#pragma omp simd reduction(max : top)
  for (int64_t i = 0; i < count; ++i) top = x[i] > top ? x[i] : top;
  return top;
}

float log_sum(const float* x, int64_t count) {
  const float top = highest(x, count);
  if (!std::isfinite(top)) return top;
  // Sixteen running sums, so that the order of addition depends on positions alone.
  double lanes[kLanes] = {};
  int64_t i = 0;
  while (i + kLanes <= count) {
    float some[kLanes] = {};
    const int64_t end = std::min(i + 64 * kLanes, count / kLanes * kLanes);
    for (; i < end; i += kLanes) {
#pragma omp simd
      for (int64_t j = 0; j < kLanes; ++j) some[j] += fast_exp(x[i + j] - top);
    }
    for (int64_t j = 0; j < kLanes; ++j) lanes[j] += some[j];
  }
  for (; i < count; ++i) lanes[i % kLanes] += fast_exp(x[i] - top);
  double sum = 0;
  for (double lane : lanes) sum += lane;
  return top + static_cast<float>(std::log(sum));
}

// Puts x into the sorted list, behind its equals; the last one drops out.
inline void insert(float x, int64_t id, float* values, int64_t* ids, int64_t count) {
  int64_t at = count - 1;
  for (; at > 0 && x > values[at - 1]; --at) {
    values[at] = values[at - 1];
    ids[at] = ids[at - 1];
  }
  values[at] = x;
  ids[at] = id;
}

void best_of(const float* x, int64_t count, int64_t k, float* values, int64_t* ids) {
  for (int64_t i = 0; i < k; ++i) insert(x[i] > kLowest ? x[i] : kLowest, i, values, ids, i + 1);
  for (int64_t i = k; i < count; i += kBlock) {
    const int64_t end = std::min(i + kBlock, count);
    if (!(highest(x + i, end - i) > values[k - 1])) continue;
    for (int64_t j = i; j < end; ++j)
      if (x[j] > values[k - 1]) insert(x[j], j, values, ids, k);
  }
}

// (R,) fp32
at::Tensor log_sums(const at::Tensor& logits) {
  TORCH_CHECK(logits.dim() == 2 && logits.is_contiguous() && logits.scalar_type() == at::kFloat && logits.size(1) > 0);
  const int64_t rows = logits.size(0), count = logits.size(1);
  at::Tensor out = at::empty({rows}, logits.options());
  const auto* x = logits.const_data_ptr<float>();
  auto* to = out.mutable_data_ptr<float>();
  parallel(rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) to[r] = log_sum(x + r * count, count);
  });
  return out;
}

// values (R, k) fp32 and ids (R, k) int64, highest first; of equal ones the lower id first. NaN counts as the lowest.
std::tuple<at::Tensor, at::Tensor> best(const at::Tensor& logits, int64_t k) {
  TORCH_CHECK(logits.dim() == 2 && logits.is_contiguous() && logits.scalar_type() == at::kFloat);
  const int64_t rows = logits.size(0), count = logits.size(1);
  TORCH_CHECK(k > 0 && k <= count, "there are not so many");
  at::Tensor values = at::empty({rows, k}, logits.options());
  at::Tensor ids = at::empty({rows, k}, logits.options().dtype(at::kLong));
  const auto* x = logits.const_data_ptr<float>();
  auto* v = values.mutable_data_ptr<float>();
  auto* n = ids.mutable_data_ptr<int64_t>();
  parallel(rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) best_of(x + r * count, count, k, v + r * k, n + r * k);
  });
  return {values, ids};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(stageline, m) {
  m.def("log_sums(Tensor logits) -> Tensor", log_sums);
  m.def("best(Tensor logits, int k) -> (Tensor, Tensor)", best);
}

}  // namespace stageline
