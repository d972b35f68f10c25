#include "contract.h"

#include "gemm.h"

#define ZOO_BODY "gemm_body.h"
#include "units.h"

#include "simd.h"

namespace zoo {
namespace {

template <class T>
ZOO_INLINE void gate_for(int64_t rows, const float* x, int64_t ldx, float* y, int64_t ldy,
                         int64_t C) {
  for (int64_t i = 0; i < rows; ++i, x += ldx, y += ldy)
    for (int64_t c = 0; c < C; c += V) store(y + c, gated(load(x + c), load(x + C + c)));
}

ZOO_UNITS(gate_here,
          (int64_t rows, const float* x, int64_t ldx, float* y, int64_t ldy, int64_t C),
          (rows, x, ldx, y, ldy, C), gate_for)

}  // namespace

void gemm(int64_t M, int64_t N, int64_t K, const float* a, int64_t lda, const float* w,
          int64_t ldw, float* c, int64_t ldc) {
  ZOO_UNIT(product)(M, N, K, a, lda, w, ldw, c, ldc);
}

void gate(int64_t rows, const float* x, int64_t ldx, float* y, int64_t ldy, int64_t C) {
  gate_here(rows, x, ldx, y, ldy, C);
}

}  // namespace zoo
