// Norms and gates that torch would run as several kernels.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "vector_math.h"

namespace stageline {
namespace {

template <class T>
void rms_norm_rows(const float* x, const float* weight, float eps, int64_t rows, int64_t width, T* out) {
  at::parallel_for(0, rows, 64, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* in = x + row * width;
      T* to = out + row * width;
      float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
      for (int64_t i = 0; i < width; ++i) sum += in[i] * in[i];
      const float scale = 1.0f / std::sqrt(sum / static_cast<float>(width) + eps);
#pragma omp simd
      for (int64_t i = 0; i < width; ++i) to[i] = from_float<T>(in[i] * scale * weight[i]);
    }
  });
}

// x (T, width) fp32 -> weight * x / rms(x) in `dtype` (fp32 or bf16).
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, at::ScalarType dtype) {
  TORCH_CHECK(x.scalar_type() == at::kFloat && x.is_contiguous() && weight.scalar_type() == at::kFloat);
  at::Tensor out = at::empty(x.sizes(), x.options().dtype(dtype));
  const auto *in = x.const_data_ptr<float>(), *w = weight.const_data_ptr<float>();
  const auto e = static_cast<float>(eps);
  if (dtype == at::kFloat)
    rms_norm_rows(in, w, e, x.size(0), x.size(1), out.mutable_data_ptr<float>());
  else
    rms_norm_rows(in, w, e, x.size(0), x.size(1), reinterpret_cast<bf16*>(out.mutable_data_ptr()));
  return out;
}

template <class T>
void silu_mul_rows(const T* x, int64_t rows, int64_t width, T* out) {
  at::parallel_for(0, rows, 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const T *gate = x + row * 2 * width, *up = gate + width;
      T* to = out + row * width;
#pragma omp simd
      for (int64_t i = 0; i < width; ++i) to[i] = from_float<T>(silu(to_float(gate[i])) * to_float(up[i]));
    }
  });
}

// x (T, 2 width), gate then up -> silu(gate) * up, (T, width).
at::Tensor silu_mul(const at::Tensor& x) {
  TORCH_CHECK(x.dim() == 2 && x.is_contiguous());
  const int64_t rows = x.size(0), width = x.size(1) / 2;
  at::Tensor out = at::empty({rows, width}, x.options());
  if (x.scalar_type() == at::kFloat) {
    silu_mul_rows(x.const_data_ptr<float>(), rows, width, out.mutable_data_ptr<float>());
  } else {
    TORCH_CHECK(x.scalar_type() == at::kBFloat16);
    silu_mul_rows(reinterpret_cast<const bf16*>(x.const_data_ptr()), rows, width,
                  reinterpret_cast<bf16*>(out.mutable_data_ptr()));
  }
  return out;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(stageline, m) {
  m.def("rms_norm(Tensor x, Tensor weight, float eps, ScalarType dtype) -> Tensor", rms_norm);
  m.def("silu_mul(Tensor x) -> Tensor", silu_mul);
}

}  // namespace stageline
