// coupling/reference.py. SCALE: 0 exp, 1 sigmoid of r + c, 2 log s = c tanh(r / c).

struct Scale {
  F log_s, s, slope;  // s or, for the inverse, 1 / s; d log s / dr
  F factor;           // of the sigmoid: log s lacks the logarithm of this, in [1, 2]
};

template <int SCALE, bool INVERSE>
ZOO_INLINE Scale scale_of(F r, float c) {
  if (SCALE == 1) {
    const F u = r + c, e = exp_minus_abs(u);
    const I negative = u < 0.0f;
    Scale k;
    k.log_s = where(negative, u, u * 0.0f);  // less log(1 + e), which the row sum takes at once
    k.factor = e + 1.0f;
    const F per = 1.0f / k.factor;
    k.s = INVERSE ? where(negative, 1.0f / e, e) + 1.0f : where(negative, e, splat(1.0f)) * per;
    k.slope = where(negative, splat(1.0f), e) * per;
    return k;
  }
  if (SCALE == 2) {
    const F u = r / c, e = exp_minus_abs(2.0f * u), size = (1.0f - e) / (1.0f + e);
    // near 0 the difference cancels; there tanh u = u - u^3/3 + 2 u^5/15 - 17 u^7/315
    const F q = u * u;
    const F series = u * (1.0f + q * (-0.333333333f + q * (0.133333333f + q * -0.0539682540f)));
    const F signed_size = where(u < 0.0f, -size, size);
    const F h = where(q < 0.0625f, series, signed_size);
    const F log_s = c * h;
    return {log_s, exp(INVERSE ? -log_s : log_s), 1.0f - h * h, splat(1.0f)};
  }
  return {r, exp(INVERSE ? -r : r), splat(1.0f), splat(1.0f)};
}

// t and r of up to W neighbours
ZOO_INLINE F parameter(const float* p, int64_t stride, int n) {
  if (stride == 1) return load(p, n);
  F v;
  for (int i = 0; i < W; ++i) v[i] = p[(i < n ? i : n - 1) * stride];
  return v;
}

ZOO_INLINE void put(float* p, int64_t stride, F v, int n) {
  if (stride == 1) return store(p, v, n);
  for (int i = 0; i < n; ++i) p[i * stride] = v[i];
}

// In an order that depends on n alone, not on how the row was cut.
ZOO_INLINE float row_sum(const float* p, int64_t n) {
  F total = splat(0.0f);
  int64_t e = 0;
  for (; e + W <= n; e += W) total = total + load(p + e);
  for (int i = 0; e + i < n; ++i) total[i] += p[e + i];
  return sum(total);
}

// The sum of logarithms of n numbers in [1, 2], one logarithm for 64 of them.
ZOO_INLINE float row_log_sum(const float* p, int64_t n) {
  F total = splat(0.0f);
  for (int64_t e = 0; e < n; e += 64 * W) {
    F product = splat(1.0f);
    const int64_t end = n < e + 64 * W ? n : e + 64 * W;
    int64_t i = e;
    for (; i + W <= end; i += W) product = product * load(p + i);
    for (int k = 0; i + k < end; ++k) product[k] *= p[i + k];
    total = total + log(product);
  }
  return sum(total);
}

