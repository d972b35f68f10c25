// ZOO_UNITS: compiles a function for the baseline, AVX2 and AVX-512 and picks one at each call. For
// plain loops that the compiler vectorizes; vectors by hand are the business of units.h.
#pragma once

#include "zoo.h"

namespace zoo {

struct Tile {};  // what a body is a template of, so that it is compiled with its caller

}  // namespace zoo

// ZOO_UNITS(name, (parameters), (arguments), body): `name` runs `body<zoo::Tile>(arguments)` compiled
// for the widest vector unit of this machine.
#if defined(__x86_64__) && defined(__GNUC__)
#define ZOO_UNITS(NAME, PARAMETERS, ARGUMENTS, BODY)                                          \
  __attribute__((target("arch=x86-64-v4"))) void NAME##_v4 PARAMETERS {                      \
    BODY<zoo::Tile> ARGUMENTS;                                                                \
  }                                                                                           \
  __attribute__((target("arch=x86-64-v3"))) void NAME##_v3 PARAMETERS {                      \
    BODY<zoo::Tile> ARGUMENTS;                                                                \
  }                                                                                           \
  void NAME##_v1 PARAMETERS { BODY<zoo::Tile> ARGUMENTS; }                                    \
  void NAME PARAMETERS {                                                                      \
    const int unit = zoo::unit();                                                             \
    unit == 4 ? NAME##_v4 ARGUMENTS : unit == 3 ? NAME##_v3 ARGUMENTS : NAME##_v1 ARGUMENTS;  \
  }
#else
#define ZOO_UNITS(NAME, PARAMETERS, ARGUMENTS, BODY) \
  void NAME PARAMETERS { BODY<zoo::Tile> ARGUMENTS; }
#endif
