"""Points in the plane from distributions with a known log-density.

Points are drawn exactly from the density in `log_prob`, up to float32. Shapes: points x (N, 2);
log-densities in nats (N,), float64. If points have classes, log p(x) is that of the marginal.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from zoo_core.config import Range
from zoo_core.data.dataset import Dataset
from zoo_core.data.generated import Seed, Size, generated, mixture_component
from zoo_core.rng import Rng
from zoo_core.spaces import Event

__all__ = ["Checkerboard", "Gaussians", "Moons", "Rings"]

PLANE = Event((2,))
_NODES_PER_SD = 24
_CHUNK = 1 << 22


@dataclass(frozen=True)
class Moons:
    r"""Two half circles with noise: a(t) = (cos t, sin t) and (1 - cos t, 1/2 - sin t).

        x = a(t) + sd eps,  t ~ U(0, pi),  eps ~ N(0, I),  the arc by a fair coin

    so that p(x) = 1/2 \sum_a 1/pi \int_0^pi N(x; a(t), sd^2 I) dt, a one-dimensional integral:
    Gauss-Legendre with 24/sd nodes, correct to 1e-6 nats for |x| <= 10.
    """

    train: Size = 10_000
    valid: Size = 2_000
    test: Size = 2_000
    seed: Seed = 0
    sd: Annotated[float, Range(0.02, 1.0)] = 0.1

    def __call__(self) -> Dataset:
        return _points("moons", self, f"two half circles, noise sd {self.sd:g}", classes=2)

    def draw(self, rng: Rng) -> tuple[Tensor, Tensor]:
        """Points (N, 2), float64, and the components (N,) that they are of."""
        y = mixture_component(rng, 2)
        t = math.pi * rng.uniform(stream="t").double()
        eps = rng.normal((2,), stream="eps").double()
        return _arcs(t)[y, torch.arange(len(y))] + self.sd * eps, y

    def log_prob(self, x: Tensor) -> Tensor:
        """The true log p(x) of points (N, 2) in nats, (N,)."""
        t, w = np.polynomial.legendre.leggauss(max(128, math.ceil(_NODES_PER_SD / self.sd)))
        arcs = _arcs(torch.from_numpy(math.pi * (t + 1) / 2)).flatten(0, 1)  # (2 T, 2)
        log_w = torch.from_numpy(w / 4).log().repeat(2)  # w / 2 integrates dt / pi; a fair coin
        return _log_mixture(x, arcs, log_w, self.sd)


@dataclass(frozen=True)
class Gaussians:
    """Equally likely round Gaussians: 8 on a circle of radius 2, or 25 on a 5x5 grid of pitch 2.

    `sd` is by default 0.02 on the circle and 0.05 on the grid. With `levels` K, events (1, 1, 2)
    are the cells of the same points on a K x K grid over [-3, 3]^2 (circle) or [-6, 6]^2 (grid),
    for models of integers, and log p is that of the cell. Points outside belong to the nearest
    cell.
    """

    train: Size = 10_000
    valid: Size = 2_000
    test: Size = 2_000
    seed: Seed = 0
    layout: Literal["ring", "grid"] = "ring"
    sd: Annotated[float | None, Range(1e-3, 10.0)] = None
    levels: Annotated[int, Range(2, 4096)] | None = None

    def __call__(self) -> Dataset:
        k, sd = len(self.means), self.noise
        text = f"{k} Gaussians ({self.layout}), sd {sd:g}"
        if self.levels is None:
            return _points("gaussians", self, text, classes=k)
        return generated(
            "gaussians",
            Event((1, 1, 2), levels=self.levels),
            draw=self._draw_cells,
            truth=self._log_cells,
            sizes={"train": self.train, "valid": self.valid, "test": self.test},
            seed=self.seed,
            provenance=f"{text}, cells of a {self.levels}x{self.levels} grid",
            classes=k,
        )

    @property
    def half(self) -> float:
        """Half the side of the square that is divided into cells."""
        return {"ring": 3.0, "grid": 6.0}[self.layout]

    def _draw_cells(self, rng: Rng) -> tuple[Tensor, Tensor]:
        x, y = self.draw(rng)
        assert self.levels is not None
        cells = ((x.float().double() / self.half + 1) / 2 * self.levels).floor()
        return cells.long().clamp(0, self.levels - 1)[:, None, None], y

    def _log_cells(self, cells: Tensor) -> Tensor:
        r"""log 1/K \sum_k \prod_d (F(b_d) - F(a_d)) for cells [a, b) of a normal's F."""
        assert self.levels is not None
        edges = torch.linspace(-self.half, self.half, self.levels + 1, dtype=torch.float64)
        edges[0], edges[-1] = -math.inf, math.inf
        coordinates = torch.unique(self.means)
        z = (edges - coordinates[:, None]) / self.noise  # (M, K + 1)
        table = _log_mass(z[:, :-1], z[:, 1:])  # (M, K): every coordinate a mean can have
        position = torch.searchsorted(coordinates, self.means)  # (K, 2)
        at = cells.reshape(-1, 2).long()
        log_p = [table[position[:, d]][:, at[:, d]] for d in range(2)]  # (K, N) each
        total: Tensor = (log_p[0] + log_p[1]).logsumexp(0)
        return total - math.log(len(self.means))

    @property
    def noise(self) -> float:
        """The standard deviation of each component."""
        return self.sd if self.sd is not None else {"ring": 0.02, "grid": 0.05}[self.layout]

    @property
    def means(self) -> Tensor:
        """The means of the K Gaussians, (K, 2), float64."""
        if self.layout == "ring":
            angle = 2 * math.pi / 8 * torch.arange(8, dtype=torch.float64)
            return 2 * torch.stack([angle.cos(), angle.sin()], -1)
        axis = 2.0 * torch.arange(-2, 3, dtype=torch.float64)
        return torch.cartesian_prod(axis, axis)

    def draw(self, rng: Rng) -> tuple[Tensor, Tensor]:
        """Points (N, 2), float64, and the components (N,) that they are of."""
        y = mixture_component(rng, len(self.means))
        return self.means[y] + self.noise * rng.normal((2,), stream="eps").double(), y

    def log_prob(self, x: Tensor) -> Tensor:
        """The true log p(x) of points (N, 2) in nats, (N,)."""
        k = len(self.means)
        log_w = torch.full((k,), -math.log(k), dtype=torch.float64)
        return _log_mixture(x, self.means, log_w, self.noise)


