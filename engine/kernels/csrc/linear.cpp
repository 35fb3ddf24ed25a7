// y = x W^T in bf16 with fp32 accumulation on AMX, for weights packed once at load time.
//
// Packed layout: (N/32, K/32, 2, 16, 16, 2) bf16, that is for 32 output columns and 32 inputs two tiles of 16 pairs of
// inputs by 16 columns. One thread walks its columns front to back, so that memory is read as one stream.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <vector>

#include "amx.h"
#include "vector_math.h"

namespace stageline {
namespace {

constexpr int64_t kColumns = 32;  // output columns of one packed panel
constexpr int64_t kInputs = 32;   // inputs of one tile
constexpr int64_t kTile = 512;    // bf16 values of one tile

int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }

// weight (N, K) bf16 -> packed (N/32, K/32, 1024) bf16, padded with zeros. With `paired`, columns i of the first and of
// the second half of N come to lie side by side in one panel: gate and up of a gated MLP.
at::Tensor pack_weight(const at::Tensor& weight, bool paired) {
  TORCH_CHECK(weight.dim() == 2 && weight.scalar_type() == at::kBFloat16 && weight.is_contiguous());
  const int64_t n = weight.size(0), k = weight.size(1);
  TORCH_CHECK(!paired || n % (2 * 16) == 0, "a paired weight needs a multiple of 32 rows");
  const int64_t panels = round_up(n, kColumns) / kColumns, k_tiles = round_up(k, kInputs) / kInputs;
  at::Tensor packed = at::zeros({panels, k_tiles, 2 * kTile}, weight.options());
  const auto* source = reinterpret_cast<const bf16*>(weight.const_data_ptr());
  auto* target = reinterpret_cast<bf16*>(packed.mutable_data_ptr());
  at::parallel_for(0, panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t panel = begin; panel < end; ++panel) {
      for (int64_t column = 0; column < kColumns; ++column) {
        const int64_t half = column / 16, lane = column % 16;
        const int64_t row = paired ? half * (n / 2) + panel * 16 + lane : panel * kColumns + column;
        if (row >= n) continue;
        for (int64_t i = 0; i < k; ++i) {
          const int64_t tile = (panel * k_tiles + i / kInputs) * 2 + half;
          target[tile * kTile + (i % kInputs) / 2 * 32 + lane * 2 + i % 2] = source[row * k + i];
        }
      }
    }
  });
  return packed;
}

// Rows `ids` of a packed (not paired) weight as fp32, times `scale`: the embedding that is tied to the output head.
at::Tensor embedding(const at::Tensor& ids, const at::Tensor& packed, int64_t width, double scale) {
  TORCH_CHECK(ids.scalar_type() == at::kLong && ids.is_contiguous());
  const int64_t count = ids.numel(), k_tiles = packed.size(1);
  at::Tensor out = at::empty({count, width}, packed.options().dtype(at::kFloat));
  const auto* id = ids.const_data_ptr<int64_t>();
  const auto* table = reinterpret_cast<const bf16*>(packed.const_data_ptr());
  auto* target = out.mutable_data_ptr<float>();
  at::parallel_for(0, count, 16, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      TORCH_CHECK(id[t] >= 0 && id[t] < packed.size(0) * kColumns, "token id out of range");
      const int64_t panel = id[t] / kColumns, half = id[t] % kColumns / 16, lane = id[t] % 16;
      for (int64_t i = 0; i < width; ++i) {
        const int64_t tile = (panel * k_tiles + i / kInputs) * 2 + half;
        target[t * width + i] =
            to_float(table[tile * kTile + (i % kInputs) / 2 * 32 + lane * 2 + i % 2]) * static_cast<float>(scale);
      }
    }
  });
  return out;
}

#ifdef STAGELINE_AMX

struct Operands {
  const bf16* x;
  int64_t rows, stride, k_tiles;  // of x; `stride` in values
};

