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

constexpr float kNothing = -1e30f;

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

// Scratch of one thread, kept between calls.
struct Scratch {
  std::vector<float> query, scores, sums;

  void reserve(int64_t size, int64_t count) {
    if (static_cast<int64_t>(query.size()) < size) query.resize(size), sums.resize(size);
    if (static_cast<int64_t>(scores.size()) < count) scores.resize(count);
  }
};

// Asks for a slot that is read next: slots lie anywhere, so nothing else foresees it.
template <class T>
void fetch(const T* slot, int64_t size) {
  constexpr int64_t line = 64 / sizeof(T);
  for (int64_t i = 0; i < size; i += line) __builtin_prefetch(slot + i);
}

// q . key for every head; heads of V vectors each, or of any width with V = 0.
template <int V, class T>
void score(const float* q, const T* key, const Shape& shape, float* scores, int64_t stride) {
  for (int64_t h = 0; h < shape.heads; ++h) {
    Lanes sum = {};
    if constexpr (V > 0) {
      for (int v = 0; v < V; ++v)
        sum += load_lanes(q + (h * V + v) * kLanes) * load_lanes(key + (h * V + v) * kLanes);
    } else {
      const int64_t d = shape.width;
      for (int64_t i = 0; i < d; i += kLanes)
        sum += load_lanes(q + h * d + i, d - i) * load_lanes(key + h * d + i, d - i);
    }
    scores[h * stride] = sum_of(sum);
  }
}

// sums += weight * value for every head.
template <int V, class T>
void add(const float* weights, int64_t stride, const T* value, const Shape& shape, float* sums) {
  for (int64_t h = 0; h < shape.heads; ++h) {
    const float weight = weights[h * stride];
    if constexpr (V > 0) {
      for (int v = 0; v < V; ++v) {
        float* sum = sums + (h * V + v) * kLanes;
        const Lanes next = load_lanes(sum) + weight * load_lanes(value + (h * V + v) * kLanes);
        std::memcpy(sum, &next, sizeof(next));
      }
    } else {
      const int64_t d = shape.width;
#pragma omp simd
      for (int64_t i = 0; i < d; ++i) sums[h * d + i] += weight * to_float(value[h * d + i]);
    }
  }
}

// One row, slot by slot in order: q (heads * D), slots (length,), out (heads * D).
template <int V, class T>
void attend(const T* q, const T* cache, const int32_t* slots, int64_t length, const Shape& shape, const Bias& bias,
            Scratch& s, T* out) {
  const int64_t size = shape.heads * shape.width, padded = (length + kLanes - 1) / kLanes * kLanes;
  s.reserve(size, shape.heads * padded);
  float *query = s.query.data(), *scores = s.scores.data(), *sums = s.sums.data();
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) query[i] = to_float(q[i]) * shape.scale;
  fetch(cache + slots[0] * shape.slot(), shape.slot());
  for (int64_t j = 0; j < length; ++j) {
    if (j + 1 < length) fetch(cache + slots[j + 1] * shape.slot(), shape.slot());
    score<V>(query, cache + slots[j] * shape.slot(), shape, scores + j, padded);
  }
  for (int64_t h = 0; h < shape.heads; ++h) {
    float* row = scores + h * padded;
    if (bias.values) {
      const float* added = bias.values + h * bias.size + length - 1;
      for (int64_t j = 0; j < length; ++j) row[j] += added[-j];
    }
    // What fills the last vector is so low that it adds nothing to the sum.
    std::fill(row + length, row + padded, kNothing);
    const float part = 1.0f / exponentials(row, padded, 1.0f);
#pragma omp simd
    for (int64_t j = 0; j < padded; ++j) row[j] *= part;
  }
  std::fill(sums, sums + size, 0.0f);
  for (int64_t j = 0; j < length; ++j) add<V>(scores + j, padded, cache + slots[j] * shape.slot() + size, shape, sums);
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) out[i] = from_float<T>(sums[i]);
}

template <class T>
auto attend_for(int64_t width) {
  switch (width) {
    case kLanes:
      return attend<1, T>;
    case 2 * kLanes:
      return attend<2, T>;
    case 4 * kLanes:
      return attend<4, T>;
    default:
      return attend<0, T>;
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
    const auto row = attend_for<T>(shape.width);
    parallel(rows, 4, [&](int64_t begin, int64_t end) {
      thread_local Scratch scratch;
      for (int64_t r = begin; r < end; ++r)
        row(from + r * shape.q_stride, held, slots + r * longest, length[r], shape, added, scratch,
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

// Copies rows (R, 2 * heads * D), `stride` apart, into slots (R,) int64 of the cache.
void put_slots(at::Tensor& cache, const at::Tensor& slots, const at::Tensor& rows) {
  TORCH_CHECK(cache.is_contiguous() && cache.dim() == 3 && rows.dim() == 2 && rows.stride(1) == 1);
  TORCH_CHECK(slots.scalar_type() == at::kLong && slots.is_contiguous() && slots.numel() == rows.size(0));
  TORCH_CHECK(rows.scalar_type() == cache.scalar_type() && rows.size(1) == cache.size(1) * cache.size(2));
  const int64_t bytes = rows.size(1) * rows.element_size(), stride = rows.stride(0) * rows.element_size();
  const auto* slot = slots.const_data_ptr<int64_t>();
  const auto* from = static_cast<const char*>(rows.const_data_ptr());
  auto* to = static_cast<char*>(cache.mutable_data_ptr());
  for (int64_t r = 0; r < rows.size(0); ++r) {
    TORCH_CHECK(slot[r] >= 0 && slot[r] < cache.size(0), "no such slot");
    std::memcpy(to + slot[r] * bytes, from + r * stride, bytes);
  }
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(stageline, m) {
  m.def(
      "gathered_attention(Tensor q, Tensor cache, Tensor table, Tensor lengths, int heads, float scale, Tensor? bias) "
      "-> Tensor",
      gathered_attention);
  m.def("put_slots(Tensor(a!) cache, Tensor slots, Tensor rows) -> ()", put_slots);
}

}  // namespace stageline
