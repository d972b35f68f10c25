// The keys of Philox 4x32-10 and the deterministic Box-Muller normals of rng/reference.py, for kernels
// that draw inside; their bodies include philox_body.h. Include only where multiplication and addition
// are not fused (no contract.h).
#pragma once

#include <cmath>
#include <cstring>

#include "zoo.h"

namespace philox_rng {

constexpr int LANES = 32;  // Philox blocks at a time: 128 elements

struct Key {
  uint32_t lo, hi, step, stream;
};

using Words = uint32_t[4][LANES];

ZOO_INLINE float as_float(int32_t i) {
  float f;
  std::memcpy(&f, &i, 4);
  return f;
}

ZOO_INLINE int32_t as_int(float f) {
  int32_t i;
  std::memcpy(&i, &f, 4);
  return i;
}

ZOO_INLINE float log_unit(float u) {
  const int32_t i = as_int(u);
  float e = static_cast<float>((i >> 23) - 127);
  float m = as_float((i & 0x7FFFFF) | 0x3F800000);
  const bool large = m > 1.4142135381698608f;
  m = large ? m * 0.5f : m;
  e = large ? e + 1.0f : e;
  const float t = m - 1.0f, z = t * t;
  float p = 7.0376836292e-2f;
  p = p * t + -1.1514610310e-1f;
  p = p * t + 1.1676998740e-1f;
  p = p * t + -1.2420140846e-1f;
  p = p * t + 1.4249322787e-1f;
  p = p * t + -1.6668057665e-1f;
  p = p * t + 2.0000714765e-1f;
  p = p * t + -2.4999993993e-1f;
  p = p * t + 3.3333331174e-1f;
  float y = t * (z * p) + e * -2.12194440e-4f;
  y = y - z * 0.5f;
  return (t + y) + e * 0.693359375f;
}

ZOO_INLINE void box_muller(uint32_t w0, uint32_t w1, float& z0, float& z1) {
  const float u1 = static_cast<float>(static_cast<int32_t>((w0 >> 8) + 1)) * 0x1p-24f;
  const float r = std::sqrt(log_unit(u1) * -2.0f);
  const int32_t k = static_cast<int32_t>(w1 >> 8), quadrant = (k + (1 << 21)) >> 22;
  const float x = static_cast<float>(k - (quadrant << 22)) * 3.7450703871400037e-07f, z = x * x;
  const float s =
      ((z * -1.9515295891e-4f + 8.3321608736e-3f) * z + -1.6666654611e-1f) * (z * x) + x;
  const float c =
      ((z * 2.443315711809948e-5f + -1.388731625493765e-3f) * z + 4.166664568298827e-2f) * (z * z) -
      z * 0.5f + 1.0f;
  const int32_t odd = -(quadrant & 1);  // all ones or zero: selects by bits, never by branch
  const int32_t is = as_int(s), ic = as_int(c);
  const int32_t cosine = (is & odd) | (ic & ~odd), sine = (ic & odd) | (is & ~odd);
  z0 = r * as_float(cosine ^ (((quadrant + 1) & 2) << 30));
  z1 = r * as_float(sine ^ ((quadrant & 2) << 30));
}

ZOO_INLINE void box_muller(const Words& w, float (&z)[4][LANES]) {
  for (int i = 0; i < LANES; ++i) box_muller(w[0][i], w[1][i], z[0][i], z[1][i]);
  for (int i = 0; i < LANES; ++i) box_muller(w[2][i], w[3][i], z[2][i], z[3][i]);
}

// What the four words of each block became, in the order of the elements.
template <class T>
ZOO_INLINE void interleave(const T (&z)[4][LANES], T (&flat)[4 * LANES]) {
  for (int i = 0; i < LANES; ++i)
    for (int j = 0; j < 4; ++j) flat[4 * i + j] = z[j][i];
}

}  // namespace philox_rng
