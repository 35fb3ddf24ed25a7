// Norms of the residual stream (T, width) fp32, in fp32 or bf16 as the next product wants it.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "parallel.h"
#include "vector_math.h"

namespace stageline {
namespace {

constexpr int64_t kRows = 64;  // too few rows are not worth waking a helper for

template <class T>
void rms_norm_row(const float* x, const float* weight, const float*, float eps, int64_t width, T* out) {
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < width; ++i) sum += x[i] * x[i];
  const float scale = 1.0f / std::sqrt(sum / static_cast<float>(width) + eps);
#pragma omp simd
  for (int64_t i = 0; i < width; ++i) out[i] = from_float<T>(x[i] * scale * weight[i]);
}

template <class T>
void layer_norm_row(const float* x, const float* weight, const float* bias, float eps, int64_t width, T* out) {
  float sum = 0.0f, squares = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < width; ++i) sum += x[i];
  const float mean = sum / static_cast<float>(width);
#pragma omp simd reduction(+ : squares)
  for (int64_t i = 0; i < width; ++i) squares += (x[i] - mean) * (x[i] - mean);
  const float scale = 1.0f / std::sqrt(squares / static_cast<float>(width) + eps);
  for (int64_t i = 0; i < width; ++i)
    out[i] = from_float<T>((x[i] - mean) * scale * weight[i] + (bias ? bias[i] : 0.0f));
}

// x (T, width) fp32, weight and bias (width,) fp32 -> the RMS norm (of which there is no bias) or layer norm in `dtype`.
at::Tensor norm(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias, double eps,
                bool rms, at::ScalarType dtype) {
  TORCH_CHECK(x.scalar_type() == at::kFloat && x.is_contiguous() && weight.scalar_type() == at::kFloat);
  TORCH_CHECK(dtype == at::kFloat || dtype == at::kBFloat16);
  at::Tensor out = at::empty(x.sizes(), x.options().dtype(dtype));
  const auto *in = x.const_data_ptr<float>(), *w = weight.const_data_ptr<float>();
  const auto* b = bias.has_value() ? bias->const_data_ptr<float>() : nullptr;
  const auto e = static_cast<float>(eps);
  const int64_t width = x.size(1);
  const auto run = [&]<class T>(T* to) {
    const auto row = rms ? rms_norm_row<T> : layer_norm_row<T>;
    parallel(x.size(0), kRows, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) row(in + i * width, w, b, e, width, to + i * width);
    });
  };
  if (dtype == at::kFloat)
    run(out.mutable_data_ptr<float>());
  else
    run(reinterpret_cast<bf16*>(out.mutable_data_ptr()));
  return out;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(stageline, m) {
  m.def("norm(Tensor x, Tensor weight, Tensor? bias, float eps, bool rms, ScalarType dtype) -> Tensor", norm);
}

}  // namespace stageline
