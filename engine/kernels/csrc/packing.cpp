#include "packing.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include "parallel.h"
#include "vector_math.h"

namespace stageline {
namespace {

template <class T, class Place>
void fill(const T* weight, int64_t n, int64_t k, bool paired, int64_t panels, int64_t panel_size, const Place& place,
          T* packed) {
  parallel(panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t panel = begin; panel < end; ++panel) {
      for (int64_t c = 0; c < kColumns; ++c) {
        const int64_t row = row_of(panel, c, n, paired);
        if (row >= n) continue;
        for (int64_t i = 0; i < k; ++i) packed[panel * panel_size + place(c, i)] = weight[row * k + i];
      }
    }
  });
}

// weight (N, K) -> packed (N/32, ...), see packing.h.
at::Tensor pack_weight(const at::Tensor& weight, bool paired, int64_t layout) {
  TORCH_CHECK(weight.dim() == 2 && weight.is_contiguous());
  const int64_t n = weight.size(0), k = weight.size(1), panels = round_up(n, kColumns) / kColumns;
  TORCH_CHECK(!paired || n % kColumns == 0, "a paired weight needs a multiple of 32 rows");
  const auto make = [&](int64_t rows, int64_t width) { return at::zeros({panels, rows, width}, weight.options()); };
  const auto put = [&]<class T>(T, at::Tensor packed, const auto& place) {
    fill(reinterpret_cast<const T*>(weight.const_data_ptr()), n, k, paired, panels, packed.size(1) * packed.size(2),
         place, reinterpret_cast<T*>(packed.mutable_data_ptr()));
    return packed;
  };
  const auto kind = static_cast<Layout>(layout);
  if (weight.scalar_type() == at::kFloat) {
    TORCH_CHECK(kind == Layout::lanes, "pairs and tiles hold bf16");
    return put(float{}, make(k, kColumns), in_lane_panel);
  }
  TORCH_CHECK(weight.scalar_type() == at::kBFloat16);
  if (kind == Layout::tiles) return put(bf16{}, make(round_up(k, kInputs) / kInputs, 2 * kTile), in_tile_panel);
  if (kind == Layout::pairs) return put(bf16{}, make((k + 1) / 2, 2 * kColumns), in_pair_panel);
  return put(bf16{}, make(k, kColumns), in_lane_panel);
}

template <class T, class Place>
void gather(const int64_t* id, int64_t count, const T* packed, int64_t panel_size, int64_t width, float scale,
            const Place& place, float* out) {
  parallel(count, 16, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t i = 0; i < width; ++i)
        out[t * width + i] = to_float(packed[id[t] / kColumns * panel_size + place(id[t] % kColumns, i)]) * scale;
  });
}

// Rows `ids` of a packed (not paired) weight as fp32, times `scale`: the embedding that is tied to the output head.
at::Tensor embedding(const at::Tensor& ids, const at::Tensor& packed, int64_t width, double scale) {
  TORCH_CHECK(ids.scalar_type() == at::kLong && ids.is_contiguous());
  const int64_t count = ids.numel(), panel_size = packed.size(1) * packed.size(2);
  const auto* id = ids.const_data_ptr<int64_t>();
  for (int64_t t = 0; t < count; ++t)
    TORCH_CHECK(id[t] >= 0 && id[t] < packed.size(0) * kColumns, "token id out of range");
  at::Tensor out = at::empty({count, width}, packed.options().dtype(at::kFloat));
  auto* to = out.mutable_data_ptr<float>();
  const auto s = static_cast<float>(scale);
  if (packed.scalar_type() == at::kFloat)
    gather(id, count, packed.const_data_ptr<float>(), panel_size, width, s, in_lane_panel, to);
  else if (in_tiles(packed))
    gather(id, count, reinterpret_cast<const bf16*>(packed.const_data_ptr()), panel_size, width, s, in_tile_panel, to);
  else if (in_pairs(packed))
    gather(id, count, reinterpret_cast<const bf16*>(packed.const_data_ptr()), panel_size, width, s, in_pair_panel, to);
  else
    gather(id, count, reinterpret_cast<const bf16*>(packed.const_data_ptr()), panel_size, width, s, in_lane_panel, to);
  return out;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(stageline, m) {
  m.def("pack_weight(Tensor weight, bool paired, int layout) -> Tensor", pack_weight);
  m.def("embedding(Tensor ids, Tensor packed, int width, float scale) -> Tensor", embedding);
}

}  // namespace stageline
