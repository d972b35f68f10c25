"""The networks between events and codes, and what they say of an event.

    encoder   x in [-1, 1] -> halving convolutions, if any -> dense layers
    decoder   z -> dense layers -> doubling transposed convolutions, if any -> p(x|z)

A class c adds U e_c to the first pre-activation of either side.

Shapes: B batch, C channels, H rows, W columns, K levels, F features a value.
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
    ordinal,
)

__all__ = [
    "Head",
    "ImageDecoder",
    "ImageEncoder",
    "Likelihood",
    "Mlp",
    "bounded",
    "full",
    "within_range",
]

Likelihood = Literal["bernoulli", "categorical", "logistic"]
"""p(x|z) of each value: two levels, K free levels, or K levels of a discretized logistic."""

_MAX_LOG_STD = 5.0
_LEAST_LOG_STD = -20.0


class Mlp(nn.Module):
    """h_l = act(W_l h_{l-1} + b_l), the first with U e_c, and a linear layer at the end."""

    def __init__(
        self,
        widths: Sequence[int],
        *,
        classes: int | None = None,
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
        """A tensor of the device and dtype that this works on."""
        return cast(nn.Linear, self.layers[0]).weight

    def forward(self, h: Tensor, e: Tensor | None = None) -> Tensor:
        first, *others = self.layers
        h = first(h)
        if self.classes is not None:
            h = h + self.classes(e)
        for layer in others:
            h = layer(F.dropout(self.act(h), self.dropout, self.training))
        return h


class ImageEncoder(nn.Module):
    """Events (B, C, H, W) as integers to features (B, outputs)."""

    def __init__(
        self,
        event: Event,
        channels: Sequence[int],
        hidden: Sequence[int],
        outputs: int,
        *,
        classes: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.levels, widths = event.levels or 2, (event.shape[0], *channels)
        convs = (nn.Conv2d(n, m, 4, 2, 1) for n, m in zip(widths[:-1], widths[1:], strict=True))
        self.convs = nn.ModuleList(convs)
        inputs = widths[-1] * _pixels(event, len(channels))
        self.dense = Mlp((inputs, *hidden, outputs), classes=classes, dropout=dropout)

    def forward(self, x: Tensor, e: Tensor | None = None) -> Tensor:
        h = ordinal(x, self.levels, self.dense.like.dtype)
        for conv in self.convs:
            h = F.silu(conv(h))
        return self.dense(h.flatten(1), e)  # type: ignore[no-any-return]


class ImageDecoder(nn.Module):
    """Codes (B, Z) to p(x|z) of events (B, C, H, W)."""

    def __init__(
        self,
        event: Event,
        channels: Sequence[int],
        hidden: Sequence[int],
        latent: int,
        likelihood: Likelihood,
        *,
        classes: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.head = Head(event, likelihood)
        widths = (*reversed(channels), self.head.features)
        convs = (
            nn.ConvTranspose2d(n, m, 4, 2, 1) for n, m in zip(widths[:-1], widths[1:], strict=True)
        )
        self.convs = nn.ModuleList(convs)
        scale = 2 ** len(channels)
        self.base = (widths[0], event.shape[1] // scale, event.shape[2] // scale)
        outputs = widths[0] * _pixels(event, len(channels))
        self.dense = Mlp((latent, *hidden, outputs), classes=classes, dropout=dropout)

    def forward(self, z: Tensor, e: Tensor | None = None) -> Distribution:
        h = self.dense(z, e).unflatten(1, self.base)
        for conv in self.convs:
            h = conv(F.silu(h))
        return self.head(h)


class Head:
    """Features (B, F C, H, W) as the likelihood of events (B, C, H, W)."""

    def __init__(self, event: Event, likelihood: Likelihood) -> None:
        if likelihood == "bernoulli" and event.levels != 2:
            raise ConfigError(
                f"a bernoulli likelihood is for 2 levels, not {event.levels}.",
                hint="likelihood = 'categorical' or 'logistic'",
            )
        self.event, self.likelihood, self.levels = event, likelihood, event.levels or 2
        per_value = {"bernoulli": 1, "categorical": self.levels, "logistic": 2}[likelihood]
        self.features = per_value * event.shape[0]

    def __call__(self, h: Tensor) -> Distribution:
        h = full(h)
        if self.likelihood == "bernoulli":
            return Bernoulli(h)
        h = h.reshape(len(h), -1, *self.event.shape)  # (B, F, C, H, W)
        if self.likelihood == "categorical":
            return Categorical(h.movedim(1, -1))
        return DiscretizedLogistic(h[:, 0], h[:, 1] - 2, self.levels)  # a fresh scale of e^-2


def bounded(log_std: Tensor) -> Tensor:
    """Smoothly within +-5: where a prior is learned, it and q could else shrink without end.

    Below the resolution of z their densities are noise, which a bound would be pushed up by.
    """
    return _MAX_LOG_STD * torch.tanh(log_std / _MAX_LOG_STD)


def within_range(log_std: Tensor) -> Tensor:
    """Cut to -20..5, far beyond what is learned beside a prior N(0, I), and else left as it is.

    An encoder says e^900 of events unlike any that it has seen. Any q gives a bound, so it is one
    with that cut as well, where the uncut one overflows.
    """
    return log_std.clamp(_LEAST_LOG_STD, _MAX_LOG_STD)


def full(h: Tensor) -> Tensor:
    """Half precisions, which autocast makes, as float32: densities are sums of many terms."""
    return h.float() if h.dtype in (torch.bfloat16, torch.float16) else h


def _pixels(event: Event, halvings: int) -> int:
    """Places of an image after so many halvings; raises `ConfigError` where one is not even."""
    _, rows, columns = event.shape
    scale = 1 << halvings
    if rows % scale or columns % scale:
        raise ConfigError(
            f"images of {rows}x{columns} cannot be halved {halvings} times.",
            hint="give fewer channels, one for each halving",
        )
    return (rows // scale) * (columns // scale)
