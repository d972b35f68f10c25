// W floats at a time; included by targets.h inside a namespace. Elementary functions have errors of
// about 1 ulp (Cephes polynomials), and NaN stays NaN.

typedef float F __attribute__((vector_size(4 * W)));
typedef int32_t I __attribute__((vector_size(4 * W)));
typedef uint32_t U __attribute__((vector_size(4 * W)));
typedef uint64_t U64 __attribute__((vector_size(4 * W)));
typedef long long Longs __attribute__((vector_size(4 * W)));

ZOO_INLINE F load(const float* p) {
  F v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

// the first n of W floats, the last of them repeated
ZOO_INLINE F load(const float* p, int n) {
  if (n == W) return load(p);
  F v;
  for (int i = 0; i < W; ++i) v[i] = p[i < n ? i : n - 1];
  return v;
}

ZOO_INLINE void store(float* p, F v) { std::memcpy(p, &v, sizeof(v)); }

ZOO_INLINE void store(float* p, F v, int n) {
  if (n == W) return store(p, v);
  for (int i = 0; i < n; ++i) p[i] = v[i];
}

ZOO_INLINE F splat(float x) { return F{} + x; }
ZOO_INLINE I splat(int32_t x) { return I{} + x; }
ZOO_INLINE F where(I m, F a, F b) { return m ? a : b; }
ZOO_INLINE F where(I m, float a, F b) { return m ? splat(a) : b; }
ZOO_INLINE F where(I m, F a, float b) { return m ? a : splat(b); }
// b where either is NaN
ZOO_INLINE F max(F a, F b) { return ZOO_MAX(a, b); }
ZOO_INLINE F min(F a, F b) { return ZOO_MIN(a, b); }

ZOO_INLINE F clamp(F x, float low, float high) {  // NaN passes
  return min(splat(high), max(splat(low), x));
}

ZOO_INLINE F sqrt(F x) {
  for (int i = 0; i < W; ++i) x[i] = std::sqrt(x[i]);
  return x;
}

struct Product {
  U high, low;
};

// Words times m, in full: those of the even lanes, and of the odd ones.
ZOO_INLINE Product multiply(U x, uint32_t m) {
  const U by = U{} + m;
  const U64 even = (U64)ZOO_MULTIPLY_EVEN(x, by), odd = (U64)ZOO_MULTIPLY_EVEN((U)((U64)x >> 32), by);
  return {(U)((even >> 32) | (odd & 0xFFFFFFFF00000000u)), x * by};
}

// in halves, the same order whatever came before
ZOO_INLINE float sum(F v) {
  for (int half = W / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) v[i] += v[i + half];
  return v[0];
}

ZOO_INLINE F nearest(F x) { return (x + 12582912.0f) - 12582912.0f; }  // |x| < 2^22

// Functions of N vectors take them through each step side by side: one alone is a chain of a dozen
// dependent instructions, longer than a processor looks ahead.
#define ZOO_EACH _Pragma("GCC unroll 8") for (int i = 0; i < N; ++i)

template <int N>
ZOO_INLINE void horner(F (&p)[N], const F (&r)[N], float c) {
  ZOO_EACH p[i] = p[i] * r[i] + c;
}

// e^x = 2^n e^r, in two factors since 2^128 and 2^-149 need them
template <int N>
ZOO_INLINE void exp(F (&x)[N]) {
  F n[N], r[N], p[N];
  ZOO_EACH x[i] = clamp(x[i], -104.0f, 89.0f);
  ZOO_EACH n[i] = nearest(x[i] * 1.44269504088896341f);
  ZOO_EACH r[i] = (x[i] - n[i] * 0.693359375f) - n[i] * -2.12194440e-4f;
  ZOO_EACH p[i] = r[i] * 1.9875691500e-4f + 1.3981999507e-3f;
  horner(p, r, 8.3334519073e-3f);
  horner(p, r, 4.1665795894e-2f);
  horner(p, r, 1.6666665459e-1f);
  horner(p, r, 5.0000001201e-1f);
  ZOO_EACH p[i] = (p[i] * (r[i] * r[i]) + r[i]) + 1.0f;
  ZOO_EACH {
    const I k = __builtin_convertvector(n[i], I), half = k >> 1;
    x[i] = p[i] * (F)((half + 127) << 23) * (F)((k - half + 127) << 23);
  }
}

ZOO_INLINE F exp(F x) {
  F one[1] = {x};
  exp(one);
  return one[0];
}

// tanh(a) = (1 - e) / (1 + e) and sigmoid(b) = 1 / (1 + f)
ZOO_INLINE F exp_of_tanh(F a) { return exp(clamp(a, -20.0f, 20.0f) * -2.0f); }
ZOO_INLINE F exp_of_sigmoid(F b) { return exp(clamp(b, -40.0f, 40.0f) * -1.0f); }

// tanh(a) sigmoid(b), with one division
ZOO_INLINE F gated(F a, F b) {
  const F e = exp_of_tanh(a), f = exp_of_sigmoid(b);
  return (1.0f - e) / ((1.0f + e) * (1.0f + f));
}

// e^x for x <= 0, where below -87 as at -87. The low bits of x / log 2 + 1.5 * 2^23 + 127 are the
// exponent. On |r| <= log(2) / 2 the polynomial is within 9.2e-8; with fused multiply-add one step
// of reduction is enough.
template <int N>
ZOO_INLINE void exp_negative(F (&x)[N]) {
  constexpr float ROUND = 12582912.0f + 127.0f;
  F shifted[N], r[N], p[N];
  ZOO_EACH x[i] = max(splat(-87.0f), x[i]);
  ZOO_EACH shifted[i] = x[i] * 1.44269504088896341f + ROUND;
  ZOO_EACH {
    const F n = shifted[i] - ROUND;
    r[i] = W > 4 ? x[i] - n * 0.69314718055994531f
                 : (x[i] - n * 0.693359375f) - n * -2.12194440e-4f;
  }
  ZOO_EACH p[i] = r[i] * 8.29031e-3f + 4.189793e-2f;
  horner(p, r, 1.6667636e-1f);
  horner(p, r, 4.999915e-1f);
  horner(p, r, 9.999997e-1f);
  horner(p, r, 1.0f);
  ZOO_EACH x[i] = p[i] * (F)((I)shifted[i] << 23);
}

ZOO_INLINE F exp_negative(F x) {
  F one[1] = {x};
  exp_negative(one);
  return one[0];
}

// log(2^e (1 + t)) for 1 + t in [sqrt(1/2), sqrt(2)]
ZOO_INLINE F log_split(F t, F e) {
  const F z = t * t;
  F p = t * 7.0376836292e-2f + -1.1514610310e-1f;
  p = p * t + 1.1676998740e-1f;
  p = p * t + -1.2420140846e-1f;
  p = p * t + 1.4249322787e-1f;
  p = p * t + -1.6668057665e-1f;
  p = p * t + 2.0000714765e-1f;
  p = p * t + -2.4999993993e-1f;
  p = p * t + 3.3333331174e-1f;
  const F y = (t * (z * p) + e * -2.12194440e-4f) - z * 0.5f;
  return (t + y) + e * 0.693359375f;
}

// 0 -> -inf, inf -> inf, negative or NaN -> NaN; denormals count as 0
ZOO_INLINE F log(F x) {
  const I i = (I)x;
  F e = __builtin_convertvector((i >> 23) - 127, F);
  F m = (F)((i & 0x7FFFFF) | 0x3F800000);
  const I large = m > 1.4142135381698608f;
  e = where(large, e + 1.0f, e);
  m = where(large, m * 0.5f, m);
  F y = log_split(m - 1.0f, e);
  y = where(x < 1.17549435e-38f, -__builtin_inff(), y);
  y = where(x < 0.0f, __builtin_nanf(""), y);
  return where(x < __builtin_inff(), y, x);
}

// log(1 + t) for t in [0, 1], to full relative precision
ZOO_INLINE F log1p_unit(F t) {
  const I large = t > 0.41421356f;
  return log_split(where(large, (t + 1.0f) * 0.5f - 1.0f, t), where(large, 1.0f, splat(0.0f)));
}

ZOO_INLINE F minus_abs(F x) { return (F)((I)x | splat(INT32_MIN)); }
ZOO_INLINE F exp_minus_abs(F x) { return exp_negative(minus_abs(x)); }

// Both from e = exp_minus_abs(x) = e^-|x|.
ZOO_INLINE F softplus(F x, F e) { return where(x < 0.0f, x * 0.0f, x) + log1p_unit(e); }
ZOO_INLINE F sigmoid(F x, F e) { return where(x < 0.0f, e, splat(1.0f)) / (e + 1.0f); }
#undef ZOO_EACH
#undef ZOO_MAX
#undef ZOO_MIN
#undef ZOO_MULTIPLY_EVEN
