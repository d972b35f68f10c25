#include "contract.h"
// Discretized mixture of logistics (mixture_logistics/reference.py): a pixel's value does not
// depend on its neighbours, a row's sum has a fixed order.
#include <algorithm>
#include <cmath>

#include "mixture.h"
#include "zoo.h"

namespace {

constexpr int MAX_COMPONENTS = 64;

// params (B, P, S) by strides
struct Layout {
  int64_t sb, sp, ss;
};

struct Mixture {
  Layout p, g;
  int m, channels;
  int64_t places;
  float step, log_step;  // 2 / (K - 1): the distance of levels
  const float *x, *params, *grad;
  float *each, *grad_params;
};

}  // namespace

#define ZOO_BODY "mixture_logistics_body.h"
#include "targets.h"

namespace {

constexpr int64_t PIECE = 256;  // pixels a task does

Layout layout(const zoo::Tensor& t) { return {t.stride(0), t.stride(1), t.stride(2)}; }

Mixture problem(const zoo::Tensor& x, const zoo::Tensor& params, int64_t levels, int64_t channels) {
  Mixture a{};
  a.p = layout(params);
  a.channels = static_cast<int>(channels);
  a.m = static_cast<int>(params.size(1) / (channels == 1 ? 3 : 10));
  a.places = params.size(2);
  const double step = 2.0 / static_cast<double>(levels - 1);
  a.step = static_cast<float>(step), a.log_step = static_cast<float>(std::log(step));
  a.x = zoo::in<float>(x), a.params = zoo::in<float>(params);
  return a;
}

template <class Range>
void in_pieces(int64_t batch, int64_t places, Range range) {
  const int64_t pieces = (places + PIECE - 1) / PIECE;
  zoo::parallel_for(0, batch * pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t from = task % pieces * PIECE;
      range(task / pieces, from, std::min(from + PIECE, places));
    }
  });
}

void mixture_log_prob(zoo::Tensor out, zoo::Tensor each, const zoo::Tensor x, const zoo::Tensor params,
                      int64_t levels, int64_t channels) {
  Mixture a = problem(x, params, levels, channels);
  a.each = zoo::out<float>(each);
  const int64_t batch = params.size(0);
  in_pieces(batch, a.places, [&](int64_t b, int64_t from, int64_t to) {
    ZOO_TARGET(values_range)(a, b, from, to);
  });
  float* sums = zoo::out<float>(out);
  for (int64_t b = 0; b < batch; ++b) sums[b] = ZOO_TARGET(row_sum)(a.each + b * a.places, a.places);
}

void mixture_backward(zoo::Tensor grad_params, const zoo::Tensor x, const zoo::Tensor params,
                      const zoo::Tensor grad, int64_t levels, int64_t channels) {
  Mixture a = problem(x, params, levels, channels);
  a.g = layout(grad_params);
  a.grad = zoo::in<float>(grad), a.grad_params = zoo::out<float>(grad_params);
  in_pieces(params.size(0), a.places, [&](int64_t b, int64_t from, int64_t to) {
    ZOO_TARGET(gradients_range)(a, b, from, to);
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(zoo_cpp, m) {
  m.def(
      "mixture_log_prob(Tensor(a!) out, Tensor(b!) each, Tensor x, Tensor params, int levels, "
      "int channels) -> ()");
  m.def(
      "mixture_backward(Tensor(a!) grad_params, Tensor x, Tensor params, Tensor grad, int levels, "
      "int channels) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(zoo_cpp, CPU, m) {
  m.impl("mixture_log_prob", TORCH_BOX(&mixture_log_prob));
  m.impl("mixture_backward", TORCH_BOX(&mixture_backward));
}
