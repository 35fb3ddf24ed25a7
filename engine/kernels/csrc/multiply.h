// x W^T for a packed W, panel by panel: bf16 on AMX tiles or by dot products of pairs where there are some, else all on
// vectors of fp32.
//
// Every sum runs over the inputs in one fixed order, whatever the number of rows: a row's result does not depend on its
// neighbours, bit for bit.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <array>
#include <utility>

#include "amx.h"
#include "dot.h"
#include "lanes.h"
#include "packing.h"
#include "parallel.h"

namespace stageline {

// Rows that are multiplied together, each with two vectors of sums: as many as registers hold.
#if defined(__AVX512F__)
constexpr int kVectorRows = 12;
#else
constexpr int kVectorRows = 2;
#endif

// Inputs that are summed up in registers before they join the total: long sums of fp32 lose digits.
constexpr int64_t kRun = 128;

// Bytes of x that stay in a core's cache while all panels pass by.
constexpr int64_t kRowBytes = 256 << 10;

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

// R rows of x (`stride` apart) by one panel (K, 32) -> sums (R, 32).
template <class W>
struct ByLanes {
  using Row = float;

  template <int R>
  static void run(const float* x, int64_t stride, int64_t k, const W* panel, float* sums) {
    std::memset(sums, 0, R * kColumns * sizeof(float));
    for (int64_t first = 0; first < k; first += kRun) {
      Lanes left[R] = {}, right[R] = {};
      for (int64_t i = first; i < std::min(first + kRun, k); ++i) {
        const Lanes a = load_lanes(panel + i * kColumns), b = load_lanes(panel + i * kColumns + kLanes);
        for (int r = 0; r < R; ++r) {
          left[r] += x[r * stride + i] * a;
          right[r] += x[r * stride + i] * b;
        }
      }
      add_run<R>(left, right, sums);
    }
  }
};

#ifdef STAGELINE_DOT

// The same for bf16 in pairs of inputs, (K / 2, 32, 2); k is even.
struct ByPairs {
  using Row = bf16;

  template <int R>
  static void run(const bf16* x, int64_t stride, int64_t k, const bf16* panel, float* sums) {
    std::memset(sums, 0, R * kColumns * sizeof(float));
    for (int64_t first = 0; first < k; first += kRun) {
      Lanes left[R] = {}, right[R] = {};
      for (int64_t i = first; i < std::min(first + kRun, k); i += 2) {
        const Pairs a = load_pairs(panel + i * kColumns), b = load_pairs(panel + i * kColumns + 2 * kLanes);
        for (int r = 0; r < R; ++r) {
          const Pairs pair = repeat_pair(x + r * stride + i);
          left[r] = dot(left[r], pair, a);
          right[r] = dot(right[r], pair, b);
        }
      }
      add_run<R>(left, right, sums);
    }
  }
};

#endif

// How many of `left` rows go together next: about as many each time, for one row alone costs as much as several.
inline int64_t rows_together(int64_t left) {
  const int64_t times = (left + kVectorRows - 1) / kVectorRows;
  return (left + times - 1) / times;
}

// Calls store(row, panel, left, right) with the 16 + 16 sums of every row of x (m, k) and panel.
template <class By, class W, class Store>
void multiply_rows(const typename By::Row* x, int64_t m, int64_t k, const W* weights, int64_t panels,
                   const Store& store) {
  using Run = void (*)(const typename By::Row*, int64_t, int64_t, const W*, float*);
  static constexpr auto runs = []<int... R>(std::integer_sequence<int, R...>) {
    return std::array<Run, kVectorRows>{&By::template run<R + 1>...};
  }(std::make_integer_sequence<int, kVectorRows>{});
  const int64_t block = std::max<int64_t>(kRowBytes / (k * static_cast<int64_t>(sizeof(*x))), kVectorRows);
  parallel(panels, 1, [&](int64_t begin, int64_t end) {
    alignas(64) float sums[kVectorRows * kColumns];
    for (int64_t first = 0; first < m; first += block) {
      const int64_t last = std::min(first + block, m);
      for (int64_t panel = begin; panel < end; ++panel) {
        for (int64_t row = first; row < last;) {
          const int64_t count = rows_together(last - row);
          runs[count - 1](x + row * k, k, k, weights + panel * k * kColumns, sums);
          for (int64_t r = 0; r < count; ++r)
            store(row + r, panel, sums + r * kColumns, sums + r * kColumns + kLanes);
          row += count;
        }
      }
    }
  });
}

#ifdef STAGELINE_AMX

// Up to 32 rows of x by one panel; the four 16x16 results go to `sums` (2 row halves, 2 column halves).
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
  _tile_stored(0, sums, 64);
  _tile_stored(1, sums + 256, 64);
  if (two) {
    _tile_stored(2, sums + 512, 64);
    _tile_stored(3, sums + 768, 64);
  }
}

template <class Store>
void multiply_by_tiles(const at::Tensor& x, const at::Tensor& packed, const Store& store) {
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
        for (int64_t r = 0; r < std::min<int64_t>(32, m - row); ++r) {
          const float* left = sums + r / 16 * 512 + r % 16 * 16;
          store(row + r, panel, left, left + 256);
        }
      }
    }
  });
}

#endif

// Calls store(row, panel, left, right) with the 16 + 16 sums of every row of x (M, K) and panel of `packed`.
template <class Store>
void multiply(const at::Tensor& x, const at::Tensor& packed, const Store& store) {
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
    return multiply_rows<ByPairs>(reinterpret_cast<const bf16*>(even.const_data_ptr()), m, even.size(1),
                                  reinterpret_cast<const bf16*>(packed.const_data_ptr()), panels, store);
  }
#endif
  TORCH_CHECK(in_lanes(packed) && packed.size(1) == k, "x and weight differ in width");
  const at::Tensor wide = x.scalar_type() == at::kFloat ? x : x.to(at::kFloat);
  const float* rows = wide.const_data_ptr<float>();
  if (packed.scalar_type() == at::kFloat)
    multiply_rows<ByLanes<float>>(rows, m, k, packed.const_data_ptr<float>(), panels, store);
  else
    multiply_rows<ByLanes<bf16>>(rows, m, k, reinterpret_cast<const bf16*>(packed.const_data_ptr()), panels, store);
}

}  // namespace stageline
