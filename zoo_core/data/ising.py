r"""Binary lattice images with an exact log p(x): the two-dimensional Ising model.

    log p(x) = J \sum_<ij> s_i s_j + h \sum_i s_i - log Z,    s = 2 x - 1

The transfer-matrix method (Kramers and Wannier, 1941) over rows r_1 .. r_H of W spins: w(r) are
the terms within a row and T(r, r') = exp(J r . r') w(r'), so that Z = \sum w(r_1) T ... T with
free boundaries and tr T^H with periodic ones. The messages that sum over rows k+1 .. H give
p(r_k | r_1 .. r_{k-1}), and so exact samples, row by row. All is in float64; a row has 2^W states.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

import torch
from torch import Tensor

from zoo_core.config import Range
from zoo_core.data.dataset import Dataset
from zoo_core.data.generated import Seed, Size, generated
from zoo_core.rng import Rng
from zoo_core.spaces import Event

__all__ = ["Ising", "Lattice"]

_CHUNK = 1 << 22


@dataclass(frozen=True)
class Ising:
    """Images (1, L, L) of 0 and 1 from an L x L lattice; `size` is L.

    The default coupling is a little below the critical 0.4407. At L = 2 a periodic lattice counts
    each bond twice.
    """

    train: Size = 10_000
    valid: Size = 2_000
    test: Size = 2_000
    seed: Seed = 0
    size: Annotated[int, Range(2, 10)] = 8
    coupling: Annotated[float, Range(-2.0, 2.0)] = 0.4
    field: Annotated[float, Range(-2.0, 2.0)] = 0.0
    boundary: Literal["free", "periodic"] = "free"

    def __call__(self) -> Dataset:
        lattice = Lattice(self.size, self.coupling, self.field, self.boundary == "periodic")
        return generated(
            "ising",
            Event((1, self.size, self.size), levels=2),
            draw=lambda rng: (lattice.sample(rng), None),
            truth=lattice.log_prob,
            sizes={"train": self.train, "valid": self.valid, "test": self.test},
            seed=self.seed,
            provenance=f"Ising lattice, L = {self.size}, J = {self.coupling:g}, "
            f"h = {self.field:g}, {self.boundary} boundaries, log Z = {lattice.log_z:.12g} nats",
        )


@dataclass(frozen=True)
class Lattice:
    """The distribution of a lattice: `log_z`, `log_prob` and exact samples."""

    size: int
    coupling: float
    field: float
    periodic: bool

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats (N,), float64, of images (N, 1, L, L) of 0 and 1."""
        s = 2 * x.double() - 1
        bonds = (s[..., :-1] * s[..., 1:]).sum((1, 2, 3))
        bonds += (s[..., :-1, :] * s[..., 1:, :]).sum((1, 2, 3))
        if self.periodic:
            bonds += (s[..., 0] * s[..., -1]).sum((1, 2))
            bonds += (s[..., 0, :] * s[..., -1, :]).sum((1, 2))
        return self.coupling * bonds + self.field * s.sum((1, 2, 3)) - self.log_z

    @cached_property
    def log_z(self) -> float:
        """log Z in nats."""
        _, log_scale = self._messages[0]
        return float(self._first.sum().log()) + log_scale

    def sample(self, rng: Rng) -> Tensor:
        """An image per row of `rng`, int64 (N, 1, L, L)."""
        chunk = max(1, _CHUNK >> self.size)
        u = _uniforms(rng, self.size)
        states = [self._sample(u[a : a + chunk]) for a in range(0, len(u), chunk)]
        rows = self._rows[torch.cat(states)]  # (N, L, L) spins
        return ((rows + 1) / 2).long()[:, None]

    def _sample(self, u: Tensor) -> Tensor:
        """Row states (n, H) from uniforms (n, H)."""
        first = _inverse_cdf(self._first, u[:, 0])
        states = [first]
        for k in range(1, self.size):
            message, _ = self._messages[k]
            later = message[:, first].T if self.periodic else message
            states.append(_inverse_cdf(self._transfer[states[-1]] * later, u[:, k]))
        return torch.stack(states, -1)

    @cached_property
    def _rows(self) -> Tensor:
        """All states of a row as spins, (2^W, W)."""
        bits = torch.arange(2**self.size)[:, None] >> torch.arange(self.size) & 1
        return 2.0 * bits.double() - 1

    @cached_property
    def _row_weights(self) -> Tensor:
        """w(r), (2^W,)."""
        r = self._rows
        bonds = (r[:, :-1] * r[:, 1:]).sum(-1)
        if self.periodic:
            bonds = bonds + r[:, 0] * r[:, -1]
        return (self.coupling * bonds + self.field * r.sum(-1)).exp()

    @cached_property
    def _transfer(self) -> Tensor:
        """T(r, r'), (2^W, 2^W)."""
        return (self.coupling * self._rows @ self._rows.T).exp() * self._row_weights

    @cached_property
    def _messages(self) -> list[tuple[Tensor, float]]:
        """The sums over rows k+1 .. H given row k, for k = 1 .. H, each with the log of its scale.

        T^(H-k) 1 with free boundaries; T^(H-k+1), with a column per first row, with periodic ones.
        """
        message = self._transfer if self.periodic else torch.ones(2**self.size).double()
        messages, log_scale = [], 0.0
        for _ in range(self.size):
            scale = float(message.max())
            message, log_scale = message / scale, log_scale + math.log(scale)
            messages.append((message, log_scale))
            message = self._transfer @ message
        return messages[::-1]

    @property
    def _first(self) -> Tensor:
        """p(r_1) up to a factor, (2^W,)."""
        message, _ = self._messages[0]
        return message.diagonal() if self.periodic else self._row_weights * message


def _uniforms(rng: Rng, rows: int) -> Tensor:
    """(N, rows) float64 in [0, 1), multiples of 2^-48."""
    u = rng.uniform((rows, 2), stream="rows").double()
    return u[..., 0] + u[..., 1] * 2.0**-24


def _inverse_cdf(weights: Tensor, u: Tensor) -> Tensor:
    """The state at quantile u (n,) of unnormalized probabilities (K,) or (n, K)."""
    cdf = weights.cumsum(-1)
    threshold = u.unsqueeze(-1) * cdf[..., -1:]
    return torch.searchsorted(cdf.expand(len(u), -1).contiguous(), threshold, right=True).squeeze(
        -1
    )
