// What every kernel file shares: the stable-ABI headers, run-time choice of the ISA target, and
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

// The instruction sets that bodies are compiled for, numbered as the levels of x86-64: AVX-512 is
// x86-64-v4, AVX2 with FMA x86-64-v3. _extension.py has the same numbers.
enum IsaTarget { BASELINE = 1, AVX2 = 3, AVX512 = 4 };

// The target in use: the widest that this machine runs, or the cap set by a caller (targets.cpp).
IsaTarget isa_target();

}  // namespace zoo
