#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include "fours.h"
#include "int8.h"
#include "parallel.h"

namespace stageline {
namespace {

// What int32 holds: 65536 products of a byte and an int8.
constexpr int64_t kWidest = 65536;

// values (N, K) int8, scales (N,) fp32 -> packed (N/32, bytes of a panel) int8.
at::Tensor pack_int8(const at::Tensor& values, const at::Tensor& scales, bool paired) {
  TORCH_CHECK(values.dim() == 2 && values.is_contiguous() && scales.is_contiguous());
  const int64_t n = values.size(0), k = values.size(1), width = round_up(k, kInt8Inputs);
  TORCH_CHECK(scales.numel() == n && width <= kWidest, "int8 weights have a scale a row and at most 65536 inputs");
  TORCH_CHECK(!paired || n % kColumns == 0, "a paired weight needs a multiple of 32 rows");
  const int64_t panels = round_up(n, kColumns) / kColumns, size = width * kColumns + kPanelTail;
  at::Tensor packed = at::zeros({panels, size}, values.options());
  const auto* from = values.const_data_ptr<int8_t>();
  const auto* scale = scales.const_data_ptr<float>();
  auto* to = packed.mutable_data_ptr<int8_t>();
  parallel(panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t panel = begin; panel < end; ++panel) {
      int8_t* mine = to + panel * size;
      auto* column_scales = reinterpret_cast<float*>(mine + width * kColumns);
      auto* starts = reinterpret_cast<int32_t*>(column_scales + kColumns);
      for (int64_t c = 0; c < kColumns; ++c) {
        const int64_t row = row_of(panel, c, n, paired);
        if (row >= n) continue;
        int32_t sum = 0;
        for (int64_t i = 0; i < k; ++i) {
          mine[in_int8_panel(c, i)] = from[row * k + i];
          sum += from[row * k + i];
        }
        column_scales[c] = scale[row];
        starts[c] = -kOffset * sum;
      }
    }
  });
  return packed;
}

// Rows `ids` of a packed (not paired) weight as fp32, times `scale`, the multiplier undone: the embedding that is tied to
// the output head.
at::Tensor embedding(const at::Tensor& ids, const at::Tensor& packed, const std::optional<at::Tensor>& multiplier,
                     int64_t width, double scale) {
  TORCH_CHECK(ids.scalar_type() == at::kLong && ids.is_contiguous());
  const Int8Weight weight(packed);
  TORCH_CHECK(width <= weight.width);
  const int64_t count = ids.numel();
  const auto* id = ids.const_data_ptr<int64_t>();
  for (int64_t t = 0; t < count; ++t)
    TORCH_CHECK(id[t] >= 0 && id[t] < weight.panels * kColumns, "token id out of range");
  at::Tensor out = at::empty({count, width}, packed.options().dtype(at::kFloat));
  auto* to = out.mutable_data_ptr<float>();
  const float* factors = multiplier.has_value() ? multiplier->const_data_ptr<float>() : nullptr;
  const auto s = static_cast<float>(scale);
  parallel(count, 16, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const Int8Panel panel = weight.panel(id[t] / kColumns);
      const int64_t c = id[t] % kColumns;
      for (int64_t i = 0; i < width; ++i) {
        const float value = panel.weights[in_int8_panel(c, i)] * panel.scales[c];
        to[t * width + i] = (factors ? value * factors[i] : value) * s;
      }
    }
  });
  return out;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(stageline, m) {
  m.def("pack_int8(Tensor values, Tensor scales, bool paired) -> Tensor", pack_int8);
  m.def("int8_embedding(Tensor ids, Tensor packed, Tensor? multiplier, int width, float scale) -> Tensor", embedding);
}

}  // namespace stageline
