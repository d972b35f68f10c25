// A whole denoising loop whose network is a residual MLP (mlp_sampler/reference.py). A task owns a
// group of rows and takes them through all steps; the weights stay in the cache.
//
// Widths are padded by the caller: H to `wide`, a multiple of 16, in rows of `ld` floats, an odd
// number of cache lines, so that a column of a matrix does not fall on few sets of the cache.
#include <algorithm>
#include <cstring>
#include <vector>

#include "denoise.h"
#include "gemm.h"

namespace {

constexpr float EPS = 1e-5f;  // of the layer norm

struct Mlp {
  int64_t D, outputs, H, wide, ld, layers, steps;  // outputs: D padded
  const float *w_in, *b_in, *w_out, *b_out;        // (D, ld), (ld), (H, outputs), (outputs)
  std::vector<const float*> inner, inner_bias, outer, outer_bias;  // (H, ld), (ld)
  const float *modulation, *table;                 // (steps, layers, 2, ld), (steps, 16)
  const int64_t* rows;
  float* x;                                        // (B, D)
  int64_t seed;
  uint32_t stream;
  float clip;
  bool noisy, remember;
};

struct Scratch {
  std::vector<float> h, u, m, kept;

  Scratch(const Mlp& n, int64_t G)
      : h(G * n.ld), u(G * n.ld), m(G * n.outputs), kept(n.remember ? G * n.D : 0) {}
};

}  // namespace

#define ZOO_BODY "mlp_sampler_body.h"
#include "targets.h"

namespace {

constexpr int64_t GROUP = 24;  // rows of a task: four tiles of a product

// m = the network's output at x (G, D)
void network(const Mlp& n, Scratch& s, const float* x, int64_t G, int64_t step) {
  float *h = s.h.data(), *u = s.u.data(), *m = s.m.data();
  zoo::fill_rows(h, G, n.ld, n.b_in, n.wide);
  zoo::gemm(G, n.wide, n.D, x, n.D, n.w_in, n.ld, h, n.ld);
  for (int64_t l = 0; l < n.layers; ++l) {
    const float* scale = n.modulation + (step * n.layers + l) * 2 * n.ld;
    zoo::fill_rows(u, G, n.ld, n.inner_bias[l], n.wide);
    zoo::gemm(G, n.wide, n.H, h, n.ld, n.inner[l], n.ld, u, n.ld);
    for (int64_t i = 0; i < G; ++i) {
      ZOO_TARGET(modulate)(u + i * n.ld, scale, scale + n.ld, n.H, n.wide);
      zoo::add(h + i * n.ld, n.outer_bias[l], n.wide);
    }
    zoo::gemm(G, n.wide, n.H, u, n.ld, n.outer[l], n.ld, h, n.ld);
  }
  for (int64_t i = 0; i < G; ++i) ZOO_TARGET(activate)(u + i * n.ld, h + i * n.ld, n.wide);
  zoo::fill_rows(m, G, n.outputs, n.b_out, n.outputs);
  zoo::gemm(G, n.outputs, n.H, u, n.ld, n.w_out, n.outputs, m, n.outputs);
}

void update(const Mlp& n, Scratch& s, int64_t first, int64_t G, int64_t step) {
  Step a{};
  std::memcpy(a.C, n.table + step * COLUMNS, sizeof(a.C));
  a.d = n.D, a.m_row = n.outputs;
  a.out = n.x + first * n.D, a.x = a.out, a.m = s.m.data();
  a.kept = n.remember ? s.kept.data() : nullptr, a.h = a.kept;
  a.rows = n.rows + first;
  a.clip = n.clip, a.noisy = n.noisy;
  a.key = {static_cast<uint32_t>(n.seed), static_cast<uint32_t>(n.seed >> 32),
           static_cast<uint32_t>(step), n.stream};
  for (int64_t i = 0; i < G; ++i) ZOO_TARGET(step_row)(a, i, 0, n.D);
}

void run(const Mlp& n, int64_t first, int64_t G) {
  Scratch s(n, G);  // what a first step remembers of the one before counts nothing
  for (int64_t step = 0; step < n.steps; ++step) {
    network(n, s, n.x + first * n.D, G, step);
    update(n, s, first, G, step);
  }
}

// weights: w_in, b_in, then inner, its bias, outer, its bias of each layer, w_out, b_out, end to end
void read_weights(Mlp& n, const float* w) {
  const auto next = [&w](int64_t size) { return (w += size) - size; };
  n.w_in = next(n.D * n.ld), n.b_in = next(n.ld);
  for (int64_t l = 0; l < n.layers; ++l) {
    n.inner.push_back(next(n.H * n.ld)), n.inner_bias.push_back(next(n.ld));
    n.outer.push_back(next(n.H * n.ld)), n.outer_bias.push_back(next(n.ld));
  }
  n.w_out = next(n.H * n.outputs), n.b_out = next(n.outputs);
}

void mlp_sample(zoo::Tensor x, const zoo::Tensor table, const zoo::Tensor modulation,
                const zoo::Tensor weights, const zoo::Tensor rows, int64_t hidden, int64_t wide,
                int64_t outputs, int64_t seed, int64_t stream, double clip, bool noisy,
                bool remember) {
  Mlp n{};
  n.D = x.size(1), n.outputs = outputs, n.H = hidden, n.wide = wide;
  n.steps = modulation.size(0), n.layers = modulation.size(1), n.ld = modulation.size(3);
  read_weights(n, zoo::in<float>(weights));
  n.modulation = zoo::in<float>(modulation), n.table = zoo::in<float>(table);
  n.rows = zoo::in<int64_t>(rows), n.x = zoo::out<float>(x);
  n.seed = seed, n.stream = static_cast<uint32_t>(stream);
  n.clip = static_cast<float>(clip), n.noisy = noisy, n.remember = remember;
  const int64_t B = x.size(0), groups = (B + GROUP - 1) / GROUP;
  zoo::parallel_for(0, groups, 1, [&](int64_t begin, int64_t end) {
    for (int64_t g = begin; g < end; ++g) run(n, g * GROUP, std::min(GROUP, B - g * GROUP));
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(zoo_cpp, m) {
  m.def(
      "mlp_sample(Tensor(a!) x, Tensor table, Tensor modulation, Tensor weights, Tensor rows, "
      "int hidden, int wide, int outputs, int seed, int stream, float clip, bool noisy, "
      "bool remember) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(zoo_cpp, CPU, m) { m.impl("mlp_sample", TORCH_BOX(&mlp_sample)); }
