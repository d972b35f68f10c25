// The arithmetic of spline/reference.py for W elements at a time; each lane is on its own.

constexpr int MAX_PARAMS = 3 * MAX_BINS - 1;
typedef float V4 __attribute__((vector_size(16)));
typedef int32_t I4 __attribute__((vector_size(16)));

// The parameters of W elements, and the bin that each of them falls into.
struct Block {
  F u[MAX_PARAMS + 1];
  F position;
  F k, x, w, y, h, u0, u1;  // bin, its knots and sizes, the parameters of its derivatives
  F sum_w, sum_h, before_w, before_h, e_w, e_h;  // exponentials: all, those before, the bin's own
};

ZOO_INLINE void transpose4(V4 (&r)[4]) {
  const V4 a = __builtin_shuffle(r[0], r[1], I4{0, 4, 1, 5});
  const V4 b = __builtin_shuffle(r[2], r[3], I4{0, 4, 1, 5});
  const V4 c = __builtin_shuffle(r[0], r[1], I4{2, 6, 3, 7});
  const V4 d = __builtin_shuffle(r[2], r[3], I4{2, 6, 3, 7});
  r[0] = __builtin_shuffle(a, b, I4{0, 1, 4, 5});
  r[1] = __builtin_shuffle(a, b, I4{2, 3, 6, 7});
  r[2] = __builtin_shuffle(c, d, I4{0, 1, 4, 5});
  r[3] = __builtin_shuffle(c, d, I4{2, 3, 6, 7});
}

ZOO_INLINE float* lane(F* u, int i) { return reinterpret_cast<float*>(u) + i; }

// Where the parameters of W consecutive elements begin; lanes beyond the n-th repeat the n-th.
ZOO_INLINE void places(const Layout& l, int64_t e, int n, int64_t (&at)[W]) {
  const int64_t i = e % l.d;
  int64_t row = e / l.d * l.sb, minor = i % l.d2, major = i / l.d2;
  for (int k = 0; k < W; ++k) {
    at[k] = row + major * l.s1 + minor * l.s2;
    if (k + 1 >= n) continue;
    if (++minor == l.d2) minor = 0, ++major;
    if (major * l.d2 == l.d) major = 0, row += l.sb;
  }
}

ZOO_INLINE bool adjacent(const int64_t (&at)[W]) {
  bool yes = true;
  for (int i = 1; i < W; ++i) yes = yes && at[i] == at[0] + i;
  return yes;
}

ZOO_INLINE void read(const float* p, const int64_t (&at)[W], int64_t sk, int count, F* u) {
  if (sk == 1 && count >= 4) {
    for (int i = 0; i < W; i += 4)
      for (int j = 0; j < count; j += 4) {
        const int c = j + 4 <= count ? j : count - 4;  // the last four overlap
        V4 r[4];
        for (int k = 0; k < 4; ++k) std::memcpy(&r[k], p + at[i + k] + c, 16);
        transpose4(r);
        for (int k = 0; k < 4; ++k) std::memcpy(lane(u + c + k, i), &r[k], 16);
      }
  } else if (adjacent(at)) {
    for (int j = 0; j < count; ++j) u[j] = load(p + at[0] + j * sk);
  } else {
    for (int j = 0; j < count; ++j)
      for (int i = 0; i < W; ++i) *lane(u + j, i) = p[at[i] + j * sk];
  }
}

ZOO_INLINE void write(float* p, const int64_t (&at)[W], int64_t sk, int count, F* u, int n) {
  if (n == W && sk == 1 && count >= 4) {
    for (int i = 0; i < W; i += 4)
      for (int j = 0; j < count; j += 4) {
        const int c = j + 4 <= count ? j : count - 4;
        V4 r[4];
        for (int k = 0; k < 4; ++k) std::memcpy(&r[k], lane(u + c + k, i), 16);
        transpose4(r);
        for (int k = 0; k < 4; ++k) std::memcpy(p + at[i + k] + c, &r[k], 16);
      }
  } else if (n == W && adjacent(at)) {
    for (int j = 0; j < count; ++j) store(p + at[0] + j * sk, u[j]);
  } else {
    for (int j = 0; j < count; ++j)
      for (int i = 0; i < n; ++i) p[at[i] + j * sk] = *lane(u + j, i);
  }
}

// u[0..bins) -> e^(u - max); returns their sum
ZOO_INLINE F exponentials(F* u, int bins) {
  F top = u[0], total = splat(0.0f);
  for (int j = 1; j < bins; ++j) top = max(u[j], top);
  for (int j = 0; j < bins; ++j) {
    u[j] = exp_negative(u[j] - top);
    total = total + u[j];
  }
  return total;
}

