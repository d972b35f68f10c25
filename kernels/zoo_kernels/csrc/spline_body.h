// The arithmetic of spline/reference.py for W elements at a time; each lane is on its own.

constexpr int MAX_PARAMS = 3 * MAX_BINS - 1;
typedef float V4 __attribute__((vector_size(16)));
typedef int32_t I4 __attribute__((vector_size(16)));
typedef float V8 __attribute__((vector_size(32)));
typedef int32_t I8 __attribute__((vector_size(32)));
using Quads = std::conditional_t<(W >= 8), V8, V4>;

// The bin that each of W elements falls into: its number, its knots, the parameters of the
// derivatives there.
struct Bin {
  F k, x, y, next_x, next_y, u0, u1;
  F sum_w, sum_h;  // of the exponentials
};

ZOO_INLINE void transpose_tile(V4 (&r)[4]) {
  const V4 a = __builtin_shuffle(r[0], r[1], I4{0, 4, 1, 5});
  const V4 b = __builtin_shuffle(r[2], r[3], I4{0, 4, 1, 5});
  const V4 c = __builtin_shuffle(r[0], r[1], I4{2, 6, 3, 7});
  const V4 d = __builtin_shuffle(r[2], r[3], I4{2, 6, 3, 7});
  r[0] = __builtin_shuffle(a, b, I4{0, 1, 4, 5});
  r[1] = __builtin_shuffle(a, b, I4{2, 3, 6, 7});
  r[2] = __builtin_shuffle(c, d, I4{0, 1, 4, 5});
  r[3] = __builtin_shuffle(c, d, I4{2, 3, 6, 7});
}

// both halves
ZOO_INLINE void transpose_tile(V8 (&r)[4]) {
  const V8 a = __builtin_shuffle(r[0], r[1], I8{0, 8, 1, 9, 4, 12, 5, 13});
  const V8 b = __builtin_shuffle(r[2], r[3], I8{0, 8, 1, 9, 4, 12, 5, 13});
  const V8 c = __builtin_shuffle(r[0], r[1], I8{2, 10, 3, 11, 6, 14, 7, 15});
  const V8 d = __builtin_shuffle(r[2], r[3], I8{2, 10, 3, 11, 6, 14, 7, 15});
  r[0] = __builtin_shuffle(a, b, I8{0, 1, 8, 9, 4, 5, 12, 13});
  r[1] = __builtin_shuffle(a, b, I8{2, 3, 10, 11, 6, 7, 14, 15});
  r[2] = __builtin_shuffle(c, d, I8{0, 1, 8, 9, 4, 5, 12, 13});
  r[3] = __builtin_shuffle(c, d, I8{2, 3, 10, 11, 6, 7, 14, 15});
}

ZOO_INLINE float* lane(F* u, int i) { return reinterpret_cast<float*>(u) + i; }

template <class V>
ZOO_INLINE V load_as(const float* p) {
  V v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

// Four floats at p + at[0], in a V8 beside four at p + at[4].
ZOO_INLINE void get(V4& v, const float* p, const int64_t* at) { v = load_as<V4>(p + at[0]); }
ZOO_INLINE void get(V8& v, const float* p, const int64_t* at) {
  v = __builtin_shufflevector(load_as<V4>(p + at[0]), load_as<V4>(p + at[4]), 0, 1, 2, 3, 4, 5, 6, 7);
}
ZOO_INLINE void put(const V4& v, float* p, const int64_t* at) {
  std::memcpy(p + at[0], &v, sizeof(v));
}
ZOO_INLINE void put(const V8& v, float* p, const int64_t* at) {
  put(__builtin_shufflevector(v, v, 0, 1, 2, 3), p, at);
  put(__builtin_shufflevector(v, v, 4, 5, 6, 7), p, at + 4);
}

// `count` parameters of W elements into columns of u, or back, four at a time: the last four overlap.
template <bool BACK, class P>
ZOO_INLINE void transpose4x4(P* p, const int64_t (&at)[W], int count, F* u) {
  for (int i = 0; i < W; i += static_cast<int>(sizeof(Quads) / sizeof(float)))
    for (int j = 0; j < count; j += 4) {
      const int c = j + 4 <= count ? j : count - 4;
      Quads r[4];
#pragma GCC unroll 4  // in registers
      for (int k = 0; k < 4; ++k)
        if constexpr (BACK)
          r[k] = load_as<Quads>(lane(u + c + k, i));
        else
          get(r[k], p + c, at + i + k);
      transpose_tile(r);
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k)
        if constexpr (BACK)
          put(r[k], p + c, at + i + k);
        else
          std::memcpy(lane(u + c + k, i), &r[k], sizeof(Quads));
    }
}

