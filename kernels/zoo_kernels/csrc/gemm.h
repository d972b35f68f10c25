// C += A W for small row-major float32 matrices, and the gate tanh(a) sigmoid(b): compiled for the
// baseline, AVX2 and AVX-512 in gemm.cpp, chosen at each call.
//
// Each element of C is one chain of multiply-adds over k in order: its bits depend on its row of A
// and column of W only, not on how many rows there are.
#pragma once

#include <cstring>

#include "zoo.h"

namespace zoo {

// C (M, N) += A (M, K) W (K, N), leading dimensions lda, ldw, ldc; N is a multiple of 16.
void gemm(int64_t M, int64_t N, int64_t K, const float* a, int64_t lda, const float* w,
          int64_t ldw, float* c, int64_t ldc);

// y (C) = tanh(a) sigmoid(b) of each of `rows` rows x = [a | b] (2C); C is a multiple of 16.
void gate(int64_t rows, const float* x, int64_t ldx, float* y, int64_t ldy, int64_t C);

// C (rows, n) = x (n) in every row.
ZOO_INLINE void fill_rows(float* c, int64_t rows, int64_t ldc, const float* x, int64_t n) {
  for (int64_t i = 0; i < rows; ++i) std::memcpy(c + i * ldc, x, n * sizeof(float));
}

ZOO_INLINE void add(float* y, const float* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] += x[i];
}

}  // namespace zoo
