// Products with weights of 8 and 4 bits whose x stays as it is.
//
// The numbers of a group are multiplied as they are and summed up in registers; then, in fp32, total += scale * (sum -
// zero * sum of x). Every sum runs over the inputs in one fixed order, whatever the number of rows: a row's result does
// not depend on its neighbours, bit for bit.
#include <ATen/ops/constant_pad_nd.h>
#include <torch/library.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include <vector>

#include "epilogue.h"
#include "few_bits.h"
#include "rows.h"

namespace stageline {
namespace {

// Inputs that are summed up in registers at once: long sums of fp32 lose digits.
constexpr int64_t kRun = 128;

// Consecutive inputs of one group, and where in a panel their numbers and scales lie.
struct Piece {
  int64_t first, inputs, numbers, scales;
};

std::vector<Piece> pieces_of(const FewBits& layout) {
  std::vector<Piece> pieces;
  for (int64_t g = 0; g < layout.groups; ++g) {
    const int64_t block = g * layout.group_bytes(), scales = block + layout.number_bytes();
    for (int64_t i = 0; i < layout.padded; i += kRun)
      pieces.push_back({g * layout.padded + i, std::min(kRun, layout.padded - i),
                        block + i * kColumns * layout.bits / 8, scales});
  }
  return pieces;
}

// Written out, so that all numbers of rows round alike.
inline Lanes plus_product(Lanes sum, Lanes a, Lanes b) {
#if defined(__AVX512F__)
  return reinterpret_cast<Lanes>(_mm512_fmadd_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b),
                                                 reinterpret_cast<__m512>(sum)));
#else
  return sum + a * b;
#endif
}

inline Lanes minus_product(Lanes sum, Lanes a, float b) {
#if defined(__AVX512F__)
  return reinterpret_cast<Lanes>(
      _mm512_fnmadd_ps(reinterpret_cast<__m512>(a), _mm512_set1_ps(b), reinterpret_cast<__m512>(sum)));
#else
  return sum - a * b;
#endif
}

// Rows of x (M, K), K in padded groups, by panels. x_sums (M, pieces): the sums of x, where there are zeros.
template <class Reader>
struct ByFewBits {
  using Sum = float;
  using Row = typename Reader::Row;

  const Row* x;
  const uint8_t* weights;
  FewBits layout;
  const Piece* pieces;
  int64_t count;  // of pieces
  const float* x_sums;
  int64_t stride = layout.groups * layout.padded;
  int64_t row_bytes = stride * sizeof(Row);
  Reader reader{};

  template <int R>
  void run(int64_t row, int64_t panel, float* sums) const {
    std::memset(sums, 0, R * kColumns * sizeof(float));
    const uint8_t* mine = weights + panel * layout.panel_bytes();
    for (int64_t p = 0; p < count; ++p) add<R>(row, mine, p, sums);
  }

  // Adds the products of piece p.
  template <int R>
  void add(int64_t row, const uint8_t* panel, int64_t p, float* sums) const {
    constexpr int kWide = Reader::kInputs / Reader::kSteps;
    const Piece piece = pieces[p];
    const uint8_t* numbers = panel + piece.numbers;
    const Row* from = x + row * stride + piece.first;
    Lanes dots[R][2] = {};
    for (const Row* end = from + piece.inputs; from < end; from += Reader::kInputs, numbers += Reader::kBytes) {
      const auto block = reader.load(numbers);
#pragma GCC unroll 8
      for (int step = 0; step < Reader::kSteps; ++step) {
        const auto left = reader.factors(block, 0, step), right = reader.factors(block, 1, step);
        const Row* first = from + step * kWide;
        asm("" : "+r"(first));  // else each step gets an address of its own for each row
#pragma GCC unroll 12
        for (int r = 0; r < R; ++r) {
          dots[r][0] = add_product(dots[r][0], first + r * stride, left);
          dots[r][1] = add_product(dots[r][1], first + r * stride, right);
        }
      }
    }
    const uint8_t* scaled = panel + piece.scales;
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const Lanes scale = load_scales(scaled, half);
      Lanes zero;
      if constexpr (Reader::kBits == 4) zero = load_scales(scaled + layout.scale_bytes(), half);
#pragma GCC unroll 12
      for (int r = 0; r < R; ++r) {
        Lanes sum = dots[r][half];
        if constexpr (Reader::kBits == 4) sum = minus_product(sum, zero, x_sums[(row + r) * count + p]);
        float* to = sums + r * kColumns + half * kLanes;
        const Lanes total = plus_product(load_lanes(to), scale, sum);
        std::memcpy(to, &total, sizeof(total));
      }
    }
  }

  Lanes load_scales(const uint8_t* from, int half) const {
    return layout.narrow ? load_lanes(reinterpret_cast<const bf16*>(from) + half * kLanes)
                         : load_lanes(reinterpret_cast<const float*>(from) + half * kLanes);
  }
};