// A place among the elements: that of (row, major, minor) in B, D1, D2.
struct Cursor {
  int64_t row, major, minor;
};

ZOO_INLINE Cursor cursor(const Layout& l, int64_t e) {
  return {e / l.d, e % l.d / l.d2, e % l.d2};
}

ZOO_INLINE void wrap(const Layout& l, Cursor& c) {
  if (c.minor == l.d2) c.minor = 0, ++c.major;
  if (c.major * l.d2 == l.d) c.major = 0, ++c.row;
}

ZOO_INLINE bool in_line(const Layout& l, const Cursor& c) { return c.minor + W <= l.d2; }

// Where the parameters of n elements from c on begin, and c after them; other lanes repeat the last.
ZOO_INLINE void places(const Layout& l, Cursor& c, int n, int64_t (&at)[W]) {
  if (n == W && in_line(l, c)) {
    const int64_t first = c.row * l.sb + c.major * l.s1 + c.minor * l.s2;
    for (int k = 0; k < W; ++k) at[k] = first + k * l.s2;
    c.minor += W;
    return wrap(l, c);
  }
  for (int k = 0; k < W; ++k) {
    at[k] = k < n ? c.row * l.sb + c.major * l.s1 + c.minor * l.s2 : at[n - 1];
    if (k < n) ++c.minor, wrap(l, c);
  }
}

ZOO_INLINE bool adjacent(const int64_t (&at)[W]) {
  bool yes = true;
  for (int i = 1; i < W; ++i) yes = yes && at[i] == at[0] + i;
  return yes;
}

ZOO_INLINE void read(const float* p, const int64_t (&at)[W], int64_t sk, int count, F* u) {
  if (sk == 1 && count >= 4) {
    transpose4x4<false>(p, at, count, u);
  } else if (adjacent(at)) {
    for (int j = 0; j < count; ++j) u[j] = load(p + at[0] + j * sk);
  } else {
    for (int j = 0; j < count; ++j)
      for (int i = 0; i < W; ++i) *lane(u + j, i) = p[at[i] + j * sk];
  }
}

ZOO_INLINE void write(float* p, const int64_t (&at)[W], int64_t sk, int count, F* u, int n) {
  if (n == W && sk == 1 && count >= 4) {
    transpose4x4<true>(p, at, count, u);
  } else if (n == W && adjacent(at)) {
    for (int j = 0; j < count; ++j) store(p + at[0] + j * sk, u[j]);
  } else {
    for (int j = 0; j < count; ++j)
      for (int i = 0; i < n; ++i) p[at[i] + j * sk] = *lane(u + j, i);
  }
}

// u[0..bins) -> e^(u - max)
ZOO_INLINE void exponentials(F* u, int bins) {
  F top = u[0];
  for (int j = 1; j < bins; ++j) top = max(u[j], top);
  for (int j = 0; j < bins; ++j) u[j] = u[j] - top;
  int j = 0;
  for (; j + 4 <= bins; j += 4) exp_negative(*reinterpret_cast<F(*)[4]>(u + j));
  for (; j < bins; ++j) u[j] = exp_negative(u[j]);
}

// Knots by the running sums of e[0..bins), of which each bin takes `least` of the span or more, and
// the sum of all.
ZOO_INLINE F place_knots(const F* e, int bins, const Spline& s, float least, F* knots) {
  const float span = s.right - s.left;
  for (int j = 1; j < bins; ++j) knots[j] = j == 1 ? e[0] : knots[j - 1] + e[j - 1];
  const F sum = knots[bins - 1] + e[bins - 1], scale = span * (1.0f - least * bins) / sum;
  for (int j = 1; j < bins; ++j) knots[j] = knots[j] * scale + (s.left + least * span * j);
  knots[0] = splat(s.left);
  knots[bins] = splat(s.right);
  return sum;
}

// The knots of the n bins that a lane's one is still among, the first of which is number k.
struct Range {
  F *x, *y, *slopes, k;
};

