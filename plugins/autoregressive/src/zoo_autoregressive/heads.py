"""Output heads: from the features of an autoregressive network to probabilities of K levels.

A bit takes one feature l with p(x = 1) = sigmoid(l); K > 2 levels take K features. Values enter
networks on an ordinal scale.

If features do not depend on their own pixel, use `CategoricalHead` or `LogisticMixtureHead`, in
which channel c also sees the channels before c. `ChannelGroupHead` is for features that are split
into channel groups, each of which depends on the channels of its pixel up to its own.

Shapes: B batch, C channels, H rows, W columns, U units, K levels.
"""

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_autoregressive.incremental_decoding import PixelConv
from zoo_autoregressive.layers import ChannelMaskedConv, channel_groups
from zoo_core.plugin import rescale_levels
from zoo_kernels import mixture_logistics
from zoo_kernels.mixture_logistics.reference import log_mass

__all__ = [
    "ALL",
    "COPY",
    "CategoricalHead",
    "ChannelGroupHead",
    "Head",
    "LogisticMixtureHead",
    "categorical_log_prob",
    "features_per_value",
    "split_channels",
    "to_logits",
]

ALL = slice(None)
"""Every row, column or channel."""
COPY = "copy_mixture"
"""The `head` of a config whose head copies."""


class Head(Protocol):
    """Conditionals of pixels from features (B, U, H, W) and the image x (B, C, H, W).

    Channel c of a pixel may depend on the channels of x before c at that pixel.
    """

    def logits(
        self, s: Tensor, x: Tensor, rows: slice = ALL, columns: slice = ALL, channels: slice = ALL
    ) -> Tensor:
        """(B, C, h, w, K), unnormalized: `channels` at the positions of s (B, U, h, w)."""
        ...

    def log_prob(self, s: Tensor, x: Tensor) -> Tensor:
        """log p(x) in nats, (B,)."""
        ...


class CategoricalHead(nn.Module):
    """y = W_1 relu(s) + W_2 x_<c,  f = V relu(y): a categorical of K levels, or a bit."""

    def __init__(self, features: int, hidden: int, channels: int, levels: int) -> None:
        super().__init__()
        C, self.levels = channels, levels
        g, per_value = channel_groups(hidden, C), features_per_value(levels)
        self.first = PixelConv(features, hidden)
        self.here = ChannelMaskedConv(torch.arange(C), g, strict=True) if C > 1 else None
        self.last = ChannelMaskedConv(g, torch.arange(C).repeat_interleave(per_value))

    def logits(
        self, s: Tensor, x: Tensor, rows: slice = ALL, columns: slice = ALL, channels: slice = ALL
    ) -> Tensor:
        x = x[:, :, rows, columns]
        y = self.first(F.relu(s))
        if self.here is not None:
            y = y + self.here(rescale_levels(x, self.levels, y.dtype))
        return split_channels(self.last(F.relu(y)), x.shape[1], self.levels)[:, channels]

    def log_prob(self, s: Tensor, x: Tensor) -> Tensor:
        return categorical_log_prob(self.logits(s, x), x)


class ChannelGroupHead(nn.Module):
    """f = V relu(W relu(s)) by channel groups: a categorical of K levels, or a bit."""

    def __init__(self, features: int, hidden: int, channels: int, levels: int) -> None:
        super().__init__()
        C, self.levels = channels, levels
        g, per_value = channel_groups(hidden, C), features_per_value(levels)
        self.first = ChannelMaskedConv(channel_groups(features, C), g)
        self.last = ChannelMaskedConv(g, torch.arange(C).repeat_interleave(per_value))

    def logits(
        self, s: Tensor, x: Tensor, rows: slice = ALL, columns: slice = ALL, channels: slice = ALL
    ) -> Tensor:
        x = x[:, :, rows, columns]
        f = self.last(F.relu(self.first(F.relu(s))))
        return split_channels(f, x.shape[1], self.levels)[:, channels]

    def log_prob(self, s: Tensor, x: Tensor) -> Tensor:
        return categorical_log_prob(self.logits(s, x), x)


class LogisticMixtureHead(nn.Module):
    """M logistics over K levels v = -1..1, each level with the mass of its bin (PixelCNN++).

    Component m gives channel i the logistic of mean mu_im + sum_{j<i} tanh(c_ijm) v_j. Given the
    earlier channels, components are reweighted by how well they fit those:

        p(v_i | v_<i) = sum_m w_im mass_im(v_i),   w_im ~ pi_m prod_{j<i} mass_jm(v_j)
    """

    def __init__(self, features: int, mixtures: int, channels: int, levels: int) -> None:
        super().__init__()
        self.mixtures, self.levels = mixtures, levels
        self.last = PixelConv(features, mixtures * (3 if channels == 1 else 10))

    def log_prob(self, s: Tensor, x: Tensor) -> Tensor:
        return mixture_logistics.log_prob(x, self.last(F.elu(s)), levels=self.levels)

    def logits(
        self, s: Tensor, x: Tensor, rows: slice = ALL, columns: slice = ALL, channels: slice = ALL
    ) -> Tensor:
        x = x[:, :, rows, columns]
        f, M, C = self.last(F.elu(s))[..., None], self.mixtures, x.shape[1]
        v = rescale_levels(x, self.levels, f.dtype)[..., None]  # (B, C, H, W, 1)
        every = torch.arange(self.levels, device=x.device)
        every = rescale_levels(every, self.levels, f.dtype)
        rest = f[:, M:].reshape(len(f), C, -1, M, *f.shape[2:])
        log_weights, logits = f[:, :M].log_softmax(1), []  # (B, M, H, W, 1)
        for i in range(range(C)[channels].stop):
            mean, log_scale = rest[:, i, 0], rest[:, i, 1]
            for j in range(i):  # coefficients in the kernel's order: 0 on 1, 0 on 2, 1 on 2
                mean = mean + rest[:, i * (i - 1) // 2 + j, 2].tanh() * v[:, j, None]
            if i in range(C)[channels]:
                masses = log_mass(every, mean, log_scale, self.levels)  # (B, M, H, W, K)
                logits.append((log_weights + masses).logsumexp(1) - log_weights.logsumexp(1))
            log_weights = log_weights + log_mass(v[:, i, None], mean, log_scale, self.levels)
        return torch.stack(logits, 1)


def features_per_value(levels: int) -> int:
    """The number of head outputs per value: 1 for a bit, else K."""
    return 1 if levels == 2 else levels


def to_logits(features: Tensor, levels: int) -> Tensor:
    """Head outputs (..., 1) or (..., K) as logits (..., K); those of a bit are (0, l)."""
    return F.pad(features, (1, 0)) if levels == 2 else features


def categorical_log_prob(logits: Tensor, x: Tensor) -> Tensor:
    """log p(x) = sum_i log softmax(logits_i)[x_i], (B, C, H, W, K) and (B, C, H, W) -> (B,).

    At least in float32: a sum over an image would lose all its digits in bfloat16.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    log_p = logits.log_softmax(-1).gather(-1, x.long().unsqueeze(-1))
    return log_p.flatten(1).sum(1)


def split_channels(f: Tensor, channels: int, levels: int) -> Tensor:
    """Head outputs (B, C F, H, W) as logits (B, C, H, W, K)."""
    f = f.reshape(len(f), channels, -1, *f.shape[2:])
    return to_logits(f.movedim(2, -1), levels)
