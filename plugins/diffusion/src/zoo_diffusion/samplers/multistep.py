"""Solvers whose step takes the x_0 of earlier calls: high order at one call a step.

    DPMpp2M     Lu et al., 2022: DPM-Solver++(2M), second order
    DPMpp3M     the same with three calls
    DPMppSDE    SDE-DPM-Solver++(2M): second order, with the reverse SDE's noise
    UniPC       Zhao et al., 2023: each call corrects the step to it, then predicts the next

They integrate x_0 over lambda = log(alpha / sigma). A step of length h is of first order where no
earlier call is known, and where h is infinite: from alpha = 0 and to sigma = 0.

Shapes: B batch, S the event's shape; x and x_0 are (B, *S).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from zoo_core.plugin import Range
from zoo_diffusion.samplers.solver import Solver, Steps
from zoo_diffusion.samplers.table import Denoised, Noise, SolverTable
from zoo_diffusion.samplers.timesteps import Level, Path, Spacing
from zoo_kernels import denoise

__all__ = ["DPMpp2M", "DPMpp3M", "DPMppSDE", "UniPC"]

Known = list[tuple[Tensor, float]]
"""(x_0, lambda) of the calls so far, where lambda is finite."""


@dataclass(frozen=True)
class DPMpp2M(Solver):
    """DPM-Solver++(2M): a line through the x_0 of two calls (Lu et al., 2022, algorithm 2)."""

    steps: Steps = 20
    spacing: Spacing = "karras"

    def loop(self, D: Denoised, x: Tensor, path: Path, z: Noise) -> Iterator[Tensor]:
        known: Known = []
        for _, p, q in path.steps():
            D_i = x_i = D(x, p)[0]
            h = q.lam - p.lam
            if known and math.isfinite(h):
                x_1, lam_1 = known[-1]
                r = (p.lam - lam_1) / h
                D_i = (1 + 1 / (2 * r)) * x_i - 1 / (2 * r) * x_1
            x = q.s / p.s * x - q.a * math.expm1(-h) * D_i
            _remember(known, x_i, p)
            yield x

    def on(self, path: Path, prediction: str) -> SolverTable:
        coefficients = denoise.dpm_solver_pp(path.alpha, path.sigma, prediction=prediction)
        return SolverTable.on(path, coefficients)


@dataclass(frozen=True)
class DPMpp3M(Solver):
    """DPM-Solver++(3M): a parabola through the x_0 of three calls; D_1 and D_2 are its first
    derivative and half its second, times h and h^2.

    The authors' code, and diffusers after it, takes half of D_2, which makes the method one of
    second order with a small constant. `full_order=True` takes the whole: third order.
    """

    steps: Steps = 20
    spacing: Spacing = "karras"
    full_order: bool = False

    def loop(self, D: Denoised, x: Tensor, path: Path, z: Noise) -> Iterator[Tensor]:
        known: Known = []
        for _, p, q in path.steps():
            x_0, h = D(x, p)[0], q.lam - p.lam
            phi_1 = math.expm1(-h)
            x = q.s / p.s * x - q.a * phi_1 * x_0
            if known and math.isfinite(h):
                x_1, lam_1 = known[-1]
                r_0 = (p.lam - lam_1) / h
                D_1 = (x_0 - x_1) / r_0
                if len(known) == 1:
                    x = x - q.a * phi_1 / 2 * D_1  # as 2M
                else:
                    x_2, lam_2 = known[-2]
                    r_1 = (lam_1 - lam_2) / h
                    D_2 = (D_1 - (x_1 - x_2) / r_1) / (r_0 + r_1)
                    D_1 = D_1 + r_0 * D_2
                    phi_3 = (phi_1 + h) / h**2 - 0.5
                    share = 2 if self.full_order else 1
                    x = x + q.a * (phi_1 / h + 1) * D_1 - q.a * share * phi_3 * D_2
            _remember(known, x_0, p)
            yield x


@dataclass(frozen=True)
class DPMppSDE(Solver):
    """SDE-DPM-Solver++(2M): the reverse SDE by the line of 2M, with its noise over the step."""

    steps: Steps = 50
    spacing: Spacing = "karras"

    def loop(self, D: Denoised, x: Tensor, path: Path, z: Noise) -> Iterator[Tensor]:
        known: Known = []
        for i, p, q in path.steps():
            D_i = x_i = D(x, p)[0]
            h = q.lam - p.lam
            if known and math.isfinite(h):
                x_1, lam_1 = known[-1]
                r = (p.lam - lam_1) / h
                D_i = (1 + 1 / (2 * r)) * x_i - 1 / (2 * r) * x_1
            kept, gone = math.exp(-h), -math.expm1(-2 * h)
            x = q.s / p.s * kept * x + q.a * gone * D_i
            x = x + q.s * math.sqrt(gone) * z(i) if q.s else x
            _remember(known, x_i, p)
            yield x


@dataclass(frozen=True)
class UniPC(Solver):
    """UniPC with B(h) = e^-h - 1 ("bh2"): a predictor of order `order` and its corrector.

    The corrector takes the x_0 of the call at the predicted x, and has one order more without a
    further call.
    """

    steps: Steps = 20
    spacing: Spacing = "karras"
    order: Annotated[int, Range(1, 3)] = 2

    def loop(self, D: Denoised, x: Tensor, path: Path, z: Noise) -> Iterator[Tensor]:
        known: Known = []
        last = None
        for i, p, q in path.steps():
            x_0, _ = D(x, p)
            if last is not None:
                x = _unified_step(*last, p, (x_0, 1.0))  # UniC: the step to here, corrected
            known = [*known, (x_0, p.lam)][-self.order :]
            order = min(len(known), len(path) - 1 - i)
            here = x, p, known[-order:]
            x = _unified_step(*here, q)  # UniP
            known, last = (known, here) if p.a else ([], None)
            yield x


def _unified_step(
    x: Tensor, p: Level, known: Known, q: Level, new: tuple[Tensor, float] | None = None
) -> Tensor:
    """x at q from x at p: alpha' (1 - e^-h) (x_0 + sum_k rho_k (x_k - x_0) / r_k) beside x itself.

    The x_k are those of the calls before, at lambda + r_k h, and for the corrector the `new` one.
    """
    h = q.lam - p.lam
    *earlier, (x_0, _) = known
    others = [(x_k, (lam - p.lam) / h) for x_k, lam in reversed(earlier)]
    others += [] if new is None else [new]
    D_i = x_0
    for rho, (x_k, r) in zip(_weights(h, [r for _, r in others]), others, strict=True):
        D_i = D_i + rho / r * (x_k - x_0)
    return q.s / p.s * x - q.a * math.expm1(-h) * D_i


def _weights(h: float, r: list[float]) -> list[float]:
    """rho (K,) with sum_k rho_k r_k^(j-1) = j! phi_(j+1)(-h) / (e^-h - 1), j = 1..K (eq. 5).

    One weight is 1/2, which has the same order.
    """
    if len(r) < 2:
        return [0.5] * len(r)
    b, phi, factorial = [], math.expm1(-h) / -h - 1, 1
    for j in range(1, len(r) + 1):
        b.append(phi * factorial / math.expm1(-h))
        factorial *= j + 1
        phi = phi / -h - 1 / factorial
    R = [[r_k**j for r_k in r] for j in range(len(r))]
    left, right = (torch.tensor(values, dtype=torch.float64) for values in (R, b))
    weights: list[float] = torch.linalg.solve(left, right).tolist()
    return weights


def _remember(known: Known, x_0: Tensor, p: Level) -> None:
    """Append a call; at alpha = 0, where lambda is infinite, it helps no later step."""
    if p.a:
        known.append((x_0, p.lam))
