// Cached sampling from a gated PixelCNN: the algorithm of pixelcnn_sampler/reference.py.
//
// A task owns a group of images and keeps their caches. Layouts: vertical_cache [R][G][W][C],
// row_cache [G][W][4C], v [G][W + k - 1][C_in] zero-padded, horizontal_cache [G][T C_in]. Channels
// are padded to a multiple of 16 by the caller; padded channels stay zero.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "gemm.h"
#include "mixture.h"

namespace {

using Floats = std::vector<float>;

// _cpp.py names both in the same order.
enum Head { BINARY, SOFTMAX, MIXTURE };
enum PlanEntry {
  LAYERS, CHANNELS, HIDDEN, OUTPUTS, PADDED_OUTPUTS, HEAD, LEVELS, GROUP, PLAN_ENTRIES
};

struct Layer {
  int64_t in, k, R, T;
  const float *row, *row_bias, *above, *above_bias, *here, *across, *out, *out_bias;
};

struct Plan {
  int64_t L, C, D, P, P16, levels, I, Et, E, H, W, draws, batch;
  Head head;
  std::vector<Layer> layers;
  const float *w1, *b1, *w2, *b2;                 // head
  const float *uniforms, *cond, *table, *extra;   // cond, extra may be null
  int64_t* x;                                     // (B, I, H, W), -1 where to draw
};

struct Caches {
  std::vector<Floats> vertical_cache, row_cache, v, horizontal_cache;
  Floats pre, act, out, skips, hidden, logits;

