// Which ISA target the kernels use: the widest that this machine runs, or a cap set by a caller.
#include <atomic>

#include "zoo.h"

namespace {

zoo::IsaTarget widest() {
#if defined(__x86_64__) && defined(__GNUC__)
  __builtin_cpu_init();
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                  __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                  __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512cd");
  return v4 ? zoo::AVX512 : v3 ? zoo::AVX2 : zoo::BASELINE;
#else
  return zoo::BASELINE;
#endif
}

std::atomic<zoo::IsaTarget> chosen{widest()};

// Use at most `cap` from now on (0: leave as it is); returns what is in use.
int64_t cap_isa_target(int64_t cap) {
  const zoo::IsaTarget best = widest();
  if (cap > 0) chosen = cap < best ? static_cast<zoo::IsaTarget>(cap) : best;
  return chosen;
}

}  // namespace

zoo::IsaTarget zoo::isa_target() { return chosen.load(std::memory_order_relaxed); }

STABLE_TORCH_LIBRARY_FRAGMENT(zoo_cpp, m) { m.def("cap_isa_target(int cap) -> int"); }

STABLE_TORCH_LIBRARY_IMPL(zoo_cpp, CompositeExplicitAutograd, m) {
  m.impl("cap_isa_target", TORCH_BOX(&cap_isa_target));
}
