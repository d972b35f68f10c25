// What a denoising step reads and writes; denoise_body.h computes it.
#pragma once

#include "philox.h"
#include "zoo.h"

namespace {

enum Column { P_X, P_M, C_X0, C_X, C_M, C_H, S, LOG_VAR_MIN, LOG_VAR_MAX, G_X0, G_X, G_M, COLUMNS = 16 };

struct Step {
  float C[COLUMNS];
  int64_t d, m_row, u_row, v_row;
  const float *x, *m, *u, *v, *h, *dynamic_threshold;
  const int64_t* rows;
  float *out, *kept;
  float guidance, clip;
  bool noisy;
  philox_rng::Key key;
};

}  // namespace
