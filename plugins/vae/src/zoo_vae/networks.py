"""Encoder and decoder networks, and the likelihood p(x|z) of a decoder's output.

    encoder   x in [-1, 1] -> stride-2 convolutions, if any -> dense layers
    decoder   z -> dense layers -> stride-2 transposed convolutions, if any -> p(x|z)

A class c adds U e_c, with the one-hot vector e_c, to the first pre-activation of either network.

Shapes: B batch, C channels, H height, W width, K quantization levels, F features per value, Z
latents.
"""

from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_core.plugin import (
    Bernoulli,
    Categorical,
    ConfigError,
    DiscretizedLogistic,
    Distribution,
    Event,
    dropout,
    rescale_levels,
)

__all__ = [
    "ConditionalMLP",
    "DecoderLikelihood",
    "ImageDecoder",
    "ImageEncoder",
    "LikelihoodHead",
    "clamp_log_std",
    "soft_clamp",
    "to_float32",
]

DecoderLikelihood = Literal["bernoulli", "categorical", "logistic"]
"""p(x|z) of each value: Bernoulli (K = 2), categorical, or discretized logistic."""

_MAX_LOG_STD = 5.0
_MIN_LOG_STD = -20.0


class ConditionalMLP(nn.Module):
    """h_l = act(W_l h_{l-1} + b_l), plus U e_c in the first layer; the last layer is linear."""

    def __init__(
        self,
        widths: Sequence[int],
        *,
        classes: int = 0,
        act: type[nn.Module] = nn.SiLU,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        pairs = zip(widths[:-1], widths[1:], strict=True)
        self.layers = nn.ModuleList(nn.Linear(n, m) for n, m in pairs)
        self.act, self.dropout = act(), dropout
        self.classes = nn.Linear(classes, widths[1], bias=False) if classes else None

    @property
    def like(self) -> Tensor:
        """A tensor with the device and dtype of the network."""
        return cast(nn.Linear, self.layers[0]).weight

    def forward(self, h: Tensor, e: Tensor | None = None) -> Tensor:
        first, *rest = self.layers
        h = first(h)
        if self.classes is not None:
            h = h + self.classes(e)
        for layer in rest:
            h = layer(dropout(self.act(h), self.dropout, self.training))
        return h


class ImageEncoder(nn.Module):
    """Integer events (B, C, H, W), or (B, D) without convolutions -> features (B, outputs)."""

    def __init__(
        self,
        event: Event,
        channels: Sequence[int],
        hidden: Sequence[int],
        outputs: int,
        *,
        classes: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.levels, widths = event.levels or 2, (event.shape[0], *channels)
        convs = (nn.Conv2d(n, m, 4, 2, 1) for n, m in zip(widths[:-1], widths[1:], strict=True))
        self.convs = nn.ModuleList(convs)
        inputs = widths[-1] * _pixels(event, len(channels))
        self.dense = ConditionalMLP((inputs, *hidden, outputs), classes=classes, dropout=dropout)

    def forward(self, x: Tensor, e: Tensor | None = None) -> Tensor:
        h = rescale_levels(x, self.levels, self.dense.like.dtype)
        for conv in self.convs:
            h = F.silu(conv(h))
        features: Tensor = self.dense(h.flatten(1), e)
        return features


class ImageDecoder(nn.Module):
    """Latents (B, Z) -> p(x|z) over events (B, C, H, W)."""

    def __init__(
        self,
        event: Event,
        channels: Sequence[int],
        hidden: Sequence[int],
        latent: int,
        likelihood: DecoderLikelihood,
        *,
        classes: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.head = LikelihoodHead(event, likelihood)
        widths = (*reversed(channels), self.head.features)
        convs = (
            nn.ConvTranspose2d(n, m, 4, 2, 1) for n, m in zip(widths[:-1], widths[1:], strict=True)
        )
        self.convs = nn.ModuleList(convs)
        scale = 2 ** len(channels)
        self.base = (widths[0], *(side // scale for side in event.shape[1:]))
        outputs = widths[0] * _pixels(event, len(channels))
        self.dense = ConditionalMLP((latent, *hidden, outputs), classes=classes, dropout=dropout)

    def forward(self, z: Tensor, e: Tensor | None = None) -> Distribution:
        h = self.dense(z, e).unflatten(1, self.base)
        for conv in self.convs:
            h = conv(F.silu(h))
        return self.head(h)


class LikelihoodHead:
    """Features (B, F C, H, W) -> p(x|z) over events (B, C, H, W).

    Raises `ConfigError` for a Bernoulli likelihood of other than two quantization levels.
    """

    def __init__(self, event: Event, likelihood: DecoderLikelihood) -> None:
        if likelihood == "bernoulli" and event.levels != 2:
            raise ConfigError(
                f"a bernoulli likelihood is for 2 levels, not {event.levels}.",
                hint="likelihood = 'categorical' or 'logistic'",
            )
        self.event, self.likelihood, self.levels = event, likelihood, event.levels or 2
        per_value = {"bernoulli": 1, "categorical": self.levels, "logistic": 2}[likelihood]
        self.features = per_value * event.shape[0]

    def __call__(self, h: Tensor) -> Distribution:
        h = to_float32(h)
        if self.likelihood == "bernoulli":
            return Bernoulli(h)
        h = h.reshape(len(h), -1, *self.event.shape)  # (B, F, C, H, W)
        if self.likelihood == "categorical":
            return Categorical(h.movedim(1, -1))
        return DiscretizedLogistic(h[:, 0], h[:, 1] - 2, self.levels)  # initial scale e^-2


def soft_clamp(log_std: Tensor) -> Tensor:
    """Smoothly bound to (-5, 5), for q beside a learned prior.

    Otherwise both standard deviations could shrink together below the floating-point resolution of
    z, where rounding errors of the densities would raise the bound.
    """
    return _MAX_LOG_STD * torch.tanh(log_std / _MAX_LOG_STD)


def clamp_log_std(log_std: Tensor) -> Tensor:
    """Clamp to [-20, 5], for q beside a prior N(0, I); trained encoders stay far inside.

    For events far from the training data an encoder may return standard deviations of e^900, which
    overflow. The clamped q still gives a valid bound, since every q does.
    """
    return log_std.clamp(_MIN_LOG_STD, _MAX_LOG_STD)


def to_float32(h: Tensor) -> Tensor:
    """Cast autocast's half precisions to float32, as log-densities sum many terms."""
    return h.float() if h.dtype in (torch.bfloat16, torch.float16) else h


def _pixels(event: Event, downsamples: int) -> int:
    """Pixels after stride-2 layers, 1 of vectors; raises `ConfigError` where a side is odd."""
    if len(event.shape) == 1 and not downsamples:
        return 1
    _, rows, columns = event.shape if len(event.shape) == 3 else (0, 1, 1)
    scale = 1 << downsamples
    if rows % scale or columns % scale:
        raise ConfigError(
            f"images of {rows}x{columns} cannot be downsampled {downsamples} times.",
            hint="give fewer channels, one per downsampling",
        )
    return (rows // scale) * (columns // scale)
