r"""Binary images with a coupling for each pair of neighbours and a field for each site.

    E(x) = - \sum_<ij> J_ij s_i s_j - \sum_i h_i s_i,  s = 2 x - 1

The Ising model is the member whose J are all equal. Black sites have white neighbours alone, so
half of the sites are drawn at once. Shapes: B batch, L x L sites. Energies are in nats.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_core.plugin import Bernoulli, Event, GenerativeModel, Range, Rng

__all__ = ["Config", "EnergyLattice"]


@dataclass(frozen=True)
class Config:
    size: Annotated[int, Range(2, 64)] = 4


class EnergyLattice(GenerativeModel):
    """Unnormalized probability of binary images, with a chain of Gibbs sweeps."""

    board: Tensor

    def __init__(self, config: Config | None = None) -> None:
        config = config or Config()
        n = config.size
        super().__init__(config, Event((1, n, n), levels=2))
        self.across = nn.Parameter(torch.zeros(n, n - 1))
        self.down = nn.Parameter(torch.zeros(n - 1, n))
        self.h = nn.Parameter(torch.zeros(n, n))
        rows = torch.arange(n)
        board = (rows[:, None] + rows) % 2 == 0
        self.register_buffer("board", board, persistent=False)

    def energy(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """E(x), (B, 1, L, L) -> (B,)."""
        s = self._spins(x)
        bonds = (self.across * s[..., :-1] * s[..., 1:]).sum((-2, -1))
        bonds = bonds + (self.down * s[..., :-1, :] * s[..., 1:, :]).sum((-2, -1))
        return -bonds - (self.h * s).sum((-2, -1))

    def base(self, batch: int) -> Bernoulli:
        """A fair coin at every site."""
        return Bernoulli(self.h.new_zeros(batch, *self.event.shape))

    @torch.no_grad()
    def transition(self, x: Tensor, beta: float, rng: Rng, *, step: int) -> Tensor:
        """A Gibbs sweep: black sites given the white ones, then white given black."""
        u = rng.uniform(self.event.shape, stream="sweep", step=step).squeeze(1)
        for colour in (self.board, ~self.board):
            one = (u < (beta * self._log_odds(self._spins(x))).sigmoid()).to(x.dtype)
            x = torch.where(colour, one, x.squeeze(1)).unsqueeze(1)
        return x

    def _log_odds(self, s: Tensor) -> Tensor:
        """log P(x_i = 1) / P(x_i = 0) given all the others, (B, L, L)."""
        field = self.h + F.pad(self.across * s[..., 1:], (0, 1))
        field = field + F.pad(self.across * s[..., :-1], (1, 0))
        field = field + F.pad(self.down * s[..., 1:, :], (0, 0, 0, 1))
        return 2 * (field + F.pad(self.down * s[..., :-1, :], (0, 0, 1, 0)))

    def _spins(self, x: Tensor) -> Tensor:
        """-1 and 1, (B, L, L)."""
        return 2 * x.squeeze(1).to(self.dtype) - 1
