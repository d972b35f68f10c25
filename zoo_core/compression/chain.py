"""Bits-back coding along the chain of a diffusion model: about its bound, in bits.

The latents are z_0, ..., z_T, the event at growing noise. They form a Markov chain, so that each
is pushed as soon as the next one is popped (Bit-Swap: Kingma, Abbeel & Ho, 2019,
https://arxiv.org/abs/1905.06845), and few initial bits are needed:

    pop  z_0 from q(z_0|x);   push x by p(x|z_0), which is proportional to q(z_0|x)
    pop  z_t from q(z_t|z_s), push z_s by p(z_s|z_t) = q(z_s|z_t, x = x_hat(z_t)),  s before t
    push z_T by N(0, sigma_T^2)

Every z_t lives on a lattice of half the narrower of its two standard deviations, on which normals
are integer symbols around their mean. Means are rounded to 1/64 of its spacing, standard
deviations to binary fractions, so that both ends take the same; a mean too near a boundary between
two is seen by the encoder (`Grid.ambiguous`).

Up to 8 small events are coded side by side, so that the network sees them as one batch; each of
them has its own initial bits.
Shapes: B lanes, S an event's shape, N = B D values, K levels.
"""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from zoo_core.compression import stack
from zoo_core.compression.grid import Grid, coders
from zoo_core.compression.stack import SPARE, Stack, initial_words, packed, unpacked
from zoo_core.errors import NotFiniteError

__all__ = ["STEPS", "Chain", "decode", "encode", "initial_bits"]

STEPS = 250
"""T: more steps come nearer to the bound of infinitely many, and take as many times longer."""
_LANES, _VALUES = 8, 512
"""Most events, and about how many of their values, that are coded side by side."""
_CELLS = 64
"""Means are rounded to this fraction of the lattice's spacing."""
_MARGIN = 1e-7
"""Fraction of a cell within which means of two machines are taken to agree: a hundred times their
difference in float64."""
_TAIL = 8
"""Standard deviations that symbols reach around their mean."""
_FRACTION = 1 << 40
_WORDS_PER_VALUE = 2
_HEAD = 2
"""Bytes of the number of steps."""


@runtime_checkable
class Chain(Protocol):
    """A denoiser of z_t = alpha_t x + sigma_t eps that states the times of its chain."""

    schedule: Any

    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """x_hat (B, *S) at z_t (B, *S) and times (B,)."""
        ...

    def coding_times(self, steps: int) -> Tensor:
        """The times (steps + 1,) of the chain, float64, from the least noise to the most."""
        ...


def encode(model: Any, x: Tensor, cond: Tensor | None, grid: Grid) -> bytes:
    """The code of events x (B, *S), with the number of steps and the initial words it used."""
    steps, initial = _Steps.of(model, STEPS), _initial(model)
    coder = _Coder(Stack(initial, grid), grid)
    for at in _lanes(model, len(x)):
        _encode_lanes(model, x[at], _rows(cond, at), coder, steps)
    return STEPS.to_bytes(_HEAD, "little") + packed(coder.stack, initial)


def decode(model: Any, payload: bytes, n: int, cond: Tensor | None, grid: Grid) -> Tensor:
    """The n events (n, *S) of a code, int64; raises `ValueError` unless the stack is restored."""
    count, initial = int.from_bytes(payload[:_HEAD], "little"), _initial(model)
    if not 0 < count <= 1 << 14:
        raise ValueError(f"a chain of {count} steps")
    steps = _Steps.of(model, count)
    coder = _Coder(Stack(unpacked(payload[_HEAD:], initial), grid), grid)
    x = torch.zeros((n, *model.event.shape), dtype=torch.long, device=model.device)
    for at in reversed(_lanes(model, n)):
        x[at] = _decode_lanes(model, x[at], _rows(cond, at), coder, steps)
    if not np.array_equal(coder.stack.coder.get_compressed(), initial):
        raise ValueError("the initial bits are not restored")
    return x


def initial_bits(code: bytes) -> int:
    """How many initial bits a code holds."""
    return stack.initial_bits(code[_HEAD:])


def _encode_lanes(
    model: Any, x: Tensor, cond: Tensor | None, coder: "_Coder", c: "_Steps"
) -> None:
    clean = model.event.to_network(x, torch.float64)
    z = coder.pop(c.alpha[0] * clean, c.sigma[0], c.spacing[0])
    coder.stack.push(x.flatten().cpu().numpy(), _logits(model, z, c))
    for t in range(1, len(c.alpha)):
        later = coder.pop(c.ratio[t] * z, c.forward[t], c.spacing[t])
        mean = c.mean(t, later, _denoised(model, later, c.times[t], cond))
        coder.push(z, mean, c.backward[t], c.spacing[t - 1], gap=c.gap[t])
        z = later
    coder.push(z, torch.zeros_like(z), c.sigma[-1], c.spacing[-1], gap=c.alpha[-1])


def _decode_lanes(
    model: Any, like: Tensor, cond: Tensor | None, coder: "_Coder", c: "_Steps"
) -> Tensor:
    zeros = torch.zeros(like.shape, dtype=torch.float64, device=like.device)
    z = coder.pop(zeros, c.sigma[-1], c.spacing[-1], gap=c.alpha[-1])
    for t in reversed(range(1, len(c.alpha))):
        mean = c.mean(t, z, _denoised(model, z, c.times[t], cond))
        earlier = coder.pop(mean, c.backward[t], c.spacing[t - 1], gap=c.gap[t])
        coder.push(z, c.ratio[t] * earlier, c.forward[t], c.spacing[t])
        z = earlier
    x = torch.from_numpy(coder.stack.pop(_logits(model, z, c))).to(like).view_as(like)
    clean = model.event.to_network(x, torch.float64)
    coder.push(z, c.alpha[0] * clean, c.sigma[0], c.spacing[0])
    return x


