// Philox 4x32-10, uniforms and the deterministic Box-Muller normals of rng/reference.py.
// Same operations in the same order in float32, compiled with -ffp-contract=off: equal bits.
#include <cstring>

#include "philox.h"
#include "simd.h"

namespace {

using namespace philox_rng;

struct Bits {
  using type = int64_t;
  ZOO_INLINE void fill(const Words& w, type (&z)[4][LANES]) {
    for (int j = 0; j < 4; ++j)
      for (int i = 0; i < LANES; ++i) z[j][i] = w[j][i];
  }
};

struct Uniform {
  using type = float;
  ZOO_INLINE void fill(const Words& w, type (&z)[4][LANES]) {
    for (int j = 0; j < 4; ++j)
      for (int i = 0; i < LANES; ++i)
        z[j][i] = static_cast<float>(static_cast<int32_t>(w[j][i] >> 8)) * 0x1p-24f;
  }
};

struct Normal {
  using type = float;
  ZOO_INLINE void fill(const Words& w, type (&z)[4][LANES]) {
    for (int i = 0; i < LANES; ++i) box_muller(w[0][i], w[1][i], z[0][i], z[1][i]);
    for (int i = 0; i < LANES; ++i) box_muller(w[2][i], w[3][i], z[2][i], z[3][i]);
  }
};

// One row's elements [from, to), from a multiple of 4 LANES, counted from the row's `offset`.
template <class Draw>
ZOO_INLINE void fill_row(
    typename Draw::type* out, int64_t from, int64_t to, int64_t offset, const Key& key, uint32_t row) {
  for (int64_t e = from; e < to; e += 4 * LANES) {
    Words w;
    typename Draw::type z[4][LANES], flat[4 * LANES];
    philox(w, key, static_cast<uint64_t>(offset + e) / 4, row);
    Draw::fill(w, z);
    for (int i = 0; i < LANES; ++i)
      for (int j = 0; j < 4; ++j) flat[4 * i + j] = z[j][i];
    const int64_t n = to - e < 4 * LANES ? to - e : 4 * LANES;
    std::memcpy(out + e, flat, n * sizeof(flat[0]));
  }
}

#define ZOO_ROW(NAME, DRAW)                                                                  \
  template <class Tile>                                                                      \
  ZOO_INLINE void NAME##_for(DRAW::type* out, int64_t from, int64_t to, int64_t offset,      \
                             const Key& key, uint32_t row) {                                 \
    fill_row<DRAW>(out, from, to, offset, key, row);                                         \
  }                                                                                          \
  ZOO_UNITS(NAME,                                                                            \
            (DRAW::type* out, int64_t from, int64_t to, int64_t offset, const Key& key,      \
             uint32_t row),                                                                  \
            (out, from, to, offset, key, row), NAME##_for)
ZOO_ROW(bits_row, Bits)
ZOO_ROW(uniform_row, Uniform)
ZOO_ROW(normal_row, Normal)

constexpr int64_t PIECE = 4 * LANES * 64;  // elements a task draws: 8,192

template <class Draw, auto ROW>
void draw(zoo::Tensor out, const zoo::Tensor rows, int64_t seed, int64_t stream, int64_t step,
          int64_t offset) {
  const int64_t batch = out.size(0), numel = out.size(1), pieces = (numel + PIECE - 1) / PIECE;
  auto* o = zoo::out<typename Draw::type>(out);
  const auto* r = zoo::in<int64_t>(rows);
  const Key key{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32),
                static_cast<uint32_t>(step), static_cast<uint32_t>(stream)};
  zoo::parallel_for(0, batch * pieces, 4, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t b = task / pieces, from = task % pieces * PIECE;
      const int64_t to = from + PIECE < numel ? from + PIECE : numel;
      ROW(o + b * numel, from, to, offset, key, static_cast<uint32_t>(r[b]));
    }
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(zoo_cpp, m) {
  m.def("rng_bits(Tensor(a!) out, Tensor rows, int seed, int stream, int step, int offset) -> ()");
  m.def("rng_uniform(Tensor(a!) out, Tensor rows, int seed, int stream, int step, int offset) -> ()");
  m.def("rng_normal(Tensor(a!) out, Tensor rows, int seed, int stream, int step, int offset) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(zoo_cpp, CPU, m) {
  m.impl("rng_bits", TORCH_BOX((&draw<Bits, bits_row>)));
  m.impl("rng_uniform", TORCH_BOX((&draw<Uniform, uniform_row>)));
  m.impl("rng_normal", TORCH_BOX((&draw<Normal, normal_row>)));
}
