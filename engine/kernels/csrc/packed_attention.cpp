// Attention in both directions within each of many texts whose tokens lie one after another.
//
// A task is up to 128 queries of one text and one head. It lays its keys (transposed) and values out as the products want
// them, then takes some queries at a time: all scores, softmax, the weighted sum in position order. Everything is counted
// from the text's own first token, so a row is the same bit for bit whatever stands beside it.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <array>
#include <type_traits>
#include <utility>
#include <vector>

#include "dot.h"
#include "lanes.h"
#include "parallel.h"
#include "softmax.h"

namespace stageline {
namespace {

constexpr int64_t kQueries = 128;  // of a task: enough that laying out its keys costs little beside them

// Queries that are multiplied together, each with two vectors of sums: as many as registers hold.
#if defined(__AVX512F__)
constexpr int kTogether = 12;
#else
constexpr int kTogether = 2;
#endif

struct Shape {
  int64_t heads, kv_heads, width, stride;
  float scale;
  int64_t reach;  // keys farther away are not seen
};

struct Bias {
  const float* values;  // (heads, size), null for none
  int64_t size;
};

struct Task {
  int64_t start, length, head, first, count;  // queries `first` to `first` + `count` - 1 of the text
};

// Products of fp32, one input at a time.
struct Singles {
  using Value = float;
  using Vector = Lanes;
  static constexpr int64_t inputs = 1;
  static Vector load(const float* from) { return load_lanes(from); }
  static Lanes add(Lanes sums, const float* a, Vector b) { return sums + *a * b; }
};

#ifdef STAGELINE_DOT
// Products of bf16, two inputs at a time.
struct Doubles {
  using Value = bf16;
  using Vector = Pairs;
  static constexpr int64_t inputs = 2;
  static Vector load(const bf16* from) { return load_pairs(from); }
  static Lanes add(Lanes sums, const bf16* a, Vector b) { return dot(sums, repeat_pair(a), b); }
};
template <class T>
using ProductOf = std::conditional_t<std::is_same_v<T, bf16>, Doubles, Singles>;
#else
template <class>
using ProductOf = Singles;
#endif

// What one thread works in; matrices that are multiplied by rows are (inputs / P::inputs, columns, P::inputs).
template <class P>
struct Scratch {
  std::vector<typename P::Value> keys, values, queries, weights;
  std::vector<float> scores, sums;
};

template <class P>
Scratch<P>& scratch() {
  thread_local Scratch<P> s;
  return s;
}

template <class V>
V* room(std::vector<V>& held, int64_t size) {
  if (static_cast<int64_t>(held.size()) < size) held.resize(size);
  return held.data();
}

int64_t round_up(int64_t x, int64_t to = kLanes) { return (x + to - 1) / to * to; }

// R rows of a (`a_stride` apart, k values) by b (k, columns, `b_stride` apart), V vectors of columns -> c (R, c_stride).
template <class P, int R, int V>
void multiply_block(const typename P::Value* a, int64_t a_stride, int64_t k, const typename P::Value* b,
                    int64_t b_stride, float* c, int64_t c_stride) {
  Lanes sums[R][V] = {};
  for (int64_t i = 0; i < k; i += P::inputs) {
    typename P::Vector row[V];
    for (int v = 0; v < V; ++v) row[v] = P::load(b + i * b_stride + v * kLanes * P::inputs);
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < V; ++v) sums[r][v] = P::add(sums[r][v], a + r * a_stride + i, row[v]);
  }
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) std::memcpy(c + r * c_stride + v * kLanes, &sums[r][v], sizeof(Lanes));
}

// The same for any number of columns that fills vectors.
template <class P, int R>
void multiply_rows(const typename P::Value* a, int64_t a_stride, int64_t k, const typename P::Value* b,
                   int64_t columns, float* c, int64_t c_stride, int64_t b_stride) {
  int64_t j = 0;
  for (; j + 2 * kLanes <= columns; j += 2 * kLanes)
    multiply_block<P, R, 2>(a, a_stride, k, b + j * P::inputs, b_stride, c + j, c_stride);
  if (j < columns) multiply_block<P, R, 1>(a, a_stride, k, b + j * P::inputs, b_stride, c + j, c_stride);
}

