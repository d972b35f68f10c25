// The gate and its derivatives for the C channels of a pixel.

// Up to W floats; the rest are zero.
ZOO_INLINE F load_some(const float* p, int64_t n) {
  F v{};
  std::memcpy(&v, p, n * sizeof(float));
  return v;
}

ZOO_INLINE void store_some(float* p, const F& v, int64_t n) { std::memcpy(p, &v, n * sizeof(float)); }

template <bool WHOLE>
ZOO_INLINE void forward_at(const Gate& g, int64_t i, int64_t c) {
  const int64_t n = WHOLE ? W : g.C - c;
  float* pre = g.pre + i * 2 * g.C + c;
  F a = load_some(pre, n), b = load_some(pre + g.C, n);
  if (g.cond) {
    const float* cond = g.cond + (g.per_image ? i / g.plane : i) * 2 * g.C + c;
    a += load_some(cond, n), b += load_some(cond + g.C, n);
    store_some(pre, a, n), store_some(pre + g.C, b, n);
  }
  F y = gated(a, b);
  if (g.residual) y += load_some(g.residual + i * g.C + c, n);
  store_some(g.y + i * g.C + c, y, n);
}

template <bool WHOLE>
ZOO_INLINE void backward_at(const Gate& g, int64_t i, int64_t c) {
  const int64_t n = WHOLE ? W : g.C - c;
  const float* pre = g.cond + i * 2 * g.C + c;  // here: the pre-activation
  const F e = exp_of_tanh(load_some(pre, n)), f = exp_of_sigmoid(load_some(pre + g.C, n));
  const F s = 1.0f / (1.0f + f), u = 1.0f / (1.0f + e), t = (1.0f - e) * u;
  const F grad = load_some(g.residual + i * g.C + c, n);  // here: the gradient of y
  store_some(g.pre + i * 2 * g.C + c, grad * (4.0f * e * u * u) * s, n);  // 1 - t^2 = 4 e u^2
  store_some(g.pre + i * 2 * g.C + g.C + c, grad * t * (f * s * s), n);        // s (1 - s) = f s^2
}

static void forward_rows(const Gate& g, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    int64_t c = 0;
    for (; c + W <= g.C; c += W) forward_at<true>(g, i, c);
    if (c < g.C) forward_at<false>(g, i, c);
  }
}

static void backward_rows(const Gate& g, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    int64_t c = 0;
    for (; c + W <= g.C; c += W) backward_at<true>(g, i, c);
    if (c < g.C) backward_at<false>(g, i, c);
  }
}
