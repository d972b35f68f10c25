// denoise/reference.py for elements [from, to) of row b. GUIDED, NOISY and MORE (multistep buffer, learned
// variance, thresholding, remembering) are fixed at compile time: the plain step moves bytes only.
#include "philox_body.h"

template <bool GUIDED>
ZOO_INLINE F guided(const Step& a, int64_t b, int64_t e, int n) {
  const F m = load(a.m + b * a.m_row + e, n);
  if (!GUIDED) return m;
  const F u = load(a.u + b * a.u_row + e, n);
  return u + a.guidance * (m - u);
}

ZOO_INLINE F learned_std(const Step& a, int64_t b, int64_t e, int n) {
  const float* C = a.C;
  const F v = load(a.v + b * a.v_row + e, n);
  return C[S] * exp(((v + 1.0f) * C[LOG_VAR_MAX] + (1.0f - v) * C[LOG_VAR_MIN]) * 0.25f);
}

// n <= W elements from e on; z are their normals
template <bool GUIDED, bool NOISY, bool MORE>
ZOO_INLINE void step_lanes(const Step& a, const float (&C)[COLUMNS], float bound, int64_t b,
                           int64_t e, int n, const float* z) {
  const F x = load(a.x + b * a.d + e, n), m = guided<GUIDED>(a, b, e, n);
  F x0 = clamp(C[P_X] * x + C[P_M] * m, -bound, bound);
  if (MORE && a.dynamic_threshold) x0 = x0 / bound;
  F out = C[C_X0] * x0 + C[C_X] * x + C[C_M] * m;
  if (MORE && a.h) out = out + C[C_H] * load(a.h + b * a.d + e, n);
  if (NOISY) out = out + (MORE && a.v ? learned_std(a, b, e, n) : splat(C[S])) * load(z);
  store(a.out + b * a.d + e, out, n);
  if (MORE && a.kept) store(a.kept + b * a.d + e, C[G_X0] * x0 + C[G_X] * x + C[G_M] * m, n);
}

template <bool GUIDED, bool NOISY, bool MORE>
ZOO_INLINE void step_range(const Step& a, int64_t b, int64_t from, int64_t to) {
  constexpr int64_t BLOCK = NOISY ? 4 * philox_rng::LANES : 1 << 20;
  float C[COLUMNS], z[4 * philox_rng::LANES] = {};
  std::memcpy(C, a.C, sizeof(C));
  const float bound = a.dynamic_threshold ? a.dynamic_threshold[b] : a.clip > 0.0f ? a.clip : __builtin_inff();
  for (int64_t base = from; base < to; base += BLOCK) {
    if (NOISY) normals(z, a.key, base, static_cast<uint32_t>(a.rows[b]));
    const int64_t end = to < base + BLOCK ? to : base + BLOCK;
    int64_t e = base;
    for (; e + W <= end; e += W)
      step_lanes<GUIDED, NOISY, MORE>(a, C, bound, b, e, W, NOISY ? z + (e - base) : z);
    if (e < end)
      step_lanes<GUIDED, NOISY, MORE>(a, C, bound, b, e, static_cast<int>(end - e),
                                      NOISY ? z + (e - base) : z);
  }
}

template <bool GUIDED, bool NOISY>
ZOO_INLINE void step_more(const Step& a, int64_t b, int64_t from, int64_t to) {
  const bool more = a.h || a.v || a.dynamic_threshold || a.kept;
  more ? step_range<GUIDED, NOISY, true>(a, b, from, to)
       : step_range<GUIDED, NOISY, false>(a, b, from, to);
}

static void step_row(const Step& a, int64_t b, int64_t from, int64_t to) {
  if (a.u)
    a.noisy ? step_more<true, true>(a, b, from, to) : step_more<true, false>(a, b, from, to);
  else
    a.noisy ? step_more<false, true>(a, b, from, to) : step_more<false, false>(a, b, from, to);
}

static void size_row(const Step& a, int64_t b, float* size) {
  for (int64_t e = 0; e < a.d; e += W) {
    const int n = a.d - e < W ? static_cast<int>(a.d - e) : W;
    const F m = a.u ? guided<true>(a, b, e, n) : guided<false>(a, b, e, n);
    store(size + e, (F)((I)(a.C[P_X] * load(a.x + b * a.d + e, n) + a.C[P_M] * m) & 0x7FFFFFFF), n);
  }
}