// Multiplies up to 32 rows of x, from `row`, by one panel; the four 16x16 results go to `sums` (2 row halves, 2 column
// halves).
inline void multiply_panel(const Operands& in, int64_t row, const bf16* panel, float* sums) {
  const bool two = in.rows - row > 16;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  const bf16* x = in.x + row * in.stride;
  const int64_t bytes = in.stride * static_cast<int64_t>(sizeof(bf16));
  for (int64_t tile = 0; tile < in.k_tiles; ++tile) {
    _tile_loadd(4, x + tile * kInputs, bytes);
    _tile_loadd(6, panel + tile * 2 * kTile, 64);
    _tile_loadd(7, panel + tile * 2 * kTile + kTile, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if (two) {
      _tile_loadd(5, x + 16 * in.stride + tile * kInputs, bytes);
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

// Calls store(row, panel, left, right) with the 16 + 16 sums of each row and panel.
template <class Store>
void multiply(const at::Tensor& x, const at::Tensor& packed, const Store& store) {
  TORCH_CHECK(amx_available(), "this machine has no AMX");
  TORCH_CHECK(x.dim() == 2 && x.scalar_type() == at::kBFloat16 && x.is_contiguous());
  const int64_t m = x.size(0), k = x.size(1), panels = packed.size(0), k_tiles = packed.size(1);
  TORCH_CHECK(k_tiles == round_up(k, kInputs) / kInputs, "x and weight differ in width");
  Operands in{reinterpret_cast<const bf16*>(x.const_data_ptr()), m, k, k_tiles};
  at::Tensor padded;  // tiles read whole 16 x 32 pieces
  if (m % 16 != 0 || k % kInputs != 0) {
    in.stride = round_up(k, kInputs);
    padded = at::zeros({round_up(m, 16), in.stride}, x.options());
    auto* target = reinterpret_cast<bf16*>(padded.mutable_data_ptr());
    for (int64_t row = 0; row < m; ++row) std::memcpy(target + row * in.stride, in.x + row * k, k * sizeof(bf16));
    in.x = target;
  }
  at::parallel_for(0, panels, 1, [&](int64_t begin, int64_t end) {
    TileScope tiles;
    alignas(64) float sums[1024];
    for (int64_t panel = begin; panel < end; ++panel) {
      const auto* weights = reinterpret_cast<const bf16*>(packed.const_data_ptr()) + panel * k_tiles * 2 * kTile;
      for (int64_t row = 0; row < m; row += 32) {
        multiply_panel(in, row, weights, sums);
        for (int64_t r = 0; r < std::min<int64_t>(32, m - row); ++r) {
          const float* left = sums + r / 16 * 512 + r % 16 * 16;
          store(row + r, panel, left, left + 256);
        }
      }
    }
  });
}

// Calls put(column, value) for the columns of a panel that exist, with the bias added.
template <class Put>
inline void each_column(int64_t panel, int64_t n, const float* bias, const float* left, const float* right,
                        const Put& put) {
  for (int64_t half = 0; half < 2; ++half) {
    const float* sums = half ? right : left;
    const int64_t first = panel * kColumns + half * 16;
    const int64_t count = std::min<int64_t>(16, n - first);
    if (bias) {
#pragma omp simd
      for (int64_t i = 0; i < count; ++i) put(first + i, sums[i] + bias[first + i]);
    } else {
#pragma omp simd
      for (int64_t i = 0; i < count; ++i) put(first + i, sums[i]);
    }
  }
}

template <Activation kind>
void linear_into(const at::Tensor& x, const at::Tensor& packed, const float* bias, at::Tensor& out) {
  const int64_t n = out.size(1);
  auto* target = reinterpret_cast<bf16*>(out.mutable_data_ptr());
  multiply(x, packed, [=](int64_t row, int64_t panel, const float* left, const float* right) {
    each_column(panel, n, bias, left, right,
                [=](int64_t column, float y) { target[row * n + column] = from_float<bf16>(activate(y, kind)); });
  });
}

const float* bias_pointer(const std::optional<at::Tensor>& bias) {
  return bias.has_value() ? bias->const_data_ptr<float>() : nullptr;
}

// activation(x W^T + bias): (M, K) bf16 -> (M, N) bf16. bias (N,) fp32.
at::Tensor linear(const at::Tensor& x, const at::Tensor& packed, const std::optional<at::Tensor>& bias, int64_t n,
                  int64_t activation) {
  at::Tensor out = at::empty({x.size(0), n}, x.options());
  const float* b = bias_pointer(bias);
  switch (static_cast<Activation>(activation)) {
    case Activation::gelu:
      linear_into<Activation::gelu>(x, packed, b, out);
      break;
    case Activation::gelu_tanh:
      linear_into<Activation::gelu_tanh>(x, packed, b, out);
      break;
    case Activation::relu:
      linear_into<Activation::relu>(x, packed, b, out);
      break;
    case Activation::silu:
      linear_into<Activation::silu>(x, packed, b, out);
      break;
    default:
      linear_into<Activation::none>(x, packed, b, out);
  }
  return out;
}

// silu(gate) * up for a weight packed in pairs: (M, K) bf16 -> (M, N/2) bf16.
at::Tensor linear_silu_mul(const at::Tensor& x, const at::Tensor& packed) {
  const int64_t n = packed.size(0) * 16;
  at::Tensor out = at::empty({x.size(0), n}, x.options());
  auto* target = reinterpret_cast<bf16*>(out.mutable_data_ptr());
  multiply(x, packed, [=](int64_t row, int64_t panel, const float* gate, const float* up) {
    bf16* to = target + row * n + panel * 16;
#pragma omp simd
    for (int64_t i = 0; i < 16; ++i) to[i] = from_float<bf16>(silu(gate[i]) * up[i]);
  });
  return out;
}

// sum += x W^T + bias, in fp32 without rounding between: the residual stream, (M, N).
void linear_add(const at::Tensor& x, const at::Tensor& packed, const std::optional<at::Tensor>& bias, at::Tensor& sum) {
  TORCH_CHECK(sum.scalar_type() == at::kFloat && sum.is_contiguous() && sum.size(0) == x.size(0));
  const int64_t n = sum.size(1);
  auto* target = sum.mutable_data_ptr<float>();
  const float* b = bias_pointer(bias);
  multiply(x, packed, [=](int64_t row, int64_t panel, const float* left, const float* right) {
    each_column(panel, n, b, left, right, [=](int64_t column, float y) { target[row * n + column] += y; });
  });
}

// x W^T + bias in fp32: the logits, (M, N).
at::Tensor linear_fp32(const at::Tensor& x, const at::Tensor& packed, const std::optional<at::Tensor>& bias, int64_t n) {
  at::Tensor out = at::empty({x.size(0), n}, x.options().dtype(at::kFloat));
  auto* target = out.mutable_data_ptr<float>();
  const float* b = bias_pointer(bias);
  multiply(x, packed, [=](int64_t row, int64_t panel, const float* left, const float* right) {
    each_column(panel, n, b, left, right, [=](int64_t column, float y) { target[row * n + column] = y; });
  });
  return out;
}

#endif

bool has_amx() { return amx_available(); }

}  // namespace

TORCH_LIBRARY_FRAGMENT(stageline, m) {
  m.def("has_amx() -> bool", has_amx);
  m.def("pack_weight(Tensor weight, bool paired) -> Tensor", pack_weight);
  m.def("embedding(Tensor ids, Tensor packed, int width, float scale) -> Tensor", embedding);
#ifdef STAGELINE_AMX
  m.def("linear(Tensor x, Tensor packed, Tensor? bias, int n, int activation) -> Tensor", linear);
  m.def("linear_silu_mul(Tensor x, Tensor packed) -> Tensor", linear_silu_mul);
  m.def("linear_add(Tensor x, Tensor packed, Tensor? bias, Tensor(a!) sum) -> ()", linear_add);
  m.def("linear_fp32(Tensor x, Tensor packed, Tensor? bias, int n) -> Tensor", linear_fp32);
#endif
}

}  // namespace stageline
