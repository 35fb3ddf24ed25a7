// From the numbers of weight_only.h to factors of a product, in registers: pairs of bf16 where there are dot products of
// such, else lanes of fp32. Both hold the numbers exactly.
//
// A reader loads a block of kInputs inputs of 32 columns from kBytes and gives them out in kSteps steps, each time for
// the 16 columns on the left (half 0) or right (1). Row is the type of x that goes with its factors.
#pragma once

#include <array>
#include <utility>

#include "dot.h"
#include "lanes.h"
#include "weight_only.h"

namespace stageline {

template <class Vector>
inline Vector load_as(const uint8_t* from) {
  Vector out;
  std::memcpy(&out, from, sizeof(out));
  return out;
}

inline Lanes add_product(Lanes sums, const float* x, Lanes factors) { return sums + *x * factors; }

struct FourBitLanes {
  using Row = float;
  using Wide = int32_t __attribute__((vector_size(64)));
  static constexpr int kBits = 4, kInputs = 8, kBytes = 128, kSteps = 8;

  struct Block {
    Wide half[2];
  };

  Block load(const uint8_t* from) const { return {load_as<Wide>(from), load_as<Wide>(from + 64)}; }

  Lanes factors(const Block& block, int half, int step) const {
    const Wide numbers = block.half[half] >> step % 2 * 16 + step / 2 * 4 & 15;
    return __builtin_convertvector(numbers - static_cast<int>(kMiddle), Lanes);
  }
};

struct EightBitLanes {
  using Row = float;
  using Bytes = uint8_t __attribute__((vector_size(64)));
  using Narrow = uint8_t __attribute__((vector_size(16)));
  using Wide = int32_t __attribute__((vector_size(64)));
  static constexpr int kBits = 8, kInputs = 2, kBytes = 64, kSteps = 2;

  struct Block {
    Narrow part[4];  // both halves of one input, then of the other
  };

  Block load(const uint8_t* from) const {
    const Bytes bytes = load_as<Bytes>(from);
    const Bytes ordered = [&]<int... P>(std::integer_sequence<int, P...>) {
      return __builtin_shufflevector(bytes, bytes, byte_of(P % 32, P / 32)...);
    }(std::make_integer_sequence<int, 64>{});
    Block block;
    std::memcpy(&block, &ordered, sizeof(block));
    return block;
  }

  Lanes factors(const Block& block, int half, int step) const {
    const Wide numbers = __builtin_convertvector(block.part[step * 2 + half], Wide);
    const Lanes magnitudes = __builtin_convertvector(numbers & 127, Lanes);
    Wide bits;
    std::memcpy(&bits, &magnitudes, sizeof(bits));
    bits |= (numbers & 128) << 24;
    Lanes out;
    std::memcpy(&out, &bits, sizeof(out));
    return out;
  }
};

#if defined(STAGELINE_DOT) && defined(__AVX512VBMI__)
#define STAGELINE_FEW_BITS_DOT 1

inline Lanes add_product(Lanes sums, const bf16* x, Pairs factors) { return dot(sums, repeat_pair(x), factors); }

// VPERMW looks 32 numbers up at once. It reads 5 bits of each word: a table of twice 16 makes the fifth not matter.
struct FourBitPairs {
  using Row = bf16;
  using Words = uint16_t __attribute__((vector_size(64)));
  static constexpr int kBits = 4, kInputs = 8, kBytes = 128, kSteps = 4;

  __m512i table = [] {
    bf16 values[32];
    for (int i = 0; i < 32; ++i) values[i] = from_float<bf16>(static_cast<float>(i % 16 - kMiddle));
    return _mm512_loadu_si512(values);
  }();

  struct Block {
    Words half[2];
  };

  Block load(const uint8_t* from) const { return {load_as<Words>(from), load_as<Words>(from + 64)}; }

  Pairs factors(const Block& block, int half, int step) const {
    const Words first = block.half[half] >> 4 * step;
    return reinterpret_cast<Pairs>(_mm512_permutexvar_epi16(reinterpret_cast<__m512i>(first), table));
  }
};

// VPERMI2B looks up the two bytes that the bf16 of a magnitude has; the sign goes in between, then both are interleaved.
struct EightBitPairs {
  using Row = bf16;
  static constexpr int kBits = 8, kInputs = 2, kBytes = 64, kSteps = 1;

  std::array<__m512i, 2> low = table(0), high = table(8);

  static std::array<__m512i, 2> table(int shift) {
    uint8_t bytes[128];
    for (int i = 0; i < 128; ++i)
      bytes[i] = static_cast<uint8_t>(from_float<bf16>(static_cast<float>(i)).bits >> shift);
    return {_mm512_loadu_si512(bytes), _mm512_loadu_si512(bytes + 64)};
  }

  struct Block {
    Pairs half[2];
  };

  Block load(const uint8_t* from) const {
    const __m512i numbers = _mm512_loadu_si512(from);
    const __m512i lower = _mm512_permutex2var_epi8(low[0], numbers, low[1]);
    const __m512i upper = _mm512_permutex2var_epi8(high[0], numbers, high[1]);
    constexpr int kOrBoth = 0xf8;  // a | (b & c)
    const __m512i with_sign = _mm512_ternarylogic_epi32(upper, numbers, _mm512_set1_epi8(-128), kOrBoth);
    return {reinterpret_cast<Pairs>(_mm512_unpacklo_epi8(lower, with_sign)),
            reinterpret_cast<Pairs>(_mm512_unpackhi_epi8(lower, with_sign))};
  }

  Pairs factors(const Block& block, int half, int) const { return block.half[half]; }
};

#endif

}  // namespace stageline
