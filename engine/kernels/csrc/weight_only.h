// Weights (N, K) of 8 or 4 bits with a scale (and for 4 bits a zero) for each group of inputs: what of x multiplies them
// stays as it is.
//
// Panels of 32 columns as in packing.h, (N/32, G, bytes) uint8: group after group its numbers, its 32 scales and, for 4
// bits, its 32 zeros. Scales and zeros are bf16 where that holds them exactly, else fp32. What a group lacks to whole
// blocks of inputs is zero, as x is there. In 64 bytes lie
//
// 8 bits: two inputs of 32 columns, as sign and magnitude; the order lets bytes be interleaved to pairs of bf16;
// 4 bits: eight inputs of 16 columns, in each 16-bit word four of them two apart; the zero is less by 8, and so is what
//         a number stands for: sums of -8..7 are shorter than those of 0..15.
#pragma once

#include <ATen/core/Tensor.h>

#include "packing.h"
#include "vector_math.h"

namespace stageline {

constexpr int64_t kMiddle = 8;  // what the numbers of 4 bits are less by

struct FewBits {
  int64_t bits, groups;
  int64_t group, padded;  // inputs of a group, and the same in whole blocks
  bool narrow;            // scales and zeros are bf16

  FewBits(int64_t bits, int64_t groups, int64_t group, bool narrow)
      : bits(bits), groups(groups), group(group), padded(round_up(group, bits == 4 ? 8 : 2)), narrow(narrow) {}

  int64_t number_bytes() const { return padded * kColumns * bits / 8; }
  int64_t scale_bytes() const { return kColumns * (narrow ? sizeof(bf16) : sizeof(float)); }
  int64_t group_bytes() const { return number_bytes() + scale_bytes() * (bits == 4 ? 2 : 1); }
  int64_t panel_bytes() const { return groups * group_bytes(); }
};

// How a packed weight of `width` inputs is laid out.
inline FewBits layout_of(const at::Tensor& packed, int64_t bits, int64_t width) {
  TORCH_CHECK(packed.dim() == 3 && packed.scalar_type() == at::kByte && (bits == 4 || bits == 8));
  const int64_t groups = packed.size(1);
  TORCH_CHECK(width % groups == 0, "x and weight differ in width");
  for (const bool narrow : {true, false}) {
    const FewBits layout(bits, groups, width / groups, narrow);
    if (layout.group_bytes() == packed.size(2)) return layout;
  }
  TORCH_CHECK(false, "x and weight differ in width");
}

// Where input i of column c of a group lies: the byte for 8 bits, the 16-bit word and its nibble for 4.
constexpr int64_t byte_of(int64_t c, int64_t i) { return i / 2 * 64 + c % 16 / 4 * 16 + c / 16 * 8 + c % 4 * 2 + i % 2; }
constexpr int64_t word_of(int64_t c, int64_t i) { return i / 8 * 64 + c * 2 + i % 2; }
constexpr int64_t nibble_of(int64_t i) { return i % 8 / 2; }

}  // namespace stageline
