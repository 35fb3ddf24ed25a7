// AVX-512 dot products of bf16 pairs: VDPBF16PS adds two products to each of 16 fp32 lanes, twice the work of an FMA.
#pragma once

#include "lanes.h"

#if defined(__AVX512BF16__)
#define STAGELINE_DOT 1

#include <immintrin.h>

namespace stageline {

using Pairs = __m512bh;  // 16 pairs of bf16

inline Pairs load_pairs(const bf16* from) { return reinterpret_cast<Pairs>(_mm512_loadu_si512(from)); }

// One pair in all lanes.
inline Pairs repeat_pair(const bf16* from) {
  int32_t pair;
  std::memcpy(&pair, from, sizeof(pair));
  return reinterpret_cast<Pairs>(_mm512_set1_epi32(pair));
}

inline Lanes dot(Lanes sums, Pairs a, Pairs b) {
  return reinterpret_cast<Lanes>(_mm512_dpbf16_ps(reinterpret_cast<__m512>(sums), a, b));
}

}  // namespace stageline

#endif
