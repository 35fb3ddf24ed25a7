// x W^T for a packed W, panel by panel: bf16 on AMX tiles or by dot products of pairs where there are some, else all on
// vectors of fp32.
//
// Every sum runs over the inputs in one fixed order, whatever the number of rows: a row's result does not depend on its
// neighbours, bit for bit.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "amx.h"
#include "dot.h"
#include "epilogue.h"
#include "lanes.h"
#include "packing.h"
#include "parallel.h"
#include "rows.h"

namespace stageline {

// Inputs that are summed up in registers before they join the total: long sums of fp32 lose digits.
constexpr int64_t kRun = 128;

// Adds a run's sums to the total, (R, 32).
template <int R>
inline void add_run(const Lanes (&left)[R], const Lanes (&right)[R], float* sums) {
  for (int r = 0; r < R; ++r) {
    float* sum = sums + r * kColumns;
    const Lanes a = left[r] + load_lanes(sum), b = right[r] + load_lanes(sum + kLanes);
    std::memcpy(sum, &a, sizeof(Lanes));
    std::memcpy(sum + kLanes, &b, sizeof(Lanes));
  }
}

// Rows of x (M, K) by panels (K, 32).
template <class W>
struct ByLanes {
  using Sum = float;

  const float* x;
  const W* weights;
  int64_t k;
  int64_t row_bytes = k * 4;

  template <int R>
  void run(int64_t row, int64_t panel, float* sums) const {
    const float* mine = x + row * k;
    const W* w = weights + panel * k * kColumns;
    std::memset(sums, 0, R * kColumns * sizeof(float));
    for (int64_t first = 0; first < k; first += kRun) {
      Lanes left[R] = {}, right[R] = {};
      for (int64_t i = first; i < std::min(first + kRun, k); ++i) {
        const Lanes a = load_lanes(w + i * kColumns), b = load_lanes(w + i * kColumns + kLanes);
        for (int r = 0; r < R; ++r) {
          left[r] += mine[r * k + i] * a;
          right[r] += mine[r * k + i] * b;
        }
      }
      add_run<R>(left, right, sums);
    }
  }
};

#ifdef STAGELINE_DOT

// The same for bf16 in pairs of inputs, (K / 2, 32, 2); k is even.
struct ByPairs {
  using Sum = float;

  const bf16 *x, *weights;
  int64_t k;
  int64_t row_bytes = k * 2;

  template <int R>
  void run(int64_t row, int64_t panel, float* sums) const {
    const bf16 *mine = x + row * k, *w = weights + panel * k * kColumns;
    std::memset(sums, 0, R * kColumns * sizeof(float));
    for (int64_t first = 0; first < k; first += kRun) {
      Lanes left[R] = {}, right[R] = {};
      for (int64_t i = first; i < std::min(first + kRun, k); i += 2) {
        const Pairs a = load_pairs(w + i * kColumns), b = load_pairs(w + i * kColumns + 2 * kLanes);
        for (int r = 0; r < R; ++r) {
          const Pairs pair = repeat_pair(mine + r * k + i);
          left[r] = dot(left[r], pair, a);
          right[r] = dot(right[r], pair, b);
        }
      }
      add_run<R>(left, right, sums);
    }
  }
};

#endif

#ifdef STAGELINE_AMX

// Up to 32 rows of x by one panel -> sums (32, 32).
inline void multiply_panel(const bf16* x, int64_t rows, int64_t stride, int64_t k_tiles, const bf16* panel,
                           float* sums) {
  const bool two = rows > 16;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  const int64_t bytes = stride * static_cast<int64_t>(sizeof(bf16));
  for (int64_t tile = 0; tile < k_tiles; ++tile) {
    _tile_loadd(4, x + tile * kInputs, bytes);
    _tile_loadd(6, panel + tile * 2 * kTile, 64);
    _tile_loadd(7, panel + tile * 2 * kTile + kTile, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if (two) {
      _tile_loadd(5, x + 16 * stride + tile * kInputs, bytes);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, sums, 128);
  _tile_stored(1, sums + 16, 128);
  if (two) {
    _tile_stored(2, sums + 512, 128);
    _tile_stored(3, sums + 528, 128);
  }
}

inline void multiply_by_tiles(const at::Tensor& x, const at::Tensor& packed, Store store) {
  TORCH_CHECK(amx_available(), "this machine has no AMX");
  TORCH_CHECK(x.scalar_type() == at::kBFloat16, "tiles hold bf16");
  const int64_t m = x.size(0), k = x.size(1), k_tiles = packed.size(1);
  const bf16* rows = reinterpret_cast<const bf16*>(x.const_data_ptr());
  int64_t stride = k;
  at::Tensor padded;  // tiles read whole 16 x 32 pieces
  if (m % 16 != 0 || k % kInputs != 0) {
    stride = k_tiles * kInputs;
    padded = at::zeros({round_up(m, 16), stride}, x.options());
    auto* target = reinterpret_cast<bf16*>(padded.mutable_data_ptr());
    for (int64_t row = 0; row < m; ++row) std::memcpy(target + row * stride, rows + row * k, k * sizeof(bf16));
    rows = target;
  }
  parallel<TileScope>(packed.size(0), 1, [&](int64_t begin, int64_t end) {
    alignas(64) float sums[1024];
    for (int64_t panel = begin; panel < end; ++panel) {
      const auto* weights = reinterpret_cast<const bf16*>(packed.const_data_ptr()) + panel * k_tiles * 2 * kTile;
      for (int64_t row = 0; row < m; row += 32) {
        multiply_panel(rows + row * stride, m - row, stride, k_tiles, weights, sums);
        store(row, std::min<int64_t>(32, m - row), panel, sums);
      }
    }
  });
}

#endif

// Hands all sums of x (M, K) by `packed` to `store`.
inline void multiply(const at::Tensor& x, const at::Tensor& packed, Store store) {
  TORCH_CHECK(x.dim() == 2 && x.is_contiguous());
#ifdef STAGELINE_AMX
  if (in_tiles(packed)) {
    TORCH_CHECK(packed.size(1) == round_up(x.size(1), kInputs) / kInputs, "x and weight differ in width");
    return multiply_by_tiles(x, packed, store);
  }
#endif
  const int64_t m = x.size(0), k = x.size(1), panels = packed.size(0);
#ifdef STAGELINE_DOT
  if (in_pairs(packed)) {
    TORCH_CHECK(x.scalar_type() == at::kBFloat16 && packed.size(1) == (k + 1) / 2, "x and weight differ in width");
    const at::Tensor even = k % 2 == 0 ? x : at::constant_pad_nd(x, {0, 1});
    const ByPairs by{reinterpret_cast<const bf16*>(even.const_data_ptr()),
                     reinterpret_cast<const bf16*>(packed.const_data_ptr()), even.size(1)};
    return multiply_rows(by, m, panels, store);
  }
#endif
  TORCH_CHECK(in_lanes(packed) && packed.size(1) == k, "x and weight differ in width");
  const at::Tensor wide = x.scalar_type() == at::kFloat ? x : x.to(at::kFloat);
  const float* rows = wide.const_data_ptr<float>();
  if (packed.scalar_type() == at::kFloat)
    multiply_rows(ByLanes<float>{rows, packed.const_data_ptr<float>(), k}, m, panels, store);
  else
    multiply_rows(ByLanes<bf16>{rows, reinterpret_cast<const bf16*>(packed.const_data_ptr()), k}, m, panels, store);
}

}  // namespace stageline
