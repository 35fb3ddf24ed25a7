// Dot products of int8 in fours of inputs, for 16 columns at once: exact sums in int32.
//
// x is held as bytes with kOffset added: VPDPBUSD (AVX-512 VNNI, AVX-VNNI) multiplies unsigned by signed numbers. What
// that adds to a sum is kOffset times the sum of the column's weights, which is known beforehand. Other processors take
// x as it is.
//
// Sums: of 16 columns. Fours: four weights of each of 16 columns. Four: four inputs, the same for all columns.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#endif

namespace stageline {

inline int32_t four_bytes(const uint8_t* from) {
  int32_t bytes;
  std::memcpy(&bytes, from, sizeof(bytes));
  return bytes;
}

#if defined(__AVX512VNNI__)

constexpr int32_t kOffset = 128;
using Sums = __m512i;
using Fours = __m512i;
using Four = __m512i;

inline Fours load_fours(const int8_t* from) { return _mm512_loadu_si512(from); }
inline Four repeat_four(const uint8_t* x) { return _mm512_set1_epi32(four_bytes(x)); }
inline Sums dot_fours(Sums sums, Four x, Fours w) { return _mm512_dpbusd_epi32(sums, x, w); }
inline Sums load_sums(const int32_t* from) { return _mm512_loadu_si512(from); }
inline Sums add_sums(Sums a, Sums b) { return _mm512_add_epi32(a, b); }
inline void store_sums(int32_t* to, Sums sums) { _mm512_storeu_si512(to, sums); }

#elif defined(__AVX2__)

struct Sums {
  __m256i low, high;
};
using Fours = Sums;

inline __m256i load_half(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }
inline Fours load_fours(const int8_t* from) { return {load_half(from), load_half(from + 32)}; }
inline Sums load_sums(const int32_t* from) { return {load_half(from), load_half(from + 8)}; }
inline Sums add_sums(Sums a, Sums b) { return {_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)}; }
inline void store_sums(int32_t* to, Sums sums) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), sums.low);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + 8), sums.high);
}

#if defined(__AVXVNNI__)

constexpr int32_t kOffset = 128;
using Four = __m256i;

inline Four repeat_four(const uint8_t* x) { return _mm256_set1_epi32(four_bytes(x)); }
inline Sums dot_fours(Sums sums, Four x, Fours w) {
  return {_mm256_dpbusd_avx_epi32(sums.low, x, w.low), _mm256_dpbusd_avx_epi32(sums.high, x, w.high)};
}

#else  // VPMADDUBSW would saturate: even and odd bytes go through VPMADDWD

constexpr int32_t kOffset = 0;
struct Four {
  __m256i even, odd;
};

inline __m256i even_bytes(__m256i x) { return _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8); }
inline __m256i odd_bytes(__m256i x) { return _mm256_srai_epi16(x, 8); }
inline Four repeat_four(const uint8_t* x) {
  const __m256i bytes = _mm256_set1_epi32(four_bytes(x));
  return {even_bytes(bytes), odd_bytes(bytes)};
}
inline __m256i dot_half(__m256i sums, Four x, __m256i w) {
  const __m256i even = _mm256_madd_epi16(even_bytes(w), x.even), odd = _mm256_madd_epi16(odd_bytes(w), x.odd);
  return _mm256_add_epi32(sums, _mm256_add_epi32(even, odd));
}
inline Sums dot_fours(Sums sums, Four x, Fours w) {
  return {dot_half(sums.low, x, w.low), dot_half(sums.high, x, w.high)};
}

#endif

#elif defined(__ARM_FEATURE_DOTPROD)

constexpr int32_t kOffset = 0;
struct Sums {
  int32x4_t part[4];
};
using Fours = int8x16x4_t;
using Four = int8x16_t;

inline Fours load_fours(const int8_t* from) { return vld1q_s8_x4(from); }
inline Four repeat_four(const uint8_t* x) { return vreinterpretq_s8_s32(vdupq_n_s32(four_bytes(x))); }
inline Sums dot_fours(Sums sums, Four x, Fours w) {
  for (int i = 0; i < 4; ++i) sums.part[i] = vdotq_s32(sums.part[i], w.val[i], x);
  return sums;
}
inline Sums load_sums(const int32_t* from) {
  return {vld1q_s32(from), vld1q_s32(from + 4), vld1q_s32(from + 8), vld1q_s32(from + 12)};
}
inline Sums add_sums(Sums a, Sums b) {
  for (int i = 0; i < 4; ++i) a.part[i] = vaddq_s32(a.part[i], b.part[i]);
  return a;
}
inline void store_sums(int32_t* to, Sums sums) {
  for (int i = 0; i < 4; ++i) vst1q_s32(to + 4 * i, sums.part[i]);
}

#else

constexpr int32_t kOffset = 0;
using Sums = int32_t __attribute__((vector_size(64)));
using Fours = Sums;  // four bytes a lane, the first input lowest
using Four = const int8_t*;

template <class T>
inline Sums load_whole(const T* from) {
  Sums out;
  std::memcpy(&out, from, sizeof(out));
  return out;
}
inline Fours load_fours(const int8_t* from) { return load_whole(from); }
inline Sums load_sums(const int32_t* from) { return load_whole(from); }
inline Four repeat_four(const uint8_t* x) { return reinterpret_cast<const int8_t*>(x); }
inline Sums dot_fours(Sums sums, Four x, Fours w) {
  for (int i = 0; i < 4; ++i) sums += (w << (24 - 8 * i) >> 24) * static_cast<int32_t>(x[i]);
  return sums;
}
inline Sums add_sums(Sums a, Sums b) { return a + b; }
inline void store_sums(int32_t* to, Sums sums) { std::memcpy(to, &sums, sizeof(sums)); }

#endif

}  // namespace stageline
