// Sixteen fp32 lanes, which the compiler maps to whatever vectors the processor has.
#pragma once

#include <cstdint>
#include <cstring>

#include "vector_math.h"

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
  const Wide wide = __builtin_convertvector(bits, Wide) << 16;
  Lanes out;
  std::memcpy(&out, &wide, sizeof(out));
  return out;
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
