// narrow_attention/__init__.py for one head of one row. ROWS queries see all keys at a time, PER
// vectors of tokens a step; keys and values are transposed, and `wide` tokens long.
constexpr int ROWS = 4, PER = 2;

static void transpose(const float* from, int64_t stride, const Heads& a, float* to) {
  for (int64_t m = 0; m < a.M; ++m)
    for (int64_t c = 0; c < a.d; ++c) to[c * a.wide + m] = from[m * stride + c];
}

// p = q k' of R queries, -inf past the last token; the largest of each.
template <int R>
ZOO_INLINE void scores(const Heads& a, const Scratch& s, F (&most)[R]) {
  for (int r = 0; r < R; ++r) most[r] = splat(-__builtin_inff());
  for (int64_t m = 0; m < a.wide; m += PER * W) {
    F acc[R][PER];
    for (int i = 0; i < PER; ++i) {
      const F before = load(s.tail + m + i * W);
      for (int r = 0; r < R; ++r) acc[r][i] = before;
    }
    for (int64_t c = 0; c < a.d; ++c)
      for (int i = 0; i < PER; ++i) {
        const F k = load(s.k + c * a.wide + m + i * W);
        for (int r = 0; r < R; ++r) acc[r][i] += s.q[r * a.d + c] * k;
      }
    for (int r = 0; r < R; ++r)
      for (int i = 0; i < PER; ++i) {
        store(s.p + r * a.wide + m + i * W, acc[r][i]);
        most[r] = max(most[r], acc[r][i]);
      }
  }
}

ZOO_INLINE float largest(F v) {
  for (int half = W / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) v[i] = v[i] > v[i + half] ? v[i] : v[i + half];
  return v[0];
}

// p = e^(p - top); one over its sum.
ZOO_INLINE float weights(const Heads& a, float* p, float top) {
  F total = splat(0.0f);
  for (int64_t m = 0; m < a.wide; m += W) {
    const F e = exp_negative(load(p + m) - top);
    store(p + m, e);
    total += e;
  }
  return 1.0f / sum(total);
}

template <int R>
ZOO_INLINE void values(const Heads& a, const Scratch& s, const float (&share)[R], float* out) {
  for (int64_t c = 0; c < a.d; ++c) {
    F acc[R][PER] = {};
    for (int64_t m = 0; m < a.wide; m += PER * W)
      for (int i = 0; i < PER; ++i) {
        const F v = load(s.v + c * a.wide + m + i * W);
        for (int r = 0; r < R; ++r) acc[r][i] += load(s.p + r * a.wide + m + i * W) * v;
      }
    for (int r = 0; r < R; ++r) {
      F all = acc[r][0];
      for (int i = 1; i < PER; ++i) all += acc[r][i];
      out[r * a.H * a.d + c] = sum(all) * share[r];
    }
  }
}

template <int R>
ZOO_INLINE void queries(const Heads& a, const Scratch& s, const float* q, float* out) {
  for (int r = 0; r < R; ++r)
    for (int64_t c = 0; c < a.d; ++c) s.q[r * a.d + c] = q[r * a.q_n + c] * a.scale;
  F most[R];
  float share[R];
  scores<R>(a, s, most);
  for (int r = 0; r < R; ++r) share[r] = weights(a, s.p + r * a.wide, largest(most[r]));
  values<R>(a, s, share, out);
}

static void head(const Heads& a, const Scratch& s, int64_t task) {
  const int64_t b = task / a.H, h = task % a.H;
  transpose(a.k + b * a.k_b + h * a.k_h, a.k_n, a, s.k);
  transpose(a.v + b * a.v_b + h * a.v_h, a.v_n, a, s.v);
  const float* q = a.q + b * a.q_b + h * a.q_h;
  float* out = a.out + (b * a.N * a.H + h) * a.d;
  int64_t n = 0;
  for (; n + ROWS <= a.N; n += ROWS) queries<ROWS>(a, s, q + n * a.q_n, out + n * a.H * a.d);
  for (; n < a.N; ++n) queries<1>(a, s, q + n * a.q_n, out + n * a.H * a.d);
}
