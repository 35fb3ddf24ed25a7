#include <ATen/ops/empty.h>

#include <algorithm>
#include <vector>

#include "fours.h"
#include "int8.h"
#include "parallel.h"
#include "vector_math.h"

namespace stageline {
namespace {

constexpr int64_t kValues = 1 << 14;  // fewer are not worth waking a helper for
constexpr int64_t kWholeRows = 16;    // of an AMX tile

// The greatest absolute value; NaN where there is one, for its bits are greater than all others.
float greatest(const float* values, int64_t count) {
  uint32_t most = 0;
#pragma omp simd reduction(max : most)
  for (int64_t i = 0; i < count; ++i) {
    uint32_t bits;
    std::memcpy(&bits, values + i, sizeof(bits));
    bits &= 0x7fffffffu;
    most = bits > most ? bits : most;
  }
  float out;
  std::memcpy(&out, &most, sizeof(out));
  return out;
}

void round_row(const float* values, int64_t count, float scale, uint8_t* out) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    float v = std::nearbyint(values[i] / scale);
    v = v > -127.0f ? v : -127.0f;  // also what is not a number
    v = v < 127.0f ? v : 127.0f;
    out[i] = static_cast<uint8_t>(static_cast<int32_t>(v) + kOffset);
  }
}

template <class T>
void quantize_row(const T* x, const float* multiplier, bool fixed, int64_t k, int64_t width, float* wide, uint8_t* out,
                  float* scale) {
  if (multiplier) {
#pragma omp simd
    for (int64_t i = 0; i < k; ++i) wide[i] = to_float(x[i]) * multiplier[i];
  } else {
#pragma omp simd
    for (int64_t i = 0; i < k; ++i) wide[i] = to_float(x[i]);
  }
  *scale = fixed ? 1.0f : greatest(wide, k) / 127.0f;
  round_row(wide, k, *scale == 0.0f ? 1.0f : *scale, out);
  std::memset(out + k, kOffset, width - k);
}

}  // namespace

Int8Rows quantize_rows(const at::Tensor& x, const std::optional<at::Tensor>& multiplier, bool fixed, int64_t width) {
  TORCH_CHECK(x.dim() == 2 && x.is_contiguous());
  const int64_t m = x.size(0), k = x.size(1);
  TORCH_CHECK(width == round_up(k, kInt8Inputs), "x and weight differ in width");
  TORCH_CHECK(!fixed || multiplier.has_value(), "static activations need a multiplier");
  const float* factors = nullptr;
  if (multiplier.has_value()) {
    TORCH_CHECK(multiplier->numel() == k && multiplier->is_contiguous());
    factors = multiplier->const_data_ptr<float>();
  }
  Int8Rows rows{at::empty({round_up(m, kWholeRows), width}, x.options().dtype(at::kByte)),
                at::empty({m}, x.options().dtype(at::kFloat))};
  auto* values = rows.values.mutable_data_ptr<uint8_t>();
  auto* scales = rows.scales.mutable_data_ptr<float>();
  const auto run = [&]<class T>(const T* from) {
    parallel(m, std::max<int64_t>(kValues / std::max<int64_t>(k, 1), 1), [&](int64_t begin, int64_t end) {
      std::vector<float> wide(k);
      for (int64_t i = begin; i < end; ++i)
        quantize_row(from + i * k, factors, fixed, k, width, wide.data(), values + i * width, scales + i);
    });
  };
  if (x.scalar_type() == at::kFloat) {
    run(x.const_data_ptr<float>());
  } else {
    TORCH_CHECK(x.scalar_type() == at::kBFloat16);
    run(reinterpret_cast<const bf16*>(x.const_data_ptr()));
  }
  return rows;
}

}  // namespace stageline
