// The gate of a masked convolution, forward and backward, in one pass over NHWC memory.
#include "contract.h"

#include "zoo.h"

namespace {

struct Gate {
  int64_t pixels, plane, C;          // plane: pixels an image
  bool per_image;                    // cond is (B, 2C), else (pixels, 2C)
  float *y, *pre;
  const float *cond, *residual;      // either may be null
};

}  // namespace

#define ZOO_BODY "masked_conv_body.h"
#include "targets.h"

namespace {

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
                    [&](int64_t begin, int64_t end) { ZOO_TARGET(forward_rows)(g, begin, end); });
}

void gate_backward(zoo::Tensor grad_pre, const zoo::Tensor pre, const zoo::Tensor grad) {
  const int64_t plane = grad.size(1) * grad.size(2);
  const Gate g{grad.size(0) * plane, plane, grad.size(3), false, nullptr,
               zoo::out<float>(grad_pre), zoo::in<float>(pre), zoo::in<float>(grad)};
  zoo::parallel_for(0, g.pixels, GRAIN,
                    [&](int64_t begin, int64_t end) { ZOO_TARGET(backward_rows)(g, begin, end); });
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
