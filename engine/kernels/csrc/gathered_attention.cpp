// Attention of single queries over keys and values that lie anywhere in a cache: each row has a list of their slots.
//
// Rows may share slots (hypotheses that began alike, all hypotheses of one sentence for its source). A row's result is
// computed from that row alone in one fixed order, so it is the same bit for bit whatever stands beside it and wherever
// its slots lie.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <vector>

#include "lanes.h"
#include "parallel.h"
#include "softmax.h"

namespace stageline {
namespace {

struct Shape {
  int64_t heads, width, q_stride, table_stride;
  float scale;
  int64_t slot() const { return 2 * heads * width; }
};

struct Bias {
  const float* values;  // (heads, size) by distance from a row's last key, null for none
  int64_t size;
};

float sum_of(const Lanes& x) {
  using Half = float __attribute__((vector_size(32)));
  using Quarter = float __attribute__((vector_size(16)));
  Half low, high;
  std::memcpy(&low, &x, sizeof(Half));
  std::memcpy(&high, reinterpret_cast<const char*>(&x) + sizeof(Half), sizeof(Half));
  low += high;
  Quarter first, second;
  std::memcpy(&first, &low, sizeof(Quarter));
  std::memcpy(&second, reinterpret_cast<const char*>(&low) + sizeof(Quarter), sizeof(Quarter));
  first += second;
  return (first[0] + first[1]) + (first[2] + first[3]);
}

template <class T>
float dot(const T* a, const T* b, int64_t width) {
  Lanes sum = {};
  int64_t i = 0;
  for (; i + kLanes <= width; i += kLanes) sum += load_lanes(a + i) * load_lanes(b + i);
  if (i < width) sum += load_lanes(a + i, width - i) * load_lanes(b + i, width - i);
  return sum_of(sum);
}

// One row: q (heads * D), slots (length,), out (heads * D). scores: room for heads * length.
template <class T>
void attend(const T* q, const T* cache, const int32_t* slots, int64_t length, const Shape& shape, const Bias& bias,
            float* scores, T* out) {
  const int64_t d = shape.width, size = shape.heads * d;
  for (int64_t j = 0; j < length; ++j) {
    const T* key = cache + slots[j] * shape.slot();
    for (int64_t h = 0; h < shape.heads; ++h) scores[h * length + j] = dot(q + h * d, key + h * d, d) * shape.scale;
  }
  for (int64_t h = 0; h < shape.heads; ++h) {
    float* row = scores + h * length;
    if (bias.values) {
      const float* added = bias.values + h * bias.size + length - 1;
      for (int64_t j = 0; j < length; ++j) row[j] += added[-j];
    }
    const float part = 1.0f / exponentials(row, length, 1.0f);
    for (int64_t i = 0; i < d; i += kLanes) {
      const int64_t count = std::min(kLanes, d - i);
      const T* values = cache + size + h * d + i;
      Lanes sum = {};
      for (int64_t j = 0; j < length; ++j) sum += row[j] * load_lanes(values + slots[j] * shape.slot(), count);
      for (int64_t k = 0; k < count; ++k) out[h * d + i + k] = from_float<T>(sum[k] * part);
    }
  }
}

// q (R, heads * D), rows `q_stride` apart; cache (slots, 2, heads * D), keys and values; table (R, longest) and lengths
// (R,) int32: row r attends to the first lengths[r] slots of its row of the table. bias (heads, n) fp32. All fp32 or all
// bf16 but for the bias. Returns (R, heads * D).
at::Tensor gathered_attention(const at::Tensor& q, const at::Tensor& cache, const at::Tensor& table,
                              const at::Tensor& lengths, int64_t heads, double scale,
                              const std::optional<at::Tensor>& bias) {
  TORCH_CHECK(q.dim() == 2 && q.stride(1) == 1 && cache.is_contiguous() && cache.dim() == 3 && cache.size(1) == 2);
  TORCH_CHECK(cache.size(2) == q.size(1) && cache.scalar_type() == q.scalar_type() && q.size(1) % heads == 0);
  TORCH_CHECK(table.scalar_type() == at::kInt && table.is_contiguous() && lengths.scalar_type() == at::kInt);
  const int64_t rows = q.size(0), longest = table.size(1);
  TORCH_CHECK(table.size(0) == rows && lengths.numel() == rows && lengths.is_contiguous());
  const Shape shape{heads, q.size(1) / heads, q.stride(0), longest, static_cast<float>(scale)};
  const auto *slots = table.const_data_ptr<int32_t>(), *length = lengths.const_data_ptr<int32_t>();
  Bias added{nullptr, 0};
  if (bias.has_value()) {
    TORCH_CHECK(bias->scalar_type() == at::kFloat && bias->is_contiguous() && bias->size(0) == heads);
    added = {bias->const_data_ptr<float>(), bias->size(1)};
  }
  for (int64_t r = 0; r < rows; ++r) {
    TORCH_CHECK(length[r] > 0 && length[r] <= longest, "a row's length is not within the table");
    TORCH_CHECK(!added.values || length[r] <= added.size, "a row is longer than the position bias");
    for (int64_t j = 0; j < length[r]; ++j)
      TORCH_CHECK(slots[r * longest + j] >= 0 && slots[r * longest + j] < cache.size(0), "no such slot");
  }
  at::Tensor out = at::empty({rows, q.size(1)}, q.options());
  const auto each = [&]<class T>(const T* from, const T* held, T* to) {
    parallel(rows, 4, [&](int64_t begin, int64_t end) {
      thread_local std::vector<float> scores;
      if (static_cast<int64_t>(scores.size()) < heads * longest) scores.resize(heads * longest);
      for (int64_t r = begin; r < end; ++r)
        attend(from + r * shape.q_stride, held, slots + r * longest, length[r], shape, added, scores.data(),
               to + r * heads * shape.width);
    });
  };
  if (q.scalar_type() == at::kFloat) {
    each(q.const_data_ptr<float>(), cache.const_data_ptr<float>(), out.mutable_data_ptr<float>());
  } else {
    TORCH_CHECK(q.scalar_type() == at::kBFloat16);
    each(reinterpret_cast<const bf16*>(q.const_data_ptr()), reinterpret_cast<const bf16*>(cache.const_data_ptr()),
         reinterpret_cast<bf16*>(out.mutable_data_ptr()));
  }
  return out;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(stageline, m) {
  m.def(
      "gathered_attention(Tensor q, Tensor cache, Tensor table, Tensor lengths, int heads, float scale, Tensor? bias) "
      "-> Tensor",
      gathered_attention);
}

}  // namespace stageline
