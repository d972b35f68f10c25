"""Fourier features of noisy values (Kingma et al., 2021, app. C)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["fourier_features"]


def fourier_features(z: Tensor, exponents: Sequence[int]) -> Tensor:
    """z (B, C, ...) with sin(2^n pi z) and cos(2^n pi z) as further channels.

    At low noise, exponent n separates quantization levels in [-1, 1] that are about 2^-n apart.
    """
    features = [f(2.0**n * math.pi * z) for n in exponents for f in (torch.sin, torch.cos)]
    return torch.cat((z, *features), 1)
