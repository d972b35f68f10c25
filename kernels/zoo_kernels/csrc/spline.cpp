#include "contract.h"
// Rational-quadratic splines (spline/reference.py). The parameters are read by strides. A row's
// log-determinant is summed from its elements' in a fixed order.
#include "zoo.h"

namespace {

constexpr int MAX_BINS = 128;

// params (B, D1, D2, P) by strides; elements are counted through B, D1, D2 in this order
struct Layout {
  int64_t d, d2, sb, s1, s2, sk;
};

struct Spline {
  int bins;
  float left, right, min_w, min_h, min_d;
  bool inverse;
};

struct Problem {
  Layout params, grads;
  Spline spline;
  const float *x, *p, *grad, *grad_ladj;
  float *out, *ladj, *grad_params;
};

}  // namespace

#define ZOO_BODY "spline_body.h"
#include "targets.h"

namespace {

Layout layout(const zoo::Tensor& t) {
  return {t.size(1) * t.size(2), t.size(2), t.stride(0), t.stride(1), t.stride(2), t.stride(3)};
}

Spline spline(const zoo::Tensor& params, double left, double right, double min_w, double min_h,
              double min_d, bool inverse) {
  return {static_cast<int>((params.size(3) + 1) / 3), static_cast<float>(left),
          static_cast<float>(right), static_cast<float>(min_w), static_cast<float>(min_h),
          static_cast<float>(min_d), inverse};
}

constexpr int64_t PIECE = 1024;  // elements a task does; a multiple of N

template <class Range>
void in_pieces(int64_t total, Range range) {
  zoo::parallel_for(0, (total + PIECE - 1) / PIECE, 1, [&](int64_t begin, int64_t end) {
    range(begin * PIECE, end * PIECE < total ? end * PIECE : total);
  });
}

void spline_values(zoo::Tensor out, zoo::Tensor ladj, zoo::Tensor each, const zoo::Tensor x,
                   const zoo::Tensor params, double left, double right, double min_w, double min_h,
                   double min_d, bool inverse) {
  Problem a{};
  a.params = layout(params);
  a.spline = spline(params, left, right, min_w, min_h, min_d, inverse);
  a.x = zoo::in<float>(x);
  a.p = zoo::in<float>(params);
  a.out = zoo::out<float>(out);
  a.ladj = zoo::out<float>(each);
  const int64_t batch = params.size(0), d = a.params.d;
  in_pieces(batch * d, [&](int64_t begin, int64_t end) { ZOO_TARGET(values_range)(a, begin, end); });
  float* sums = zoo::out<float>(ladj);
  zoo::parallel_for(0, batch, 64, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) sums[row] = ZOO_TARGET(row_sum)(a.ladj + row * d, d);
  });
}

void spline_backward(zoo::Tensor grad_x, zoo::Tensor grad_params, const zoo::Tensor x,
                     const zoo::Tensor params, const zoo::Tensor grad, const zoo::Tensor grad_ladj,
                     double left, double right, double min_w, double min_h, double min_d,
                     bool inverse) {
  Problem a{};
  a.params = layout(params);
  a.grads = layout(grad_params);
  a.spline = spline(params, left, right, min_w, min_h, min_d, inverse);
  a.x = zoo::in<float>(x);
  a.p = zoo::in<float>(params);
  a.grad = zoo::in<float>(grad);
  a.grad_ladj = zoo::in<float>(grad_ladj);
  a.out = zoo::out<float>(grad_x);
  a.grad_params = zoo::out<float>(grad_params);
  const int64_t total = params.size(0) * a.params.d;
  in_pieces(total, [&](int64_t begin, int64_t end) { ZOO_TARGET(gradients_range)(a, begin, end); });
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(zoo_cpp, m) {
  m.def(
      "spline_values(Tensor(a!) out, Tensor(b!) ladj, Tensor(c!) each, Tensor x, Tensor params, "
      "float left, float right, float min_width, float min_height, float min_derivative, "
      "bool inverse) -> ()");
  m.def(
      "spline_backward(Tensor(a!) grad_x, Tensor(b!) grad_params, Tensor x, Tensor params, "
      "Tensor grad, Tensor grad_ladj, float left, float right, float min_width, float min_height, "
      "float min_derivative, bool inverse) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(zoo_cpp, CPU, m) {
  m.impl("spline_values", TORCH_BOX(&spline_values));
  m.impl("spline_backward", TORCH_BOX(&spline_backward));
}
