// Compiles the file ZOO_BODY once for each ISA target, each in a namespace of its own, and lets each
// call choose: avx512 (x86-64-v4), avx2 (x86-64-v3) or baseline (any processor of the architecture).
// The body includes other bodies at most; it sees W lanes, `F`, `I`, `U` and the functions of lanes.h.
//
//   #define ZOO_BODY "spline_body.h"
//   #include "targets.h"
//   ZOO_TARGET(values_range)(arguments);
//
// Unlike functions with a target attribute, whose callees are lowered before they are inlined, this
// keeps comparisons of explicit vectors in vector registers.
//
// ZOO_MAX, ZOO_MIN and ZOO_MULTIPLY_EVEN, which takes words to products of twice their width, are one
// instruction each; what the language has for them becomes two to ten.
#include <cmath>
#include <cstring>
#include <type_traits>

#include "zoo.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define ZOO_TARGETS 3

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4")
namespace avx512 {
constexpr int W = 16;
#define ZOO_MAX(a, b) __builtin_ia32_maxps512_mask(a, b, a, -1, 4)
#define ZOO_MIN(a, b) __builtin_ia32_minps512_mask(a, b, a, -1, 4)
#define ZOO_MULTIPLY_EVEN(a, b) __builtin_ia32_pmuludq512_mask((I)(a), (I)(b), Longs{}, -1)
#include "lanes.h"
#include ZOO_BODY
}  // namespace avx512
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
namespace avx2 {
constexpr int W = 8;
#define ZOO_MAX(a, b) __builtin_ia32_maxps256(a, b)
#define ZOO_MIN(a, b) __builtin_ia32_minps256(a, b)
#define ZOO_MULTIPLY_EVEN(a, b) __builtin_ia32_pmuludq256((I)(a), (I)(b))
#include "lanes.h"
#include ZOO_BODY
}  // namespace avx2
#pragma GCC pop_options
#endif

namespace baseline {
constexpr int W = 4;
#define ZOO_MAX(a, b) ((a) > (b) ? (a) : (b))
#define ZOO_MIN(a, b) ((a) < (b) ? (a) : (b))
#ifdef ZOO_TARGETS
#define ZOO_MULTIPLY_EVEN(a, b) __builtin_ia32_pmuludq128((I)(a), (I)(b))
#else
#define ZOO_MULTIPLY_EVEN(a, b) (((U64)(a) & 0xFFFFFFFFu) * ((U64)(b) & 0xFFFFFFFFu))
#endif
#include "lanes.h"
#include ZOO_BODY
}  // namespace baseline

#ifdef ZOO_TARGETS
#define ZOO_TARGET(f)                               \
  (zoo::isa_target() == zoo::AVX512 ? avx512::f     \
   : zoo::isa_target() == zoo::AVX2 ? avx2::f       \
                                    : baseline::f)
#else
#define ZOO_TARGET(f) baseline::f
#endif