// Keeps the upper half of n bins where `position` lies in it, else the lower; returns their number.
template <bool INVERSE>
ZOO_INLINE int halve(Range& r, F position, int n) {
  const int half = n / 2;
  const I above = position >= (INVERSE ? r.y : r.x)[half];
  n -= half;
  for (int j = 0; j <= n; ++j) {
    r.x[j] = where(above, r.x[j + half], r.x[j]);
    r.y[j] = where(above, r.y[j + half], r.y[j]);
    r.slopes[j] = where(above, r.slopes[j + half], r.slopes[j]);
  }
  r.k = where(above, r.k + static_cast<float>(half), r.k);
  return n;
}

// Each lane's bin, where u holds exponentials of widths and heights.
template <bool INVERSE, int BINS>
ZOO_INLINE Bin find(const F* u, F position, const Spline& s, int bins) {
  constexpr int MOST = BINS ? BINS : MAX_BINS;
  F x[MOST + 1], y[MOST + 1], slopes[MOST + 1];
  const F sum_w = place_knots(u, bins, s, s.min_w, x);
  const F sum_h = place_knots(u + bins, bins, s, s.min_h, y);
  slopes[0] = slopes[bins] = splat(0.0f);  // the derivatives at the ends have no parameters
  for (int j = 1; j < bins; ++j) slopes[j] = u[2 * bins + j - 1];
  Range r{x, y, slopes, splat(0.0f)};
  if constexpr (BINS == 8)
    halve<INVERSE>(r, position, 8), halve<INVERSE>(r, position, 4), halve<INVERSE>(r, position, 2);
  else
    for (int n = bins; n > 1;) n = halve<INVERSE>(r, position, n);
  return {r.k, x[0], y[0], x[1], y[1], slopes[0], slopes[1], sum_w, sum_h};
}

struct Ends {
  F d0, d1, e0, e1;
  I first, last;
};

ZOO_INLINE Ends derivatives(const Bin& b, const Spline& s, int bins) {
  Ends d;
  d.e0 = exp_minus_abs(b.u0);
  d.e1 = exp_minus_abs(b.u1);
  d.first = b.k == 0.0f;
  d.last = b.k == static_cast<float>(bins - 1);
  d.d0 = where(d.first, 1.0f, softplus(b.u0, d.e0) + s.min_d);
  d.d1 = where(d.last, 1.0f, softplus(b.u1, d.e1) + s.min_d);
  return d;
}

// The root in [0, 1] of a theta^2 + q theta + c, for either sign of q without cancellation.
ZOO_INLINE F solve(F dy, F h, F s, F d0, F d1) {
  const F k2 = d0 + d1 - 2.0f * s;
  const F a = dy * k2 + h * (s - d0), q = h * d0 - dy * k2, c = -s * dy;
  const F square = max(splat(1e-30f), q * q - 4.0f * a * c);
  const F root = sqrt(square);
  const I rising = q > 0.0f;
  return clamp(where(rising, 2.0f * c, root - q) / where(rising, -q - root, 2.0f * a), 0.0f, 1.0f);
}

// The map at p, and its derivative: that of the forward map at that place, 1 outside.
template <bool INVERSE>
ZOO_INLINE F evaluate(const Bin& b, const Ends& d, F p, const Spline& s, F& dy_dx) {
  const F w = b.next_x - b.x, h = b.next_y - b.y, per_w = 1.0f / w, slope = h * per_w;
  const F k2 = d.d0 + d.d1 - 2.0f * slope;
  const F theta = INVERSE ? solve(p - b.y, h, slope, d.d0, d.d1) : (p - b.x) * per_w;
  const F u = 1.0f - theta, t = theta * u, D = slope + k2 * t, per_D = 1.0f / D;
  const F P = d.d1 * theta * theta + 2.0f * slope * t + d.d0 * u * u, q = slope * per_D;
  const F value = INVERSE ? b.x + theta * w
                          : b.y + h * (slope * theta * theta + d.d0 * t) * per_D;
  const I outside = (p < s.left) | (p > s.right);
  dy_dx = where(outside, 1.0f, q * q * P);
  return where(outside, p, value);
}

// Gradients of the softmax numbers of one kind, widths or heights, over p_j: in the bins before the
// element's own, in it, and after it.
struct Pull {
  F before, here, after;
};

