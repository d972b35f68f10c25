// What every kernel file shares: the stable-ABI headers, run-time choice of the vector unit, and
// typed pointers. No op's name appears here.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdint>

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

// The vector unit in use, at most this machine's (unit.cpp): 4 for AVX-512 (x86-64-v4), 3 for AVX2
// and FMA (x86-64-v3), 1 for the baseline.
int unit();

}  // namespace zoo
