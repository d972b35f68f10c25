"""Down and up blocks of k-diffusion, as diffusers' KDownBlock2D and KUpBlock2D have them.

    h = conv2(act(m(conv1(act(m(x))))),    x' + h,    m(x) = (1 + a) norm(x) + b,  (a, b) = V e

with groups of 32 channels, the embedding e itself instead of act(e), and resampling by the filter
[1, 3, 3, 1] over reflected borders. An up block concatenates the last features of its resolution
alone, and its last block has the channels of the next one.

https://github.com/crowsonkb/k-diffusion.

Shapes: B batch, C channels, H height, W width, E size of the embedding.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_core.errors import ConfigError
from zoo_core.nn.groups import normalize_groups
from zoo_core.nn.unet.blocks import activation, resample
from zoo_core.nn.unet.config import UNetConfig
from zoo_core.nn.whole_batch import dropout

__all__ = ["KDownBlock", "KUpBlock"]

_GROUP = 32
"""Channels of a group."""


class _AdaptiveNorm(nn.Module):
    """(1 + a) norm(x) + b with (a, b) = V e."""

    def __init__(self, C: int, E: int, groups: int, eps: float) -> None:
        super().__init__()
        if not groups or C % groups:
            raise ConfigError(
                f"network: blocks of type 'k' have groups of {_GROUP} channels; there are {C}.",
                hint=f"network.channels: multiples of {_GROUP}",
            )
        self.groups, self.eps = groups, eps
        self.linear = nn.Linear(E, 2 * C)

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        a, b = self.linear(e)[:, :, None, None].chunk(2, 1)
        out: Tensor = normalize_groups(x, self.groups, self.eps) * (1 + a) + b
        return out


class _KResnetBlock(nn.Module):
    """Two convolutions, each after a norm that the embedding scales and shifts.

    The second norm has the groups of a block of C channels, whatever its outputs are.
    """

    def __init__(self, c: UNetConfig, inputs: int, outputs: int, E: int, C: int) -> None:
        super().__init__()
        self.act, self.dropout = activation(c.activation), c.dropout
        self.norm1 = _AdaptiveNorm(inputs, E, inputs // _GROUP, c.eps)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = _AdaptiveNorm(outputs, E, C // _GROUP, c.eps)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        same = inputs == outputs
        self.conv_shortcut = None if same else nn.Conv2d(inputs, outputs, 1, bias=False)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        h = self.conv1(self.act(self.norm1(x, e)))
        h = dropout(self.act(self.norm2(h, e)), self.dropout, self.training)
        out: Tensor = self.conv2(h) + (x if self.conv_shortcut is None else self.conv_shortcut(x))
        return out


class KDownBlock(nn.Module):
    """`layers` blocks, then half the resolution unless it is the last."""

    takes_embedding = True

    def __init__(self, c: UNetConfig, inputs: int, C: int, E: int, *, last: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(
            _KResnetBlock(c, C if i else inputs, C, E, C) for i in range(c.layers)
        )
        self.last = last

    def forward(
        self, h: Tensor, e: Tensor, pyramid: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Features, the image unchanged, and the features for the up block."""
        skips = []
        for resnet in self.resnets:
            h = resnet(h, e)
            skips.append(h)
        if self.last:
            return h, pyramid, skips
        h = resample(F.pad(h, (1, 1, 1, 1), "reflect"), "fir_down", padding=0)
        return h, pyramid, skips


class KUpBlock(nn.Module):
    """`layers` blocks over C + C channels to `outputs`, then twice the resolution."""

    takes_embedding = True

    def __init__(self, c: UNetConfig, C: int, outputs: int, E: int, *, last: bool) -> None:
        super().__init__()
        sizes = [2 * C, *[C] * (c.layers - 1), outputs]
        self.resnets = nn.ModuleList(
            _KResnetBlock(c, sizes[i], sizes[i + 1], E, C) for i in range(c.layers)
        )
        self.last = last

    def forward(
        self, h: Tensor, skips: list[Tensor], e: Tensor, pyramid: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Features, and the image unchanged; of its features it takes the last from `skips`."""
        h = torch.cat((h, skips[-1]), 1)
        del skips[-len(self.resnets) :]
        for resnet in self.resnets:
            h = resnet(h, e)
        if not self.last:
            h = resample(F.pad(h, (1, 1, 1, 1), "reflect"), "fir_up", padding=3)
        return h, pyramid
