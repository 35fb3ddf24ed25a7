// Sixteen fp32 lanes, which the compiler maps to whatever vectors the processor has.
#pragma once

#include <cstdint>
#include <cstring>

#include "vector_math.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace stageline {

using Lanes = float __attribute__((vector_size(64)));
constexpr int64_t kLanes = 16;

inline Lanes load_lanes(const float* from) {
  Lanes out;
  std::memcpy(&out, from, sizeof(out));
  return out;
}

inline Lanes load_lanes(const bf16* from) {
  using Narrow = uint16_t __attribute__((vector_size(32)));
  using Wide = uint32_t __attribute__((vector_size(64)));
  Narrow bits;
  std::memcpy(&bits, from, sizeof(bits));
#if defined(__AVX512F__)  // compilers make two halves of the other
  const __m512i wide = _mm512_slli_epi32(_mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(bits)), 16);
#else
  const Wide wide = __builtin_convertvector(bits, Wide) << 16;
#endif
  Lanes out;
  std::memcpy(&out, &wide, sizeof(out));
  return out;
}

inline Lanes int_lanes(const int32_t* from) {
  using Ints = int32_t __attribute__((vector_size(64)));
  Ints ints;
  std::memcpy(&ints, from, sizeof(ints));
  return __builtin_convertvector(ints, Lanes);
}

inline void store_lanes(float* to, Lanes x) { std::memcpy(to, &x, sizeof(x)); }

inline void store_lanes(bf16* to, Lanes x) {
#if defined(__AVX512BF16__)
  const __m256bh narrow = _mm512_cvtneps_pbh(reinterpret_cast<__m512>(x));
  std::memcpy(static_cast<void*>(to), &narrow, sizeof(narrow));
#else
#pragma omp simd
  for (int64_t i = 0; i < kLanes; ++i) to[i] = from_float<bf16>(x[i]);
#endif
}

// `count` <= kLanes values, the other lanes zero.
template <class T>
Lanes load_lanes(const T* from, int64_t count) {
  if (count >= kLanes) return load_lanes(from);
  T whole[kLanes] = {};
  std::memcpy(static_cast<void*>(whole), from, count * sizeof(T));
  return load_lanes(whole);
}

}  // namespace stageline
