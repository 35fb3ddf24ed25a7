// What follows a product, whatever the weight is made of: bias, activation, gate, the addition to the residual stream.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/FunctionRef.h>

#include <cstdint>
#include <optional>

#include "vector_math.h"

namespace stageline {

// Takes the sums (rows, 32) of some rows, beginning with `row`, and the columns of one panel; it may change them. Called
// once for each part of the result, by several threads.
using Store = c10::function_ref<void(int64_t row, int64_t rows, int64_t panel, float* sums)>;

// Computes x W^T for one x and W and hands it over part by part.
using Product = c10::function_ref<void(Store store)>;

using Bias = std::optional<at::Tensor>;  // (N,) fp32

// activation(product + bias) in x's dtype, fp32 or bf16: (M, N). Only x's number of rows and dtype matter here.
at::Tensor finish_linear(const at::Tensor& x, int64_t n, const Bias& bias, Activation kind, Product product);

// activation(gate) * up for a weight packed in pairs, `n` of them: (M, N) in x's dtype.
at::Tensor finish_gate(const at::Tensor& x, int64_t n, Activation kind, Product product);

// sum += product + bias, in fp32 without rounding between: the residual stream, (M, N).
void finish_add(const at::Tensor& x, const Bias& bias, at::Tensor& sum, Product product);

// product + bias in fp32: the logits, (M, N).
at::Tensor finish_fp32(const at::Tensor& x, int64_t n, const Bias& bias, Product product);

}  // namespace stageline
