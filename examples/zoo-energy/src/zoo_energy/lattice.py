r"""An Ising-like energy of binary images: a coupling per pair of neighbours, a field per site.

    E(x) = - \sum_<ij> J_ij s_i s_j - \sum_i h_i s_i,  s = 2 x - 1

The Ising model has equal J. In a checkerboard coloring all neighbours of a black site are white,
so Gibbs sampling updates half of the sites at once. Shapes: B batch, L x L sites. Energies are in
nats.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_core.plugin import Bernoulli, Event, GenerativeModel, Range, Rng

__all__ = ["EnergyLattice", "EnergyLatticeConfig"]


@dataclass(frozen=True)
class EnergyLatticeConfig:
    """Images of `size` x `size` sites."""

    size: Annotated[int, Range(2, 64)] = 4


class EnergyLattice(GenerativeModel):
    """Unnormalized probability of binary images, with checkerboard Gibbs sampling."""

    black: Tensor

    def __init__(self, config: EnergyLatticeConfig | None = None) -> None:
        config = config or EnergyLatticeConfig()
        n = config.size
        super().__init__(config, Event((1, n, n), levels=2))
        self.across = nn.Parameter(torch.zeros(n, n - 1))
        self.down = nn.Parameter(torch.zeros(n - 1, n))
        self.h = nn.Parameter(torch.zeros(n, n))
        rows = torch.arange(n)
        black = (rows[:, None] + rows) % 2 == 0
        self.register_buffer("black", black, persistent=False)

    def energy(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """E(x), (B, 1, L, L) -> (B,)."""
        s = self._spins(x)
        bonds = (self.across * s[..., :-1] * s[..., 1:]).sum((-2, -1))
        bonds = bonds + (self.down * s[..., :-1, :] * s[..., 1:, :]).sum((-2, -1))
        return -bonds - (self.h * s).sum((-2, -1))

    def base(self, batch: int) -> Bernoulli:
        """Independent fair coins, (B, 1, L, L)."""
        return Bernoulli(self.h.new_zeros(batch, *self.event.shape))

    @torch.no_grad()
    def transition(self, x: Tensor, beta: float, rng: Rng, *, step: int) -> Tensor:
        """A Gibbs sweep at inverse temperature beta: the black sites, then the white sites."""
        u = rng.uniform(self.event.shape, stream="sweep", step=step).squeeze(1)
        for sites in (self.black, ~self.black):
            one = (u < (beta * self._log_odds(self._spins(x))).sigmoid()).to(x.dtype)
            x = torch.where(sites, one, x.squeeze(1)).unsqueeze(1)
        return x

    def _log_odds(self, s: Tensor) -> Tensor:
        """log P(x_i = 1) / P(x_i = 0) given all other sites, (B, L, L)."""
        field = self.h + F.pad(self.across * s[..., 1:], (0, 1))
        field = field + F.pad(self.across * s[..., :-1], (1, 0))
        field = field + F.pad(self.down * s[..., 1:, :], (0, 0, 0, 1))
        return 2 * (field + F.pad(self.down * s[..., :-1, :], (0, 0, 1, 0)))

    def _spins(self, x: Tensor) -> Tensor:
        """s in {-1, 1}, (B, L, L)."""
        return 2 * x.squeeze(1).to(self.dtype) - 1