@dataclass(frozen=True)
class Rings:
    r"""Equally likely circles of radius R_k = 0.75 k with noise.

        x = R_k (cos t, sin t) + sd eps,  t ~ U(0, 2 pi),  eps ~ N(0, I)

    The angle integrates to a Bessel function (Rice, 1945), with r = |x|:

        p(x) = 1/K \sum_k exp(-(r^2 + R_k^2) / (2 sd^2)) I_0(r R_k / sd^2) / (2 pi sd^2)
    """

    train: Size = 10_000
    valid: Size = 2_000
    test: Size = 2_000
    seed: Seed = 0
    rings: Annotated[int, Range(1, 16)] = 4
    sd: Annotated[float, Range(1e-3, 1.0)] = 0.08

    def __call__(self) -> Dataset:
        text = f"{self.rings} circles, noise sd {self.sd:g}"
        return _points("rings", self, text, classes=self.rings)

    def draw(self, rng: Rng) -> tuple[Tensor, Tensor]:
        """Points (N, 2), float64, and the components (N,) that they are of."""
        y = mixture_component(rng, self.rings)
        t = 2 * math.pi * rng.uniform(stream="t").double()
        circle = 0.75 * (y + 1)[:, None] * torch.stack([t.cos(), t.sin()], -1)
        return circle + self.sd * rng.normal((2,), stream="eps").double(), y

    def log_prob(self, x: Tensor) -> Tensor:
        """The true log p(x) of points (N, 2) in nats, (N,)."""
        r = x.double().norm(dim=-1, keepdim=True)  # (N, 1)
        R_k = 0.75 * torch.arange(1, self.rings + 1, dtype=torch.float64, device=x.device)
        var = self.sd**2
        log_i0 = torch.special.i0e(r * R_k / var).log()  # I_0(z) exp(-z)
        log_p = log_i0 - (r - R_k) ** 2 / (2 * var) - math.log(2 * math.pi * var)
        log_sum: Tensor = log_p.logsumexp(-1)
        return log_sum - math.log(self.rings)


