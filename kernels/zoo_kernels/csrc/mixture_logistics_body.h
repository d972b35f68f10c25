// mixture_logistics/reference.py for W pixels at a time.

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

// (1 - e^-d) / d
ZOO_INLINE F series(F d) {
  F p = d * 1.98412698e-4f + -1.38888889e-3f;
  p = p * d + 8.33333333e-3f;
  p = p * d + -4.16666667e-2f;
  p = p * d + 1.66666667e-1f;
  p = p * d + -0.5f;
  return p * d + 1.0f;
}

ZOO_INLINE F tanh(F u) {
  const F q = u * u, e = exp_minus_abs(2.0f * u), size = (1.0f - e) / (e + 1.0f);
  const F near = u * (1.0f + q * (-0.333333333f + q * (0.133333333f + q * -0.0539682540f)));
  return where(q < 0.0625f, near, where(u < 0.0f, -size, size));
}

struct Mass {
  F per, delta, mid, upper, lower, e_upper, e_lower;  // a, b and e^-|a|, e^-|b|
  I lowest, highest;
};

ZOO_INLINE Mass mass(F v, F mean, F l, const Mixture& a) {
  Mass k;
  k.per = exp(-l);
  k.delta = k.per * a.step;
  k.mid = k.per * (v - mean);
  k.upper = k.mid + 0.5f * k.delta;
  k.lower = k.mid - 0.5f * k.delta;
  k.e_upper = exp_minus_abs(k.upper);
  k.e_lower = exp_minus_abs(k.lower);
  k.lowest = v < 0.5f * a.step - 1.0f;
  k.highest = v > 1.0f - 0.5f * a.step;
  return k;
}

ZOO_INLINE F log_mass(const Mass& k, F l, const Mixture& a) {
  const F below = -softplus(-k.upper, k.e_upper), above = -softplus(k.lower, k.e_lower);
  const F e = exp_negative(-k.delta);
  const I small = k.delta < 0.5f;
  const F inside = where(small, series(k.delta), 1.0f - e);
  const F between = below + above + (log(inside) + where(small, a.log_step - l, splat(0.0f)));
  return where(k.lowest, below, where(k.highest, above, between));
}

constexpr float MIN_LOG_SCALE = -7.0f;

ZOO_INLINE F clamped(F l) { return max(splat(MIN_LOG_SCALE), l); }

// The parameters of W pixels.
struct Pixels {
  const Mixture& a;
  const float* p;
  int n;
  F v[3];
  inline __attribute__((always_inline)) F logit(int m) const { return parameter(p + m * a.p.sp, a.p.ss, n); }
  inline __attribute__((always_inline)) int row(int c, Parameter kind, int m) const {
    return (1 + c * (a.channels == 1 ? 2 : 3) + kind) * a.m + m;
  }
  inline __attribute__((always_inline)) F value(int c, Parameter kind, int m) const {
    return parameter(p + row(c, kind, m) * a.p.sp, a.p.ss, n);
  }
  inline __attribute__((always_inline)) F mean(int c, int m) const {
    F mu = value(c, MEAN, m);
    for (int j = 0; j < c; ++j) mu = mu + tanh(value(c * (c - 1) / 2 + j, COEFFICIENT, m)) * v[j];
    return mu;
  }
};

ZOO_INLINE Pixels pixels(const Mixture& a, int64_t b, int64_t s, int n) {
  Pixels q{a, a.params + b * a.p.sb + s * a.p.ss, n, {}};
  for (int c = 0; c < a.channels; ++c)
    q.v[c] = load(a.x + (b * a.channels + c) * a.places + s, n) * a.step - 1.0f;
  return q;
}

