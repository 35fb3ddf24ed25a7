// Causal attention of new tokens over the paged KV cache, prefill chunks and decoding alike.
//
// A task is up to 16 rows of one sequence and one KV head; a row is one query head of one new token. Each row sees its
// own context only, in two passes (all scores, then softmax, then the weighted sum in position order), so its result is
// the same bit for bit whatever chunk, batch or block table it came with.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <vector>

#include "amx.h"
#include "dot.h"
#include "lanes.h"
#include "paged_cache.h"
#include "parallel.h"
#include "softmax.h"

namespace stageline {
namespace {

constexpr int64_t kRows = 16;
constexpr int64_t kWidest = 512;  // values of a head

struct Geometry {
  int64_t heads, kv_heads, width, padded, block, q_stride, table_stride;
  float scale;
  int64_t group() const { return heads / kv_heads; }
  int64_t cell() const { return block * padded; }
};

struct Task {
  int64_t sequence, kv_head, first_row, rows;
};

struct Sequences {
  const int32_t* query_start;  // (B + 1,) where each sequence's new tokens begin among all
  const int32_t* context;      // (B,) positions in the cache, the new ones included
  const int32_t* tables;       // (B, table_stride) block indices
};

// Scratch of one thread, kept between calls.
struct Scratch {
  std::vector<float> scores;
  std::vector<bf16> weights;
  alignas(64) bf16 queries[kRows * kWidest];
  alignas(64) float sums[2 * 256];

