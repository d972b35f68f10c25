"""MADE: masked autoencoder for distribution estimation (Germain et al., 2015).

https://arxiv.org/abs/1502.03509. One masked network gives all conditionals in one pass:

    h_1 = relu(b_1 + (W_1 * M_1) v),          M_1[k, d] = 1[m(k) >= d]                   (eq. 8)
    h_l = relu(b_l + (W_l * M_l) h_{l-1}),    M_l[k, k'] = 1[m(k) >= m(k')]             (eq. 12)
    f_d = c_d + (V * M_V) h_L + (A * M_A) v,  M_V[d, k] = 1[d > m(k)]                    (eq. 9)
    log p(x) = sum_d log softmax(f_d)[x_d]

v holds the values x_1..x_D in the model's order on a scale from -1 to 1: row by row, channel by
channel, or in a random order that a seed fixes (section 4.2). A are direct connections with mask
M_A[d, d'] = 1[d > d']. The degrees m(k) in 1..D-1 are not random: they rise evenly over the units
of a layer. The units that see only the first i values are then a prefix of every layer, and
sampling computes each unit once, when the last value it sees is drawn: a sample costs one forward
pass. With `residual`, hidden layers have skip connections (Nash & Durkan, 2019, ResMADE). A class
c adds U_l e_c to every pre-activation.

Shapes: B batch, D = C H W positions, U units, K levels, F features per value (1 if K = 2).
"""

from dataclasses import dataclass
from typing import Annotated, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_autoregressive.events import integer_event
from zoo_autoregressive.heads import categorical_log_prob, features_per_value, to_logits
from zoo_core.plugin import (
    ClassCounts,
    Condition,
    GenerativeModel,
    MaskedLinear,
    Range,
    class_features,
    condition_features,
    dropout,
    permutation,
    rescale_levels,
)

__all__ = ["MADE", "MADEConfig"]


@dataclass(frozen=True)
class MADEConfig:
    """Event, width and depth. `classes` makes the model class-conditional.

    `order_seed` fixes the order where it is random.
    """

    shape: Annotated[tuple[int, ...], Range(1, 4096)] = (1, 28, 28)
    """Of events: [C, H, W] for images, [D] for vectors and sequences."""
    levels: Annotated[int, Range(2, 65536)] = 2
    classes: ClassCounts = None
    hidden: Annotated[int, Range(1, 65536)] = 500
    layers: Annotated[int, Range(1, 64)] = 2
    order: Literal["raster", "random"] = "raster"
    order_seed: Annotated[int, Range(0, (1 << 63) - 1)] = 0
    direct: bool = True
    residual: bool = False
    dropout: Annotated[float, Range(0.0, 0.99)] = 0.0
    tokens: bool = False
    """Whether events (L,) are tokens of a vocabulary of `levels`, scored in nats per token."""


@dataclass
class MADECache:
    """The values and units of B partly drawn events; `shift` is the class term of each layer."""

    v: Tensor  # (B, D), filled up to the current position
    h: list[Tensor]  # L x (B, U), filled up to the units that see known values only
    shift: list[Tensor]  # (L + 1) x (B, U or D F), or one row of zeros


