// C += A W by tiles of MR rows and NV vectors that stay in registers; every element is one chain of
// multiply-adds over k, whatever its tile.

template <int MR, int NV>
ZOO_INLINE void tile(int64_t K, const float* a, int64_t lda, const float* w, int64_t ldw, float* c,
                     int64_t ldc) {
  F acc[MR][NV];
  for (int i = 0; i < MR; ++i)
    for (int j = 0; j < NV; ++j) acc[i][j] = load(c + i * ldc + W * j);
  for (int64_t k = 0; k < K; ++k) {
    F b[NV];
    for (int j = 0; j < NV; ++j) b[j] = load(w + k * ldw + W * j);
    for (int i = 0; i < MR; ++i)
      for (int j = 0; j < NV; ++j) acc[i][j] += a[i * lda + k] * b[j];
  }
  for (int i = 0; i < MR; ++i)
    for (int j = 0; j < NV; ++j) store(c + i * ldc + W * j, acc[i][j]);
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
static void column(int64_t M, int64_t K, const float* a, int64_t lda, const float* w, int64_t ldw,
                   float* c, int64_t ldc) {
  int64_t m = 0;
  for (; m + MR <= M; m += MR) tile<MR, NV>(K, a + m * lda, lda, w, ldw, c + m * ldc, ldc);
  if (m < M) rest<MR - 1, NV>(M - m, K, a + m * lda, lda, w, ldw, c + m * ldc, ldc);
}

template <int MR, int NV>
static void columns(int64_t M, int64_t N, int64_t K, const float* a, int64_t lda, const float* w,
                    int64_t ldw, float* c, int64_t ldc) {
  int64_t n = 0;
  for (; n + W * NV <= N; n += W * NV) column<MR, NV>(M, K, a, lda, w + n, ldw, c + n, ldc);
  if constexpr (W * NV > 16)
    if (n < N) columns<MR, NV / 2>(M, N - n, K, a, lda, w + n, ldw, c + n, ldc);
}

// Accumulators of a tile: 24 of 32 registers with AVX-512, 12 of 16 with AVX2, 8 of 16 below; with
// one or two rows, 8 or 16 columns' worth, enough to hide the latency of a multiply-add.
static void product(int64_t M, int64_t N, int64_t K, const float* a, int64_t lda, const float* w,
                    int64_t ldw, float* c, int64_t ldc) {
  if (M == 1)
    columns<1, 8>(M, N, K, a, lda, w, ldw, c, ldc);
  else if (M == 2)
    columns<2, W == 16 ? 8 : 4>(M, N, K, a, lda, w, ldw, c, ldc);
  else
    columns<W == 4 ? 2 : 6, W == 8 ? 2 : 4>(M, N, K, a, lda, w, ldw, c, ldc);
}

static void gates(int64_t rows, const float* x, int64_t ldx, float* y, int64_t ldy, int64_t C) {
  for (int64_t i = 0; i < rows; ++i, x += ldx, y += ldy)
    for (int64_t c = 0; c < C; c += W) store(y + c, gated(load(x + c), load(x + C + c)));
}