  void reserve(int64_t count) {
    if (static_cast<int64_t>(scores.size()) >= count) return;
    scores.resize(count);
    weights.resize(count);
  }
};

Scratch& scratch() {
  thread_local Scratch s;
  return s;
}

int64_t context_of(const Sequences& batch, const Geometry& g, int64_t sequence, int64_t row) {
  const int64_t fresh = batch.query_start[sequence + 1] - batch.query_start[sequence];
  return batch.context[sequence] - fresh + row / g.group() + 1;
}

// R rows of a task with vector code, for any type: keys (D, block), values (block, D). queries, outs: R pointers.
template <int R, class T>
void attend_rows(const T* const* queries, const int64_t* contexts, const T* keys, const T* values, const int32_t* table,
                 int64_t kv_head, const Geometry& g, T* const* outs) {
  Scratch& s = scratch();
  const int64_t longest = contexts[R - 1], blocks = (longest + g.block - 1) / g.block, span = blocks * g.block;
  s.reserve(R * span);
  const auto cell = [&](const T* part, int64_t b) { return part + (table[b] * g.kv_heads + kv_head) * g.cell(); };
  for (int64_t b = 0; b < blocks; ++b) {
    const T* block = cell(keys, b);
    for (int64_t i = 0; i < g.block; i += kLanes) {
      const int64_t count = std::min(kLanes, g.block - i);
      Lanes sums[R] = {};
      for (int64_t d = 0; d < g.width; ++d) {
        const Lanes key = load_lanes(block + d * g.block + i, count);
        for (int r = 0; r < R; ++r) sums[r] += to_float(queries[r][d]) * key;
      }
      for (int r = 0; r < R; ++r)
        std::memcpy(s.scores.data() + r * span + b * g.block + i, &sums[r], count * sizeof(float));
    }
  }
  float totals[R];
  for (int r = 0; r < R; ++r) {
    float* scores = s.scores.data() + r * span;
    totals[r] = exponentials(scores, contexts[r], g.scale);
    std::fill(scores + contexts[r], scores + span, 0.0f);
  }
  for (int64_t d = 0; d < g.width; d += kLanes) {
    const int64_t count = std::min(kLanes, g.width - d);
    Lanes sums[R] = {};
    for (int64_t b = 0; b < blocks; ++b) {
      const T* block = cell(values, b);
      for (int64_t i = 0; i < std::min(g.block, longest - b * g.block); ++i) {
        const Lanes value = load_lanes(block + i * g.padded + d, count);
        for (int r = 0; r < R; ++r) sums[r] += s.scores[r * span + b * g.block + i] * value;
      }
    }
    for (int r = 0; r < R; ++r)
      for (int64_t i = 0; i < count; ++i) outs[r][d + i] = from_float<T>(sums[r][i] / totals[r]);
  }
}

template <int R, class T>
void attend_some(const Task& task, int64_t row, const Sequences& batch, const T* q, const T* keys, const T* values,
                 const Geometry& g, T* out) {
  const T* queries[R];
  T* outs[R];
  int64_t contexts[R];
  for (int r = 0; r < R; ++r) {
    const int64_t token = batch.query_start[task.sequence] + (row + r) / g.group();
    const int64_t head = task.kv_head * g.group() + (row + r) % g.group();
    queries[r] = q + token * g.q_stride + head * g.width;
    outs[r] = out + (token * g.heads + head) * g.width;
    contexts[r] = context_of(batch, g, task.sequence, row + r);
  }
  attend_rows<R>(queries, contexts, keys, values, batch.tables + task.sequence * g.table_stride, task.kv_head, g, outs);
}

template <class T>
void attend_plain(const Task& task, const Sequences& batch, const T* q, const T* keys, const T* values,
                  const Geometry& g, T* out) {
  int64_t row = task.first_row;
  const int64_t end = task.first_row + task.rows;
  for (; row + 4 <= end; row += 4) attend_some<4>(task, row, batch, q, keys, values, g, out);
  if (row + 3 == end) return attend_some<3>(task, row, batch, q, keys, values, g, out);
  if (row + 2 == end) return attend_some<2>(task, row, batch, q, keys, values, g, out);
  if (row < end) attend_some<1>(task, row, batch, q, keys, values, g, out);
}

#ifdef STAGELINE_DOT

// R rows as dot products of pairs: keys (D/2, block, 2), values (block/2, D, 2), blocks of 32 positions.
template <int R>
void attend_pairs(const Task& task, int64_t row, const Sequences& batch, const bf16* q, const bf16* keys,
                  const bf16* values, const Geometry& g, bf16* out) {
  Scratch& s = scratch();
  const int64_t width = g.padded, group = g.group();
  const int32_t* table = batch.tables + task.sequence * g.table_stride;
  int64_t contexts[R];
  bf16* outs[R];
  for (int r = 0; r < R; ++r) {
    const int64_t token = batch.query_start[task.sequence] + (row + r) / group;
    const int64_t head = task.kv_head * group + (row + r) % group;
    bf16* query = s.queries + r * width;
    std::memcpy(query, q + token * g.q_stride + head * g.width, g.width * sizeof(bf16));
    std::memset(static_cast<void*>(query + g.width), 0, (width - g.width) * sizeof(bf16));
    contexts[r] = context_of(batch, g, task.sequence, row + r);
    outs[r] = out + (token * g.heads + head) * g.width;
  }
  const int64_t longest = contexts[R - 1], blocks = (longest + g.block - 1) / g.block, span = blocks * g.block;
  s.reserve(R * span);
  const auto cell = [&](const bf16* part, int64_t b) { return part + (table[b] * g.kv_heads + task.kv_head) * g.cell(); };
  for (int64_t b = 0; b < blocks; ++b) {
    const bf16* block = cell(keys, b);
    for (int64_t half = 0; half < std::min(g.block, longest - b * g.block); half += 32) {
      Lanes sums[R][2] = {};
      for (int64_t d = 0; d < width; d += 2) {
        const bf16* pairs = block + d * g.block + half * 2;
        const Pairs left = load_pairs(pairs), right = load_pairs(pairs + 32);
        for (int r = 0; r < R; ++r) {
          const Pairs query = repeat_pair(s.queries + r * width + d);
          sums[r][0] = dot(sums[r][0], query, left);
          sums[r][1] = dot(sums[r][1], query, right);
        }
      }
      for (int r = 0; r < R; ++r)
        std::memcpy(s.scores.data() + r * span + b * g.block + half, &sums[r], 32 * sizeof(float));
    }
  }
  float scales[R];
  for (int r = 0; r < R; ++r) {
    float* scores = s.scores.data() + r * span;
    bf16* weights = s.weights.data() + r * span;
    scales[r] = 1.0f / exponentials(scores, contexts[r], g.scale);
#pragma omp simd
    for (int64_t i = 0; i < contexts[r]; ++i) weights[i] = from_float<bf16>(scores[i]);
    std::memset(static_cast<void*>(weights + contexts[r]), 0, (span - contexts[r]) * sizeof(bf16));
  }
  for (int64_t d = 0; d < width; d += 32) {
    Lanes sums[R][2] = {};
    for (int64_t b = 0; b < blocks; ++b) {
      const bf16* block = cell(values, b) + d * 2;
      const bf16* weights = s.weights.data() + b * g.block;
      for (int64_t i = 0; i < std::min(g.block, longest - b * g.block); i += 2) {
        const Pairs left = load_pairs(block + i * width), right = load_pairs(block + i * width + 32);
        for (int r = 0; r < R; ++r) {
          const Pairs weight = repeat_pair(weights + r * span + i);
          sums[r][0] = dot(sums[r][0], weight, left);
          sums[r][1] = dot(sums[r][1], weight, right);
        }
      }
    }
    for (int r = 0; r < R; ++r)
      for (int half = 0; half < 2; ++half)
        for (int64_t i = 0; i < std::min(kLanes, g.width - d - half * kLanes); ++i)
          outs[r][d + half * kLanes + i] = from_float<bf16>(sums[r][half][i] * scales[r]);
  }
}

void attend_dots(const Task& task, const Sequences& batch, const bf16* q, const bf16* keys, const bf16* values,
                 const Geometry& g, bf16* out) {
  int64_t row = task.first_row;
  const int64_t end = task.first_row + task.rows;
  for (; row + 8 <= end; row += 8) attend_pairs<8>(task, row, batch, q, keys, values, g, out);
  for (; row + 4 <= end; row += 4) attend_pairs<4>(task, row, batch, q, keys, values, g, out);
  if (row + 3 == end) return attend_pairs<3>(task, row, batch, q, keys, values, g, out);
  if (row + 2 == end) return attend_pairs<2>(task, row, batch, q, keys, values, g, out);
  if (row < end) attend_pairs<1>(task, row, batch, q, keys, values, g, out);
}

#endif

#ifdef STAGELINE_AMX

// Sixteen rows at once on AMX tiles: keys (D/2, block, 2), values (block/2, D, 2), blocks of 32 positions.
void attend_tiles(const Task& task, const Sequences& batch, const bf16* q, const bf16* keys, const bf16* values,
                  const Geometry& g, bf16* out) {
  Scratch& s = scratch();
  const int64_t width = g.padded, group = g.group();
  const int32_t* table = batch.tables + task.sequence * g.table_stride;
  const int64_t longest = context_of(batch, g, task.sequence, task.first_row + task.rows - 1);
  const int64_t blocks = (longest + g.block - 1) / g.block, span = blocks * g.block;
  s.reserve(kRows * span);
  std::memset(static_cast<void*>(s.queries), 0, kRows * width * sizeof(bf16));
  for (int64_t r = 0; r < task.rows; ++r) {
    const int64_t row = task.first_row + r;
    const bf16* source = q + (batch.query_start[task.sequence] + row / group) * g.q_stride +
                         (task.kv_head * group + row % group) * g.width;
    std::memcpy(s.queries + r * width, source, g.width * sizeof(bf16));
  }

  for (int64_t b = 0; b < blocks; ++b) {
    const bf16* cell = keys + (table[b] * g.kv_heads + task.kv_head) * g.cell();
    for (int64_t half = 0; half < g.block; half += 32) {
      _tile_zero(0);
      _tile_zero(1);
      for (int64_t d = 0; d < width; d += 32) {
        const bf16* pairs = cell + d * g.block + half * 2;
        _tile_loadd(2, s.queries + d, width * 2);
        _tile_loadd(3, pairs, g.block * 4);
        _tile_loadd(4, pairs + 32, g.block * 4);
        _tile_dpbf16ps(0, 2, 3);
        _tile_dpbf16ps(1, 2, 4);
      }
      _tile_stored(0, s.scores.data() + b * g.block + half, span * 4);
      _tile_stored(1, s.scores.data() + b * g.block + half + 16, span * 4);
    }
  }

  float sums[kRows];
  for (int64_t r = 0; r < task.rows; ++r) {
    const int64_t context = context_of(batch, g, task.sequence, task.first_row + r);
    float* scores = s.scores.data() + r * span;
    bf16* weights = s.weights.data() + r * span;
    sums[r] = exponentials(scores, context, g.scale);
#pragma omp simd
    for (int64_t i = 0; i < context; ++i) weights[i] = from_float<bf16>(scores[i]);
    std::memset(static_cast<void*>(weights + context), 0, (span - context) * sizeof(bf16));
  }

  for (int64_t d = 0; d < width; d += 32) {
    _tile_zero(0);
    _tile_zero(1);
    for (int64_t b = 0; b < blocks; ++b) {
      const bf16* cell = values + (table[b] * g.kv_heads + task.kv_head) * g.cell();
      for (int64_t half = 0; half < g.block; half += 32) {
        const bf16* pairs = cell + half * width + d * 2;
        _tile_loadd(2, s.weights.data() + b * g.block + half, span * 2);
        _tile_loadd(3, pairs, width * 4);
        _tile_loadd(4, pairs + 32, width * 4);
        _tile_dpbf16ps(0, 2, 3);
        _tile_dpbf16ps(1, 2, 4);
      }
    }
    _tile_stored(0, s.sums, 64);
    _tile_stored(1, s.sums + 256, 64);
    for (int64_t r = 0; r < task.rows; ++r) {
      const int64_t row = task.first_row + r;
      bf16* target = out + ((batch.query_start[task.sequence] + row / group) * g.heads + task.kv_head * group +
                            row % group) * g.width + d;
      const float scale = 1.0f / sums[r];
      for (int64_t i = 0; i < std::min<int64_t>(32, g.width - d); ++i)
        target[i] = from_float<bf16>(s.sums[i / 16 * 256 + r * 16 + i % 16] * scale);
    }
  }
}

#endif

std::vector<Task> cut(const Sequences& batch, int64_t sequences, const Geometry& g) {
  std::vector<Task> tasks;
  for (int64_t sequence = 0; sequence < sequences; ++sequence) {
    const int64_t rows = (batch.query_start[sequence + 1] - batch.query_start[sequence]) * g.group();
    for (int64_t first = 0; first < rows; first += kRows)
      for (int64_t h = 0; h < g.kv_heads; ++h) tasks.push_back({sequence, h, first, std::min(kRows, rows - first)});
  }
  return tasks;
}

// qkv (T, (heads + 2 kv_heads) D), of which the queries are read; keys, values (num_blocks, kv_heads, block * D), the
// new tokens already written; query_start (B + 1,), context (B,), tables (B, blocks) int32. Returns (T, heads * D).
at::Tensor attention(const at::Tensor& qkv, int64_t heads, int64_t kv_heads, const at::Tensor& keys,
                     const at::Tensor& values, const at::Tensor& query_start, const at::Tensor& context,
                     const at::Tensor& tables, double scale, int64_t block, bool paired) {
  const int64_t width = qkv.size(1) / (heads + 2 * kv_heads);
  TORCH_CHECK(width <= kWidest, "heads are too wide");
  TORCH_CHECK(tables.scalar_type() == at::kInt && context.scalar_type() == at::kInt &&
              query_start.scalar_type() == at::kInt && tables.is_contiguous() && qkv.is_contiguous());
  const Geometry g{heads,
                   kv_heads,
                   width,
                   paired ? PairedLayout::padded(width) : width,
                   block,
                   qkv.size(1),
                   tables.size(1),
                   static_cast<float>(scale)};
  const Sequences batch{query_start.const_data_ptr<int32_t>(), context.const_data_ptr<int32_t>(),
                        tables.const_data_ptr<int32_t>()};
  at::Tensor out = at::empty({qkv.size(0), heads * width}, qkv.options());
  const std::vector<Task> tasks = cut(batch, context.size(0), g);
  if (qkv.scalar_type() == at::kFloat) {
    const auto *q = qkv.const_data_ptr<float>(), *k = keys.const_data_ptr<float>(), *v = values.const_data_ptr<float>();
    auto* to = out.mutable_data_ptr<float>();
    parallel(tasks.size(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) attend_plain(tasks[i], batch, q, k, v, g, to);
    });
    return out;
  }
  TORCH_CHECK(qkv.scalar_type() == at::kBFloat16);
  const auto* q = reinterpret_cast<const bf16*>(qkv.const_data_ptr());
  const auto* k = reinterpret_cast<const bf16*>(keys.const_data_ptr());
  const auto* v = reinterpret_cast<const bf16*>(values.const_data_ptr());
  auto* to = reinterpret_cast<bf16*>(out.mutable_data_ptr());
  TORCH_CHECK(!paired || block % 32 == 0);
#ifdef STAGELINE_AMX
  if (paired && amx_available()) {
    parallel<TileScope>(tasks.size(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) attend_tiles(tasks[i], batch, q, k, v, g, to);
    });
    return out;
  }
#endif
#ifdef STAGELINE_DOT
  if (paired) {
    parallel(tasks.size(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) attend_dots(tasks[i], batch, q, k, v, g, to);
    });
    return out;
  }
#endif
  TORCH_CHECK(!paired, "the paired layout needs AMX or dot products of pairs");
  parallel(tasks.size(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) attend_plain(tasks[i], batch, q, k, v, g, to);
    });
  return out;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(stageline, m) {
  m.def(
      "attention(Tensor qkv, int heads, int kv_heads, Tensor keys, Tensor values, Tensor query_start, Tensor context, "
      "Tensor tables, float scale, int block, bool paired) -> Tensor",
      attention);
}

}  // namespace stageline
