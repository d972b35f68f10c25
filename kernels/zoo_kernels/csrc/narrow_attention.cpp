// Attention for narrow heads (narrow_attention/__init__.py). A task is one head of one row.
#include "contract.h"

#include <cmath>
#include <limits>
#include <vector>

#include "zoo.h"

namespace {

constexpr int64_t STEP = 32;  // tokens: two vectors of the widest target
constexpr int64_t MOST_ROWS = 4;

// q (B, N, H, d), k and v (B, M, H, d) with stride 1 in d; the output is contiguous.
struct Heads {
  int64_t N, M, H, d, wide;  // wide: M as whole steps
  const float *q, *k, *v;
  int64_t q_b, q_n, q_h, k_b, k_n, k_h, v_b, v_n, v_h;
  float* out;
  float scale;
};

struct Scratch {
  float *k, *v, *p, *q;  // (d, wide) twice, (MOST_ROWS, wide), (MOST_ROWS, d)
  const float* tail;     // (wide): 0, and -inf past the last token
};

}  // namespace

#define ZOO_BODY "narrow_attention_body.h"
#include "targets.h"

namespace {

void narrow_attention(zoo::Tensor out, const zoo::Tensor q, const zoo::Tensor k,
                      const zoo::Tensor v) {
  Heads a{};
  a.N = q.size(1), a.M = k.size(1), a.H = q.size(2), a.d = q.size(3);
  a.wide = (a.M + STEP - 1) / STEP * STEP;
  a.q = zoo::in<float>(q), a.k = zoo::in<float>(k), a.v = zoo::in<float>(v);
  a.q_b = q.stride(0), a.q_n = q.stride(1), a.q_h = q.stride(2);
  a.k_b = k.stride(0), a.k_n = k.stride(1), a.k_h = k.stride(2);
  a.v_b = v.stride(0), a.v_n = v.stride(1), a.v_h = v.stride(2);
  a.out = zoo::out<float>(out);
  a.scale = 1.0f / std::sqrt(static_cast<float>(a.d));
  zoo::parallel_for(0, q.size(0) * a.H, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> keys(a.d * a.wide), values(a.d * a.wide), p(MOST_ROWS * a.wide),
        queries(MOST_ROWS * a.d), tail(a.wide);
    for (int64_t m = a.M; m < a.wide; ++m) tail[m] = -std::numeric_limits<float>::infinity();
    const Scratch s{keys.data(), values.data(), p.data(), queries.data(), tail.data()};
    for (int64_t task = begin; task < end; ++task) ZOO_TARGET(head)(a, s, task);
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(zoo_cpp, m) {
  m.def("narrow_attention(Tensor(a!) out, Tensor q, Tensor k, Tensor v) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(zoo_cpp, CPU, m) {
  m.impl("narrow_attention", TORCH_BOX(&narrow_attention));
}
