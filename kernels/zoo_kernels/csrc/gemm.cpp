#include "contract.h"

#include "gemm.h"
#include "simd.h"

namespace zoo {
namespace {

template <int MR, int NV>
ZOO_INLINE void tile(int64_t K, const float* a, int64_t lda, const float* w, int64_t ldw, float* c,
                     int64_t ldc) {
  vec acc[MR][NV];
  for (int i = 0; i < MR; ++i)
    for (int j = 0; j < NV; ++j) acc[i][j] = load(c + i * ldc + V * j);
  for (int64_t k = 0; k < K; ++k) {
    vec b[NV];
    for (int j = 0; j < NV; ++j) b[j] = load(w + k * ldw + V * j);
    for (int i = 0; i < MR; ++i)
      for (int j = 0; j < NV; ++j) acc[i][j] += a[i * lda + k] * b[j];
  }
  for (int i = 0; i < MR; ++i)
    for (int j = 0; j < NV; ++j) store(c + i * ldc + V * j, acc[i][j]);
}

// The last M < MR + 1 rows in one tile.
template <int MR, int NV>
ZOO_INLINE void rest(int64_t M, int64_t K, const float* a, int64_t lda, const float* w, int64_t ldw,
                     float* c, int64_t ldc) {
  if constexpr (MR > 0) {
    if (M == MR) return tile<MR, NV>(K, a, lda, w, ldw, c, ldc);
    rest<MR - 1, NV>(M, K, a, lda, w, ldw, c, ldc);
  }
}

template <int MR, int NV>
ZOO_INLINE void column(int64_t M, int64_t K, const float* a, int64_t lda, const float* w,
                       int64_t ldw, float* c, int64_t ldc) {
  int64_t m = 0;
  for (; m + MR <= M; m += MR) tile<MR, NV>(K, a + m * lda, lda, w, ldw, c + m * ldc, ldc);
  if (m < M) rest<MR - 1, NV>(M - m, K, a + m * lda, lda, w, ldw, c + m * ldc, ldc);
}

template <int MR, int NV>
ZOO_INLINE void columns(int64_t M, int64_t N, int64_t K, const float* a, int64_t lda,
                        const float* w, int64_t ldw, float* c, int64_t ldc) {
  int64_t n = 0;
  for (; n + V * NV <= N; n += V * NV) column<MR, NV>(M, K, a, lda, w + n, ldw, c + n, ldc);
  if constexpr (NV > 1)
    if (n < N) columns<MR, NV / 2>(M, N - n, K, a, lda, w + n, ldw, c + n, ldc);
}

template <class T>
ZOO_INLINE void gemm_for(int64_t M, int64_t N, int64_t K, const float* a, int64_t lda, const float* w,
                     int64_t ldw, float* c, int64_t ldc) {
  if (M <= 2)
    columns<2, T::NW>(M, N, K, a, lda, w, ldw, c, ldc);
  else
    columns<T::MR, T::NV>(M, N, K, a, lda, w, ldw, c, ldc);
}

template <class T>
ZOO_INLINE void gate_for(int64_t rows, const float* x, int64_t ldx, float* y, int64_t ldy,
                         int64_t C) {
  for (int64_t i = 0; i < rows; ++i, x += ldx, y += ldy)
    for (int64_t c = 0; c < C; c += V) store(y + c, gated(load(x + c), load(x + C + c)));
}


ZOO_UNITS(gemm_here,
          (int64_t M, int64_t N, int64_t K, const float* a, int64_t lda, const float* w, int64_t ldw,
           float* c, int64_t ldc),
          (M, N, K, a, lda, w, ldw, c, ldc), gemm_for)

ZOO_UNITS(gate_here,
          (int64_t rows, const float* x, int64_t ldx, float* y, int64_t ldy, int64_t C),
          (rows, x, ldx, y, ldy, C), gate_for)

}  // namespace

void gemm(int64_t M, int64_t N, int64_t K, const float* a, int64_t lda, const float* w,
          int64_t ldw, float* c, int64_t ldc) {
  gemm_here(M, N, K, a, lda, w, ldw, c, ldc);
}

void gate(int64_t rows, const float* x, int64_t ldx, float* y, int64_t ldy, int64_t C) {
  gate_here(rows, x, ldx, y, ldy, C);
}

}  // namespace zoo
