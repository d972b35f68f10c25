// One row of draws (rng.cpp), for each ISA target.
#include "philox_body.h"

// The row's elements [from, to), from a multiple of 4 LANES, counted from the row's `offset`.
template <class Draw>
ZOO_INLINE void fill(typename Draw::type* out, int64_t from, int64_t to, int64_t offset,
                     const philox_rng::Key& key, uint32_t row) {
  constexpr int LANES = philox_rng::LANES;
  for (int64_t e = from; e < to; e += 4 * LANES) {
    philox_rng::Words w;
    typename Draw::type z[4][LANES], flat[4 * LANES];
    philox(w, key, static_cast<uint64_t>(offset + e) / 4, row);
    Draw::fill(w, z);
    philox_rng::interleave(z, flat);
    const int64_t n = to - e < 4 * LANES ? to - e : 4 * LANES;
    std::memcpy(out + e, flat, n * sizeof(flat[0]));
  }
}

static void bits_row(int64_t* out, int64_t from, int64_t to, int64_t offset,
                     const philox_rng::Key& key, uint32_t row) {
  fill<Bits>(out, from, to, offset, key, row);
}

static void uniform_row(float* out, int64_t from, int64_t to, int64_t offset,
                        const philox_rng::Key& key, uint32_t row) {
  fill<Uniform>(out, from, to, offset, key, row);
}

static void normal_row(float* out, int64_t from, int64_t to, int64_t offset,
                       const philox_rng::Key& key, uint32_t row) {
  fill<Normal>(out, from, to, offset, key, row);
}
