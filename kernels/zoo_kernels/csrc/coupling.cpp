#include "contract.h"
// Affine coupling (coupling/reference.py): a row's passing elements are copied, the others
// transformed, in one pass; its log-determinant is summed in a fixed order.
#include <cstring>
#include <memory>
#include <vector>

#include "zoo.h"

namespace {

// params (B, 2, D1, D2) by strides
struct Layout {
  int64_t d1, d2, sb, sp, s1, s2;
};

// In the order of coupling/reference.py's SCALES.
enum ScaleKind { EXP, SIGMOID, TANH };

struct Coupling {
  Layout p, g;
  ScaleKind scale;
  bool shift_first, inverse;
  float c;
  int64_t d, begin;  // elements in a row; where the transformed ones begin
  const float *x, *params, *grad, *grad_ladj;
  float *out, *ladj, *grad_params;
};

}  // namespace

#define ZOO_BODY "coupling_body.h"
#include "targets.h"

namespace {

Layout layout(const zoo::Tensor& t) {
  return {t.size(2), t.size(3), t.stride(0), t.stride(1), t.stride(2), t.stride(3)};
}

void copy_passing(const Coupling& a, const float* from, int64_t b) {
  const int64_t end = a.begin + a.p.d1 * a.p.d2;
  std::memcpy(a.out + b * a.d, from + b * a.d, a.begin * sizeof(float));
  std::memcpy(a.out + b * a.d + end, from + b * a.d + end, (a.d - end) * sizeof(float));
}

Coupling problem(const zoo::Tensor& x, const zoo::Tensor& params, int64_t scale, bool shift_first,
                 double constant, int64_t begin, bool inverse) {
  Coupling a{};
  a.p = layout(params);
  a.scale = static_cast<ScaleKind>(scale);
  a.shift_first = shift_first, a.inverse = inverse;
  a.c = static_cast<float>(constant);
  a.d = x.numel() / x.size(0), a.begin = begin;
  a.x = zoo::in<float>(x), a.params = zoo::in<float>(params);
  return a;
}

void coupling_values(zoo::Tensor out, zoo::Tensor ladj, const zoo::Tensor x, const zoo::Tensor params,
                     int64_t scale, bool shift_first, double constant, int64_t begin, bool inverse) {
  Coupling a = problem(x, params, scale, shift_first, constant, begin, inverse);
  a.out = zoo::out<float>(out), a.ladj = zoo::out<float>(ladj);
  zoo::parallel_for(0, x.size(0), 1 + 8192 / a.d, [&](int64_t first, int64_t last) {
    const auto scratch = std::make_unique_for_overwrite<float[]>(2 * a.p.d1 * a.p.d2);
    for (int64_t b = first; b < last; ++b) a.ladj[b] = ZOO_TARGET(values_row)(a, b, scratch.get());
  });
}

void coupling_backward(zoo::Tensor grad_x, zoo::Tensor grad_params, const zoo::Tensor x,
                       const zoo::Tensor params, const zoo::Tensor grad, const zoo::Tensor grad_ladj,
                       int64_t scale, bool shift_first, double constant, int64_t begin, bool inverse) {
  Coupling a = problem(x, params, scale, shift_first, constant, begin, inverse);
  a.g = layout(grad_params);
  a.grad = zoo::in<float>(grad), a.grad_ladj = zoo::in<float>(grad_ladj);
  a.out = zoo::out<float>(grad_x), a.grad_params = zoo::out<float>(grad_params);
  zoo::parallel_for(0, x.size(0), 1 + 8192 / a.d, [&](int64_t first, int64_t last) {
    std::vector<float> scratch(4 * a.p.d2);
    for (int64_t b = first; b < last; ++b) {
      copy_passing(a, a.grad, b);
      ZOO_TARGET(gradients_row)(a, b, scratch.data());
    }
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(zoo_cpp, m) {
  m.def(
      "coupling_values(Tensor(a!) out, Tensor(b!) ladj, Tensor x, Tensor params, int scale, "
      "bool shift_first, float constant, int begin, bool inverse) -> ()");
  m.def(
      "coupling_backward(Tensor(a!) grad_x, Tensor(b!) grad_params, Tensor x, Tensor params, "
      "Tensor grad, Tensor grad_ladj, int scale, bool shift_first, float constant, int begin, "
      "bool inverse) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(zoo_cpp, CPU, m) {
  m.impl("coupling_values", TORCH_BOX(&coupling_values));
  m.impl("coupling_backward", TORCH_BOX(&coupling_backward));
}
