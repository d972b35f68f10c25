"""Residual and attention blocks of U-Nets, with the tensor names of diffusers' checkpoints.

    ResNet block    h = conv2(silu(norm2(conv1(silu(norm1(x))) + V silu(e))))    (x' + h) / scale
    attention       x + W_o softmax(q k' / sqrt(d)) v                                    / scale

Ho et al., 2020 (DDPM), https://arxiv.org/abs/2006.11239; Song et al., 2021 (NCSN++: FIR resampling
after Zhang, 2019, and 1 / sqrt(2) residuals), https://arxiv.org/abs/2011.13456.

Shapes: B batch, C channels, H height, W width, E size of the time embedding.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_core.errors import ConfigError
from zoo_core.nn.groups import GroupNorm
from zoo_core.nn.unet.config import Activation
from zoo_core.nn.whole_batch import dropout
from zoo_kernels.narrow_attention import WIDEST, narrow_attention

__all__ = [
    "Attention",
    "Resample",
    "ResnetBlock",
    "activation",
    "group_norm",
    "resample",
    "silu",
]

Resample = Literal["up", "down", "fir_up", "fir_down"]


def resample(x: Tensor, how: Resample, *, padding: int = 1) -> Tensor:
    """x (B, C, H, W) at twice or half the size.

    By nearest neighbor ("up") and mean ("down"), or with the FIR filter [1, 3, 3, 1], of which
    `padding` says what is padded.
    """
    if how == "up":
        return F.interpolate(x, scale_factor=2.0, mode="nearest")
    if how == "down":
        return F.avg_pool2d(x, 2)
    C = x.shape[1]
    i = torch.arange(4, device=x.device, dtype=x.dtype)
    f = 1 + i * (
        3 - i
    )  # [1, 3, 3, 1], computed on the device: a copy from the host would synchronize
    kernel = torch.outer(f, f) / f.sum() ** 2
    kernel = kernel.expand(C, 1, 4, 4)
    if how == "fir_up":
        return F.conv_transpose2d(x, 4 * kernel, stride=2, padding=padding, groups=C)
    return F.conv2d(x, kernel, stride=2, padding=padding, groups=C)


def group_norm(groups: int, C: int, eps: float) -> GroupNorm:
    """GroupNorm over C channels; raises ConfigError if `groups` does not divide C."""
    if C % groups:
        raise ConfigError(
            f"network: {groups} groups do not divide {C} channels.",
            hint="network.groups: a divisor of the channels of every level",
        )
    return GroupNorm(groups, C, eps=eps)


def silu(x: Tensor) -> Tensor:
    """x sigmoid(x), in place without gradients: the caller must not use x afterwards."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


def activation(name: Activation) -> Callable[[Tensor], Tensor]:
    """The activation of that name; the caller must not use its input afterwards."""
    activations: dict[str, Callable[[Tensor], Tensor]] = {
        "silu": silu,
        "mish": F.mish,
        "gelu": F.gelu,
        "relu": F.relu,
    }
    return activations[name]


class ResnetBlock(nn.Module):
    """Two convolutions with the time embedding added between them.

    With `scale_shift`, the embedding scales and shifts the output of norm2 instead.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        E: int,
        *,
        groups: int,
        groups_out: int | None = None,
        eps: float,
        dropout: float = 0.0,
        scale: float = 1.0,
        scale_shift: bool = False,
        resampling: Resample | None = None,
        shortcut: bool | None = None,
        act: Activation = "silu",
    ) -> None:
        super().__init__()
        self.act = activation(act)
        self.scale, self.scale_shift = scale, scale_shift
        self.resampling, self.dropout = resampling, dropout
        self.norm1 = group_norm(groups, inputs, eps)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time_emb_proj = nn.Linear(E, 2 * outputs if scale_shift else outputs)
        self.norm2 = group_norm(groups_out or groups, outputs, eps)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        projected = inputs != outputs if shortcut is None else shortcut
        self.conv_shortcut = nn.Conv2d(inputs, outputs, 1) if projected else None
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        """x (B, C, H, W) and the activated embedding e (B, E)."""
        h = self.act(self.norm1(x))
        if self.resampling is not None:
            x, h = resample(x, self.resampling), resample(h, self.resampling)
        h = self._modulated(self.conv1(h), self.time_emb_proj(e)[:, :, None, None])
        h = self.conv2(dropout(self.act(h), self.dropout, self.training))
        out: Tensor = h.add_(x if self.conv_shortcut is None else self.conv_shortcut(x))
        return out if self.scale == 1.0 else out / self.scale

    def _modulated(self, h: Tensor, v: Tensor) -> Tensor:
        out: Tensor = self.norm2(h if self.scale_shift else h.add_(v))
        if not self.scale_shift:
            return out
        a, b = v.chunk(2, 1)
        return out * (1 + a) + b


class Attention(nn.Module):
    """Self-attention over pixels with heads of `head` channels; `groups=None`: no norm.

    Channels beyond the last whole head are not attended to.
    """

    def __init__(
        self, C: int, *, head: int, groups: int | None, eps: float, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.heads, self.scale = C // head, scale
        inner = self.heads * head
        self.group_norm = None if groups is None else group_norm(groups, C, eps)
        self.to_q, self.to_k, self.to_v = (nn.Linear(C, inner) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(inner, C)])

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        B, C, H, W = x.shape
        h = x if self.group_norm is None else self.group_norm(x)
        tokens = h.flatten(2).transpose(1, 2)  # (B, H W, C)
        q, k, v = (
            f(tokens).unflatten(2, (self.heads, -1)) for f in (self.to_q, self.to_k, self.to_v)
        )
        y = _attend(q, k, v).flatten(2)
        out: Tensor = x + self.to_out[0](y).transpose(1, 2).reshape(B, C, H, W)
        return out if self.scale == 1.0 else out / self.scale


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of q, k, v (B, N, heads, d); narrow heads on a CPU use a kernel of ours."""
    narrow = q.shape[-1] <= WIDEST and q.dtype == torch.float32 and q.device.type == "cpu"
    if narrow and not torch.is_grad_enabled():
        return narrow_attention(q, k, v)
    q, k, v = (t.transpose(1, 2) for t in (q, k, v))  # (B, heads, N, d)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
