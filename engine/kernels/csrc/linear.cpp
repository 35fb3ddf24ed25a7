// The products of a layer, each with what follows it: bias, activation, gate, or the addition to the residual stream.
#include <torch/library.h>

#include "multiply.h"

namespace stageline {
namespace {

const float* pointer(const std::optional<at::Tensor>& bias) {
  return bias.has_value() ? bias->const_data_ptr<float>() : nullptr;
}

// Calls put(column, value) for the columns of a panel that exist, with the bias added.
template <class Put>
inline void each_column(int64_t panel, int64_t n, const float* bias, const float* left, const float* right,
                        const Put& put) {
  for (int64_t half = 0; half < 2; ++half) {
    const float* sums = half ? right : left;
    const int64_t first = panel * kColumns + half * 16;
    const int64_t count = std::min<int64_t>(16, n - first);
    if (bias) {
#pragma omp simd
      for (int64_t i = 0; i < count; ++i) put(first + i, sums[i] + bias[first + i]);
    } else {
#pragma omp simd
      for (int64_t i = 0; i < count; ++i) put(first + i, sums[i]);
    }
  }
}

template <class T, Activation kind>
void linear_into(const at::Tensor& x, const at::Tensor& packed, const float* bias, int64_t n, T* out) {
  multiply(x, packed, [=](int64_t row, int64_t panel, const float* left, const float* right) {
    each_column(panel, n, bias, left, right,
                [=](int64_t column, float y) { out[row * n + column] = from_float<T>(activate(y, kind)); });
  });
}

template <class T>
void linear_as(const at::Tensor& x, const at::Tensor& packed, const float* bias, int64_t n, Activation kind, T* out) {
  switch (kind) {
    case Activation::gelu:
      return linear_into<T, Activation::gelu>(x, packed, bias, n, out);
    case Activation::gelu_tanh:
      return linear_into<T, Activation::gelu_tanh>(x, packed, bias, n, out);
    case Activation::relu:
      return linear_into<T, Activation::relu>(x, packed, bias, n, out);
    case Activation::silu:
      return linear_into<T, Activation::silu>(x, packed, bias, n, out);
    default:
      return linear_into<T, Activation::none>(x, packed, bias, n, out);
  }
}

// activation(x W^T + bias): (M, K) -> (M, N) in x's dtype, fp32 or bf16. bias (N,) fp32.
at::Tensor linear(const at::Tensor& x, const at::Tensor& packed, const std::optional<at::Tensor>& bias, int64_t n,
                  int64_t activation) {
  TORCH_CHECK(n <= packed.size(0) * kColumns);
  at::Tensor out = at::empty({x.size(0), n}, x.options());
  const auto kind = static_cast<Activation>(activation);
  if (x.scalar_type() == at::kFloat) {
    linear_as(x, packed, pointer(bias), n, kind, out.mutable_data_ptr<float>());
  } else {
    TORCH_CHECK(x.scalar_type() == at::kBFloat16);
    linear_as(x, packed, pointer(bias), n, kind, reinterpret_cast<bf16*>(out.mutable_data_ptr()));
  }
  return out;
}

template <class T, Activation kind>
void gate_into(const at::Tensor& x, const at::Tensor& packed, T* out) {
  const int64_t n = packed.size(0) * 16;
  multiply(x, packed, [=](int64_t row, int64_t panel, const float* gate, const float* up) {
    T* to = out + row * n + panel * 16;
#pragma omp simd
    for (int64_t i = 0; i < 16; ++i) to[i] = from_float<T>(activate(gate[i], kind) * up[i]);
  });
}

template <class T>
void gate_as(const at::Tensor& x, const at::Tensor& packed, Activation kind, T* out) {
  switch (kind) {
    case Activation::gelu:
      return gate_into<T, Activation::gelu>(x, packed, out);
    case Activation::gelu_tanh:
      return gate_into<T, Activation::gelu_tanh>(x, packed, out);
    case Activation::relu:
      return gate_into<T, Activation::relu>(x, packed, out);
    case Activation::silu:
      return gate_into<T, Activation::silu>(x, packed, out);
    default:
      return gate_into<T, Activation::none>(x, packed, out);
  }
}

// activation(gate) * up for a weight packed in pairs: (M, K) -> (M, N/2) in x's dtype.
at::Tensor linear_gate(const at::Tensor& x, const at::Tensor& packed, int64_t activation) {
  at::Tensor out = at::empty({x.size(0), packed.size(0) * 16}, x.options());
  const auto kind = static_cast<Activation>(activation);
  if (x.scalar_type() == at::kFloat) {
    gate_as(x, packed, kind, out.mutable_data_ptr<float>());
  } else {
    TORCH_CHECK(x.scalar_type() == at::kBFloat16);
    gate_as(x, packed, kind, reinterpret_cast<bf16*>(out.mutable_data_ptr()));
  }
  return out;
}

// sum += x W^T + bias, in fp32 without rounding between: the residual stream, (M, N).
void linear_add(const at::Tensor& x, const at::Tensor& packed, const std::optional<at::Tensor>& bias, at::Tensor& sum) {
  TORCH_CHECK(sum.scalar_type() == at::kFloat && sum.is_contiguous() && sum.size(0) == x.size(0));
  const int64_t n = sum.size(1);
  TORCH_CHECK(n <= packed.size(0) * kColumns);
  auto* target = sum.mutable_data_ptr<float>();
  const float* b = pointer(bias);
  multiply(x, packed, [=](int64_t row, int64_t panel, const float* left, const float* right) {
    each_column(panel, n, b, left, right, [=](int64_t column, float y) { target[row * n + column] += y; });
  });
}

// x W^T + bias in fp32: the logits, (M, N).
at::Tensor linear_fp32(const at::Tensor& x, const at::Tensor& packed, const std::optional<at::Tensor>& bias,
                       int64_t n) {
  TORCH_CHECK(n <= packed.size(0) * kColumns);
  at::Tensor out = at::empty({x.size(0), n}, x.options().dtype(at::kFloat));
  linear_into<float, Activation::none>(x, packed, pointer(bias), n, out.mutable_data_ptr<float>());
  return out;
}

bool has_amx() { return amx_available(); }

bool has_dot() {
#ifdef STAGELINE_DOT
  return true;
#else
  return false;
#endif
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(stageline, m) {
  m.def("has_amx() -> bool", has_amx);
  m.def("has_dot() -> bool", has_dot);
  m.def("linear(Tensor x, Tensor packed, Tensor? bias, int n, int activation) -> Tensor", linear);
  m.def("linear_gate(Tensor x, Tensor packed, int activation) -> Tensor", linear_gate);
  m.def("linear_add(Tensor x, Tensor packed, Tensor? bias, Tensor(a!) sum) -> ()", linear_add);
  m.def("linear_fp32(Tensor x, Tensor packed, Tensor? bias, int n) -> Tensor", linear_fp32);
}

}  // namespace stageline
