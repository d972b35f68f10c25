// coupling/reference.py. SCALE: EXP, SIGMOID of r + c, TANH for log s = c tanh(r / c).

struct Scale {
  F log_s, s, slope;  // s or, for the inverse, 1 / s; d log s / dr
  F factor;           // of the sigmoid: log s lacks the logarithm of this, in [1, 2]
};

// What `scale_of` needs the exponential of.
template <ScaleKind SCALE, bool INVERSE>
ZOO_INLINE F exponent(F r, float c) {
  if (SCALE == SIGMOID) return minus_abs(r + c);
  if (SCALE == TANH) return minus_abs(2.0f * (r / c));
  return INVERSE ? -r : r;
}

template <ScaleKind SCALE, int N>
ZOO_INLINE void exponentials(F (&e)[N]) {
  SCALE == EXP ? exp(e) : exp_negative(e);
}

template <ScaleKind SCALE, bool INVERSE>
ZOO_INLINE Scale scale_of(F r, F e, float c) {
  if (SCALE == SIGMOID) {
    const F u = r + c;
    const I negative = (I)u < 0;
    const F top = where(negative, e, splat(1.0f)), factor = e + 1.0f;  // s = top / factor
    // log s lacks -log(1 + e), which the row's sum takes at once
    return {where(negative, u, 0.0f), INVERSE ? factor / top : top / factor,
            where(negative, splat(1.0f), e) / factor, factor};
  }
  if (SCALE == TANH) {
    const F u = r / c, size = (1.0f - e) / (1.0f + e);
    // near 0 the difference cancels; there tanh u = u - u^3/3 + 2 u^5/15 - 17 u^7/315
    const F q = u * u;
    const F series = u * (1.0f + q * (-0.333333333f + q * (0.133333333f + q * -0.0539682540f)));
    const F signed_size = where(u < 0.0f, -size, size);
    const F h = where(q < 0.0625f, series, signed_size);
    const F log_s = c * h;
    return {log_s, exp(INVERSE ? -log_s : log_s), 1.0f - h * h, splat(1.0f)};
  }
  return {r, e, splat(1.0f), splat(1.0f)};
}

// `lines` lines as one without gaps: in place, or copied to `scratch`.
ZOO_INLINE const float* dense(const float* p, const Layout& l, int64_t lines, float* scratch) {
  if (lines == 1 && l.s2 == 1) return p;
  for (int64_t i = 0; i < lines; ++i)
    for (int64_t j = 0; j < l.d2; ++j) scratch[i * l.d2 + j] = p[i * l.s1 + j * l.s2];
  return scratch;
}

ZOO_INLINE void spread(const float* line, float* p, int64_t stride, int64_t n) {
  for (int64_t i = 0; i < n; ++i) p[i * stride] = line[i];
}

// The sum of log s: of logarithms, less that of factors in [1, 2], which is taken for 64 at once.
struct LogSum {
  F logs, factors;
  int64_t room;  // for more factors
};

ZOO_INLINE void take_logarithm(LogSum& l) {
  l = {l.logs - log(l.factors), splat(1.0f), 64};
}

template <ScaleKind SCALE>
ZOO_INLINE void add(LogSum& l, const Scale& k, int n) {
  if (n == W) {
    l.logs = l.logs + k.log_s;
    if (SCALE == SIGMOID) l.factors = l.factors * k.factor;
  } else {
    for (int i = 0; i < n; ++i) l.logs[i] += k.log_s[i];
    if (SCALE == SIGMOID)
      for (int i = 0; i < n; ++i) l.factors[i] *= k.factor[i];
  }
}

constexpr int TOGETHER = W < 16 ? 4 : 1;  // vectors side by side; of 16, more were never timed
constexpr int STEP = TOGETHER * W;        // their floats

// One line of a row: n transformed elements and their parameters.
struct Line {
  const float *x, *t, *r;
  float* out;
};

