// Which vector unit the kernels use: this machine's widest, or the one a caller caps it at.
#include <atomic>

#include "zoo.h"

namespace {

int widest() {
#if defined(__x86_64__) && defined(__GNUC__)
  __builtin_cpu_init();
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                  __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                  __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512cd");
  return v4 ? 4 : v3 ? 3 : 1;
#else
  return 1;
#endif
}

std::atomic<int> chosen{widest()};

// Use at most `cap` from now on (0: leave as it is); returns what is in use.
int64_t cap_unit(int64_t cap) {
  const int64_t best = widest();
  if (cap > 0) chosen = static_cast<int>(cap < best ? cap : best);
  return chosen;
}

}  // namespace

int zoo::unit() { return chosen.load(std::memory_order_relaxed); }

STABLE_TORCH_LIBRARY_FRAGMENT(zoo_cpp, m) { m.def("cap_unit(int cap) -> int"); }

STABLE_TORCH_LIBRARY_IMPL(zoo_cpp, CompositeExplicitAutograd, m) {
  m.impl("cap_unit", TORCH_BOX(&cap_unit));
}
