// Weights in int8 as their products want them, in the memory layout of every processor: a panel of 32 columns is
// (K/4, 32, 4) int8, four inputs of a column side by side (for AMX: tiles of 16 rows, 128 bytes apart), then the columns'
// scales, 32 fp32, and what their sums begin with, 32 int32, which takes back what kOffset in x adds to them. Widths are
// filled up to kInt8Inputs with zeros.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>

#include "packing.h"

namespace stageline {

constexpr int64_t kInt8Inputs = 64;                 // a row of an AMX tile
constexpr int64_t kPanelTail = kColumns * (4 + 4);  // bytes of scales and starts

struct Int8Panel {
  const int8_t* weights;
  const float* scales;
  const int32_t* starts;
};

class Int8Weight {
 public:
  explicit Int8Weight(const at::Tensor& packed)
      : panels(packed.size(0)),
        width((packed.size(1) - kPanelTail) / kColumns),
        start_(packed.const_data_ptr<int8_t>()) {}

  Int8Panel panel(int64_t index) const {
    const int8_t* weights = start_ + index * (width * kColumns + kPanelTail);
    const int8_t* tail = weights + width * kColumns;
    return {weights, reinterpret_cast<const float*>(tail),
            reinterpret_cast<const int32_t*>(tail + kColumns * sizeof(float))};
  }

  const int64_t panels, width;

 private:
  const int8_t* const start_;
};

inline int64_t in_int8_panel(int64_t c, int64_t i) { return (i / 4 * kColumns + c) * 4 + i % 4; }

// Rows of x in int8, kOffset added, `width` bytes each, and the scale of each. In whole AMX tiles: a little room beyond.
struct Int8Rows {
  Int8Rows(int64_t m, int64_t width)
      : memory(std::make_unique_for_overwrite<uint8_t[]>(round_up(m, 16) * (width + sizeof(float)) + 64)),
        values(memory.get() + 63 - (reinterpret_cast<uintptr_t>(memory.get()) + 63) % 64),
        scales(reinterpret_cast<float*>(values + round_up(m, 16) * width)) {}

  std::unique_ptr<uint8_t[]> memory;  // cheaper than tensors, which matters for one row
  uint8_t* values;
  float* scales;
};

// x (M, K) fp32 or bf16, times `multiplier` (K,) fp32 where there is one. Each row is multiplied by 127 / its greatest
// absolute value, the inverse of its scale; a `fixed` scale is 1. Rounds to even, clamps to -127..127.
Int8Rows quantize_rows(const at::Tensor& x, const std::optional<at::Tensor>& multiplier, bool fixed, int64_t width);

}  // namespace stageline
