// Between the QKV projection and attention: head norms, rotary positions, and the write into the paged KV cache.
#include <ATen/core/Tensor.h>
#include <torch/library.h>

#include <vector>

#include "head_setup.h"
#include "paged_cache.h"
#include "parallel.h"

namespace stageline {
namespace {

struct Shape {
  int64_t heads, kv_heads, width, block;
};

template <class T, class Layout>
void run(at::Tensor& qkv, const Shape& shape, const Rotary& rope, const HeadNorms& norms, const int64_t* position,
         const int64_t* slot, T* keys, T* values) {
  const int64_t tokens = qkv.size(0), d = shape.width, padded = Layout::padded(d), block = shape.block;
  const int64_t stride = (shape.heads + 2 * shape.kv_heads) * d, cell = block * padded;
  T* data = static_cast<T*>(qkv.mutable_data_ptr());

  // A block's first position clears its values: attention multiplies what lies beyond the context by zero, and a
  // neighbour's leftover infinity would turn that into NaN.
  for (int64_t t = 0; t < tokens; ++t)
    if (slot[t] >= 0 && slot[t] % block == 0)
      std::memset(static_cast<void*>(values + slot[t] / block * shape.kv_heads * cell), 0,
                  shape.kv_heads * cell * sizeof(T));

  parallel(tokens, 16, [&](int64_t begin, int64_t end) {
    std::vector<float> head(d);
    for (int64_t t = begin; t < end; ++t) {
      T* row = data + t * stride;
      for (int64_t h = 0; h < shape.heads + shape.kv_heads; ++h) {
        const bool query = h < shape.heads;
        T* source = row + h * d;
        for (int64_t i = 0; i < d; ++i) head[i] = to_float(source[i]);
        const float* weight = query ? norms.q : norms.k;
        if (weight) normalize(head.data(), weight, d, norms.eps);
        if (rope.cos) rotate(head.data(), rope, position[t]);
        if (query) {
          for (int64_t i = 0; i < d; ++i) source[i] = from_float<T>(head[i]);
        } else if (slot[t] >= 0) {
          T* cache = keys + (slot[t] / block * shape.kv_heads + h - shape.heads) * cell;
          for (int64_t i = 0; i < d; ++i) cache[Layout::key(slot[t] % block, i, block, padded)] = from_float<T>(head[i]);
        }
      }
      if (slot[t] < 0) continue;
      for (int64_t h = 0; h < shape.kv_heads; ++h) {
        const T* source = row + (shape.heads + shape.kv_heads + h) * d;
        T* cache = values + (slot[t] / block * shape.kv_heads + h) * cell;
        for (int64_t i = 0; i < d; ++i) cache[Layout::value(slot[t] % block, i, block, padded)] = source[i];
      }
    }
  });
}

// qkv (T, (heads + 2 kv_heads) D): queries are normed and turned in place; keys (normed, turned) and values go to
// their slots of the cache (block index * block + offset; negative: nowhere). position, slot (T,) int64;
// cos, sin (P, rotary/2) fp32.
void rope_write(at::Tensor& qkv, int64_t heads, int64_t kv_heads, const std::optional<at::Tensor>& cos,
                const std::optional<at::Tensor>& sin, const std::optional<at::Tensor>& q_norm,
                const std::optional<at::Tensor>& k_norm, double eps, const at::Tensor& position, const at::Tensor& slot,
                at::Tensor& keys, at::Tensor& values, int64_t block, bool paired) {
  TORCH_CHECK(qkv.dim() == 2 && qkv.is_contiguous() && keys.scalar_type() == qkv.scalar_type());
  TORCH_CHECK(position.scalar_type() == at::kLong && slot.scalar_type() == at::kLong);
  const Shape shape{heads, kv_heads, qkv.size(1) / (heads + 2 * kv_heads), block};
  const Rotary rope = rotary_of(cos, sin);
  const HeadNorms norms = norms_of(q_norm, k_norm, eps);
  const auto* p = position.const_data_ptr<int64_t>();
  const auto* s = slot.const_data_ptr<int64_t>();
  if (qkv.scalar_type() == at::kFloat) {
    TORCH_CHECK(!paired, "the paired layout is for bf16");
    run<float, PlainLayout>(qkv, shape, rope, norms, p, s, keys.mutable_data_ptr<float>(),
                            values.mutable_data_ptr<float>());
  } else {
    TORCH_CHECK(qkv.scalar_type() == at::kBFloat16);
    auto* k = reinterpret_cast<bf16*>(keys.mutable_data_ptr());
    auto* v = reinterpret_cast<bf16*>(values.mutable_data_ptr());
    if (paired)
      run<bf16, PairedLayout>(qkv, shape, rope, norms, p, s, k, v);
    else
      run<bf16, PlainLayout>(qkv, shape, rope, norms, p, s, k, v);
  }
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(stageline, m) {
  m.def(
      "rope_write(Tensor(a!) qkv, int heads, int kv_heads, Tensor? cos, Tensor? sin, Tensor? q_norm, Tensor? k_norm, "
      "float eps, Tensor position, Tensor slot, Tensor(b!) keys, Tensor(c!) values, int block, bool paired) -> ()",
      rope_write);
}

}  // namespace stageline
