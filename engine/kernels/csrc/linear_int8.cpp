// Products with weights in int8, of rows of x in int8: exact integer sums, which two scales turn into fp32. A row's result
// never depends on its neighbours.
#include <torch/library.h>

#include "amx.h"
#include "epilogue.h"
#include "fours.h"
#include "int8.h"
#include "lanes.h"
#include "rows.h"

namespace stageline {
namespace {

// Rows that are finished together: what an AMX tile product gives, and more than vectors do.
constexpr int64_t kMostRows = 32;
static_assert(kVectorRows <= kMostRows);

// Rows of x by panels.
struct ByFours {
  using Sum = int32_t;

  const uint8_t* x;
  const Int8Weight& weight;
  int64_t row_bytes = weight.width;

  template <int R>
  void run(int64_t row, int64_t panel, int32_t* sums) const {
    constexpr int chains = R == 1 ? 4 : R == 2 ? 2 : 1;  // sums of a row that do not wait for each other
    constexpr int steps = 2 * chains;                    // fours of inputs in a turn of the loop
    const int64_t k = weight.width;
    const uint8_t* mine = x + row * k;
    const Int8Panel at = weight.panel(panel);
    Sums left[R * chains] = {}, right[R * chains] = {};
    for (int r = 0; r < R; ++r) {
      left[r] = load_sums(at.starts);
      right[r] = load_sums(at.starts + 16);
    }
    for (int64_t first = 0; first < k; first += 4 * steps) {
#pragma GCC unroll 8
      for (int step = 0; step < steps; ++step) {
        const int64_t i = first + 4 * step;
        const Fours a = load_fours(at.weights + i * kColumns), b = load_fours(at.weights + i * kColumns + 64);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          const Four four = repeat_four(mine + r * k + i);
          const int to = step % chains * R + r;
          left[to] = dot_fours(left[to], four, a);
          right[to] = dot_fours(right[to], four, b);
        }
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int other = R + r; other < R * chains; other += R) {
        left[r] = add_sums(left[r], left[other]);
        right[r] = add_sums(right[r], right[other]);
      }
      store_sums(sums + r * kColumns, left[r]);
      store_sums(sums + r * kColumns + 16, right[r]);
    }
  }
};

#if defined(STAGELINE_AMX) && defined(__AMX_INT8__)
#define STAGELINE_AMX_INT8 1
static_assert(kOffset == 128, "processors with AMX multiply bytes by int8 on vectors too");

// Up to 32 rows of x by one panel -> sums (32, 32).
void multiply_panel(const uint8_t* x, int64_t rows, int64_t width, const Int8Panel& panel, int32_t* sums) {
  const bool two = rows > 16;
  _tile_loadd(0, panel.starts, 0);  // every row begins with them
  _tile_loadd(1, panel.starts + 16, 0);
  _tile_loadd(2, panel.starts, 0);
  _tile_loadd(3, panel.starts + 16, 0);
  for (int64_t i = 0; i < width; i += kInt8Inputs) {
    _tile_loadd(4, x + i, width);
    _tile_loadd(6, panel.weights + i * kColumns, 128);
    _tile_loadd(7, panel.weights + i * kColumns + 64, 128);
    _tile_dpbusd(0, 4, 6);
    _tile_dpbusd(1, 4, 7);
    if (two) {
      _tile_loadd(5, x + 16 * width + i, width);
      _tile_dpbusd(2, 5, 6);
      _tile_dpbusd(3, 5, 7);
    }
  }
  _tile_stored(0, sums, 128);
  _tile_stored(1, sums + 16, 128);
  if (two) {
    _tile_stored(2, sums + 512, 128);
    _tile_stored(3, sums + 528, 128);
  }
}

// As multiply_rows does it, 32 rows at a time.
template <class Done>
void multiply_by_tiles(const uint8_t* x, int64_t m, const Int8Weight& weight, const Done& done) {
  parallel<TileScope>(weight.panels, 1, [&](int64_t begin, int64_t end) {
    alignas(64) int32_t sums[kMostRows * kColumns];
    for (int64_t panel = begin; panel < end; ++panel) {
      for (int64_t row = 0; row < m; row += kMostRows) {
        multiply_panel(x + row * weight.width, m - row, weight.width, weight.panel(panel), sums);
        done(row, std::min(kMostRows, m - row), panel, sums);
      }
    }
  });
}

#endif

// Hands all sums of x (M, K) by `packed` to `store`, in fp32.
void multiply_int8(const at::Tensor& x, const at::Tensor& packed, const std::optional<at::Tensor>& multiplier,
                   bool fixed, Store store) {
  const Int8Weight weight(packed);
  const Int8Rows rows = quantize_rows(x, multiplier, fixed, weight.width);
  const auto finish = [&](int64_t row, int64_t count, int64_t panel, const int32_t* sums) {
    alignas(64) float wide[kMostRows * kColumns];
    const float* columns = weight.panel(panel).scales;
    for (int64_t r = 0; r < count; ++r) {
      for (int64_t i = r * kColumns; i < (r + 1) * kColumns; i += kLanes)
        store_lanes(wide + i, int_lanes(sums + i) * rows.scales[row + r] * load_lanes(columns + i % kColumns));
    }
    store(row, count, panel, wide);
  };
#ifdef STAGELINE_AMX_INT8
  if (amx_available()) return multiply_by_tiles(rows.values, x.size(0), weight, finish);
#endif
  multiply_rows(ByFours{rows.values, weight}, x.size(0), weight.panels, finish);
}

// activation(x W^T + bias): (M, K) -> (M, N) in x's dtype, fp32 or bf16.
at::Tensor linear(const at::Tensor& x, const at::Tensor& packed, const std::optional<at::Tensor>& multiplier,
                  bool fixed, const Bias& bias, int64_t n, int64_t activation) {
  TORCH_CHECK(n <= packed.size(0) * kColumns);
  return finish_linear(x, n, bias, static_cast<Activation>(activation),
                       [&](Store store) { multiply_int8(x, packed, multiplier, fixed, store); });
}

// activation(gate) * up for a weight packed in pairs: (M, K) -> (M, N/2) in x's dtype.
at::Tensor linear_gate(const at::Tensor& x, const at::Tensor& packed, const std::optional<at::Tensor>& multiplier,
                       bool fixed, int64_t activation) {
  return finish_gate(x, packed.size(0) * 16, static_cast<Activation>(activation),
                     [&](Store store) { multiply_int8(x, packed, multiplier, fixed, store); });
}

// sum += x W^T + bias: the residual stream, (M, N) fp32.
void linear_add(const at::Tensor& x, const at::Tensor& packed, const std::optional<at::Tensor>& multiplier, bool fixed,
                const Bias& bias, at::Tensor& sum) {
  TORCH_CHECK(sum.size(1) <= packed.size(0) * kColumns);
  finish_add(x, bias, sum, [&](Store store) { multiply_int8(x, packed, multiplier, fixed, store); });
}

// x W^T + bias in fp32: the logits, (M, N).
at::Tensor linear_fp32(const at::Tensor& x, const at::Tensor& packed, const std::optional<at::Tensor>& multiplier,
                       bool fixed, const Bias& bias, int64_t n) {
  TORCH_CHECK(n <= packed.size(0) * kColumns);
  return finish_fp32(x, n, bias, [&](Store store) { multiply_int8(x, packed, multiplier, fixed, store); });
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(stageline, m) {
  m.def("int8_linear(Tensor x, Tensor packed, Tensor? multiplier, bool fixed, Tensor? bias, int n, int activation)"
        " -> Tensor", linear);
  m.def("int8_gate(Tensor x, Tensor packed, Tensor? multiplier, bool fixed, int activation) -> Tensor", linear_gate);
  m.def("int8_add(Tensor x, Tensor packed, Tensor? multiplier, bool fixed, Tensor? bias, Tensor(a!) sum) -> ()",
        linear_add);
  m.def("int8_fp32(Tensor x, Tensor packed, Tensor? multiplier, bool fixed, Tensor? bias, int n) -> Tensor",
        linear_fp32);
}

}  // namespace stageline
