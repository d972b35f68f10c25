// Philox 4x32-10, uniforms and the deterministic Box-Muller normals of rng/reference.py.
// Same operations in the same order in float32, compiled with -ffp-contract=off: equal bits.
#include <cstring>

#include "philox.h"

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
  ZOO_INLINE void fill(const Words& w, type (&z)[4][LANES]) { box_muller(w, z); }
};

}  // namespace

#define ZOO_BODY "rng_body.h"
#include "targets.h"

namespace {

template <class T>
using Row = void (*)(T*, int64_t, int64_t, int64_t, const Key&, uint32_t);

constexpr int64_t PIECE = 4 * LANES * 64;  // elements a task draws: 8,192

template <class T>
void draw(Row<T> row, zoo::Tensor out, const zoo::Tensor rows, int64_t seed, int64_t stream,
          int64_t step, int64_t offset) {
  const int64_t batch = out.size(0), numel = out.size(1), pieces = (numel + PIECE - 1) / PIECE;
  auto* o = zoo::out<T>(out);
  const auto* r = zoo::in<int64_t>(rows);
  const Key key{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32),
                static_cast<uint32_t>(step), static_cast<uint32_t>(stream)};
  zoo::parallel_for(0, batch * pieces, 4, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t b = task / pieces, from = task % pieces * PIECE;
      const int64_t to = from + PIECE < numel ? from + PIECE : numel;
      row(o + b * numel, from, to, offset, key, static_cast<uint32_t>(r[b]));
    }
  });
}

void bits(zoo::Tensor out, const zoo::Tensor rows, int64_t seed, int64_t stream, int64_t step,
          int64_t offset) {
  draw<int64_t>(ZOO_TARGET(bits_row), out, rows, seed, stream, step, offset);
}

void uniform(zoo::Tensor out, const zoo::Tensor rows, int64_t seed, int64_t stream, int64_t step,
             int64_t offset) {
  draw<float>(ZOO_TARGET(uniform_row), out, rows, seed, stream, step, offset);
}

void normal(zoo::Tensor out, const zoo::Tensor rows, int64_t seed, int64_t stream, int64_t step,
            int64_t offset) {
  draw<float>(ZOO_TARGET(normal_row), out, rows, seed, stream, step, offset);
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(zoo_cpp, m) {
  m.def("rng_bits(Tensor(a!) out, Tensor rows, int seed, int stream, int step, int offset) -> ()");
  m.def("rng_uniform(Tensor(a!) out, Tensor rows, int seed, int stream, int step, int offset) -> ()");
  m.def("rng_normal(Tensor(a!) out, Tensor rows, int seed, int stream, int step, int offset) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(zoo_cpp, CPU, m) {
  m.impl("rng_bits", TORCH_BOX(&bits));
  m.impl("rng_uniform", TORCH_BOX(&uniform));
  m.impl("rng_normal", TORCH_BOX(&normal));
}
