// Products with weights in fp32 and bf16.
#include <torch/library.h>

#include "epilogue.h"
#include "multiply.h"

namespace stageline {
namespace {

// activation(x W^T + bias): (M, K) -> (M, N) in x's dtype, fp32 or bf16.
at::Tensor linear(const at::Tensor& x, const at::Tensor& packed, const Bias& bias, int64_t n, int64_t activation) {
  TORCH_CHECK(n <= packed.size(0) * kColumns);
  return finish_linear(x, n, bias, static_cast<Activation>(activation),
                       [&](Store store) { multiply(x, packed, store); });
}

// activation(gate) * up for a weight packed in pairs: (M, K) -> (M, N/2) in x's dtype.
at::Tensor linear_gate(const at::Tensor& x, const at::Tensor& packed, int64_t activation) {
  return finish_gate(x, packed.size(0) * 16, static_cast<Activation>(activation),
                     [&](Store store) { multiply(x, packed, store); });
}

// sum += x W^T + bias: the residual stream, (M, N) fp32.
void linear_add(const at::Tensor& x, const at::Tensor& packed, const Bias& bias, at::Tensor& sum) {
  TORCH_CHECK(sum.size(1) <= packed.size(0) * kColumns);
  finish_add(x, bias, sum, [&](Store store) { multiply(x, packed, store); });
}

// x W^T + bias in fp32: the logits, (M, N).
at::Tensor linear_fp32(const at::Tensor& x, const at::Tensor& packed, const Bias& bias, int64_t n) {
  TORCH_CHECK(n <= packed.size(0) * kColumns);
  return finish_fp32(x, n, bias, [&](Store store) { multiply(x, packed, store); });
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
