// How keys and values lie in a block of the paged KV cache. One block holds `block` positions of one KV head.
//
// plain:  keys (D, block), values (block, D): both loops of attention run over contiguous lanes.
// paired: keys (D/2, block, 2), values (block/2, D, 2): the same for AMX tiles and AVX-512's dot products, which
//         multiply pairs; D is padded to 32 and block is a multiple of 32.
//
// The tensors are (num_blocks, kv_heads, block * D) whatever the layout.
#pragma once

#include <cstdint>

namespace stageline {

struct PlainLayout {
  static int64_t padded(int64_t d) { return d; }
  static int64_t key(int64_t position, int64_t d, int64_t block, int64_t) { return d * block + position; }
  static int64_t value(int64_t position, int64_t d, int64_t, int64_t width) { return position * width + d; }
};

struct PairedLayout {
  static int64_t padded(int64_t d) { return (d + 31) / 32 * 32; }
  static int64_t key(int64_t position, int64_t d, int64_t block, int64_t) {
    return (d / 2 * block + position) * 2 + d % 2;
  }
  static int64_t value(int64_t position, int64_t d, int64_t, int64_t width) {
    return (position / 2 * width + d) * 2 + position % 2;
  }
};

}  // namespace stageline
