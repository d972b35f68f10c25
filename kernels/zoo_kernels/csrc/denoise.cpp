// One denoising step (denoise/reference.py): every solver is a row of coefficients. The normals
// have defined bits, so nothing here is fused.
#include <algorithm>
#include <limits>
#include <vector>

#include "denoise.h"

#define ZOO_BODY "denoise_body.h"
#include "targets.h"

namespace {

// absent tensors come as empty ones
const float* present(const zoo::Tensor& t) { return t.numel() ? zoo::in<float>(t) : nullptr; }
int64_t row_stride(const zoo::Tensor& t) { return t.numel() ? t.stride(0) : 0; }

void read_coefficients(Step& a, const zoo::Tensor& table, const zoo::Tensor& index) {
  const int64_t i = *zoo::in<int64_t>(index);
  const bool inside = i >= 0 && i < table.size(0);
  for (int c = 0; c < COLUMNS; ++c)
    a.C[c] = inside ? zoo::in<float>(table)[i * COLUMNS + c] : std::numeric_limits<float>::quiet_NaN();
}

constexpr int64_t PIECE = 8192;  // elements a task does

void denoise_step(zoo::Tensor out, zoo::Tensor kept, const zoo::Tensor x, const zoo::Tensor m,
                  const zoo::Tensor u, const zoo::Tensor v, const zoo::Tensor h,
                  const zoo::Tensor dynamic_threshold, const zoo::Tensor table, const zoo::Tensor index,
                  const zoo::Tensor rows, int64_t seed, int64_t stream, double guidance, double clip,
                  bool noisy) {
  Step a{};
  read_coefficients(a, table, index);
  a.d = x.size(1);
  a.m_row = row_stride(m), a.u_row = row_stride(u), a.v_row = row_stride(v);
  a.x = present(x), a.m = present(m), a.u = present(u), a.v = present(v), a.h = present(h);
  a.dynamic_threshold = present(dynamic_threshold);
  a.rows = zoo::in<int64_t>(rows);
  a.out = zoo::out<float>(out);
  a.kept = kept.numel() ? zoo::out<float>(kept) : nullptr;
  a.guidance = static_cast<float>(guidance), a.clip = static_cast<float>(clip);
  a.noisy = noisy;
  a.key = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32),
           static_cast<uint32_t>(*zoo::in<int64_t>(index)), static_cast<uint32_t>(stream)};
  const int64_t pieces = (a.d + PIECE - 1) / PIECE;
  zoo::parallel_for(0, x.size(0) * pieces, 2, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t from = task % pieces * PIECE;
      ZOO_TARGET(step_row)(a, task / pieces, from, std::min(from + PIECE, a.d));
    }
  });
}

// Order statistics by bits: for |x0| the order of the floats, with NaN last.
float quantile_of(std::vector<int32_t>& size, double quantile) {
  const double place = quantile * static_cast<double>(size.size() - 1);
  const auto low = static_cast<size_t>(place);
  const auto middle = size.begin() + static_cast<std::ptrdiff_t>(low);
  std::nth_element(size.begin(), middle, size.end());
  const int32_t first = *middle;
  const int32_t second = low + 1 < size.size() ? *std::min_element(middle + 1, size.end()) : first;
  const float a = philox_rng::as_float(first), b = philox_rng::as_float(second);
  return a + (b - a) * static_cast<float>(place - static_cast<double>(low));
}

void denoise_dynamic_threshold(zoo::Tensor out, const zoo::Tensor x, const zoo::Tensor m, const zoo::Tensor u,
                   const zoo::Tensor table, const zoo::Tensor index, double guidance,
                   double quantile, double max) {
  Step a{};
  read_coefficients(a, table, index);
  a.d = x.size(1);
  a.m_row = row_stride(m), a.u_row = row_stride(u);
  a.x = present(x), a.m = present(m), a.u = present(u);
  a.guidance = static_cast<float>(guidance);
  float* thresholds = zoo::out<float>(out);
  const float top = static_cast<float>(max);
  zoo::parallel_for(0, x.size(0), 1, [&](int64_t begin, int64_t end) {
    std::vector<int32_t> size(a.d);
    for (int64_t b = begin; b < end; ++b) {
      ZOO_TARGET(size_row)(a, b, reinterpret_cast<float*>(size.data()));
      const float l = quantile_of(size, quantile);
      thresholds[b] = l < 1.0f ? 1.0f : l > top ? top : l;
    }
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(zoo_cpp, m) {
  m.def(
      "denoise_step(Tensor(a!) out, Tensor(b!) kept, Tensor x, Tensor m, Tensor u, Tensor v, Tensor h, "
      "Tensor dynamic_threshold, Tensor table, Tensor index, Tensor rows, int seed, int stream, float guidance, "
      "float clip, bool noisy) -> ()");
  m.def(
      "denoise_dynamic_threshold(Tensor(a!) out, Tensor x, Tensor m, Tensor u, Tensor table, Tensor index, "
      "float guidance, float quantile, float max) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(zoo_cpp, CPU, m) {
  m.impl("denoise_step", TORCH_BOX(&denoise_step));
  m.impl("denoise_dynamic_threshold", TORCH_BOX(&denoise_dynamic_threshold));
}