template <int SCALE, bool SHIFT_FIRST, bool INVERSE>
ZOO_INLINE float values_of(const Coupling& a, int64_t b, float* log_s) {
  const int64_t count = a.p.d1 * a.p.d2;
  for (int64_t i = 0; i < a.p.d1; ++i) {
    const float* t_at = a.params + b * a.p.sb + i * a.p.s1;
    const float* r_at = t_at + a.p.sp;
    const int64_t row = b * a.d + a.begin + i * a.p.d2;
    for (int64_t j = 0; j < a.p.d2; j += W) {
      const int n = a.p.d2 - j < W ? static_cast<int>(a.p.d2 - j) : W;
      const F z = load(a.x + row + j, n), t = parameter(t_at + j * a.p.s2, a.p.s2, n);
      const Scale k = scale_of<SCALE, INVERSE>(parameter(r_at + j * a.p.s2, a.p.s2, n), a.c);
      F out;
      if (INVERSE)
        out = SHIFT_FIRST ? z * k.s - t : (z - t) * k.s;
      else
        out = SHIFT_FIRST ? k.s * (z + t) : k.s * z + t;
      store(a.out + row + j, out, n);
      store(log_s + i * a.p.d2 + j, k.log_s, n);
      if (SCALE == 1) store(log_s + count + i * a.p.d2 + j, k.factor, n);
    }
  }
  float total = row_sum(log_s, count);
  if (SCALE == 1) total -= row_log_sum(log_s + count, count);
  return INVERSE ? -total : total;
}

template <int SCALE, bool SHIFT_FIRST, bool INVERSE>
ZOO_INLINE void gradients_of(const Coupling& a, int64_t b, float*) {
  const float gl = INVERSE ? -a.grad_ladj[b] : a.grad_ladj[b];
  for (int64_t i = 0; i < a.p.d1; ++i) {
    const float* t_at = a.params + b * a.p.sb + i * a.p.s1;
    const int64_t at = i * a.p.d2;  // the gradient's D2 is a multiple of the parameters'
    float* gt_at = a.grad_params + b * a.g.sb + at / a.g.d2 * a.g.s1 + at % a.g.d2 * a.g.s2;
    const float* r_at = t_at + a.p.sp;
    const int64_t row = b * a.d + a.begin + i * a.p.d2;
    for (int64_t j = 0; j < a.p.d2; j += W) {
      const int n = a.p.d2 - j < W ? static_cast<int>(a.p.d2 - j) : W;
      const F z = load(a.x + row + j, n), g = load(a.grad + row + j, n);
      const F t = parameter(t_at + j * a.p.s2, a.p.s2, n);
      const Scale k = scale_of<SCALE, INVERSE>(parameter(r_at + j * a.p.s2, a.p.s2, n), a.c);
      const F gz = g * k.s;
      F gt, g_log;
      if (INVERSE) {
        gt = SHIFT_FIRST ? -g : -gz;
        g_log = -gz * (SHIFT_FIRST ? z : z - t) + gl;
      } else {
        gt = SHIFT_FIRST ? gz : g;
        g_log = gz * (SHIFT_FIRST ? z + t : z) + gl;
      }
      store(a.out + row + j, gz, n);
      put(gt_at + j * a.g.s2, a.g.s2, gt, n);
      put(gt_at + a.g.sp + j * a.g.s2, a.g.s2, g_log * k.slope, n);
    }
  }
}

#define ZOO_SCALES(NAME)                                                                     \
  switch (a.scale * 4 + a.shift_first * 2 + a.inverse) {                                     \
    case 0: return NAME<0, false, false>(a, b, e);                                           \
    case 1: return NAME<0, false, true>(a, b, e);                                            \
    case 2: return NAME<0, true, false>(a, b, e);                                            \
    case 3: return NAME<0, true, true>(a, b, e);                                             \
    case 4: return NAME<1, false, false>(a, b, e);                                           \
    case 5: return NAME<1, false, true>(a, b, e);                                            \
    case 6: return NAME<1, true, false>(a, b, e);                                            \
    case 7: return NAME<1, true, true>(a, b, e);                                             \
    case 8: return NAME<2, false, false>(a, b, e);                                           \
    case 9: return NAME<2, false, true>(a, b, e);                                            \
    case 10: return NAME<2, true, false>(a, b, e);                                           \
    default: return NAME<2, true, true>(a, b, e);                                            \
  }

static float values_row(const Coupling& a, int64_t b, float* e) { ZOO_SCALES(values_of) }
static void gradients_row(const Coupling& a, int64_t b, float* e) { ZOO_SCALES(gradients_of) }
#undef ZOO_SCALES