  Caches(const Plan& p, int64_t G)
      : pre(G * 2 * p.C), act(G * p.C), out(G * 2 * p.C), skips(G * p.C), hidden(G * p.D),
        logits(G * p.P16) {
    for (const Layer& l : p.layers) {
      vertical_cache.emplace_back(l.R * G * p.W * p.C);
      row_cache.emplace_back(G * p.W * 4 * p.C);
      v.emplace_back(G * (p.W + l.k - 1) * l.in);
      horizontal_cache.emplace_back(G * l.T * l.in);
    }
  }
};

// ---- draws ------------------------------------------------------------------------------------

int64_t inverse_cdf(const float* logits, int64_t n, float u, float* e) {
  float top = logits[0], total = 0;
  for (int64_t k = 1; k < n; ++k) top = logits[k] > top ? logits[k] : top;
  for (int64_t k = 0; k < n; ++k) e[k] = total += std::exp(logits[k] - top);
  for (int64_t k = 0; k < n; ++k)
    if (u * total < e[k]) return k;
  return n - 1;
}

int64_t to_level(float x, int64_t levels) {
  const float level = std::floor((x + 1) * (0.5f * (levels - 1)) + 0.5f);
  if (!(level > 0)) return 0;  // and NaN
  return level < levels - 1 ? static_cast<int64_t>(level) : levels - 1;
}

void draw_mixture(const Plan& p, const float* logits, const float* u, int64_t* x,
                             float* e) {
  const int64_t per_component = p.I == 1 ? 3 : 1 + 3 * p.I, m = p.P / per_component;
  const int64_t kinds = p.I == 1 ? 2 : 3;
  const auto parameter = [&](int64_t channel, Parameter kind, const float* of) {
    return of[(channel * kinds + kind) * m];
  };
  const float* of = logits + m + inverse_cdf(logits, m, u[0], e);
  float drawn[3];
  for (int64_t i = 0; i < p.I; ++i) {
    float mean = parameter(i, MEAN, of), scale = parameter(i, LOG_SCALE, of);
    scale = std::exp(scale < -7.0f ? -7.0f : scale);
    for (int64_t j = 0; j < i; ++j)
      mean += std::tanh(parameter(i * (i - 1) / 2 + j, COEFFICIENT, of)) * drawn[j];
    const float v = u[1 + i];
    x[i] = to_level(mean + scale * std::log(v / (1 - v)), p.levels);
    drawn[i] = x[i] * (2.0f / (p.levels - 1)) - 1;
  }
}

void draw(const Plan& p, const float* logits, const float* u, int64_t* x, float* e) {
  if (p.head == BINARY)
    x[0] = u[0] < 1 / (1 + std::exp(-logits[0]));
  else if (p.head == SOFTMAX)
    x[0] = inverse_cdf(logits, p.P, u[0], e);
  else
    draw_mixture(p, logits, u, x, e);
}

// ---- one row ----------------------------------------------------------------------------------

// row_cache = [g | link] from the finished rows above.
void init_row_cache(const Plan& p, Caches& s, int64_t G, int64_t r) {
  const int64_t rows = G * p.W, C = p.C;
  for (int64_t i = 0; i < p.L; ++i) {
    const Layer& l = p.layers[i];
    const int64_t from = i + 1 < p.L ? 0 : 2 * C, n = 4 * C - from;  // the last layer has no v'
    float* c = s.row_cache[i].data() + from;
    zoo::fill_rows(c, rows, 4 * C, l.above_bias + from, n);
    for (int64_t j = std::max<int64_t>(0, l.R - r); j < l.R; ++j) {
      const float* a = s.vertical_cache[i].data() + (r + j) % l.R * rows * C;
      zoo::gemm(rows, n, C, a, C, l.above + j * C * 4 * C + from, 4 * C, c, 4 * C);
    }
    std::fill(s.horizontal_cache[i].begin(), s.horizontal_cache[i].end(), 0.0f);
  }
}

// Shift the T newest inputs of every image and return where the newest goes.
float* shift(float* horizontal_cache, int64_t G, int64_t T, int64_t in) {
  for (int64_t g = 0; g < G; ++g) {
    float* p = horizontal_cache + g * T * in;
    std::memmove(p, p + in, (T - 1) * in * sizeof(float));
  }
  return horizontal_cache + (T - 1) * in;
}

void horizontal(const Plan& p, Caches& s, int64_t G, int64_t b0, int64_t c) {
  const int64_t C = p.C;
  std::fill(s.skips.begin(), s.skips.end(), 0.0f);
  for (int64_t i = 0; i < p.L; ++i) {
    const Layer& l = p.layers[i];
    for (int64_t g = 0; g < G; ++g) {
      float* pre = s.pre.data() + g * 2 * C;
      std::memcpy(pre, s.row_cache[i].data() + (g * p.W + c) * 4 * C + 2 * C, 2 * C * sizeof(float));
      if (p.cond) zoo::add(pre, p.cond + (((b0 + g) * p.L + i) * 2 + 1) * 2 * C, 2 * C);
    }
    zoo::gemm(G, 2 * C, l.T * l.in, s.horizontal_cache[i].data(), l.T * l.in, l.across, 2 * C,
                 s.pre.data(), 2 * C);
    zoo::gate(G, s.pre.data(), 2 * C, s.act.data(), C, C);
    const int64_t from = i + 1 < p.L ? 0 : C;  // the last layer's residual goes nowhere
    zoo::fill_rows(s.out.data() + from, G, 2 * C, l.out_bias + from, 2 * C - from);
    zoo::gemm(G, 2 * C - from, C, s.act.data(), C, l.out + from, 2 * C, s.out.data() + from,
                 2 * C);
    for (int64_t g = 0; g < G; ++g) zoo::add(&s.skips[g * C], &s.out[g * 2 * C + C], C);
    if (i + 1 == p.L) break;
    const int64_t taps = p.layers[i + 1].T;
    float* next = shift(s.horizontal_cache[i + 1].data(), G, taps, C);
    for (int64_t g = 0; g < G; ++g) {
      float* h = next + g * taps * C;
      std::memcpy(h, &s.out[g * 2 * C], C * sizeof(float));
      if (i > 0) zoo::add(h, s.horizontal_cache[i].data() + (g + 1) * l.T * C - C, C);
    }
  }
}

void head(const Plan& p, Caches& s, int64_t G) {
  for (float& f : s.skips) f = f < 0 ? 0 : f;
  zoo::fill_rows(s.hidden.data(), G, p.D, p.b1, p.D);
  zoo::gemm(G, p.D, p.C, s.skips.data(), p.C, p.w1, p.D, s.hidden.data(), p.D);
  for (float& f : s.hidden) f = f < 0 ? 0 : f;
  zoo::fill_rows(s.logits.data(), G, p.P16, p.b2, p.P16);
  zoo::gemm(G, p.P16, p.D, s.hidden.data(), p.D, p.w2, p.P16, s.logits.data(), p.P16);
}

void draw_pixel(const Plan& p, Caches& s, int64_t G, int64_t b0, int64_t r, int64_t c,
                           float* scratch) {
  const int64_t plane = p.H * p.W;
  for (int64_t g = 0; g < G; ++g) {
    const int64_t b = b0 + g, at = r * p.W + c;
    int64_t drawn[3];
    draw(p, &s.logits[g * p.P16], p.uniforms + (b * plane + at) * p.draws, drawn, scratch);
    for (int64_t i = 0; i < p.I; ++i) {
      int64_t& x = p.x[(b * p.I + i) * plane + at];
      x = x < 0 ? drawn[i] : x;
    }
  }
}

bool all_known(const Plan& p, int64_t G, int64_t b0, int64_t at) {
  for (int64_t i = 0; i < G * p.I; ++i)
    if (p.x[(b0 * p.I + i) * p.H * p.W + at] < 0) return false;
  return true;
}

// The drawn pixel's inputs, into the first layer's row of inputs and horizontal cache.
void embed(const Plan& p, Caches& s, int64_t G, int64_t b0, int64_t r, int64_t c) {
  const Layer& l = p.layers[0];
  const int64_t at = r * p.W + c;
  float* newest = shift(s.horizontal_cache[0].data(), G, l.T, l.in);
  for (int64_t g = 0; g < G; ++g) {
    float* v = s.v[0].data() + (g * (p.W + l.k - 1) + c + l.k / 2) * l.in;
    for (int64_t i = 0; i < p.I; ++i) {
      const int64_t level = p.x[((b0 + g) * p.I + i) * p.H * p.W + at];
      std::memcpy(v + i * p.Et, p.table + level * p.Et, p.Et * sizeof(float));
    }
    if (p.E) std::memcpy(v + p.I * p.Et, p.extra + at * p.E, p.E * sizeof(float));
    std::memcpy(newest + g * l.T * l.in, v, l.in * sizeof(float));
  }
}

// The vertical stack of a finished row.
void update_vertical_cache(const Plan& p, Caches& s, int64_t G, int64_t b0, int64_t r) {
  const int64_t C = p.C, W = p.W;
  for (int64_t i = 0; i < p.L; ++i) {
    const Layer& l = p.layers[i];
    for (int64_t g = 0; g < G; ++g) {
      const float* v = s.v[i].data() + g * (W + l.k - 1) * l.in;
      float* a = s.vertical_cache[i].data() + (r % l.R * G + g) * W * C;
      zoo::fill_rows(a, W, C, l.row_bias, C);
      zoo::gemm(W, C, l.k * l.in, v, l.in, l.row, C, a, C);
      if (i + 1 == p.L) continue;
      float* pre = s.row_cache[i].data() + g * W * 4 * C;
      zoo::gemm(W, 2 * C, l.in, v + l.k / 2 * l.in, l.in, l.here, 2 * C, pre, 4 * C);
      const int64_t k = p.layers[i + 1].k;
      float* next = s.v[i + 1].data() + (g * (W + k - 1) + k / 2) * C;
      for (int64_t c = 0; p.cond && c < W; ++c)
        zoo::add(pre + c * 4 * C, p.cond + ((b0 + g) * p.L + i) * 4 * C, 2 * C);
      zoo::gate(W, pre, 4 * C, next, C, C);
    }
  }
}

void sample_group(const Plan& p, int64_t b0, int64_t G) {
  Caches s(p, G);
  Floats scratch(p.P16);
  for (int64_t r = 0; r < p.H; ++r) {
    init_row_cache(p, s, G, r);
    for (int64_t c = 0; c < p.W; ++c) {
      horizontal(p, s, G, b0, c);
      if (!all_known(p, G, b0, r * p.W + c)) {
        head(p, s, G);
        draw_pixel(p, s, G, b0, r, c, scratch.data());
      }
      embed(p, s, G, b0, r, c);
    }
    if (r + 1 < p.H) update_vertical_cache(p, s, G, b0, r);
  }
}

// ---- the op -----------------------------------------------------------------------------------

const float* take(const float*& from, int64_t n) {
  const float* here = from;
  from += n;
  return here;
}

void read_weights(Plan& p, const float* w, const int64_t* sizes) {
  for (int64_t i = 0; i < p.L; ++i, sizes += 4) {
    Layer l{sizes[0], sizes[1], sizes[2], sizes[3]};
    l.row = take(w, l.k * l.in * p.C);
    l.row_bias = take(w, p.C);
    l.above = take(w, l.R * p.C * 4 * p.C);
    l.above_bias = take(w, 4 * p.C);
    l.here = take(w, l.in * 2 * p.C);
    l.across = take(w, l.T * l.in * 2 * p.C);
    l.out = take(w, p.C * 2 * p.C);
    l.out_bias = take(w, 2 * p.C);
    p.layers.push_back(l);
  }
  p.w1 = take(w, p.C * p.D);
  p.b1 = take(w, p.D);
  p.w2 = take(w, p.D * p.P16);
  p.b2 = take(w, p.P16);
}

// plan: the entries of PlanEntry, then C_in, k, R, T of each layer. x holds `fixed`.
void pixelcnn_sample(zoo::Tensor x, const zoo::Tensor uniforms, const zoo::Tensor cond,
                     const zoo::Tensor table, const zoo::Tensor extra, const zoo::Tensor weights,
                     const zoo::Tensor plan) {
  const auto* n = zoo::in<int64_t>(plan);
  Plan p{};
  p.L = n[LAYERS];
  p.C = n[CHANNELS];
  p.D = n[HIDDEN];
  p.P = n[OUTPUTS];
  p.P16 = n[PADDED_OUTPUTS];
  p.head = static_cast<Head>(n[HEAD]);
  p.levels = n[LEVELS];
  p.batch = x.size(0), p.I = x.size(1), p.H = x.size(2), p.W = x.size(3);
  p.draws = uniforms.size(3), p.Et = table.size(1), p.E = extra.size(2);
  p.uniforms = zoo::in<float>(uniforms), p.table = zoo::in<float>(table);
  p.cond = cond.numel() ? zoo::in<float>(cond) : nullptr, p.extra = zoo::in<float>(extra);
  p.x = zoo::out<int64_t>(x);
  read_weights(p, zoo::in<float>(weights), n + PLAN_ENTRIES);
  const int64_t group = n[GROUP], groups = (p.batch + group - 1) / group;
  zoo::parallel_for(0, groups, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      sample_group(p, i * group, std::min(group, p.batch - i * group));
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(zoo_cpp, m) {
  m.def(
      "pixelcnn_sample(Tensor(a!) x, Tensor uniforms, Tensor cond, Tensor table, Tensor extra, "
      "Tensor weights, Tensor plan) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(zoo_cpp, CPU, m) {
  m.impl("pixelcnn_sample", TORCH_BOX(&pixelcnn_sample));
}
