"""A head that copies: each pixel is one of a few candidates, or a mixture of logistics.

    p(x) = sum_k w_k [x = c_k] + w_0 sum_m pi_m prod_i mass_im(x_i | x_<i)

A pixel of a drawing equals one that is known before it far more often than chance, and no mixture
of densities can say so. The candidates c_k are those of `nearby_pixels.py`; one that is not known
yet has weight 0.

The logistics are discretized as in PixelCNN++ (Salimans et al., 2017,
https://arxiv.org/abs/1701.05517, eq. 2). Their means are relative to a base that is computed from
the candidates. With v in [-1, 1], the channels j < i that are known already, and a, b and c from
the network,

    mean_i = base_i + 4 scale_i a_i + sum_{j<i} c_ij (v_j - base_j),   log s_i = log scale_i + b_i

A base is one of five predictors (W, N, W + N - NW, the mirrored pixel, (N + NE) / 2), with scale
e^-2; a blend of two candidates A and B, as the pixels on an edge are when a drawing is scaled
down; or 0. With D = B - A, the known channels tell how much of B is in a blend:

    t_i = (sum_{j<i} (v_j - A_j) D_j + e / 2) / (sum_{j<i} D_j^2 + e),   base_i = A_i + t_i D_i

Sampling takes the channels in turn. Given the earlier ones, a component counts by how well it fits
them, w_ik ~ w_k prod_{j<i} p_k(x_j), so that the product of the conditionals is p(x).

Shapes: B batch, C channels, H rows, W columns, U units, K levels, N candidates, M mixtures; (h, w)
are the positions that are looked at.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_autoregressive import nearby_pixels as at
from zoo_autoregressive.heads import ALL
from zoo_autoregressive.incremental_decoding import PixelConv
from zoo_autoregressive.nearby_pixels import CANDIDATES, Candidates, NearbyPixels
from zoo_core.plugin import rescale_levels
from zoo_kernels.mixture_logistics.reference import log_mass

__all__ = ["CopyMixtureHead"]

_BLENDS = (
    (at.W, at.NE),
    (at.W, at.N),
    (at.W, at.COLOUR),
    (at.N, at.COLOUR),
    (at.NW, at.NE),
    (at.W, at.NEE),
)
"""On a quarter of the pixels of emoji that are no copies the first pair fits to a level."""
_PREDICTORS = 5
_LOG_SCALE = -2.0
"""Of a logistic around a predictor, before training."""
_EPSILON = 2.5e-4
"""e, the square of two of 256 levels."""
_LEAST_SCALE = 0.002
"""A quarter of a level, since blends are rounded."""


class CopyMixtureHead(nn.Module):
    """Weights of candidates and logistics from features s and the candidates themselves.

    f = V gelu(W_1 s + W_2 seen), 2 U hidden units
    """

    def __init__(
        self,
        features: int,
        shape: tuple[int, int, int],
        levels: int,
        mixtures: int = 12,
    ) -> None:
        super().__init__()
        C, hidden = shape[0], 2 * features
        self.mixtures, self.levels, self.channels = mixtures, levels, C
        self.near = NearbyPixels(shape, levels)
        self.first = PixelConv(features, hidden)
        self.seen = PixelConv(self.near.inputs, hidden, bias=False)
        each = 1 + 2 * C + C * (C - 1) // 2
        self.last = PixelConv(hidden, CANDIDATES + 1 + mixtures * each)

    def log_prob(self, s: Tensor, x: Tensor, near: Candidates | None = None) -> Tensor:
        """log p(x) in nats, (B,), from features (B, U, H, W) and images x (B, C, H, W)."""
        near = near or self.near(x, s.dtype)
        copies, fresh, parameters = self._weigh(s, near)
        v = rescale_levels(x, self.levels, fresh.dtype)
        mean, log_scale = _logistics(parameters, near.values.to(fresh.dtype), v)
        masses = log_mass(v[:, :, None], mean, log_scale, self.levels).sum(1)  # (B, M, H, W)
        equal = (near.levels == x.long()[:, :, None]).all(1)
        copied = copies.masked_fill(~equal, -torch.inf)
        return torch.cat((copied, fresh + masses), 1).logsumexp(1).flatten(1).sum(1)

    def logits(
        self,
        s: Tensor,
        x: Tensor,
        rows: slice = ALL,
        columns: slice = ALL,
        channels: slice = ALL,
    ) -> Tensor:
        """log p(x_i | x_<i), (B, C, h, w, K), at the positions of the features (B, U, h, w)."""
        near = self.near(x, s.dtype, rows, columns)
        copies, fresh, parameters = self._weigh(s, near)
        here = x[:, :, rows, columns]
        v = rescale_levels(here, self.levels, fresh.dtype)
        mean, log_scale = _logistics(parameters, near.values.to(fresh.dtype), v)
        found = []
        for i in range(self.channels)[channels]:
            equal = (near.levels[:, :i] == here.long()[:, :i, None]).all(1)
            copied = copies.masked_fill(~equal, -torch.inf)
            masses = log_mass(v[:, :i, None], mean[:, :i], log_scale[:, :i], self.levels).sum(1)
            weights = torch.cat((copied, fresh + masses), 1).log_softmax(1)
            copied, drawn = weights.split((CANDIDATES, self.mixtures), 1)
            copies_i = _spread(copied, near.levels[:, i], self.levels)
            found.append(copies_i.logaddexp(self._drawn(drawn, mean[:, i], log_scale[:, i])))
        return torch.stack(found, 1)

    def _drawn(self, log_weights: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
        """log mass of every level under the logistics, (B, M, h, w) -> (B, h, w, K)."""
        v = torch.arange(self.levels, device=mean.device)
        v = rescale_levels(v, self.levels, mean.dtype)
        masses = log_mass(v, mean[..., None], log_scale[..., None], self.levels)
        return (log_weights[..., None] + masses).logsumexp(1)

    def _weigh(self, s: Tensor, near: Candidates) -> tuple[Tensor, Tensor, Tensor]:
        """log w_k (B, N, h, w), log w_0 pi_m (B, M, h, w), and parameters (B, P, M, h, w)."""
        f = self.last(F.gelu(self.first(s) + self.seen(near.seen)))
        f = f.to(torch.promote_types(f.dtype, torch.float32))
        weights, logistics = f[:, : CANDIDATES + 1], f[:, CANDIDATES + 1 :]
        known = F.pad(near.known, (0, 0, 0, 0, 0, 1), value=True)
        weights = weights.masked_fill(~known, -torch.inf).log_softmax(1)
        pi, parameters = logistics.unflatten(1, (-1, self.mixtures)).tensor_split((1,), 1)
        fresh = weights[:, -1:] + pi[:, 0].log_softmax(1)
        return weights[:, :-1], fresh, parameters


def _spread(log_weights: Tensor, levels: Tensor, K: int) -> Tensor:
    """log mass of every level under the candidates, (B, N, h, w) -> (B, h, w, K)."""
    log_weights, levels = log_weights.movedim(1, -1), levels.movedim(1, -1)
    top = log_weights.amax(-1, keepdim=True).clamp(min=-1e30)  # where none is left, not -inf
    mass = log_weights.new_zeros(*levels.shape[:-1], K)
    mass = mass.scatter_add(-1, levels, (log_weights - top).exp())
    found = torch.where(mass > 0, mass, 1.0).log() + top  # log 0 has no gradient
    return torch.where(mass > 0, found, -torch.inf)


def _logistics(f: Tensor, values: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Means and log scales (B, C, M, h, w); those of channel i use the channels before i alone.

    f (B, P, M, h, w) is what the network gives, the candidates' values are (B, C, N, h, w), and
    the pixels' v (B, C, h, w).
    """
    C, M = v.shape[1], f.shape[2]
    a, b, coefficients = f[:, :C], f[:, C : 2 * C], list(f[:, 2 * C :].unbind(1))
    base, log_scale = _bases(values, v, M)
    mean = base + 4 * log_scale.exp() * a
    off = v[:, :, None] - base
    moved = [mean[:, i] + sum(coefficients.pop(0) * off[:, j] for j in range(i)) for i in range(C)]
    return torch.stack(moved, 1), log_scale + b


