"""Solvers whose step takes x alone, and Heun's two stages of it.

    Ancestral       Ho et al., 2020: the chain's own steps
    DDIM            Song et al., 2021: eta = 0 follows the probability flow, eta = 1 is ancestral
    Euler           Karras et al., 2022: dy = eps dn on y = x / alpha, n = sigma / alpha
    EulerAncestral  the same to less noise, and the rest of it drawn anew
    Heun            Karras et al., 2022, algorithm 2: second order, with stochastic churn
    Midpoint        second order along the straight path of flow matching

Shapes: B batch, S the event's shape; x and x_0 are (B, *S).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from zoo_core.plugin import Denoiser, Range
from zoo_diffusion.parameterization import DiscreteTime
from zoo_diffusion.samplers.solver import Solver, Steps
from zoo_diffusion.samplers.table import Denoised, Noise, SolverTable, Weighing
from zoo_diffusion.samplers.timesteps import Level, Path, Spacing
from zoo_kernels import denoise
from zoo_kernels.denoise import reference as columns

__all__ = ["DDIM", "Ancestral", "Euler", "EulerAncestral", "Heun", "Midpoint"]


@dataclass(frozen=True)
class Ancestral(Solver):
    """x_s ~ p(x_s | x_t), with the small or the large variance of Ho et al.

    A `variance` of None is that of the model's chain, or the small one for continuous time. One
    that the network learned (Nichol & Dhariwal, 2021, eq. 15) takes a second call in each step.
    """

    steps: Steps = 250
    variance: Literal["small", "large"] | None = None

    def loop(self, D: Denoised, x: Tensor, path: Path, z: Noise) -> Iterator[Tensor]:
        for i, p, q in path.steps():
            x0, _ = D(x, p)
            ratio = p.a / q.a
            beta = p.s**2 - (ratio * q.s) ** 2  # 1 - alpha_bar_t / alpha_bar_s
            mean = (q.a * beta * x0 + ratio * q.s**2 * x) / p.s**2  # eq. 7
            small = beta * q.s**2 / p.s**2
            x = mean + self._std(D, x, path.model, p, small, beta) * z(i) if q.s else mean
            yield x

    def on(self, path: Path, prediction: str) -> SolverTable | None:
        if (variance := self._variance(path.model)) == "learned":
            return None
        how = {"prediction": prediction, "variance": variance}
        return SolverTable.on(path, denoise.ddpm(path.alpha, path.sigma, **how))

    def _std(
        self, D: Denoised, x: Tensor, model: Denoiser, p: Level, small: float, large: float
    ) -> float | Tensor:
        """The standard deviation of the step from level p."""
        if (variance := self._variance(model)) != "learned":
            return math.sqrt(small if variance == "small" else large)
        assert isinstance(D, Weighing)  # a learned variance has no table, which alone lacks it
        v = D.weigh(x, p)
        return (0.5 * (v * math.log(large) + (1 - v) * math.log(small))).exp()

    def _variance(self, model: Denoiser) -> str:
        own = model.variance if isinstance(model, DiscreteTime) else "small"
        return self.variance or own


@dataclass(frozen=True)
class DDIM(Solver):
    """DDIM; eta scales the noise of a step, from none to that of ancestral sampling (eq. 16).

    Where x_0 is bounded, the step follows the epsilon that the bounded x_0 implies, and more steps
    come closer to the probability flow. With `clipped_epsilon=False`, the default of diffusers,
    epsilon stays the network's own, and each step adds an error that does not shrink with it.

        x = model.sample(4, sampler=DDIM(steps=50))
    """

    eta: Annotated[float, Range(0, 1)] = 0.0
    clipped_epsilon: bool = True

    def loop(self, D: Denoised, x: Tensor, path: Path, z: Noise) -> Iterator[Tensor]:
        for i, p, q in path.steps():
            x0, eps = D(x, p)
            if self.clipped_epsilon:
                eps = (x - p.a * x0) / p.s
            beta = p.s**2 - (p.a / q.a * q.s) ** 2
            c = self.eta * q.s / p.s * math.sqrt(beta)  # eq. 16
            x = q.a * x0 + math.sqrt(max(0.0, q.s**2 - c**2)) * eps  # eq. 12
            x = x + c * z(i) if c else x
            yield x

    def on(self, path: Path, prediction: str) -> SolverTable:
        coefficients = denoise.ddim(
            path.alpha,
            path.sigma,
            prediction=prediction,
            eta=self.eta,
            clipped_epsilon=self.clipped_epsilon,
        )
        return SolverTable.on(path, coefficients)


@dataclass(frozen=True)
class Euler(Solver):
    """Euler's method on the probability flow, dy = eps dn: that of DDIM in other letters."""

    steps: Steps = 50
    spacing: Spacing = "karras"

    def loop(self, D: Denoised, x: Tensor, path: Path, z: Noise) -> Iterator[Tensor]:
        for _, p, q in path.steps():
            x0, _ = D(x, p)
            d = (x - p.a * x0) / p.s  # dy / dn = eps
            x = q.a * x0 + q.s * d  # alpha' (y + (n' - n) d)
            yield x

    def on(self, path: Path, prediction: str) -> SolverTable:
        return SolverTable.on(path, denoise.euler(path.alpha, path.sigma, prediction=prediction))


