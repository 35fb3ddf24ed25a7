#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include "parallel.h"
#include "weight_only.h"

namespace stageline {
namespace {

bool fits_bf16(const float* values, int64_t count, float less) {
  for (int64_t i = 0; i < count; ++i)
    if (to_float(from_float<bf16>(values[i] - less)) != values[i] - less) return false;
  return true;
}

void put_scale(bool narrow, uint8_t* to, int64_t column, float value) {
  if (narrow)
    reinterpret_cast<bf16*>(to)[column] = from_float<bf16>(value);
  else
    reinterpret_cast<float*>(to)[column] = value;
}

float get_scale(bool narrow, const uint8_t* from, int64_t column) {
  return narrow ? to_float(reinterpret_cast<const bf16*>(from)[column]) : reinterpret_cast<const float*>(from)[column];
}

// Inputs first, first + 1, ... of a row become column c of a group.
void put_numbers(const FewBits& layout, const uint8_t* row, int64_t first, int64_t c, uint8_t* to) {
  if (layout.bits == 8) {
    for (int64_t i = 0; i < layout.group; ++i) {
      const auto value = static_cast<int8_t>(row[first + i]);
      to[byte_of(c, i)] = static_cast<uint8_t>(value < 0 ? 128 - value : value);
    }
    return;
  }
  auto* words = reinterpret_cast<uint16_t*>(to);
  for (int64_t i = 0; i < layout.padded; ++i) {
    const int64_t at = first + i;
    const int number = i < layout.group ? row[at / 2] >> at % 2 * 4 & 15 : kMiddle;
    words[word_of(c, i)] |= static_cast<uint16_t>(number << 4 * nibble_of(i));
  }
}

float get_number(const FewBits& layout, const uint8_t* from, int64_t c, int64_t i) {
  if (layout.bits == 8) {
    const int byte = from[byte_of(c, i)];
    return static_cast<float>(byte < 128 ? byte : 128 - byte);
  }
  const int word = reinterpret_cast<const uint16_t*>(from)[word_of(c, i)];
  return static_cast<float>((word >> 4 * nibble_of(i) & 15) - kMiddle);
}

// values (N, K) int8 or (N, K / 2) uint8, scales and zeros (N, G) fp32 -> packed, see weight_only.h.
at::Tensor few_bits_pack(const at::Tensor& values, const at::Tensor& scales, const std::optional<at::Tensor>& zeros,
                         bool paired) {
  const int64_t bits = zeros.has_value() ? 4 : 8, n = values.size(0), bytes = values.size(1), groups = scales.size(1);
  TORCH_CHECK(values.is_contiguous() && values.scalar_type() == (bits == 4 ? at::kByte : at::kChar));
  TORCH_CHECK(scales.is_contiguous() && scales.scalar_type() == at::kFloat && scales.size(0) == n);
  TORCH_CHECK(!zeros || (zeros->is_contiguous() && zeros->scalar_type() == at::kFloat && zeros->numel() == n * groups));
  TORCH_CHECK(!paired || n % kColumns == 0, "a paired weight needs a multiple of 32 rows");
  const int64_t group = bytes * 8 / bits / groups;
  const auto* scale = scales.const_data_ptr<float>();
  const auto* zero = zeros ? zeros->const_data_ptr<float>() : nullptr;
  const bool narrow = fits_bf16(scale, n * groups, 0) && (!zero || fits_bf16(zero, n * groups, kMiddle));
  const FewBits layout(bits, groups, group, narrow);
  at::Tensor packed =
      at::zeros({round_up(n, kColumns) / kColumns, groups, layout.group_bytes()}, values.options().dtype(at::kByte));
  const auto* from = static_cast<const uint8_t*>(values.const_data_ptr());
  auto* to = packed.mutable_data_ptr<uint8_t>();
  parallel(packed.size(0), 1, [&](int64_t begin, int64_t end) {
    for (int64_t panel = begin; panel < end; ++panel) {
      for (int64_t c = 0; c < kColumns; ++c) {
        const int64_t row = paired ? c / 16 * (n / 2) + panel * 16 + c % 16 : panel * kColumns + c;
        if (row >= n) continue;
        for (int64_t g = 0; g < groups; ++g) {
          uint8_t* block = to + panel * layout.panel_bytes() + g * layout.group_bytes();
          uint8_t* scaled = block + layout.number_bytes();
          put_numbers(layout, from + row * bytes, g * group, c, block);
          put_scale(narrow, scaled, c, scale[row * groups + g]);
          if (zero) put_scale(narrow, scaled + layout.scale_bytes(), c, zero[row * groups + g] - kMiddle);
        }
      }
    }
  });
  return packed;
}

// Rows `ids` of a packed (not paired) weight as fp32, times `scale`: the embedding that is tied to the output head.
at::Tensor few_bits_embedding(const at::Tensor& ids, const at::Tensor& packed, int64_t bits, int64_t width,
                              double scale) {
  TORCH_CHECK(ids.scalar_type() == at::kLong && ids.is_contiguous());
  const FewBits layout = layout_of(packed, bits, width);
  const int64_t count = ids.numel();
  const auto* id = ids.const_data_ptr<int64_t>();
  for (int64_t t = 0; t < count; ++t)
    TORCH_CHECK(id[t] >= 0 && id[t] < packed.size(0) * kColumns, "token id out of range");
  at::Tensor out = at::empty({count, width}, packed.options().dtype(at::kFloat));
  auto* to = out.mutable_data_ptr<float>();
  const auto* from = packed.const_data_ptr<uint8_t>();
  const auto factor = static_cast<float>(scale);
  parallel(count, 16, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t c = id[t] % kColumns;
      for (int64_t g = 0; g < layout.groups; ++g) {
        const uint8_t* block = from + id[t] / kColumns * layout.panel_bytes() + g * layout.group_bytes();
        const uint8_t* scaled = block + layout.number_bytes();
        const float one = get_scale(layout.narrow, scaled, c);
        const float zero = bits == 4 ? get_scale(layout.narrow, scaled + layout.scale_bytes(), c) : 0.0f;
        float* mine = to + t * width + g * layout.group;
        for (int64_t i = 0; i < layout.group; ++i)
          mine[i] = (get_number(layout, block, c, i) - zero) * one * factor;
      }
    }
  });
  return out;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(stageline, m) {
  m.def("few_bits_pack(Tensor values, Tensor scales, Tensor? zeros, bool paired) -> Tensor", few_bits_pack);
  m.def("few_bits_embedding(Tensor ids, Tensor packed, int bits, int width, float scale) -> Tensor",
        few_bits_embedding);
}

}  // namespace stageline
