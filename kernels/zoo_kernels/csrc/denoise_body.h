// denoise/reference.py for elements [from, to) of one row, 128 at a time.

ZOO_INLINE F guided(const Step& a, int64_t b, int64_t e, int n) {
  const F m = load(a.m + b * a.m_row + e, n);
  if (!a.u) return m;
  const F u = load(a.u + b * a.u_row + e, n);
  return u + a.guidance * (m - u);
}

ZOO_INLINE F deviation(const Step& a, int64_t b, int64_t e, int n) {
  const float* C = a.C;
  if (!a.v) return splat(C[S]);
  const F v = load(a.v + b * a.v_row + e, n);
  return C[S] * exp(((v + 1.0f) * C[LOG_MOST] + (1.0f - v) * C[LOG_LEAST]) * 0.25f);
}

ZOO_INLINE F clipped(const Step& a, F x0, float bound) {
  if (bound <= 0.0f) return x0;
  x0 = where(x0 > bound, bound, x0);
  x0 = where(x0 < -bound, -bound, x0);
  return a.limit ? x0 / bound : x0;
}

static void step_row(const Step& a, int64_t b, int64_t from, int64_t to) {
  const float* C = a.C;
  const float bound = a.limit ? a.limit[b] : a.clip;
  float z[4 * philox_rng::LANES];
  for (int64_t base = from; base < to; base += 4 * philox_rng::LANES) {
    if (a.noisy) philox_rng::normals(z, a.key, base, static_cast<uint32_t>(a.rows[b]));
    const int64_t end = to < base + 4 * philox_rng::LANES ? to : base + 4 * philox_rng::LANES;
    for (int64_t e = base; e < end; e += W) {
      const int n = end - e < W ? static_cast<int>(end - e) : W;
      const F x = load(a.x + b * a.d + e, n), m = guided(a, b, e, n);
      const F x0 = clipped(a, C[P_X] * x + C[P_M] * m, bound);
      F out = C[C_X0] * x0 + C[C_X] * x + C[C_M] * m;
      if (a.h) out = out + C[C_H] * load(a.h + b * a.d + e, n);
      if (a.noisy) out = out + deviation(a, b, e, n) * load(z + (e - base));
      store(a.out + b * a.d + e, out, n);
      if (a.kept) store(a.kept + b * a.d + e, C[G_X0] * x0 + C[G_X] * x + C[G_M] * m, n);
    }
  }
}

static void size_row(const Step& a, int64_t b, float* size) {
  for (int64_t e = 0; e < a.d; e += W) {
    const int n = a.d - e < W ? static_cast<int>(a.d - e) : W;
    const F x0 = a.C[P_X] * load(a.x + b * a.d + e, n) + a.C[P_M] * guided(a, b, e, n);
    store(size + e, (F)((I)x0 & 0x7FFFFFFF), n);
  }
}
