#include "contract.h"

#include "gemm.h"

#define ZOO_BODY "gemm_body.h"
#include "targets.h"

namespace zoo {

void gemm(int64_t M, int64_t N, int64_t K, const float* a, int64_t lda, const float* w,
          int64_t ldw, float* c, int64_t ldc) {
  ZOO_TARGET(product)(M, N, K, a, lda, w, ldw, c, ldc);
}

void gate(int64_t rows, const float* x, int64_t ldx, float* y, int64_t ldy, int64_t C) {
  ZOO_TARGET(gates)(rows, x, ldx, y, ldy, C);
}

}  // namespace zoo
