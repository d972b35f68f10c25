"""Group normalization that a forward derivative (`torch.func.jvp`) passes through.

PyTorch's own views the tangent of x as (B, groups, -1), which memory in the channels-last format
does not allow. With a tangent the norm is computed from its definition instead.

Shapes: B batch, C channels.
"""

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F

__all__ = ["GroupNorm", "normalize_groups"]


class GroupNorm(nn.GroupNorm):
    """w (x - mean) / std + b, with the mean and standard deviation of each group of channels."""

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, ...) -> (B, C, ...)."""
        if not _has_tangent(x):
            return super().forward(x)
        w, b = (p.view(-1, *[1] * (x.ndim - 2)) for p in (self.weight, self.bias))
        return w * normalize_groups(x, self.num_groups, self.eps) + b


def normalize_groups(x: Tensor, groups: int, eps: float) -> Tensor:
    """(x - mean) / std of each group of channels, (B, C, ...) -> (B, C, ...)."""
    if not _has_tangent(x):
        return F.group_norm(x, groups, eps=eps)
    h = x.reshape(len(x), groups, -1)
    scale = (h.var(2, correction=0, keepdim=True) + eps).rsqrt()
    return ((h - h.mean(2, keepdim=True)) * scale).reshape(x.shape)


def _has_tangent(x: Tensor) -> bool:
    if torch.compiler.is_compiling():
        return False
    return forward_ad.unpack_dual(x).tangent is not None
