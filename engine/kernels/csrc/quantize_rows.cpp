#include <algorithm>

#include "fours.h"
#include "int8.h"
#include "lanes.h"
#include "parallel.h"

namespace stageline {
namespace {

constexpr int64_t kValues = 1 << 14;  // fewer are not worth waking a helper for

constexpr float kLeast = 1e-30f;      // rows below are zero: the inverse of their scale would be infinite

using Bits = uint32_t __attribute__((vector_size(64)));

inline Bits bits_of(Lanes x) {
  Bits out;
  std::memcpy(&out, &x, sizeof(out));
  return out;
}

// `count` values of a row, at most 16, times the multiplier; zero beyond.
template <class T>
inline Lanes read(const T* x, const float* multiplier, int64_t count) {
  const Lanes values = load_lanes(x, count);
  return multiplier ? values * load_lanes(multiplier, count) : values;
}

// The greatest absolute value; NaN where there is one, for its bits are greater than all others.
template <class T>
float greatest(const T* x, const float* multiplier, int64_t k) {
  Bits most = {};
  for (int64_t i = 0; i < k; i += kLanes) {
    const Bits bits = bits_of(read(x + i, multiplier ? multiplier + i : nullptr, k - i)) & 0x7fffffffu;
    most = bits > most ? bits : most;
  }
  uint32_t one = 0;
  for (int64_t i = 0; i < kLanes; ++i) one = std::max(one, most[i]);
  float out;
  std::memcpy(&out, &one, sizeof(out));
  return out;
}

// 16 bytes: x rounded to even and clamped, what is not a number too, kOffset added.
inline void store_bytes(uint8_t* to, Lanes x) {
#if defined(__AVX512F__)
  const __m512 low = _mm512_max_ps(reinterpret_cast<__m512>(x), _mm512_set1_ps(-127.0f));
  const __m512i rounded = _mm512_cvtps_epi32(_mm512_min_ps(low, _mm512_set1_ps(127.0f)));
  const __m128i bytes = _mm512_cvtepi32_epi8(_mm512_add_epi32(rounded, _mm512_set1_epi32(kOffset)));
  std::memcpy(to, &bytes, sizeof(bytes));
#else
#pragma omp simd
  for (int64_t i = 0; i < kLanes; ++i) {
    float v = x[i] > -127.0f ? x[i] : -127.0f;
    v = v < 127.0f ? v : 127.0f;
    to[i] = static_cast<uint8_t>(static_cast<int32_t>(std::nearbyint(v)) + kOffset);
  }
#endif
}

// Returns the row's scale.
template <class T>
float quantize_row(const T* x, const float* multiplier, bool fixed, int64_t k, int64_t width, uint8_t* out) {
  float scale = 1.0f, inverse = 1.0f;
  if (!fixed) {
    const float most = greatest(x, multiplier, k);
    scale = most / 127.0f;
    inverse = most < kLeast ? 0.0f : 127.0f / most;
  }
  std::memset(out + k, kOffset, width - k);
  for (int64_t i = 0; i < k; i += kLanes) {
    store_bytes(out + i, read(x + i, multiplier ? multiplier + i : nullptr, k - i) * inverse);
  }
  return scale;
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
  Int8Rows rows(m, width);
  const auto run = [&]<class T>(const T* from) {
    parallel(m, std::max<int64_t>(kValues / std::max<int64_t>(k, 1), 1), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        rows.scales[i] = quantize_row(from + i * k, factors, fixed, k, width, rows.values + i * width);
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
