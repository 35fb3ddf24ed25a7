// Weights (N, K) as the products want them: panels of 32 output columns, each front to back in memory, so that a thread
// that walks its panels reads one stream.
//
// tiles: (N/32, K/32, 2, 16, 16, 2) bf16, for 32 columns and 32 inputs two AMX tiles of 16 pairs of inputs by 16 columns.
// pairs: (N/32, K/2, 64) bf16, for dot products of two inputs: 32 columns of a pair each.
// lanes: (N/32, K, 32) fp32 or bf16, for vectors along the columns.
//
// What N and K lack to full panels and tiles is zero. A *paired* weight is a gate and an up-projection stacked: columns
// i of both halves of N lie side by side in one panel.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace stageline {

constexpr int64_t kColumns = 32;  // output columns of a panel
constexpr int64_t kInputs = 32;   // inputs of a tile
constexpr int64_t kTile = 512;    // values of a tile

inline int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }

enum class Layout : int64_t { lanes = 0, pairs = 1, tiles = 2 };

inline bool in_lanes(const at::Tensor& packed) { return packed.size(2) == kColumns; }
inline bool in_pairs(const at::Tensor& packed) { return packed.size(2) == 2 * kColumns; }
inline bool in_tiles(const at::Tensor& packed) { return packed.size(2) == 2 * kTile; }

// The row of a weight (N, K) that is column c of a panel; there is none from N on.
inline int64_t row_of(int64_t panel, int64_t c, int64_t n, bool paired) {
  return paired ? c / 16 * (n / 2) + panel * 16 + c % 16 : panel * kColumns + c;
}

// Where input i of column c of a panel lies in it.
inline int64_t in_tile_panel(int64_t c, int64_t i) {
  return (i / kInputs * 2 + c / 16) * kTile + i % kInputs / 2 * 32 + c % 16 * 2 + i % 2;
}

inline int64_t in_pair_panel(int64_t c, int64_t i) { return (i / 2 * kColumns + c) * 2 + i % 2; }

inline int64_t in_lane_panel(int64_t c, int64_t i) { return i * kColumns + c; }

}  // namespace stageline