template <class Row>
std::vector<float> sum_pieces(const Row* x, int64_t m, int64_t stride, const std::vector<Piece>& pieces) {
  std::vector<float> sums(m * pieces.size());
  parallel(m, 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      for (size_t p = 0; p < pieces.size(); ++p) {
        const Row* from = x + row * stride + pieces[p].first;
        Lanes sum{};  // padded inputs are zero, and pieces of 4 bits end on 8
        int64_t i = 0;
        for (; i + kLanes <= pieces[p].inputs; i += kLanes) sum += load_lanes(from + i);
        if (i < pieces[p].inputs) sum += load_lanes(from + i, pieces[p].inputs - i);
        float total = 0;
        for (int lane = 0; lane < kLanes; ++lane) total += sum[lane];
        sums[row * pieces.size() + p] = total;
      }
  });
  return sums;
}

template <class Reader>
void multiply_by(const at::Tensor& x, const at::Tensor& packed, const FewBits& layout, Store store) {
  using Row = typename Reader::Row;
  const int64_t m = x.size(0);
  at::Tensor padded = x;
  if (layout.padded != layout.group)
    padded = at::constant_pad_nd(x.view({m, layout.groups, layout.group}), {0, layout.padded - layout.group});
  const auto* rows = static_cast<const Row*>(padded.const_data_ptr());
  const std::vector<Piece> pieces = pieces_of(layout);
  std::vector<float> x_sums;
  if (layout.bits == 4) x_sums = sum_pieces(rows, m, layout.groups * layout.padded, pieces);
  const ByFewBits<Reader> by{rows, packed.const_data_ptr<uint8_t>(), layout, pieces.data(),
                                static_cast<int64_t>(pieces.size()), x_sums.data()};
  multiply_rows(by, m, packed.size(0), store);
}

// Hands all sums of x (M, K) by `packed` to `store`. With `pairs`, x is bf16 and multiplied by dot products.
void multiply(const at::Tensor& x, const at::Tensor& packed, int64_t bits, bool pairs, Store store) {
  TORCH_CHECK(x.dim() == 2 && x.is_contiguous());
  const FewBits layout = layout_of(packed, bits, x.size(1));
  if (pairs) {
#ifdef STAGELINE_FEW_BITS_DOT
    TORCH_CHECK(x.scalar_type() == at::kBFloat16, "pairs hold bf16");
    return bits == 4 ? multiply_by<FourBitPairs>(x, packed, layout, store)
                     : multiply_by<EightBitPairs>(x, packed, layout, store);
#else
    TORCH_CHECK(false, "this machine has no dot products of bf16 pairs");
#endif
  }
  const at::Tensor wide = x.to(at::kFloat);
  return bits == 4 ? multiply_by<FourBitLanes>(wide, packed, layout, store)
                   : multiply_by<EightBitLanes>(wide, packed, layout, store);
}

// The operations are those of linear.cpp.
at::Tensor linear(const at::Tensor& x, const at::Tensor& packed, int64_t bits, bool pairs, const Bias& bias, int64_t n,
                  int64_t activation) {
  TORCH_CHECK(n <= packed.size(0) * kColumns);
  return finish_linear(x, n, bias, static_cast<Activation>(activation),
                       [&](Store store) { multiply(x, packed, bits, pairs, store); });
}

at::Tensor gate(const at::Tensor& x, const at::Tensor& packed, int64_t bits, bool pairs, int64_t activation) {
  return finish_gate(x, packed.size(0) * 16, static_cast<Activation>(activation),
                     [&](Store store) { multiply(x, packed, bits, pairs, store); });
}

void add(const at::Tensor& x, const at::Tensor& packed, int64_t bits, bool pairs, const Bias& bias, at::Tensor& sum) {
  TORCH_CHECK(sum.size(1) <= packed.size(0) * kColumns);
  finish_add(x, bias, sum, [&](Store store) { multiply(x, packed, bits, pairs, store); });
}

at::Tensor fp32(const at::Tensor& x, const at::Tensor& packed, int64_t bits, bool pairs, const Bias& bias, int64_t n) {
  TORCH_CHECK(n <= packed.size(0) * kColumns);
  return finish_fp32(x, n, bias, [&](Store store) { multiply(x, packed, bits, pairs, store); });
}

bool has_dot() {
#ifdef STAGELINE_FEW_BITS_DOT
  return true;
#else
  return false;
#endif
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(stageline, m) {
  m.def("few_bits_has_dot() -> bool", has_dot);
  m.def("few_bits_linear(Tensor x, Tensor packed, int bits, bool pairs, Tensor? bias, int n, int activation) -> Tensor",
        linear);
  m.def("few_bits_gate(Tensor x, Tensor packed, int bits, bool pairs, int activation) -> Tensor", gate);
  m.def("few_bits_add(Tensor x, Tensor packed, int bits, bool pairs, Tensor? bias, Tensor(a!) sum) -> ()", add);
  m.def("few_bits_fp32(Tensor x, Tensor packed, int bits, bool pairs, Tensor? bias, int n) -> Tensor", fp32);
}

}  // namespace stageline