// Finds each lane's bin by walking over all of them.
template <bool INVERSE, bool BACKWARD>
ZOO_INLINE void find(Block& b, const Spline& s) {
  const int bins = s.bins;
  b.sum_w = exponentials(b.u, bins);
  b.sum_h = exponentials(b.u + bins, bins);
  const float span = s.right - s.left, least_w = s.min_w * span, least_h = s.min_h * span;
  const F scale_w = span * (1.0f - s.min_w * bins) / b.sum_w;
  const F scale_h = span * (1.0f - s.min_h * bins) / b.sum_h;
  F x = splat(s.left), y = x, before_w = splat(0.0f), before_h = before_w;
  for (int j = 0; j < bins; ++j) {
    const F e_w = b.u[j], e_h = b.u[bins + j];
    const F u0 = b.u[2 * bins + (j > 0 ? j - 1 : 0)];
    const F u1 = b.u[2 * bins + (j < bins - 1 ? j : bins - 2)];
    F next_x = x + (e_w * scale_w + least_w), next_y = y + (e_h * scale_h + least_h);
    if (j == bins - 1) next_x = next_y = splat(s.right);
    const I here = j > 0 ? b.position >= (INVERSE ? y : x) : splat(-1);
    b.k = where(here, static_cast<float>(j), b.k);
    b.x = where(here, x, b.x);
    b.w = where(here, next_x - x, b.w);
    b.y = where(here, y, b.y);
    b.h = where(here, next_y - y, b.h);
    b.u0 = where(here, u0, b.u0);
    b.u1 = where(here, u1, b.u1);
    if (BACKWARD) {
      b.before_w = where(here, before_w, b.before_w);
      b.before_h = where(here, before_h, b.before_h);
      b.e_w = where(here, e_w, b.e_w);
      b.e_h = where(here, e_h, b.e_h);
      before_w = before_w + e_w;
      before_h = before_h + e_h;
    }
    x = next_x;
    y = next_y;
  }
}

struct Ends {
  F d0, d1, e0, e1;
  I first, last;
};

ZOO_INLINE Ends derivatives(const Block& b, const Spline& s) {
  Ends d;
  d.e0 = exp_minus_abs(b.u0);
  d.e1 = exp_minus_abs(b.u1);
  d.first = b.k == 0.0f;
  d.last = b.k == static_cast<float>(s.bins - 1);
  d.d0 = where(d.first, 1.0f, softplus(b.u0, d.e0) + s.min_d);
  d.d1 = where(d.last, 1.0f, softplus(b.u1, d.e1) + s.min_d);
  return d;
}

// The root in [0, 1] of a theta^2 + q theta + c, for either sign of q without cancellation.
ZOO_INLINE F solve(F dy, F h, F s, F d0, F d1) {
  const F k2 = d0 + d1 - 2.0f * s;
  const F a = dy * k2 + h * (s - d0), q = h * d0 - dy * k2, c = -s * dy;
  F square = q * q - 4.0f * a * c;
  square = where(square < 1e-30f, 1e-30f, square);
  const F root = sqrt(square);
  const I rising = q > 0.0f;
  F theta = where(rising, 2.0f * c, root - q) / where(rising, -q - root, 2.0f * a);
  theta = where(theta < 0.0f, 0.0f, theta);
  return where(theta > 1.0f, 1.0f, theta);
}

template <bool INVERSE>
ZOO_INLINE void evaluate(Block& b, const Spline& s, F& out, F& ladj) {
  find<INVERSE, false>(b, s);
  const Ends d = derivatives(b, s);
  const F p = b.position, slope = b.h / b.w, k2 = d.d0 + d.d1 - 2.0f * slope;
  const F theta = INVERSE ? solve(p - b.y, b.h, slope, d.d0, d.d1) : (p - b.x) / b.w;
  const F u = 1.0f - theta, t = theta * u, D = slope + k2 * t, per_D = 1.0f / D;
  const F P = d.d1 * theta * theta + 2.0f * slope * t + d.d0 * u * u, q = slope * per_D;
  const F value = INVERSE ? b.x + theta * b.w
                          : b.y + b.h * (slope * theta * theta + d.d0 * t) * per_D;
  const F l = log(q * q * P);
  const F kept = where(p > s.right, p, value), flat = where(p > s.right, 0.0f, INVERSE ? -l : l);
  out = where(p < s.left, p, kept);
  ladj = where(p < s.left, 0.0f, flat);
}

