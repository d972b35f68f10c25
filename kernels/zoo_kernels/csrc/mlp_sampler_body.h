#include "denoise_body.h"

ZOO_INLINE F silu(F y) { return y * sigmoid(y, exp_minus_abs(y)); }

// u = silu((1 + scale) norm(u) + shift) over the first H of `wide` values
static void modulate(float* u, const float* scale, const float* shift, int64_t H, int64_t wide) {
  F all = splat(0.0f);
  float rest = 0.0f;
  int64_t c = 0;
  for (; c + W <= H; c += W) all += load(u + c);
  for (; c < H; ++c) rest += u[c];
  const float mean = (sum(all) + rest) / static_cast<float>(H);
  all = splat(0.0f), rest = 0.0f;
  for (c = 0; c + W <= H; c += W) {
    const F away = load(u + c) - mean;
    all += away * away;
  }
  for (; c < H; ++c) rest += (u[c] - mean) * (u[c] - mean);
  const float per = 1.0f / std::sqrt((sum(all) + rest) / static_cast<float>(H) + EPS);
  for (c = 0; c < wide; c += W)
    store(u + c, silu((1.0f + load(scale + c)) * ((load(u + c) - mean) * per) + load(shift + c)));
}

static void activate(float* u, const float* h, int64_t wide) {
  for (int64_t c = 0; c < wide; c += W) store(u + c, silu(load(h + c)));
}