// N vectors from j on, of n elements each
template <ScaleKind SCALE, bool SHIFT_FIRST, bool INVERSE, int N>
ZOO_INLINE void values_lanes(const Line& a, int64_t j, int n, float c, LogSum& log_sum) {
  F r[N], e[N];
  for (int i = 0; i < N; ++i) r[i] = load(a.r + j + i * W, n);
  for (int i = 0; i < N; ++i) e[i] = exponent<SCALE, INVERSE>(r[i], c);
  exponentials<SCALE>(e);
  for (int i = 0; i < N; ++i, j += W) {
    const F z = load(a.x + j, n), t = load(a.t + j, n);
    const Scale k = scale_of<SCALE, INVERSE>(r[i], e[i], c);
    if (INVERSE)
      store(a.out + j, SHIFT_FIRST ? z * k.s - t : (z - t) * k.s, n);
    else
      store(a.out + j, SHIFT_FIRST ? k.s * (z + t) : k.s * z + t, n);
    add<SCALE>(log_sum, k, n);
  }
}

// What passes, copied on the way: it waits for memory while the others are computed.
struct Passing {
  const float* from;
  float* to;
  int64_t left;
};

ZOO_INLINE void pass(Passing& p) {
  if (p.left < STEP) return;
  for (int i = 0; i < STEP; i += W) store(p.to + i, load(p.from + i));
  p.from += STEP, p.to += STEP, p.left -= STEP;
}

// The next line is fetched meanwhile: lines are often whole pages, which hardware does not cross.
// Narrower targets are too slow to wait for memory.
ZOO_INLINE void fetch(const Line& next, int64_t j) {
  if (W < 16) return;
  for (const float* p : {next.x, next.t, next.r}) __builtin_prefetch(p + j);
  __builtin_prefetch(next.out + j, 1);
}

template <ScaleKind SCALE, bool SHIFT_FIRST, bool INVERSE>
ZOO_INLINE void values_line(const Line& a, const Line& next, Passing& passing, int64_t n, float c,
                            LogSum& log_sum) {
  for (int64_t j = 0; j < n;) {
    const int64_t end = n < j + log_sum.room * W ? n : j + log_sum.room * W, begin = j;
    for (; j + STEP <= end; j += STEP) {
      fetch(next, j);
      values_lanes<SCALE, SHIFT_FIRST, INVERSE, TOGETHER>(a, j, W, c, log_sum);
      pass(passing);
    }
    for (; j + W <= end; j += W) values_lanes<SCALE, SHIFT_FIRST, INVERSE, 1>(a, j, W, c, log_sum);
    if (j < end) {
      values_lanes<SCALE, SHIFT_FIRST, INVERSE, 1>(a, j, static_cast<int>(end - j), c, log_sum);
      j = end;
    }
    if (SCALE == SIGMOID) log_sum.room -= (j - begin + W - 1) / W;
    if (SCALE == SIGMOID && log_sum.room == 0) take_logarithm(log_sum);
  }
}

// Lines of whole vectors one by one, others joined: the sum's order does not depend on the layout.
template <ScaleKind SCALE, bool SHIFT_FIRST, bool INVERSE>
ZOO_INLINE float values_of(const Coupling& a, int64_t b, float* scratch) {
  const int64_t lines = a.p.d2 % W ? a.p.d1 : 1, n = lines * a.p.d2;
  const int64_t from = b * a.d + (a.begin > 0 ? 0 : a.p.d1 * a.p.d2);
  Passing passing = {a.x + from, a.out + from, a.d - a.p.d1 * a.p.d2};
  LogSum log_sum = {splat(0.0f), splat(1.0f), 64};
  for (int64_t i = 0; i < a.p.d1; i += lines) {
    const float* at = a.params + b * a.p.sb + i * a.p.s1;
    const float* after = at + lines * a.p.s1;
    const int64_t row = b * a.d + a.begin + i * a.p.d2;
    const Line line = {a.x + row, dense(at, a.p, lines, scratch),
                       dense(at + a.p.sp, a.p, lines, scratch + n), a.out + row};
    const Line next = {line.x + n, after, after + a.p.sp, line.out + n};
    values_line<SCALE, SHIFT_FIRST, INVERSE>(line, next, passing, n, a.c, log_sum);
  }
  std::memcpy(passing.to, passing.from, passing.left * sizeof(float));
  take_logarithm(log_sum);
  const float total = sum(log_sum.logs);
  return INVERSE ? -total : total;
}

