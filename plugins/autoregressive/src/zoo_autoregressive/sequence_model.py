"""The base of autoregressive models over a network of the signature `sequence`.

The pixels of an event follow one another in a fixed order. The network reads a start token and
the pixels so far, each the sum of one embedding for each channel, and its output at a pixel is
what the head turns into the conditionals of that pixel's channels:

    s_n = network([start, x_1, .., x_{n-1}])_n,    p(x_n | x_<n) = head(s_n)

A vector or a sequence (D,) is one row of D pixels. Scoring calls the network once, sampling once
a pixel with its cache.

Shapes: B batch, C channels, H rows, W columns, P = H W pixels, K levels, F outputs.
"""

from abc import ABC
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zoo_autoregressive.events import pixel_shape
from zoo_autoregressive.heads import Head, categorical_log_prob, split_channels
from zoo_core.plugin import Condition, Event, GenerativeModel, build_network

__all__ = ["DirectHead", "SequenceCache", "SequenceModel"]


class DirectHead(nn.Module):
    """One channel, whose logits are the network's outputs: K of them, or 1 of a bit."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels

    def logits(self, s: Tensor, x: Tensor) -> Tensor:
        return split_channels(s, 1, self.levels)

    def log_prob(self, s: Tensor, x: Tensor) -> Tensor:
        return categorical_log_prob(self.logits(s, x), x)


@dataclass
class SequenceCache:
    """The network's cache, and its output (B, F, 1, 1) at the current pixel."""

    network: Any
    features: Tensor | None = None


class SequenceModel(GenerativeModel, ABC):
    """Subclasses are final and pass their head, with the number of outputs that it takes.

    `pixels` (P,) are the pixels in the order of generation, by default in raster order.
    """

    head: Head
    pixels: Tensor
    ids: Tensor

    def __init__(
        self,
        config: Any,
        event: Event,
        condition: Condition,
        head: Head,
        outputs: int,
        pixels: Tensor | None = None,
    ) -> None:
        super().__init__(config, event, condition)
        C, H, W = self._shape = pixel_shape(event.shape)
        K = event.levels or 0
        pixels = torch.arange(H * W) if pixels is None else pixels
        self._start = C * K
        """The row of the embedding of the start token; value v of channel c has row c K + v."""
        self.register_buffer("pixels", pixels, persistent=False)
        self.register_buffer("ids", torch.arange(C) * K, persistent=False)
        self._pixels: list[int] = pixels.tolist()
        self.network = build_network(
            config.network,
            "sequence",
            vocabulary=C * K + 1,
            length=H * W,
            outputs=outputs,
            condition=condition,
            places=torch.stack((pixels // W, pixels % W), 1) if len(event.shape) == 3 else None,
        )
        self.head = head

    def features(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """The network's outputs at each pixel, (B, C, H, W) -> (B, F, H, W)."""
        C, H, W = self._shape
        tokens = self._tokens(x.reshape(len(x), C, -1)[:, :, self.pixels])
        s = self.network(torch.cat((self._first(len(x)), tokens[:, :-1]), 1), cond)
        return s[:, self.pixels.argsort()].transpose(1, 2).unflatten(2, (H, W))

    def logits(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """All conditionals in one pass, (B, *S) -> (B, *S, K)."""
        image = x.view(-1, *self._shape)
        return self.head.logits(self.features(image, cond), image).view(*x.shape, -1)

    def log_prob(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """log p(x | cond) in nats, (B, *S) -> (B,)."""
        image = x.view(-1, *self._shape)
        return self.head.log_prob(self.features(image, cond), image)

    def order(self) -> Tensor:
        """Pixel by pixel, the channels of a pixel in turn, int64 (D,)."""
        C, H, W = self._shape
        return (self.pixels.cpu()[:, None] + torch.arange(C) * H * W).flatten()

    def init_cache(self, batch: int, cond: Tensor | None = None) -> SequenceCache:
        """The cache before the first value of each event is drawn; it holds the condition."""
        return SequenceCache(self.network.init_cache(batch, cond))

    def decode_step(
        self, x: Tensor, i: int, cache: SequenceCache
    ) -> tuple[Tensor, SequenceCache]:
        """Logits (B, K) of value `order()[i]`, given the earlier ones in x (B, *S)."""
        C, H, W = self._shape
        n, channel = divmod(i, C)
        values = x.reshape(len(x), C, H * W)
        if channel == 0:
            last = self._first(len(x)) if n == 0 else self._tokens(values[:, :, self._at(n - 1)])
            cache.features = self.network(last, cache=cache.network).transpose(1, 2)[..., None]
        assert cache.features is not None
        here = values[:, :, self._at(n)].unsqueeze(2)  # (B, C, 1, 1)
        return self.head.logits(cache.features, here)[:, channel, 0, 0], cache

    def _at(self, n: int) -> slice:
        """The pixel that is drawn as number n."""
        return slice(self._pixels[n], self._pixels[n] + 1)

    def _tokens(self, values: Tensor) -> Tensor:
        """Rows of the embedding (B, T), or (B, T, C), of pixels (B, C, T)."""
        C = self._shape[0]
        return values[:, 0] if C == 1 else values.transpose(1, 2) + self.ids

    def _first(self, batch: int) -> Tensor:
        """The start token of every channel, (B, 1) or (B, 1, C)."""
        C = self._shape[0]
        shape = (batch, 1) if C == 1 else (batch, 1, C)
        return self.pixels.new_full(shape, self._start)
