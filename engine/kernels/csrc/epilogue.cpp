#include "epilogue.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "lanes.h"
#include "packing.h"

namespace stageline {
namespace {

template <Activation kind>
void activate_each(float* sums, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; ++r) {
    float* values = sums + r * kColumns;
#pragma omp simd
    for (int64_t i = 0; i < columns; ++i) values[i] = activate(values[i], kind);
  }
}

// The first columns of each row, in place. What lies beyond the last column of all is nobody's.
void activate_all(float* sums, int64_t rows, int64_t columns, Activation kind) {
  switch (kind) {
    case Activation::gelu:
      return activate_each<Activation::gelu>(sums, rows, columns);
    case Activation::gelu_tanh:
      return activate_each<Activation::gelu_tanh>(sums, rows, columns);
    case Activation::relu:
      return activate_each<Activation::relu>(sums, rows, columns);
    case Activation::silu:
      return activate_each<Activation::silu>(sums, rows, columns);
    default:
      return;
  }
}

// Calls whole(i) for 16 of `count` columns beginning with i while there are so many, each(i) for the others.
template <class Whole, class Each>
void each_column(int64_t count, const Whole& whole, const Each& each) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) whole(i);
  for (; i < count; ++i) each(i);
}

void add_bias(float* sums, int64_t rows, int64_t count, const float* bias) {
  for (int64_t r = 0; r < rows; ++r, sums += kColumns)
    each_column(
        count, [=](int64_t i) { store_lanes(sums + i, load_lanes(sums + i) + load_lanes(bias + i)); },
        [=](int64_t i) { sums[i] += bias[i]; });
}

const float* pointer(const Bias& bias, int64_t n) {
  if (!bias.has_value()) return nullptr;
  TORCH_CHECK(bias->scalar_type() == at::kFloat && bias->is_contiguous() && bias->numel() == n);
  return bias->const_data_ptr<float>();
}

template <class T>
void linear_into(int64_t n, const float* bias, Activation kind, Product product, T* out) {
  product([=](int64_t row, int64_t rows, int64_t panel, float* sums) {
    const int64_t column = panel * kColumns, count = std::min(kColumns, n - column);
    if (bias) add_bias(sums, rows, count, bias + column);
    activate_all(sums, rows, kColumns, kind);
    T* to = out + row * n + column;
    for (int64_t r = 0; r < rows; ++r, to += n, sums += kColumns)
      each_column(
          count, [=](int64_t i) { store_lanes(to + i, load_lanes(sums + i)); },
          [=](int64_t i) { to[i] = from_float<T>(sums[i]); });
  });
}

template <class T>
void gate_into(int64_t n, Activation kind, Product product, T* out) {
  product([=](int64_t row, int64_t rows, int64_t panel, float* sums) {
    activate_all(sums, rows, kLanes, kind);
    T* to = out + row * n + panel * kLanes;
    for (int64_t r = 0; r < rows; ++r, to += n, sums += kColumns)
      store_lanes(to, load_lanes(sums) * load_lanes(sums + kLanes));
  });
}

// Calls run(pointer) with `out` in its own type.
template <class Run>
at::Tensor typed(at::Tensor out, const Run& run) {
  if (out.scalar_type() == at::kFloat) {
    run(out.mutable_data_ptr<float>());
  } else {
    TORCH_CHECK(out.scalar_type() == at::kBFloat16, "the kernels are made for fp32 and bf16");
    run(reinterpret_cast<bf16*>(out.mutable_data_ptr()));
  }
  return out;
}

}  // namespace

at::Tensor finish_linear(const at::Tensor& x, int64_t n, const Bias& bias, Activation kind, Product product) {
  return typed(at::empty({x.size(0), n}, x.options()),
               [&](auto* out) { linear_into(n, pointer(bias, n), kind, product, out); });
}

at::Tensor finish_gate(const at::Tensor& x, int64_t n, Activation kind, Product product) {
  return typed(at::empty({x.size(0), n}, x.options()), [&](auto* out) { gate_into(n, kind, product, out); });
}

void finish_add(const at::Tensor& x, const Bias& bias, at::Tensor& sum, Product product) {
  TORCH_CHECK(sum.scalar_type() == at::kFloat && sum.is_contiguous() && sum.size(0) == x.size(0));
  const int64_t n = sum.size(1);
  const float* b = pointer(bias, n);
  auto* target = sum.mutable_data_ptr<float>();
  product([=](int64_t row, int64_t rows, int64_t panel, float* sums) {
    const int64_t column = panel * kColumns, count = std::min(kColumns, n - column);
    if (b) add_bias(sums, rows, count, b + column);
    float* to = target + row * n + column;
    for (int64_t r = 0; r < rows; ++r, to += n, sums += kColumns)
      each_column(
          count, [=](int64_t i) { store_lanes(to + i, load_lanes(to + i) + load_lanes(sums + i)); },
          [=](int64_t i) { to[i] += sums[i]; });
  });
}

at::Tensor finish_fp32(const at::Tensor& x, int64_t n, const Bias& bias, Product product) {
  at::Tensor out = at::empty({x.size(0), n}, x.options().dtype(at::kFloat));
  linear_into(n, pointer(bias, n), Activation::none, product, out.mutable_data_ptr<float>());
  return out;
}

}  // namespace stageline
