// The parameters of a mixture of logistics (mixture_logistics/reference.py), in their order.
#pragma once

namespace {

enum Parameter { MEAN, LOG_SCALE, COEFFICIENT };

}  // namespace
