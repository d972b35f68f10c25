"""MADE: masked autoencoder for distribution estimation (Germain et al., 2015).

https://arxiv.org/abs/1502.03509. One masked network gives every conditional at once:

    h^1 = act(b^1 + (W^1 * M^1) v(x)),        M^1_kd = 1[m(k) >= d]        (eqs. 8, 12)
    h^l = h^{l-1} + act(b^l + (W^l * M^l) h^{l-1}),  M^l_kk' = 1[m(k) >= m(k')]      (13)
    log p(x) = sum_d log softmax(b_d + (V_d * M_d) h^L + (A_d * M'_d) v(x))[x_d]

with degrees m(k) in 1..D-1, spread evenly and in rising order over the units instead of drawn,
so that what depends on the first i values alone is a prefix of every layer: sampling computes
each unit once, and a whole sample costs one forward pass. Hidden layers share their degrees and
are residual from the second on. v(x) encodes each value by E features.

Shapes: B batch, D = C H W positions in raster order, U units, K levels, E input features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_autoregressive.heads import categorical_log_prob, features_per_value, to_logits

__all__ = ["MADE", "Config"]


@dataclass(frozen=True)
class Config:
    shape: tuple[int, int, int] = (1, 28, 28)
    levels: int = 2
    classes: int = 0
    hidden: int = 500
    layers: int = 2
    dropout: float = 0.0
    inputs: str = "ordinal"
    direct: bool = True
    residual: bool = True


class MaskedLinear(nn.Linear):
    """y = b + (W * M) x with a fixed 0/1 mask M (out, in)."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask.to(self.weight.dtype), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.mask, self.bias)


class MADE(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = c = config
        D = c.shape[0] * c.shape[1] * c.shape[2]
        self.D = D
        K = features_per_value(c.levels)
        self.E = {"ordinal": 1, "onehot": c.levels, "both": c.levels + 1, "thermo": c.levels - 1}[c.inputs]
        degree_in = torch.arange(1, D + 1).repeat_interleave(self.E)
        degree = 1 + torch.arange(c.hidden) * (D - 1) // c.hidden
        degree_out = torch.arange(1, D + 1).repeat_interleave(K)
        self.first = MaskedLinear(degree[:, None] >= degree_in)
        self.blocks = nn.ModuleList(
            MaskedLinear(degree[:, None] >= degree) for _ in range(c.layers - 1)
        )
        self.head = MaskedLinear(degree_out[:, None] > degree)
        self.direct = MaskedLinear(degree_out[:, None] > degree_in) if c.direct else None
        self.drop = nn.Dropout(c.dropout)

    def encode(self, x):
        c = self.config
        x = x.flatten(1)
        s = (2.0 * x / (c.levels - 1) - 1).unsqueeze(-1)
        if c.inputs == "ordinal":
            return s.flatten(1)
        if c.inputs == "thermo":
            t = torch.arange(1, c.levels)
            return (x.unsqueeze(-1) >= t).float().flatten(1)
        o = F.one_hot(x.long(), c.levels).float()
        if c.inputs == "both":
            o = torch.cat([s, o], -1)
        return o.flatten(1)

    def logits(self, x, cond=None):
        v = self.encode(x)
        h = self.drop(F.relu(self.first(v)))
        for b in self.blocks:
            y = self.drop(F.relu(b(h)))
            h = h + y if self.config.residual else y
        f = self.head(h)
        if self.direct is not None:
            f = f + self.direct(v)
        f = f.unflatten(1, (*self.config.shape, -1))
        return to_logits(f, self.config.levels)

    def log_prob(self, x, cond=None):
        return categorical_log_prob(self.logits(x, cond), x)