// From those of the bin's edge and of its size. The p_j stand for c = span - bins * least; what of
// the knots is not `least` is the sum of theirs before the bin, and of its own.
ZOO_INLINE Pull pull(F edge, F size, F before, F own, float c, F sum) {
  const F dot = before * edge + own * size, per_sum = 1.0f / sum;
  return {(edge * c - dot) * per_sum, (size * c - dot) * per_sum, -dot * per_sum};
}

struct Gradients {
  F position;
  Pull w, h;
  F u0, u1;
};

template <bool INVERSE>
ZOO_INLINE Gradients pull_back(const Bin& b, const Ends& d, F p, const Spline& s, int bins, F grad,
                               F grad_l) {
  const float span = s.right - s.left, zero = 0.0f;
  const F w = b.next_x - b.x, h = b.next_y - b.y, per_w = 1.0f / w, slope = h * per_w;
  const F k2 = d.d0 + d.d1 - 2.0f * slope;
  const F theta = INVERSE ? solve(p - b.y, h, slope, d.d0, d.d1) : (p - b.x) * per_w;
  const F u = 1.0f - theta, t = theta * u, D = slope + k2 * t, A = slope * theta * theta + d.d0 * t;
  const F P = d.d1 * theta * theta + 2.0f * slope * t + d.d0 * u * u;
  const F per_D = 1.0f / D, turn = 1.0f - 2.0f * theta;
  const F gl = INVERSE ? -grad_l : grad_l, gP = gl / P;
  const F P_theta = 2.0f * (d.d1 * theta + slope * turn - d.d0 * u);
  const F l_x = (gP * P_theta - 2.0f * gl * per_D * k2 * turn) * per_w;  // gl d log(dy/dx) / dx
  const F q = slope * per_D, gy = INVERSE ? -(grad + l_x) / (q * q * P) : grad;
  const F gA = gy * h * per_D, gD = -(gA * A + 2.0f * gl) * per_D;
  const F g_theta = gA * (2.0f * slope * theta + d.d0 * turn) + gD * k2 * turn + gP * P_theta;
  const F gs = gA * theta * theta + gD * (1.0f - 2.0f * t) + 2.0f * gP * t + 2.0f * gl / slope;
  const F gx = g_theta * per_w;
  const I outside = (p < s.left) | (p > s.right);
  const F edge_w = where(outside, zero, -gx), edge_h = where(outside, zero, gy);
  const F size_w = where(outside, zero, -(gs * slope + g_theta * theta) * per_w);
  const F size_h = where(outside, zero, gy * A * per_D + gs * per_w);
  const float least_w = s.min_w * span, least_h = s.min_h * span;
  const F before_w = b.x - s.left - b.k * least_w, before_h = b.y - s.left - b.k * least_h;
  const F g0 = ((gA + gD) * t + gP * u * u) * sigmoid(b.u0, d.e0);
  const F g1 = (gD * t + gP * theta * theta) * sigmoid(b.u1, d.e1);
  return {where(outside, grad, INVERSE ? -gy : gx),
          pull(edge_w, size_w, before_w, w - least_w, span - bins * least_w, b.sum_w),
          pull(edge_h, size_h, before_h, h - least_h, span - bins * least_h, b.sum_h),
          where(outside | d.first, zero, g0), where(outside | d.last, zero, g1)};
}

// Exponentials into gradients of all parameters.
ZOO_INLINE void spread(const Gradients& d, F k, int bins, F* params) {
  for (int j = 0; j < bins; ++j) {
    const I before = k > static_cast<float>(j), here = k == static_cast<float>(j);
    params[j] = params[j] * where(before, d.w.before, where(here, d.w.here, d.w.after));
    F& height = params[bins + j];
    height = height * where(before, d.h.before, where(here, d.h.here, d.h.after));
  }
  for (int j = 0; j < bins - 1; ++j) {
    const I left = k == static_cast<float>(j + 1), right = k == static_cast<float>(j);
    params[2 * bins + j] = where(left, d.u0, where(right, d.u1, 0.0f));
  }
}

// G vectors of elements, which go through each stage together: one alone is a chain of dependent
// instructions longer than a processor looks ahead. BINS is the number of bins, or 0 where only the
// problem knows it.
constexpr int G = 8;

template <bool INVERSE, int BINS>
struct Group {
  F params[G][BINS ? 3 * BINS : MAX_PARAMS], x[G];
  Bin bin[G];
  Ends ends[G];
  int vectors, elements;