// R queries from `first` on; `span` keys are laid out from `base` on, both counted in the text.
template <int R, class T>
void attend(const Task& task, int64_t first, int64_t base, int64_t span, const Shape& shape, const Bias& bias,
            const T* qkv, T* out) {
  using P = ProductOf<T>;
  using Value = typename P::Value;
  auto& s = scratch<P>();
  const int64_t d = shape.width, padded = round_up(d);
  float* scores = room(s.scores, kTogether * span);
  float* sums = room(s.sums, kTogether * padded);
  const T* source = qkv + (task.start + first) * shape.stride + task.head * d;
  // All R rows multiply the same keys; what one of them does not see gets the weight zero.
  const int64_t low = std::max<int64_t>(first - shape.reach, 0) - base;
  const int64_t high = std::min(first + R - 1 + shape.reach + 1, task.length) - base;
  const int64_t from = low / kLanes * kLanes, to = round_up(high, P::inputs);
  const Value* keys = s.keys.data() + from * P::inputs;
  if constexpr (std::is_same_v<T, Value>) {
    multiply_rows<P, R>(source, shape.stride, d, keys, round_up(high) - from, scores + from, span, span);
  } else {
    Value* queries = room(s.queries, kTogether * d);
    for (int r = 0; r < R; ++r)
      for (int64_t i = 0; i < d; ++i) queries[r * d + i] = to_float(source[r * shape.stride + i]);
    multiply_rows<P, R>(queries, d, d, keys, round_up(high) - from, scores + from, span, span);
  }
  float totals[R];
  for (int r = 0; r < R; ++r) {
    float* row = scores + r * span;
    const int64_t query = first + r;
    const int64_t begin = std::max<int64_t>(query - shape.reach, 0) - base;
    const int64_t end = std::min(query + shape.reach + 1, task.length) - base;
    float scale = shape.scale;
    if (bias.values) {
      const float* added = bias.values + task.head * bias.size + base - query + bias.size / 2;
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) row[i] = row[i] * shape.scale + added[i];
      scale = 1.0f;
    }
    totals[r] = exponentials(row + begin, end - begin, scale);
    std::fill(row + from, row + begin, 0.0f);
    std::fill(row + end, row + to, 0.0f);
  }
  const Value* weights;
  if constexpr (std::is_same_v<Value, float>) {
    weights = scores;
  } else {
    Value* narrow = room(s.weights, kTogether * span);
    for (int r = 0; r < R; ++r)
      for (int64_t i = from; i < high; i += kLanes)
        store_lanes(narrow + r * span + i, load_lanes(scores + r * span + i));
    weights = narrow;
  }
  multiply_rows<P, R>(weights + from, span, to - from, s.values.data() + from * padded, padded, sums, padded, padded);
  for (int r = 0; r < R; ++r) {
    T* target = out + ((task.start + first + r) * shape.heads + task.head) * d;
    const float part = 1.0f / totals[r];
    for (int64_t i = 0; i < d; ++i) target[i] = from_float<T>(sums[r * padded + i] * part);
  }
}

// Keys transposed: a matrix of d inputs and `span` columns, of which `seen` are there.
template <class P, class T>
void lay_out_keys(const T* key, int64_t stride, int64_t d, int64_t seen, int64_t span, typename P::Value* keys) {
  for (int64_t t = 0; t < seen; ++t, key += stride) {
    for (int64_t i = 0; i < d; i += P::inputs) {
      if constexpr (P::inputs == 1)
        keys[i * span + t] = to_float(key[i]);
      else
        std::memcpy(static_cast<void*>(keys + i * span + t * P::inputs), key + i, P::inputs * sizeof(T));
      asm volatile("" ::: "memory");  // or compilers take scatter instructions, which are slower than single stores
    }
  }
  for (int64_t i = 0; i < d; i += P::inputs)
    std::fill(keys + i * span + seen * P::inputs, keys + (i + P::inputs) * span, typename P::Value{});
}

// Values: a matrix of `seen` inputs and `padded` columns, of which d are there.
template <class P, class T>
void lay_out_values(const T* value, int64_t stride, int64_t d, int64_t seen, int64_t padded,
                    typename P::Value* values) {
  using Value = typename P::Value;
  for (int64_t t = 0; t < seen; t += P::inputs, value += P::inputs * stride) {
    Value* row = values + t * padded;
    if constexpr (P::inputs == 1) {
      for (int64_t i = 0; i < d; ++i) row[i] = to_float(value[i]);
    } else {
      const T *first = value, *second = t + 1 < seen ? value + stride : nullptr;
      for (int64_t i = 0; i < d; ++i) {
        row[2 * i] = first[i];
        row[2 * i + 1] = second ? second[i] : Value{};
      }
    }
    std::fill(row + d * P::inputs, row + padded * P::inputs, Value{});
  }
}

