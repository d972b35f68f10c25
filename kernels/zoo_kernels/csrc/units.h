// Compiles the file ZOO_BODY once for each vector unit, each in a namespace of its own, and lets
// each call choose: unit16 (x86-64-v4, AVX-512), unit8 (x86-64-v3, AVX2) or unit4 (baseline).
// The body includes nothing; it sees W lanes, `F`, `I` and the functions of lanes.h.
//
//   #define ZOO_BODY "spline_body.h"
//   #include "units.h"
//   ZOO_UNIT(values_range)(arguments);
//
// Unlike functions with a target attribute, whose callees are lowered before they are inlined, this
// keeps comparisons of explicit vectors in vector registers.
//
// ZOO_MAX and ZOO_MIN are one instruction each, where `a > b ? a : b` of vectors becomes two.
#include <cmath>
#include <cstring>
#include <type_traits>

#include "zoo.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define ZOO_UNITS 3

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4")
namespace unit16 {
constexpr int W = 16;
#define ZOO_MAX(a, b) __builtin_ia32_maxps512_mask(a, b, a, -1, 4)
#define ZOO_MIN(a, b) __builtin_ia32_minps512_mask(a, b, a, -1, 4)
#include "lanes.h"
#include ZOO_BODY
#undef ZOO_MAX
#undef ZOO_MIN
}  // namespace unit16
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
namespace unit8 {
constexpr int W = 8;
#define ZOO_MAX(a, b) __builtin_ia32_maxps256(a, b)
#define ZOO_MIN(a, b) __builtin_ia32_minps256(a, b)
#include "lanes.h"
#include ZOO_BODY
#undef ZOO_MAX
#undef ZOO_MIN
}  // namespace unit8
#pragma GCC pop_options
#endif

namespace unit4 {
constexpr int W = 4;
#define ZOO_MAX(a, b) ((a) > (b) ? (a) : (b))
#define ZOO_MIN(a, b) ((a) < (b) ? (a) : (b))
#include "lanes.h"
#include ZOO_BODY
#undef ZOO_MAX
#undef ZOO_MIN
}  // namespace unit4

#ifdef ZOO_UNITS
#define ZOO_UNIT(f) (zoo::unit() == 4 ? unit16::f : zoo::unit() == 3 ? unit8::f : unit4::f)
#else
#define ZOO_UNIT(f) unit4::f
#endif