def _bases(values: Tensor, v: Tensor, M: int) -> tuple[Tensor, Tensor]:
    """base and log scale (B, C, M, h, w): predictors, then blends, then zeros for the rest."""
    near = values.unbind(2)
    plane = (near[at.W] + near[at.N] - near[at.NW]).clamp(-1, 1)
    between = (near[at.N] + near[at.NE]) / 2
    pairs = _BLENDS[: max(M - _PREDICTORS, 0)]
    fixed = [near[at.W], near[at.N], plane, near[at.MIRROR], between][:M]
    fixed += [torch.zeros_like(plane)] * (M - len(fixed) - len(pairs))
    base = torch.stack(fixed, 2)
    log_scale = torch.full_like(base, _LOG_SCALE)
    if not pairs:
        return base, log_scale
    first, second = (list(side) for side in zip(*pairs, strict=True))
    blends = _blend(values[:, :, first], values[:, :, second], v[:, :, None])
    return torch.cat((base, blends[0]), 2), torch.cat((log_scale, blends[1]), 2)


def _blend(A: Tensor, B: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """base and log scale of blends of A and B, (B, C, ., h, w), given the channels before."""
    D = B - A
    known = _before(D * D) + _EPSILON
    t = (_before((v - A) * D) + _EPSILON / 2) / known
    spread = D.abs() * (_EPSILON / known).sqrt() / 4
    return A + t * D, (spread + _LEAST_SCALE).log()


def _before(x: Tensor) -> Tensor:
    """The sum over the channels before each."""
    return F.pad(x[:, :-1].cumsum(1), (0, 0) * (x.dim() - 2) + (1, 0))