  // of elements e..end - 1 at most
  Group(const Problem& a, int64_t e, int64_t end, Cursor& c) {
    const int bins = BINS ? BINS : a.spline.bins;
    elements = end - e < G * W ? static_cast<int>(end - e) : G * W;
    vectors = (elements + W - 1) / W;
    int64_t at[W];
    for (int g = 0; g < vectors; ++g) {
      places(a.params, c, lanes(g), at);
      read(a.p, at, a.params.sk, 3 * bins - 1, params[g]);
      exponentials(params[g], bins);
      exponentials(params[g] + bins, bins);
    }
    for (int g = 0; g < vectors; ++g) {
      x[g] = load(a.x + e + g * W, lanes(g));
      bin[g] = find<INVERSE, BINS>(params[g], x[g], a.spline, bins);
    }
    for (int g = 0; g < vectors; ++g) ends[g] = derivatives(bin[g], a.spline, bins);
  }

  int lanes(int g) const {
    return elements - g * W < W ? elements - g * W : W;
  }
};

template <bool INVERSE, int BINS>
ZOO_INLINE void values(const Problem& a, int64_t begin, int64_t end) {
  Cursor c = cursor(a.params, begin);
  for (int64_t e = begin; e < end; e += G * W) {
    const Group<INVERSE, BINS> group(a, e, end, c);
    F dy_dx[G];
    for (int g = 0; g < group.vectors; ++g) {
      const F out = evaluate<INVERSE>(group.bin[g], group.ends[g], group.x[g], a.spline, dy_dx[g]);
      store(a.out + e + g * W, out, group.lanes(g));
    }
    for (int g = 0; g < group.vectors; ++g)
      store(a.ladj + e + g * W, INVERSE ? -log(dy_dx[g]) : log(dy_dx[g]), group.lanes(g));
  }
}

// of the log-determinants of elements e.. in the rows from c on
ZOO_INLINE F grad_ladj(const Problem& a, const Cursor& c, int64_t e, int n) {
  F g = splat(a.grad_ladj[c.row]);
  if (!in_line(a.grads, c))
    for (int i = 0; i < n; ++i) g[i] = a.grad_ladj[(e + i) / a.grads.d];
  return g;
}

template <bool INVERSE, int BINS>
ZOO_INLINE void gradients(const Problem& a, int64_t begin, int64_t end) {
  const int bins = BINS ? BINS : a.spline.bins;
  Cursor c = cursor(a.params, begin), to = cursor(a.grads, begin);
  for (int64_t e = begin; e < end; e += G * W) {
    Group<INVERSE, BINS> group(a, e, end, c);
    for (int g = 0; g < group.vectors; ++g) {
      const int64_t i = e + g * W;
      const int n = group.lanes(g);
      const F grad = load(a.grad + i, n), grad_l = grad_ladj(a, to, i, n);
      const Gradients d = pull_back<INVERSE>(group.bin[g], group.ends[g], group.x[g], a.spline,
                                             bins, grad, grad_l);
      store(a.out + i, d.position, n);
      spread(d, group.bin[g].k, bins, group.params[g]);
      int64_t at[W];
      places(a.grads, to, n, at);
      write(a.grad_params, at, a.grads.sk, 3 * bins - 1, group.params[g], n);
    }
  }
}

template <bool INVERSE>
ZOO_INLINE void values_of(const Problem& a, int64_t begin, int64_t end) {
  a.spline.bins == 8 ? values<INVERSE, 8>(a, begin, end) : values<INVERSE, 0>(a, begin, end);
}

template <bool INVERSE>
ZOO_INLINE void gradients_of(const Problem& a, int64_t begin, int64_t end) {
  a.spline.bins == 8 ? gradients<INVERSE, 8>(a, begin, end) : gradients<INVERSE, 0>(a, begin, end);
}

static void values_range(const Problem& a, int64_t begin, int64_t end) {
  a.spline.inverse ? values_of<true>(a, begin, end) : values_of<false>(a, begin, end);
}

static void gradients_range(const Problem& a, int64_t begin, int64_t end) {
  a.spline.inverse ? gradients_of<true>(a, begin, end) : gradients_of<false>(a, begin, end);
}

// One row's sum: the same order whatever the batch.
static float row_sum(const float* p, int64_t n) {
  F total = splat(0.0f);
  int64_t e = 0;
  for (; e + W <= n; e += W) total = total + load(p + e);
  for (int i = 0; e + i < n; ++i) total[i] += p[e + i];
  return sum(total);
}
