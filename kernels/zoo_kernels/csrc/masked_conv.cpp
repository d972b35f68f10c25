// The gate of a masked convolution, forward and backward, in one pass over NHWC memory.
#include "contract.h"

#include "simd.h"

namespace {

using zoo::vec;

struct Gate {
  int64_t pixels, plane, C;          // plane: pixels an image
  bool per_image;                    // cond is (B, 2C), else (pixels, 2C)
  float *y, *pre;
  const float *cond, *residual;      // either may be null
};

// Up to V floats; the rest are zero.
ZOO_INLINE vec load_n(const float* p, int64_t n) {
  vec v{};
  std::memcpy(&v, p, n * sizeof(float));
  return v;
}

ZOO_INLINE void store_n(float* p, const vec& v, int64_t n) { std::memcpy(p, &v, n * sizeof(float)); }

template <bool WHOLE>
ZOO_INLINE void forward_at(const Gate& g, int64_t i, int64_t c) {
  const int64_t n = WHOLE ? zoo::V : g.C - c;
  float* pre = g.pre + i * 2 * g.C + c;
  vec a = load_n(pre, n), b = load_n(pre + g.C, n);
  if (g.cond) {
    const float* cond = g.cond + (g.per_image ? i / g.plane : i) * 2 * g.C + c;
    a += load_n(cond, n), b += load_n(cond + g.C, n);
    store_n(pre, a, n), store_n(pre + g.C, b, n);
  }
  vec y = zoo::gated(a, b);
  if (g.residual) y += load_n(g.residual + i * g.C + c, n);
  store_n(g.y + i * g.C + c, y, n);
}

template <bool WHOLE>
ZOO_INLINE void backward_at(const Gate& g, int64_t i, int64_t c) {
  const int64_t n = WHOLE ? zoo::V : g.C - c;
  const float* pre = g.cond + i * 2 * g.C + c;  // here: the pre-activation
  const vec e = zoo::exp(zoo::clamp(load_n(pre, n), -20.0f, 20.0f) * -2.0f);
  const vec f = zoo::exp(zoo::clamp(load_n(pre + g.C, n), -40.0f, 40.0f) * -1.0f);
  const vec s = 1.0f / (1.0f + f), u = 1.0f / (1.0f + e), t = (1.0f - e) * u;
  const vec grad = load_n(g.residual + i * g.C + c, n);  // here: the gradient of y
  store_n(g.pre + i * 2 * g.C + c, grad * (4.0f * e * u * u) * s, n);  // 1 - t^2 = 4 e / (1 + e)^2
  store_n(g.pre + i * 2 * g.C + g.C + c, grad * t * (f * s * s), n);   // s (1 - s) = f s^2
}

template <class T, bool FORWARD>
ZOO_INLINE void rows_for(const Gate& g, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    int64_t c = 0;
    for (; c + zoo::V <= g.C; c += zoo::V)
      FORWARD ? forward_at<true>(g, i, c) : backward_at<true>(g, i, c);
    if (c < g.C) FORWARD ? forward_at<false>(g, i, c) : backward_at<false>(g, i, c);
  }
}

template <class T>
ZOO_INLINE void forward_for(const Gate& g, int64_t begin, int64_t end) {
  rows_for<T, true>(g, begin, end);
}

template <class T>
ZOO_INLINE void backward_for(const Gate& g, int64_t begin, int64_t end) {
  rows_for<T, false>(g, begin, end);
}

ZOO_UNITS(forward_rows, (const Gate& g, int64_t begin, int64_t end), (g, begin, end), forward_for)
ZOO_UNITS(backward_rows, (const Gate& g, int64_t begin, int64_t end), (g, begin, end), backward_for)

constexpr int64_t GRAIN = 256;  // pixels

// y (B, H, W, C), pre (B, H, W, 2C); cond (B, H, W, 2C), (B, 1, 1, 2C) or empty; residual as y.
void gate_forward(zoo::Tensor y, zoo::Tensor pre, const zoo::Tensor cond,
                  const zoo::Tensor residual) {
  const int64_t plane = y.size(1) * y.size(2);
  const Gate g{y.size(0) * plane, plane, y.size(3), cond.numel() < pre.numel(),
               zoo::out<float>(y), zoo::out<float>(pre),
               cond.numel() ? zoo::in<float>(cond) : nullptr,
               residual.numel() ? zoo::in<float>(residual) : nullptr};
  zoo::parallel_for(0, g.pixels, GRAIN,
                    [&](int64_t begin, int64_t end) { forward_rows(g, begin, end); });
}

void gate_backward(zoo::Tensor grad_pre, const zoo::Tensor pre, const zoo::Tensor grad) {
  const int64_t plane = grad.size(1) * grad.size(2);
  const Gate g{grad.size(0) * plane, plane, grad.size(3), false, nullptr,
               zoo::out<float>(grad_pre), zoo::in<float>(pre), zoo::in<float>(grad)};
  zoo::parallel_for(0, g.pixels, GRAIN,
                    [&](int64_t begin, int64_t end) { backward_rows(g, begin, end); });
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(zoo_cpp, m) {
  m.def("gate_forward(Tensor(a!) y, Tensor(b!) pre, Tensor cond, Tensor residual) -> ()");
  m.def("gate_backward(Tensor(a!) grad_pre, Tensor pre, Tensor grad) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(zoo_cpp, CPU, m) {
  m.impl("gate_forward", TORCH_BOX(&gate_forward));
  m.impl("gate_backward", TORCH_BOX(&gate_backward));
}
