// Head norms and rotary positions in place, for attention without a cache.
#include <torch/library.h>

#include <vector>

#include "head_setup.h"
#include "parallel.h"

namespace stageline {
namespace {

template <class T>
void run(T* data, int64_t tokens, int64_t heads, int64_t kv_heads, int64_t stride, const Rotary& rope,
         const HeadNorms& norms, const int64_t* position) {
  const int64_t d = stride / (heads + 2 * kv_heads);
  parallel(tokens, 16, [&](int64_t begin, int64_t end) {
    std::vector<float> head(d);
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t h = 0; h < heads + kv_heads; ++h) {
        T* source = data + t * stride + h * d;
        for (int64_t i = 0; i < d; ++i) head[i] = to_float(source[i]);
        const float* weight = h < heads ? norms.q : norms.k;
        if (weight) normalize(head.data(), weight, d, norms.eps);
        if (rope.cos) rotate(head.data(), rope, position[t]);
        for (int64_t i = 0; i < d; ++i) source[i] = from_float<T>(head[i]);
      }
    }
  });
}

// qkv (T, (heads + 2 kv_heads) D): queries and keys are normed and turned in place. position (T,) int64; cos, sin
// (P, rotary/2) fp32.
void rotate_packed(at::Tensor& qkv, int64_t heads, int64_t kv_heads, const std::optional<at::Tensor>& cos,
                   const std::optional<at::Tensor>& sin, const std::optional<at::Tensor>& q_norm,
                   const std::optional<at::Tensor>& k_norm, double eps, const at::Tensor& position) {
  TORCH_CHECK(qkv.dim() == 2 && qkv.is_contiguous() && position.scalar_type() == at::kLong);
  const Rotary rope = rotary_of(cos, sin);
  const HeadNorms norms = norms_of(q_norm, k_norm, eps);
  const auto* p = position.const_data_ptr<int64_t>();
  const int64_t tokens = qkv.size(0), stride = qkv.size(1);
  if (qkv.scalar_type() == at::kFloat) {
    run(qkv.mutable_data_ptr<float>(), tokens, heads, kv_heads, stride, rope, norms, p);
  } else {
    TORCH_CHECK(qkv.scalar_type() == at::kBFloat16);
    run(reinterpret_cast<bf16*>(qkv.mutable_data_ptr()), tokens, heads, kv_heads, stride, rope, norms, p);
  }
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(stageline, m) {
  m.def(
      "rotate(Tensor(a!) qkv, int heads, int kv_heads, Tensor? cos, Tensor? sin, Tensor? q_norm, Tensor? k_norm, "
      "float eps, Tensor position) -> ()",
      rotate_packed);
}

}  // namespace stageline
