"""Gated PixelCNN: two stacks of gated masked convolutions (van den Oord et al., 2016).

https://arxiv.org/abs/1606.05328. A vertical stack sees all rows above, a horizontal stack the
pixels to the left, and each layer ends in the gate of eq. 2, conditioned as in eq. 4:

    y = tanh(W_f * x + V_f h) . sigmoid(W_g * x + V_g h)

Layer (Fig. 2):  n = v_Nx1(v_1xN(v)) over the rows strictly above
                 v' = gate(n + v_1x1(v))
                 g = gate(link(n) + h_1xN(h));   h' = h + res(g);   skips += skip(g)

The first layer is of type A (k x k, strictly earlier pixels, no residual), the others of type B
(3 x 3). Channels of one pixel are ordered by splitting the horizontal features into C groups,
group c seeing groups up to c (before c at the input).

Shapes: B batch, C channels, R rows, W columns, U units, K levels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_autoregressive.heads import categorical_log_prob, features_per_value, to_logits

__all__ = ["Config", "GatedPixelCNN"]


@dataclass(frozen=True)
class Config:
    shape: tuple[int, int, int] = (1, 28, 28)
    levels: int = 2
    classes: int = 0
    hidden: int = 64
    layers: int = 9
    kernel: int = 7
    head: int = 32
    dropout: float = 0.0
    coordinates: bool = False
    inputs: str = "ordinal"
    drop_where: str = "both"
    zero: float = -1.0


def gate(y: Tensor) -> Tensor:
    f, g = y.chunk(2, 1)
    return f.tanh() * g.sigmoid()


class Layer(nn.Module):
    def __init__(self, inputs, hidden, kernel, causal, dropout, where):
        super().__init__()
        self.n = n = kernel // 2 + 1
        self.kernel, self.causal = kernel, causal
        self.v_1xN = nn.Conv2d(inputs, hidden, (1, kernel))
        self.v_Nx1 = nn.Conv2d(hidden, 2 * hidden, (n, 1))
        self.v_1x1 = nn.Conv2d(inputs, 2 * hidden, 1)
        self.link = nn.Conv2d(2 * hidden, 2 * hidden, 1)
        self.h_1xN = nn.Conv2d(inputs, 2 * hidden, (1, n))
        self.h_out = nn.Conv2d(hidden, 2 * hidden, 1)
        self.drop = nn.Dropout(dropout)
        self.where = where

    def forward(self, v, h):
        R, W = v.shape[-2:]
        p = self.kernel // 2
        a = self.v_1xN(F.pad(v, (p, p, 0, 0)))
        n = self.v_Nx1(F.pad(a, (0, 0, self.n, 0))[:, :, :R - 1 + self.n])
        vn = gate(n + self.v_1x1(v))
        left = F.pad(h, (self.n, 0))[..., :-1] if self.causal else F.pad(h, (p, 0))
        g = gate(self.link(n) + self.h_1xN(left))
        if self.where in ("both", "v"): vn = self.drop(vn)
        if self.where in ("both", "h"): g = self.drop(g)
        r, s = self.h_out(g).chunk(2, 1)
        return vn, (r if self.causal else h + r), s


class GatedPixelCNN(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = c = config
        cin = {"ordinal": 1, "onehot": c.levels, "thermo": c.levels - 1}[c.inputs] + (2 if c.coordinates else 0)
        self.first = Layer(cin, c.hidden, c.kernel, True, c.dropout, c.drop_where)
        self.rest = nn.ModuleList(Layer(c.hidden, c.hidden, 3, False, c.dropout, c.drop_where) for _ in range(c.layers - 1))
        F_ = features_per_value(c.levels)
        self.head = nn.Sequential(nn.ReLU(), nn.Conv2d(c.hidden, c.head, 1), nn.ReLU(), nn.Conv2d(c.head, F_, 1))

    def encode(self, x):
        c = self.config
        if c.inputs == "ordinal":
            v = x * ((1 - c.zero) / (c.levels - 1)) + c.zero
        elif c.inputs == "onehot":
            v = F.one_hot(x[:, 0].long(), c.levels).float().movedim(-1, 1)
        else:
            v = (x >= torch.arange(1, c.levels).view(1, -1, 1, 1)).float()
        if c.coordinates:
            R, W = x.shape[-2:]
            r = torch.linspace(-1, 1, R).view(1, 1, R, 1).expand(len(x), 1, R, W)
            w = torch.linspace(-1, 1, W).view(1, 1, 1, W).expand(len(x), 1, R, W)
            v = torch.cat([v, r, w], 1)
        return v

    def logits(self, x, cond=None):
        v = self.encode(x)
        v, h, skips = self.first(v, v)
        for l in self.rest:
            v, h, s = l(v, h)
            skips = skips + s
        f = self.head(skips)
        return to_logits(f.unsqueeze(1).movedim(2, -1), self.config.levels)

    def log_prob(self, x, cond=None):
        return categorical_log_prob(self.logits(x, cond), x)