template <ScaleKind SCALE, bool SHIFT_FIRST, bool INVERSE>
ZOO_INLINE void gradients_lanes(const float* x, const float* grad, const float* t_at,
                                const float* r_at, float* gx, float* gt_at, float* gr_at, int n,
                                float c, float gl) {
  const F z = load(x, n), g = load(grad, n), t = load(t_at, n);
  const F r = load(r_at, n);
  F e[1] = {exponent<SCALE, INVERSE>(r, c)};
  exponentials<SCALE>(e);
  const Scale k = scale_of<SCALE, INVERSE>(r, e[0], c);
  const F gz = g * k.s;
  F gt, g_log;
  if (INVERSE) {
    gt = SHIFT_FIRST ? -g : -gz;
    g_log = -gz * (SHIFT_FIRST ? z : z - t) + gl;
  } else {
    gt = SHIFT_FIRST ? gz : g;
    g_log = gz * (SHIFT_FIRST ? z + t : z) + gl;
  }
  store(gx, gz, n);
  store(gt_at, gt, n);
  store(gr_at, g_log * k.slope, n);
}

template <ScaleKind SCALE, bool SHIFT_FIRST, bool INVERSE>
ZOO_INLINE void gradients_of(const Coupling& a, int64_t b, float* scratch) {
  const float gl = INVERSE ? -a.grad_ladj[b] : a.grad_ladj[b];
  const int64_t n = a.p.d2, whole = n - n % W;
  for (int64_t i = 0; i < a.p.d1; ++i) {
    const int64_t at = i * n;  // the gradient's D2 is a multiple of the parameters'
    const float* p = a.params + b * a.p.sb + i * a.p.s1;
    float* gp = a.grad_params + b * a.g.sb + at / a.g.d2 * a.g.s1 + at % a.g.d2 * a.g.s2;
    const float* t = dense(p, a.p, 1, scratch);
    const float* r = dense(p + a.p.sp, a.p, 1, scratch + n);
    const bool direct = a.g.s2 == 1;
    float *gt = direct ? gp : scratch + 2 * n, *gr = direct ? gp + a.g.sp : scratch + 3 * n;
    const int64_t row = b * a.d + a.begin + at;
    const auto lanes = [&](int64_t j, int count) {
      gradients_lanes<SCALE, SHIFT_FIRST, INVERSE>(a.x + row + j, a.grad + row + j, t + j, r + j,
                                                   a.out + row + j, gt + j, gr + j, count, a.c, gl);
    };
    for (int64_t j = 0; j < whole; j += W) lanes(j, W);
    if (whole < n) lanes(whole, static_cast<int>(n - whole));
    if (!direct) spread(gt, gp, a.g.s2, n), spread(gr, gp + a.g.sp, a.g.s2, n);
  }
}

#define ZOO_ORDERS(NAME, SCALE)                                                                     \
  a.shift_first ? (a.inverse ? NAME<SCALE, true, true>(a, b, e) : NAME<SCALE, true, false>(a, b, e)) \
                : (a.inverse ? NAME<SCALE, false, true>(a, b, e) : NAME<SCALE, false, false>(a, b, e))
#define ZOO_SCALES(NAME)                         \
  return a.scale == EXP       ? ZOO_ORDERS(NAME, EXP)     \
         : a.scale == SIGMOID ? ZOO_ORDERS(NAME, SIGMOID) \
                              : ZOO_ORDERS(NAME, TANH);
static float values_row(const Coupling& a, int64_t b, float* e) { ZOO_SCALES(values_of) }
static void gradients_row(const Coupling& a, int64_t b, float* e) { ZOO_SCALES(gradients_of) }
#undef ZOO_SCALES
#undef ZOO_ORDERS
