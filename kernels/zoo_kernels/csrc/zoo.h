// What every kernel file shares: the stable-ABI headers, run-time choice of the vector unit, and
// typed pointers. No op's name appears here.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdint>

// ZOO_CLONES void f(...): compiled for the baseline, AVX2 and AVX-512; the loader picks one.
// What f calls must be ZOO_INLINE, so that it is compiled for the same unit.
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define ZOO_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define ZOO_CLONES
#endif
#define ZOO_INLINE static inline __attribute__((always_inline))

namespace zoo {

using torch::stable::Tensor;
using torch::stable::parallel_for;

template <class T>
inline const T* in(const Tensor& t) {
  return static_cast<const T*>(t.const_data_ptr());
}

template <class T>
inline T* out(Tensor& t) {
  return static_cast<T*>(t.mutable_data_ptr());
}

}  // namespace zoo
