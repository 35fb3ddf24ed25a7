// The residual stream (T, C) fp32 before and between norms and products: its first values out of tables, and its values
// as a product wants them. Torch would start threads of its own for these few values, which then are in the way.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "lanes.h"
#include "parallel.h"

namespace stageline {
namespace {

constexpr int64_t kRows = 64;  // too few rows are not worth waking a helper for

const int64_t* checked_ids(const at::Tensor& ids, const at::Tensor& table) {
  TORCH_CHECK(ids.dim() == 1 && ids.scalar_type() == at::kLong && ids.is_contiguous());
  TORCH_CHECK(table.dim() == 2 && table.is_contiguous());
  const auto* id = ids.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < ids.numel(); ++i)
    TORCH_CHECK_INDEX(id[i] >= 0 && id[i] < table.size(0), "row ", id[i], " of a table of ", table.size(0));
  return id;
}

template <class T>
at::Tensor look_up_in(const T* from, const int64_t* id, int64_t count, int64_t width, float scale) {
  at::Tensor out = at::empty({count, width}, at::kFloat);
  auto* to = out.mutable_data_ptr<float>();
  parallel(count, kRows, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const T* source = from + id[row] * width;
#pragma omp simd
      for (int64_t i = 0; i < width; ++i) to[row * width + i] = to_float(source[i]) * scale;
    }
  });
  return out;
}

// table (V, C) fp32 or bf16, ids (T,) int64 -> scale * table[ids], (T, C) fp32.
at::Tensor look_up(const at::Tensor& ids, const at::Tensor& table, double scale) {
  const int64_t *id = checked_ids(ids, table), width = table.size(1), count = ids.numel();
  const auto factor = static_cast<float>(scale);
  if (table.scalar_type() == at::kFloat) return look_up_in(table.const_data_ptr<float>(), id, count, width, factor);
  TORCH_CHECK(table.scalar_type() == at::kBFloat16);
  return look_up_in(reinterpret_cast<const bf16*>(table.const_data_ptr()), id, count, width, factor);
}

// hidden (T, C) fp32 += table[ids]; table (V, C) fp32, ids (T,) int64.
void add_rows(at::Tensor& hidden, const at::Tensor& table, const at::Tensor& ids) {
  TORCH_CHECK(hidden.scalar_type() == at::kFloat && hidden.is_contiguous() && table.scalar_type() == at::kFloat);
  const int64_t *id = checked_ids(ids, table), width = table.size(1);
  TORCH_CHECK(hidden.size(0) == ids.numel() && hidden.size(1) == width, "the table does not fit");
  auto* to = hidden.mutable_data_ptr<float>();
  const auto* from = table.const_data_ptr<float>();
  parallel(ids.numel(), kRows, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* source = from + id[row] * width;
#pragma omp simd
      for (int64_t i = 0; i < width; ++i) to[row * width + i] += source[i];
    }
  });
}

// x (T, C) fp32 -> bf16.
at::Tensor narrow(const at::Tensor& x) {
  TORCH_CHECK(x.dim() == 2 && x.scalar_type() == at::kFloat && x.is_contiguous());
  at::Tensor out = at::empty(x.sizes(), x.options().dtype(at::kBFloat16));
  const auto* from = x.const_data_ptr<float>();
  auto* to = reinterpret_cast<bf16*>(out.mutable_data_ptr());
  const int64_t width = x.size(1);
  parallel(x.size(0), kRows, [&](int64_t begin, int64_t end) {
    int64_t i = begin * width;
    for (; i + kLanes <= end * width; i += kLanes) store_lanes(to + i, load_lanes(from + i));
    for (; i < end * width; ++i) to[i] = from_float<bf16>(from[i]);
  });
  return out;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(stageline, m) {
  m.def("look_up(Tensor ids, Tensor table, float scale) -> Tensor", look_up);
  m.def("add_rows(Tensor(a!) hidden, Tensor table, Tensor ids) -> ()", add_rows);
  m.def("narrow(Tensor x) -> Tensor", narrow);
}

}  // namespace stageline