template <class T>
void run(const Task& task, const Shape& shape, const Bias& bias, const T* qkv, T* out) {
  using P = ProductOf<T>;
  auto& s = scratch<P>();
  const int64_t d = shape.width, padded = round_up(d);
  const int64_t base = std::max<int64_t>(task.first - shape.reach, 0);
  const int64_t seen = std::min(task.first + task.count + shape.reach, task.length) - base, span = round_up(seen);
  const int64_t kv_head = task.head / (shape.heads / shape.kv_heads);
  const T* key = qkv + (task.start + base) * shape.stride + (shape.heads + kv_head) * d;
  lay_out_keys<P>(key, shape.stride, d, seen, span, room(s.keys, d * span));
  lay_out_values<P>(key + shape.kv_heads * d, shape.stride, d, seen, padded, room(s.values, round_up(seen, 2) * padded));
  using Attend = void (*)(const Task&, int64_t, int64_t, int64_t, const Shape&, const Bias&, const T*, T*);
  static constexpr auto attends = []<int... R>(std::integer_sequence<int, R...>) {
    return std::array<Attend, kTogether>{&attend<R + 1, T>...};
  }(std::make_integer_sequence<int, kTogether>{});
  const int64_t end = task.first + task.count;
  for (int64_t query = task.first; query < end;) {
    const int64_t groups = (end - query + kTogether - 1) / kTogether, count = (end - query + groups - 1) / groups;
    attends[count - 1](task, query, base, span, shape, bias, qkv, out);
    query += count;
  }
}

std::vector<Task> cut(const int32_t* starts, int64_t texts, const Shape& shape) {
  std::vector<Task> tasks;
  for (int64_t text = 0; text < texts; ++text) {
    const int64_t length = starts[text + 1] - starts[text];
    for (int64_t first = 0; first < length; first += kQueries)
      for (int64_t head = 0; head < shape.heads; ++head)
        tasks.push_back({starts[text], length, head, first, std::min(kQueries, length - first)});
  }
  return tasks;
}

// qkv (T, (heads + 2 kv_heads) D) fp32 or bf16, starts (B + 1,) int32, bias (heads, 2 L - 1) fp32 -> (T, heads * D).
at::Tensor packed_attention(const at::Tensor& qkv, int64_t heads, int64_t kv_heads, const at::Tensor& starts,
                            double scale, const std::optional<at::Tensor>& bias, std::optional<int64_t> window) {
  TORCH_CHECK(qkv.dim() == 2 && qkv.is_contiguous() && starts.scalar_type() == at::kInt && starts.is_contiguous());
  const int64_t tokens = qkv.size(0), width = qkv.size(1) / (heads + 2 * kv_heads), texts = starts.numel() - 1;
  const Shape shape{heads, kv_heads, width, qkv.size(1), static_cast<float>(scale), window ? *window / 2 : tokens};
  const auto* start = starts.const_data_ptr<int32_t>();
  TORCH_CHECK(texts >= 0 && start[0] == 0 && start[texts] == tokens, "the texts are not the rows");
  TORCH_CHECK(width % 2 == 0, "heads have an even number of values");
  Bias added{nullptr, 0};
  if (bias.has_value()) {
    TORCH_CHECK(bias->scalar_type() == at::kFloat && bias->is_contiguous() && bias->size(0) == heads);
    added = {bias->const_data_ptr<float>(), bias->size(1)};
    for (int64_t text = 0; text < texts; ++text)
      TORCH_CHECK(start[text + 1] - start[text] <= (added.size + 1) / 2, "a text is longer than the position bias");
  }
  at::Tensor out = at::empty({tokens, heads * width}, qkv.options());
  const std::vector<Task> tasks = cut(start, texts, shape);
  const auto each = [&]<class T>(const T* from, T* to) {
    parallel(tasks.size(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) run(tasks[i], shape, added, from, to);
    });
  };
  if (qkv.scalar_type() == at::kFloat) {
    each(qkv.const_data_ptr<float>(), out.mutable_data_ptr<float>());
  } else {
    TORCH_CHECK(qkv.scalar_type() == at::kBFloat16);
    each(reinterpret_cast<const bf16*>(qkv.const_data_ptr()), reinterpret_cast<bf16*>(out.mutable_data_ptr()));
  }
  return out;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(stageline, m) {
  m.def(
      "packed_attention(Tensor qkv, int heads, int kv_heads, Tensor starts, float scale, Tensor? bias, int? window) -> "
      "Tensor",
      packed_attention);
}

}  // namespace stageline