@dataclass(frozen=True)
class EulerAncestral(Solver):
    """Euler's step down to n_down, and noise of n_up, where n_down^2 + n_up^2 = n'^2.

    `eta` scales n_up, from none (Euler's method) to that of ancestral sampling.
    """

    eta: Annotated[float, Range(0, 1)] = 1.0

    def loop(self, D: Denoised, x: Tensor, path: Path, z: Noise) -> Iterator[Tensor]:
        for i, p, q in path.steps():
            x0, _ = D(x, p)
            d = (x - p.a * x0) / p.s
            n_up = self.eta * q.n * math.sqrt(1 - (q.n / p.n) ** 2)
            n_down = math.sqrt(q.n**2 - n_up**2)
            x = q.a * (x0 + n_down * d)  # alpha' (y + (n_down - n) d)
            x = x + q.a * n_up * z(i) if n_up else x
            yield x


@dataclass(frozen=True)
class Heun(Solver):
    """Heun's method, with two calls a step except in the last.

    Where sigma / alpha is in [churn_min, churn_max], a step first adds noise: sigma / alpha grows
    by the factor 1 + gamma with gamma = min(churn / steps, sqrt(2) - 1), and the noise added has
    the standard deviation `churn_noise`.
    """

    steps: Steps = 18
    spacing: Spacing = "karras"
    churn: Annotated[float, Range(0, 1e6)] = 0.0
    churn_min: Annotated[float, Range(0, 1e6)] = 0.05
    churn_max: Annotated[float, Range(0, 1e9)] = 50.0
    churn_noise: Annotated[float, Range(0, 10)] = 1.003

    def loop(self, D: Denoised, x: Tensor, path: Path, z: Noise) -> Iterator[Tensor]:
        for i, p, q in path.steps():
            p_hat = self._raised(p, path)
            if p_hat.n > p.n:
                extra = math.sqrt(p_hat.n**2 - p.n**2)
                x = p_hat.a * (x / p.a + self.churn_noise * extra * z(i))
            x0, _ = D(x, p_hat)
            d = (x - p_hat.a * x0) / p_hat.s
            x_next = q.a * x0 + q.s * d
            if q.s > 0 and p_hat.a > 0:
                d_next = (x_next - q.a * D(x_next, q)[0]) / q.s
                d = (d + d_next) / 2
                x_next = q.a * (x / p_hat.a + (q.n - p_hat.n) * d)
            x = x_next
            yield x

    def on(self, path: Path, prediction: str) -> SolverTable:
        """A step with churn is preceded by a row that only adds noise."""
        rows, starts, calls = [], [], []
        for _, p, q in path.steps():
            p_hat = self._raised(p, path)
            if p_hat.n > p.n:
                rows.append(_churn_row(p, p_hat, self.churn_noise))
                starts.append(p)
                calls.append(False)
            ends = (p_hat.a, q.a), (p_hat.s, q.s)
            rows.append(denoise.heun(*ends, prediction=prediction).table)
            starts += [p_hat, q][: len(rows[-1])]
            calls += [True] * len(rows[-1])
        coefficients = denoise.Steps(torch.cat(rows), noisy=not all(calls), remembers=True)
        return SolverTable.of(starts, coefficients, path.std, calls)

    def _raised(self, p: Level, path: Path) -> Level:
        """The level from which a step starts: p, or with churn one of more noise."""
        gamma = min(self.churn / self.steps, math.sqrt(2) - 1)
        inside = self.churn_min <= p.n <= self.churn_max
        n_hat = min(p.n * (1 + gamma), path[0].n) if inside else p.n
        return path.at(n_hat) if n_hat > p.n else p


@dataclass(frozen=True)
class Midpoint(Solver):
    """The midpoint method, with two calls a step, on du = (eps - x_0) dtau.

    Every schedule is a straight path u = x / (alpha + sigma) in tau = sigma / (alpha + sigma),
    which is finite where alpha is 0; for a linear path u is x and tau is the time.
    """

    steps: Steps = 25

    def loop(self, D: Denoised, x: Tensor, path: Path, z: Noise) -> Iterator[Tensor]:
        for _, p, q in path.steps():
            tau, end = p.s / (p.a + p.s), q.s / (q.a + q.s)
            half = (end - tau) / 2
            m = path.at((tau + half) / (1 - tau - half))
            u = x / (p.a + p.s)
            x_m = (m.a + m.s) * (u + half * _slope(D, x, p))
            x = (q.a + q.s) * (u + 2 * half * _slope(D, x_m, m))
            yield x


def _slope(D: Denoised, x: Tensor, p: Level) -> Tensor:
    """eps - x_0, with the epsilon that a bounded x_0 implies."""
    x0, _ = D(x, p)
    return (x - p.a * x0) / p.s - x0


def _churn_row(p: Level, p_hat: Level, noise: float) -> Tensor:
    """x' = alpha' (x / alpha + noise sqrt(n'^2 - n^2) z)."""
    row = torch.zeros(1, columns.COLUMNS, dtype=torch.float64)
    row[0, columns.C_X] = p_hat.a / p.a
    row[0, columns.S] = noise * p_hat.a * math.sqrt(p_hat.n**2 - p.n**2)
    return row.float()
