// Vectors of 16 floats by the compiler's own vector types, exp and the gate; and ZOO_UNITS, which
// compiles a function for the baseline, AVX2 and AVX-512 and picks one at each call.
// Include contract.h before, where multiply and add may fuse.
#pragma once

#include <cstring>

#include "zoo.h"

namespace zoo {

constexpr int V = 16;  // floats a vector; units with shorter registers use several
typedef float vec __attribute__((vector_size(4 * V)));
typedef int32_t ivec __attribute__((vector_size(4 * V)));

ZOO_INLINE vec load(const float* p) {
  vec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

ZOO_INLINE void store(float* p, const vec& v) { std::memcpy(p, &v, sizeof v); }

// MR rows by NV vectors in the body; NW vectors where there are at most two rows.
template <int MR_, int NV_, int NW_>
struct Tile {
  static constexpr int MR = MR_, NV = NV_, NW = NW_;
};

ZOO_INLINE vec clamp(vec x, float low, float high) {  // NaN passes
  const vec l = low - vec{}, h = high - vec{};
  x = x < l ? l : x;
  return x > h ? h : x;
}

// e^x to 2 ulp on [-87, 88], clamped outside (Cephes expf).
ZOO_INLINE vec exp(vec x) {
  x = clamp(x, -87.0f, 88.0f);
  const vec n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;
  const vec r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const ivec bits = (__builtin_convertvector(n, ivec) + 127) << 23;
  vec scale;
  std::memcpy(&scale, &bits, sizeof scale);
  return p * scale;
}

// tanh(a) sigmoid(b), with one division.
ZOO_INLINE vec gated(vec a, vec b) {
  const vec e = exp(clamp(a, -20.0f, 20.0f) * -2.0f), f = exp(clamp(b, -40.0f, 40.0f) * -1.0f);
  return (1.0f - e) / ((1.0f + e) * (1.0f + f));
}

}  // namespace zoo

// ZOO_UNITS(name, (parameters), (arguments), body): `name` runs `body<Tile>(arguments)` compiled for
// the widest vector unit of this machine.
#if defined(__x86_64__) && defined(__GNUC__)
#define ZOO_UNITS(NAME, PARAMETERS, ARGUMENTS, BODY)                                          \
  __attribute__((target("arch=x86-64-v4"))) void NAME##_v4 PARAMETERS {                      \
    BODY<zoo::Tile<6, 4, 8>> ARGUMENTS;                                                       \
  }                                                                                           \
  __attribute__((target("arch=x86-64-v3"))) void NAME##_v3 PARAMETERS {                      \
    BODY<zoo::Tile<6, 1, 4>> ARGUMENTS;                                                       \
  }                                                                                           \
  void NAME##_v1 PARAMETERS { BODY<zoo::Tile<2, 1, 1>> ARGUMENTS; }                           \
  void NAME PARAMETERS {                                                                      \
    const int unit = zoo::unit();                                                             \
    unit == 4 ? NAME##_v4 ARGUMENTS : unit == 3 ? NAME##_v3 ARGUMENTS : NAME##_v1 ARGUMENTS;  \
  }
#else
#define ZOO_UNITS(NAME, PARAMETERS, ARGUMENTS, BODY) \
  void NAME PARAMETERS { BODY<zoo::Tile<4, 1, 2>> ARGUMENTS; }
#endif
