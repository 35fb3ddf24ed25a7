// Scalar helpers that compilers turn into vector code inside `#pragma omp simd` loops.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace stageline {

struct bf16 {
  uint16_t bits;
};

inline float to_float(float x) { return x; }

inline float to_float(bf16 x) {
  const uint32_t wide = static_cast<uint32_t>(x.bits) << 16;
  float out;
  std::memcpy(&out, &wide, sizeof(out));
  return out;
}

template <class T>
T from_float(float x);

template <>
inline float from_float<float>(float x) {
  return x;
}

// Round to nearest even. NaN stays NaN: adding the rounding bias could carry it into infinity.
template <>
inline bf16 from_float<bf16>(float x) {
  uint32_t wide;
  std::memcpy(&wide, &x, sizeof(wide));
  const uint32_t rounded = (wide + 0x7fffu + ((wide >> 16) & 1u)) >> 16;
  const bool nan = (wide & 0x7fffffffu) > 0x7f800000u;
  return bf16{static_cast<uint16_t>(nan ? 0x7fc0u : rounded)};
}

// exp with a relative error under 2e-7 on [-87, 88], clamped outside. Range reduction to 2^n * e^r, |r| <= ln(2)/2,
// then the Taylor polynomial of e^r.
inline float fast_exp(float x) {
  x = x < -87.0f ? -87.0f : (x > 88.0f ? 88.0f : x);
  const float n = std::nearbyint(x * 1.44269504f);
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.0f / 5040.0f;
  p = p * r + 1.0f / 720.0f;
  p = p * r + 1.0f / 120.0f;
  p = p * r + 1.0f / 24.0f;
  p = p * r + 1.0f / 6.0f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const int32_t bits = (static_cast<int32_t>(n) + 127) << 23;
  float scale;
  std::memcpy(&scale, &bits, sizeof(scale));
  return p * scale;
}

inline float silu(float x) { return x / (1.0f + fast_exp(-x)); }

inline float fast_tanh(float x) { return 1.0f - 2.0f / (1.0f + fast_exp(2.0f * x)); }

inline float gelu_tanh(float x) {
  return 0.5f * x * (1.0f + fast_tanh(0.79788456f * (x + 0.044715f * x * x * x)));
}

// erf by Abramowitz and Stegun 7.1.26: absolute error under 1.5e-7.
inline float gelu_erf(float x) {
  const float z = std::fabs(x) * 0.70710678f;
  const float t = 1.0f / (1.0f + 0.3275911f * z);
  const float poly =
      ((((1.061405429f * t - 1.453152027f) * t + 1.421413741f) * t - 0.284496736f) * t + 0.254829592f) * t;
  const float tail = poly * fast_exp(-z * z);
  const float erf = x < 0.0f ? tail - 1.0f : 1.0f - tail;
  return 0.5f * x * (1.0f + erf);
}

enum class Activation : int64_t { none = 0, gelu = 1, gelu_tanh = 2, relu = 3, silu = 4 };

inline float activate(float x, Activation kind) {
  switch (kind) {
    case Activation::gelu:
      return gelu_erf(x);
    case Activation::gelu_tanh:
      return gelu_tanh(x);
    case Activation::relu:
      return x > 0.0f ? x : 0.0f;
    case Activation::silu:
      return silu(x);
    default:
      return x;
  }
}

}  // namespace stageline