@dataclass(frozen=True)
class _Steps:
    """The constants of a chain of T steps, by t = 0..T; those of a step from t - 1 at t."""

    times: Tensor
    alpha: list[float]
    sigma: list[float]
    ratio: list[float]
    """alpha_t / alpha_s: the mean of q(z_t|z_s) is that of z_s."""
    forward: list[float]
    """Standard deviations of q(z_t|z_s)."""
    backward: list[float]
    """Standard deviations of p(z_s|z_t)."""
    spacing: list[float]
    """Distances of the lattices' points."""
    gap: list[float]
    """By how many standard deviations p(z_s|z_t) may be off where x_hat is off by 1."""

    @classmethod
    def of(cls, model: Chain, steps: int) -> "_Steps":
        """s before t:  sigma_t|s^2 = sigma_t^2 - (alpha_t / alpha_s)^2 sigma_s^2."""
        t = model.coding_times(steps)
        alpha, sigma = (_rounded(f(t)) for f in (model.schedule.alpha, model.schedule.sigma))
        ratio = _rounded(alpha[1:] / alpha[:-1])
        forward = _rounded((sigma[1:].square() - (ratio * sigma[:-1]).square()).sqrt())
        backward = _rounded(forward * sigma[:-1] / sigma[1:])
        spacing = torch.minimum(torch.cat((sigma[:1], forward)), torch.cat((backward, sigma[-1:])))
        gap = _rounded(alpha[:-1] * forward.square() / sigma[1:].square() / backward)
        return cls(
            times=t,
            alpha=alpha.tolist(),
            sigma=sigma.tolist(),
            ratio=[0.0, *ratio.tolist()],
            forward=[0.0, *forward.tolist()],
            backward=[0.0, *backward.tolist()],
            spacing=(spacing / 2).tolist(),
            gap=[0.0, *gap.tolist()],
        )

    def mean(self, t: int, z: Tensor, x_hat: Tensor) -> Tensor:
        """Of p(z_s|z_t): (alpha_t|s sigma_s^2 z_t + alpha_s sigma_t|s^2 x_hat) / sigma_t^2."""
        of_z = self.ratio[t] * (self.sigma[t - 1] / self.sigma[t]) ** 2
        of_x = self.alpha[t - 1] * (self.forward[t] / self.sigma[t]) ** 2
        return of_z * z + of_x * x_hat


class _Coder:
    """Values on lattices, pushed to and popped from a stack by normals."""

    def __init__(self, stack: Stack, grid: Grid) -> None:
        self.stack, self.grid = stack, grid

    def pop(self, mean: Tensor, std: float, spacing: float, *, gap: float = 0.0) -> Tensor:
        """Values like the means, multiples of the spacing."""
        base, arguments = self._normal(mean, std, spacing, gap)
        symbols = self.stack.pop_by(*arguments)
        return torch.from_numpy(symbols + base).to(mean).view_as(mean) * spacing

    def push(
        self, z: Tensor, mean: Tensor, std: float, spacing: float, *, gap: float = 0.0
    ) -> None:
        """Push what `pop` with the same arguments pops."""
        base, arguments = self._normal(mean, std, spacing, gap)
        symbols = np.rint(z.flatten().cpu().numpy() / spacing) - base
        self.stack.push_by(symbols, *arguments)

    def _normal(self, mean: Tensor, std: float, spacing: float, gap: float) -> tuple[Any, Any]:
        """The nearest points (N,), and the family of the symbols around them with its means and
        standard deviations, in units of the spacing."""
        cells = _CELLS * mean.flatten().cpu().numpy() / spacing + self.grid.offset
        if not np.isfinite(cells).all():
            raise NotFiniteError("means of the chain to code by are not finite.")
        near = np.abs(cells - np.floor(cells) - 0.5)
        self.grid.ambiguous |= bool((near < _MARGIN).any())
        means = (np.rint(cells) - self.grid.offset) / _CELLS
        base, width = np.rint(means), round(std / spacing * _FRACTION) / _FRACTION
        reach = int((_TAIL + 2 * gap) * width) + 1
        family = coders().stream.model.QuantizedGaussian(-reach, reach)
        return base, (family, means - base, np.full(len(base), width))


def _denoised(model: Chain, z: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
    return model.denoise(z, t.to(z.device).expand(len(z)), cond).clamp(-1, 1)


def _logits(model: Any, z: Tensor, c: _Steps) -> Tensor:
    """log N(z_0; alpha_0 k, sigma_0^2) of every level k, (N, K)."""
    levels = torch.arange(model.event.levels, device=z.device)
    points = c.alpha[0] * model.event.to_network(levels, torch.float64)
    logits: Tensor = -0.5 * ((z.flatten()[:, None] - points) / c.sigma[0]).square()
    return logits


def _rounded(values: Tensor) -> Tensor:
    """Binary fractions: the libraries' exp differ in the last bits."""
    return (values.detach().double().cpu() * _FRACTION).round() / _FRACTION


def _width(model: Any) -> int:
    return max(1, min(_LANES, _VALUES // int(model.event.dims)))


def _lanes(model: Any, n: int) -> list[slice]:
    """Which events are coded side by side."""
    width = _width(model)
    return [slice(start, min(start + width, n)) for start in range(0, n, width)]


def _rows(cond: Tensor | None, at: slice) -> Tensor | None:
    return None if cond is None else cond[at]


def _initial(model: Any) -> Any:
    return initial_words(_width(model) * model.event.dims * _WORDS_PER_VALUE + 2 * SPARE)