class MADE(GenerativeModel):
    """A masked MLP: `logits` evaluates all units, `decode_step` those that one value completes."""

    positions: Tensor

    def __init__(self, config: MADEConfig | None = None) -> None:
        c = config or MADEConfig()
        event = integer_event(c.shape, c.levels, tokens=c.tokens)
        super().__init__(c, event, Condition.from_classes(c.classes))
        D, per_value = self.event.dims, features_per_value(c.levels)
        d = torch.arange(1, D + 1)
        m = 1 + torch.arange(c.hidden) * (D - 1) // c.hidden  # degrees of the units of a layer
        inputs = [d] + [m] * (c.layers - 1)
        self.hidden = nn.ModuleList(MaskedLinear(g_in, m) for g_in in inputs)
        self.head = MaskedLinear(m, d, strict=True, copies=per_value)
        self.direct = MaskedLinear(d, d, strict=True, copies=per_value) if c.direct else None
        widths = [c.hidden] * c.layers + [D * per_value]
        self.classes = nn.ModuleList(
            nn.Linear(class_features(c.classes), n, bias=False) for n in widths if c.classes
        )
        positions = self._draw_order()
        self.register_buffer("positions", positions, persistent=False)
        self._order: list[int] = positions.tolist()
        self._prefix = torch.searchsorted(m, torch.arange(D), right=True).tolist()

    def logits(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """All conditionals in one pass, (B, *S) -> (B, *S, K)."""
        v = self._encode(x.flatten(1)[:, self.positions])
        *shifts, shift = self._shifts(cond)
        h = v
        for l, layer in enumerate(self._layers()):
            h = self._add(l, h, F.relu(layer(h) + shifts[l]))
        f = self.head(h) + shift
        if self.direct is not None:
            f = f + self.direct(v)
        f = f.view(len(x), self.event.dims, -1)[:, self.positions.argsort()]
        return to_logits(f.view(*x.shape, -1), self.config.levels)

    def log_prob(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """log p(x | cond) in nats, (B, *S) -> (B,)."""
        return categorical_log_prob(self.logits(x, cond), x)

    def order(self) -> Tensor:
        """Channel by channel in raster order, or the random order, int64 (D,)."""
        return torch.tensor(self._order)

    def init_cache(self, batch: int, cond: Tensor | None = None) -> MADECache:
        """The cache before the first value of each event is drawn."""
        empty = self.head.weight.new_zeros
        h = [empty(batch, self.config.hidden) for _ in self._layers()]
        return MADECache(empty(batch, self.event.dims), h, self._shifts(cond))

    def decode_step(self, x: Tensor, i: int, cache: MADECache) -> tuple[Tensor, MADECache]:
        """Logits (B, K) of value `order()[i]`, given the earlier ones in x (B, *S)."""
        if i > 0:
            cache.v[:, i - 1] = self._encode(x.flatten(1)[:, self._order[i - 1]])
            self._grow(i, cache)
        n = features_per_value(self.config.levels)
        rows = slice(i * n, (i + 1) * n)
        f = self.head.part(cache.h[-1][:, : self._prefix[i]], rows) + cache.shift[-1][:, rows]
        if self.direct is not None:
            f = f + self.direct.part(cache.v[:, :i], rows)
        return to_logits(f, self.config.levels), cache

    def _grow(self, i: int, cache: MADECache) -> None:
        """Compute the units of degree i: they see v_1..v_i and the units of degree <= i."""
        new = slice(self._prefix[i - 1], self._prefix[i])
        seen = cache.v[:, :i]
        for l, layer in enumerate(self._layers()):
            y = F.relu(layer.part(seen, new) + cache.shift[l][:, new])
            cache.h[l][:, new] = self._add(l, cache.h[l - 1][:, new], y)
            seen = cache.h[l][:, : new.stop]

    def _add(self, l: int, h: Tensor, y: Tensor) -> Tensor:
        """The output of layer l: y, or h + y from the second residual layer on."""
        y = dropout(y, self.config.dropout, self.training)
        return h + y if self.config.residual and l > 0 else y

    def _draw_order(self) -> Tensor:
        """Flat positions in the order in which they are drawn, int64 (D,)."""
        c, D = self.config, self.event.dims
        if c.order == "raster":
            return torch.arange(D)
        return permutation(c.order_seed, D, stream="made order")

    def _layers(self) -> list[MaskedLinear]:
        return cast("list[MaskedLinear]", list(self.hidden))

    def _encode(self, x: Tensor) -> Tensor:
        return rescale_levels(x, self.config.levels, self.dtype)

    def _shifts(self, cond: Tensor | None) -> list[Tensor]:
        """U_l e_c for every layer and the head, (B, U) and (B, D F); zeros without classes."""
        e = condition_features(self.condition, cond, self.dtype)
        if e is None:
            layers = [*self._layers(), self.head]
            return [self.head.weight.new_zeros(1, layer.out_features) for layer in layers]
        return [U(e) for U in self.classes]
