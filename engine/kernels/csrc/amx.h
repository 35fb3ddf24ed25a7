// Intel AMX tiles for bf16: a tile register holds 16 rows of 64 bytes, TDPBF16PS multiplies 16x32 by 32x16 into fp32.
// Every output element is the sum over its own row in one fixed order, so that no result depends on the batch.
#pragma once

#if defined(__AMX_TILE__) && defined(__AMX_BF16__) && defined(__AVX512F__) && defined(__linux__)
#define STAGELINE_AMX 1

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

namespace stageline {

// The kernel hands out the tile registers on request, once a process.
inline bool amx_available() {
  static const bool granted = [] {
    constexpr int arch_req_xcomp_perm = 0x1023;
    constexpr int xfeature_xtiledata = 18;
    return syscall(SYS_arch_prctl, arch_req_xcomp_perm, xfeature_xtiledata) == 0;
  }();
  return granted;
}

// All eight tiles as 16 rows of 64 bytes, for as long as this object lives. One a thread, inside its parallel region.
class TileScope {
 public:
  TileScope() {
    struct alignas(64) Config {
      uint8_t palette = 1;
      uint8_t start_row = 0;
      uint8_t reserved[14] = {};
      uint16_t bytes_per_row[16] = {};
      uint8_t rows[16] = {};
    } config;
    for (int tile = 0; tile < 8; ++tile) {
      config.bytes_per_row[tile] = 64;
      config.rows[tile] = 16;
    }
    _tile_loadconfig(&config);
  }
  ~TileScope() { _tile_release(); }
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;
};

}  // namespace stageline

#else

namespace stageline {
inline bool amx_available() { return false; }
}  // namespace stageline

#endif