// log_joint[m] = logit + log masses; returns (log-sum-exp of it, of the logits)
ZOO_INLINE void joint(const Pixels& q, F* log_joint, F& all, F& prior) {
  const Mixture& a = q.a;
  F top = splat(-__builtin_inff()), top_logit = top;
  for (int m = 0; m < a.m; ++m) {
    const F logit = q.logit(m);
    F total = logit;
    for (int c = 0; c < a.channels; ++c) {
      const F l = clamped(q.value(c, LOG_SCALE, m));
      total = total + log_mass(mass(q.v[c], q.mean(c, m), l, a), l, a);
    }
    log_joint[m] = total;
    top = max(total, top);
    top_logit = max(logit, top_logit);
  }
  F sum_joint = splat(0.0f), sum_logit = sum_joint;
  for (int m = 0; m < a.m; ++m) {
    sum_joint = sum_joint + exp_negative(log_joint[m] - top);
    sum_logit = sum_logit + exp_negative(q.logit(m) - top_logit);
  }
  all = top + log(sum_joint);
  prior = top_logit + log(sum_logit);
}

static void values_range(const Mixture& a, int64_t b, int64_t from, int64_t to) {
  F log_joint[MAX_COMPONENTS], all, prior;
  for (int64_t s = from; s < to; s += W) {
    const int n = to - s < W ? static_cast<int>(to - s) : W;
    joint(pixels(a, b, s, n), log_joint, all, prior);
    store(a.each + b * a.places + s, all - prior, n);
  }
}

ZOO_INLINE void component_gradients(const Pixels& q, float* to, int m, F r) {
  const Mixture& a = q.a;
  const auto write = [&](int c, Parameter kind, F g) {
    put(to + q.row(c, kind, m) * a.g.sp, a.g.ss, g, q.n);
  };
  for (int c = 0; c < a.channels; ++c) {
    const F raw = q.value(c, LOG_SCALE, m), l = clamped(raw);
    const Mass k = mass(q.v[c], q.mean(c, m), l, a);
    const F A = where(k.highest, 0.0f, sigmoid(-k.upper, k.e_upper));
    const F B = where(k.lowest, 0.0f, sigmoid(k.lower, k.e_lower));
    const F e = exp_negative(-k.delta);
    const F inside = where(k.delta < 0.5f, series(k.delta), (1.0f - e) / k.delta);
    const F E = where(k.lowest, 0.0f, where(k.highest, 0.0f, e / inside));  // delta / (e^delta - 1)
    const F g_mean = -r * k.per * (A - B);
    const F g_scale = -r * (k.mid * (A - B) + 0.5f * k.delta * (A + B) + E);
    write(c, MEAN, g_mean);
    write(c, LOG_SCALE, where(raw < MIN_LOG_SCALE, 0.0f, g_scale));
    for (int j = 0; j < c; ++j) {
      const int i = c * (c - 1) / 2 + j;
      const F h = tanh(q.value(i, COEFFICIENT, m));
      write(i, COEFFICIENT, g_mean * q.v[j] * (1.0f - h * h));
    }
  }
}

static void gradients_range(const Mixture& a, int64_t b, int64_t from, int64_t to) {
  F log_joint[MAX_COMPONENTS], all, prior;
  for (int64_t s = from; s < to; s += W) {
    const int n = to - s < W ? static_cast<int>(to - s) : W;
    const Pixels q = pixels(a, b, s, n);
    joint(q, log_joint, all, prior);
    float* out = a.grad_params + b * a.g.sb + s * a.g.ss;
    for (int m = 0; m < a.m; ++m) {
      const F r = a.grad[b] * exp_negative(log_joint[m] - all);
      put(out + m * a.g.sp, a.g.ss, r - a.grad[b] * exp_negative(q.logit(m) - prior), n);
      component_gradients(q, out, m, r);
    }
  }
}

// In an order that depends on n alone.
static float row_sum(const float* p, int64_t n) {
  F total = splat(0.0f);
  int64_t e = 0;
  for (; e + W <= n; e += W) total = total + load(p + e);
  for (int i = 0; e + i < n; ++i) total[i] += p[e + i];
  return sum(total);
}