@dataclass(frozen=True)
class Checkerboard:
    """Uniform on the 8 dark squares, of side 2, of a 4x4 board over [-4, 4)^2.

    log p(x) = -ln 32 on a dark square, whose lower edges belong to it, and -inf elsewhere.
    """

    train: Size = 10_000
    valid: Size = 2_000
    test: Size = 2_000
    seed: Seed = 0

    def __call__(self) -> Dataset:
        return _points("checkerboard", self, "8 dark squares of a 4x4 board", classes=None)

    def draw(self, rng: Rng) -> tuple[Tensor, None]:
        """Points (N, 2), float64."""
        square = mixture_component(rng, 8)
        row, half = square // 2, square % 2
        corner = torch.stack([2 * half + row % 2, row], -1)  # dark: column + row is even
        grid = 2**20  # midpoints of a grid that float32 holds exactly: no point leaves its square
        u = ((rng.uniform((2,), stream="u").double() * grid).floor() + 0.5) / grid
        return 2 * (corner + u) - 4, None

    def log_prob(self, x: Tensor) -> Tensor:
        """The true log p(x) of points (N, 2) in nats, (N,)."""
        square = ((x.double() + 4) / 2).floor()
        inside = ((square >= 0) & (square < 4)).all(-1) & (square.sum(-1) % 2 == 0)
        return torch.where(inside, -math.log(32), -math.inf).double()


def _points(
    name: str, toy: Moons | Gaussians | Rings | Checkerboard, text: str, *, classes: int | None
) -> Dataset:
    return generated(
        name,
        PLANE,
        draw=toy.draw,
        truth=toy.log_prob,
        sizes={"train": toy.train, "valid": toy.valid, "test": toy.test},
        seed=toy.seed,
        provenance=text,
        classes=classes,
    )


def _arcs(t: Tensor) -> Tensor:
    """Points on the two half circles at angles t (T,): (2, T, 2)."""
    upper = torch.stack([t.cos(), t.sin()], -1)
    return torch.stack([upper, torch.tensor([1.0, 0.5], dtype=t.dtype) - upper])


def _log_mass(a: Tensor, b: Tensor) -> Tensor:
    """log (F(b) - F(a)) of the standard normal, computed in the nearer tail."""
    flip = (a + b) > 0
    a, b = torch.where(flip, -b, a), torch.where(flip, -a, b)
    high, low = torch.special.log_ndtr(b), torch.special.log_ndtr(a)
    mass: Tensor = high + torch.log1p(-(low - high).exp())
    return mass


def _log_mixture(x: Tensor, means: Tensor, log_w: Tensor, sd: float) -> Tensor:
    """log sum_k w_k N(x; m_k, sd^2 I), in chunks of bounded memory."""
    means, log_w = means.to(x.device), log_w.to(x.device)
    out = torch.empty(len(x), dtype=torch.float64, device=x.device)
    size = max(1, _CHUNK // len(means))
    for a in range(0, len(x), size):
        d2 = (x[a : a + size, None].double() - means).square().sum(-1)  # (n, K)
        out[a : a + size] = (log_w - d2 / (2 * sd**2)).logsumexp(-1)
    return out - math.log(2 * math.pi * sd**2)