template <bool INVERSE>
ZOO_INLINE F pull_back(Block& b, const Spline& s, F grad, F grad_l) {
  find<INVERSE, true>(b, s);
  const Ends d = derivatives(b, s);
  const float span = s.right - s.left, zero = 0.0f;
  const float c_w = span * (1.0f - s.min_w * s.bins), c_h = span * (1.0f - s.min_h * s.bins);
  const F p = b.position, per_w = 1.0f / b.w, slope = b.h * per_w, k2 = d.d0 + d.d1 - 2.0f * slope;
  const F theta = INVERSE ? solve(p - b.y, b.h, slope, d.d0, d.d1) : (p - b.x) * per_w;
  const F u = 1.0f - theta, t = theta * u, D = slope + k2 * t, A = slope * theta * theta + d.d0 * t;
  const F P = d.d1 * theta * theta + 2.0f * slope * t + d.d0 * u * u;
  const F per_D = 1.0f / D, turn = 1.0f - 2.0f * theta;
  const F gl = INVERSE ? -grad_l : grad_l, gP = gl / P;
  const F P_theta = 2.0f * (d.d1 * theta + slope * turn - d.d0 * u);
  const F l_x = (gP * P_theta - 2.0f * gl * per_D * k2 * turn) * per_w;  // gl d log(dy/dx) / dx
  const F q = slope * per_D, gy = INVERSE ? -(grad + l_x) / (q * q * P) : grad;
  const F gA = gy * b.h * per_D, gD = -(gA * A + 2.0f * gl) * per_D;
  const F g_theta = gA * (2.0f * slope * theta + d.d0 * turn) + gD * k2 * turn + gP * P_theta;
  const F gs = gA * theta * theta + gD * (1.0f - 2.0f * t) + 2.0f * gP * t + 2.0f * gl / slope;
  const F gx = g_theta * per_w;
  const I outside = (p < s.left) | (p > s.right);
  const F edge_w = where(outside, zero, -gx * c_w), edge_h = where(outside, zero, gy * c_h);
  const F size_w = where(outside, zero, -(gs * slope + g_theta * theta) * per_w * c_w);
  const F size_h = where(outside, zero, (gy * A * per_D + gs * per_w) * c_h);
  const F p_w = 1.0f / b.sum_w, p_h = 1.0f / b.sum_h;
  const F dot_w = (b.before_w * edge_w + b.e_w * size_w) * p_w;
  const F dot_h = (b.before_h * edge_h + b.e_h * size_h) * p_h;
  F g0 = ((gA + gD) * t + gP * u * u) * sigmoid(b.u0, d.e0);
  F g1 = (gD * t + gP * theta * theta) * sigmoid(b.u1, d.e1);
  g0 = where(outside | d.first, zero, g0);
  g1 = where(outside | d.last, zero, g1);
  for (int j = 0; j < s.bins; ++j) {
    const I before = b.k > static_cast<float>(j), here = b.k == static_cast<float>(j);
    const F gw = where(before, edge_w, where(here, size_w, zero));
    const F gh = where(before, edge_h, where(here, size_h, zero));
    b.u[j] = b.u[j] * p_w * (gw - dot_w);
    b.u[s.bins + j] = b.u[s.bins + j] * p_h * (gh - dot_h);
  }
  for (int j = 0; j < s.bins - 1; ++j) {
    const I left = b.k == static_cast<float>(j + 1), right = b.k == static_cast<float>(j);
    b.u[2 * s.bins + j] = where(left, g0, where(right, g1, zero));
  }
  return where(outside, grad, INVERSE ? -gy : gx);
}

template <bool INVERSE>
ZOO_INLINE void values(const Problem& a, int64_t begin, int64_t end) {
  Block b;
  int64_t at[W];
  for (int64_t e = begin; e < end; e += W) {
    const int n = end - e < W ? static_cast<int>(end - e) : W;
    places(a.params, e, n, at);
    read(a.p, at, a.params.sk, 3 * a.spline.bins - 1, b.u);
    b.position = load(a.x + e, n);
    F out, ladj;
    evaluate<INVERSE>(b, a.spline, out, ladj);
    store(a.out + e, out, n);
    store(a.ladj + e, ladj, n);
  }
}

template <bool INVERSE>
ZOO_INLINE void gradients(const Problem& a, int64_t begin, int64_t end) {
  Block b;
  int64_t at[W];
  for (int64_t e = begin; e < end; e += W) {
    const int n = end - e < W ? static_cast<int>(end - e) : W;
    places(a.params, e, n, at);
    read(a.p, at, a.params.sk, 3 * a.spline.bins - 1, b.u);
    b.position = load(a.x + e, n);
    F grad_l = splat(a.grad_ladj[e / a.params.d]);
    if (e / a.params.d != (e + n - 1) / a.params.d)
      for (int i = 0; i < n; ++i) grad_l[i] = a.grad_ladj[(e + i) / a.params.d];
    const F out = pull_back<INVERSE>(b, a.spline, load(a.grad + e, n), grad_l);
    store(a.out + e, out, n);
    places(a.grads, e, n, at);
    write(a.grad_params, at, a.grads.sk, 3 * a.spline.bins - 1, b.u, n);
  }
}

static void values_range(const Problem& a, int64_t begin, int64_t end) {
  a.spline.inverse ? values<true>(a, begin, end) : values<false>(a, begin, end);
}

static void gradients_range(const Problem& a, int64_t begin, int64_t end) {
  a.spline.inverse ? gradients<true>(a, begin, end) : gradients<false>(a, begin, end);
}

// One row's sum: the same order whatever the batch.
static float row_sum(const float* p, int64_t n) {
  F total = splat(0.0f);
  int64_t e = 0;
  for (; e + W <= n; e += W) total = total + load(p + e);
  for (int i = 0; e + i < n; ++i) total[i] += p[e + i];
  return sum(total);
}
