"""Annealed importance sampling of log p(x) for models with latent variables (Neal, 2001).

    f_t(z) = p(z) p(x|z)^b_t,  0 = b_0 < ... < b_T = 1
    log w  = sum_t (b_t - b_{t-1}) log p(x|z_{t-1}),  z_t ~ a transition that leaves f_t invariant
    log p(x) >= E[log (1/C) sum_c w_c]

with Hamiltonian Monte Carlo (HMC) as the transition, by the protocol of Wu, Burda, Salakhutdinov &
Grosse, On the Quantitative Analysis of Decoder-Based Generative Models (2017),
https://arxiv.org/abs/1611.04273. A pilot run with random numbers of its own finds step sizes for
each event. They are then fixed, since steps that adapt during a run would bias its weights.

`bracket` estimates the gap of the lower bound on data that are simulated from the model, for which
an exact posterior sample is known: the chain backwards from it bounds log p(x) from above (BDMC,
Grosse, Ghahramani & Adams, 2015, https://arxiv.org/abs/1511.02543),

    log p(x) <= -E[log (1/C) sum_c 1 / w_c],   z_T-1 ~ p(z|x) exactly, then t = T-1 .. 1

Shapes: B events, C chains each, N = B C rows of latents z (N, ...); nats (B,).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from zoo_core.catalog.capabilities import Decoder, Distribution, Generator
from zoo_core.catalog.specs import LikelihoodKind
from zoo_core.config import Range
from zoo_core.errors import NoCapabilityError
from zoo_core.likelihoods.iwae import LogMeanExp
from zoo_core.nn.distributions import Normal, RoundedNormal
from zoo_core.rng import Rng
from zoo_core.uncertainty import mean_error

__all__ = ["AIS", "Bracket", "Bracketed", "GeneratorAIS", "temperatures"]

_ROW_VALUES = 1 << 22
_PILOT_CHAINS = 4
_FIRST_STEP_SIZE = 0.1
_TARGET_ACCEPTANCE = 0.65  # near the optimum for HMC (Beskos et al., 2013), and Wu et al.'s
_ADAPTATION_RATE = 0.3

Decode = Callable[[Tensor, Tensor | None], Distribution]
"""p(x|z) of latents z (N, ...) and conditions."""


class _HasPrior(Protocol):
    def prior(self, batch: int, cond: Tensor | None = None) -> Distribution: ...


@dataclass(frozen=True)
class Bracket:
    """Lower and upper bounds on log p(x) of simulated events, (B,) nats each."""

    lower: Tensor
    upper: Tensor

    @property
    def gap(self) -> float:
        """Mean of upper - lower, an upper bound on the mean error of AIS on these events."""
        return float((self.upper - self.lower).mean())

    @property
    def gap_std_err(self) -> float:
        """Standard error of the gap."""
        return mean_error(self.upper - self.lower)


@runtime_checkable
class Bracketed(Protocol):
    """A likelihood that can bound its own error, on data that are simulated from the model."""

    def bracket(self, model: Any, rng: Rng, cond: Tensor | None = None) -> Bracket:
        """Bounds for one simulated event per row of `rng`."""
        ...


@dataclass(frozen=True)
class AIS:
    """A lower bound on log p(x) of a decoder with continuous latents.

    model.log_likelihood(x, method=AIS(steps=1000, chains=16))
    """

    steps: Annotated[int, Range(2, 1_000_000)] = 1000
    """Number T of temperatures after the prior's."""
    chains: Annotated[int, Range(2, 10_000)] = 16
    """Number C of chains per event."""
    leapfrog: Annotated[int, Range(1, 1000)] = 10
    """Leapfrog steps of a transition."""

    @property
    def kind(self) -> LikelihoodKind:
        """A lower bound of log p, with the options that tell it from others."""
        return LikelihoodKind("ais", "lower", f"steps={self.steps}, chains={self.chains}")

    def __call__(
        self, model: Decoder, x: Tensor, cond: Tensor | None, rng: Rng
    ) -> tuple[Tensor, Tensor]:
        return _score(self, model, model.decode, x, cond, rng)

    def bracket(self, model: Decoder, rng: Rng, cond: Tensor | None = None) -> Bracket:
        """Bounds on log p(x) of one simulated event per row of `rng`."""
        return _bracket(self, model, model.decode, rng, cond)


@dataclass(frozen=True)
class GeneratorAIS:
    """A lower bound on log p(x) of a generator with noise, the model N(G(z), sigma^2).

    For integer events the model is rounded to the nearest quantization level.
    """

    sigma: Annotated[float, Range(0, open=True)]
    """Standard deviation of the noise, in units of x; results for different sigma differ."""
    steps: Annotated[int, Range(2, 1_000_000)] = 1000
    chains: Annotated[int, Range(2, 10_000)] = 16
    leapfrog: Annotated[int, Range(1, 1000)] = 10

    @property
    def kind(self) -> LikelihoodKind:
        """A lower bound of log p, with the options that tell it from others."""
        detail = f"sigma={self.sigma:g}, steps={self.steps}, chains={self.chains}"
        return LikelihoodKind("ais", "lower", detail)

    def __call__(
        self, model: Generator, x: Tensor, cond: Tensor | None, rng: Rng
    ) -> tuple[Tensor, Tensor]:
        return _score(self, model, self._decoder(model), x, cond, rng)

    def bracket(self, model: Generator, rng: Rng, cond: Tensor | None = None) -> Bracket:
        """Bounds on log p(x) of one event per row of `rng`, simulated with the noise."""
        return _bracket(self, model, self._decoder(model), rng, cond)

    def _decoder(self, model: Generator) -> Decode:
        levels = model.event.levels

        def decode(z: Tensor, cond: Tensor | None) -> Distribution:
            mean = model.generate(z, cond)
            if levels is not None:
                return RoundedNormal(mean, self.sigma, levels)
            return Normal(mean, torch.full_like(mean, math.log(self.sigma)))

        return decode


def temperatures(steps: int, *, steepness: float = 4.0) -> Tensor:
    """b_0 = 0 to b_T = 1, (T + 1,): logistic, dense at both ends (Wu et al., section 4.2)."""
    s = torch.sigmoid(steepness * torch.linspace(-1, 1, steps + 1, dtype=torch.float64))
    return (s - s[0]) / (s[-1] - s[0])


def _score(
    options: AIS | GeneratorAIS, model: _HasPrior, decode: Decode, x: Tensor, cond: Any, rng: Rng
) -> tuple[Tensor, Tensor]:
    """Score events in batches of bounded memory."""
    size = max(1, _ROW_VALUES // (options.chains * max(1, x[0].numel())))
    batches = [slice(a, a + size) for a in range(0, len(x), size)]
    with torch.enable_grad():
        results = [
            _run(options, model, decode, x[b], None if cond is None else cond[b], rng[b])
            for b in batches
        ]
    nats, errors = zip(*results, strict=True)
    return torch.cat(nats), torch.cat(errors)


def _run(
    options: AIS | GeneratorAIS, model: _HasPrior, decode: Decode, x: Tensor, cond: Any, rng: Rng
) -> tuple[Tensor, Tensor]:
    """Nats (B,) and their standard errors (B,)."""
    total, _ = _forward(options, model, decode, x, cond, rng)
    return total.value()


def _forward(
    options: AIS | GeneratorAIS, model: _HasPrior, decode: Decode, x: Tensor, cond: Any, rng: Rng
) -> tuple[LogMeanExp, Tensor]:
    """The mean weight of each event and the step sizes (T - 1, B), from a pilot run and a run."""
    betas, pilot, run = temperatures(options.steps), rng.scope("pilot"), rng.scope("run")
    path = _Path(model, decode, x, cond, min(_PILOT_CHAINS, options.chains))
    sizes = _anneal(path, betas, options.leapfrog, pilot, path.first(pilot)).step_sizes
    path = _Path(model, decode, x, cond, options.chains)
    done = _anneal(path, betas, options.leapfrog, run, path.first(run), step_sizes=sizes)
    total = LogMeanExp()
    total.add(done.log_w.view(len(x), -1).T)
    return total, sizes


def _bracket(
    options: AIS | GeneratorAIS, model: _HasPrior, decode: Decode, rng: Rng, cond: Any
) -> Bracket:
    """Simulate z and x, anneal forwards from the prior and backwards from z."""
    with torch.no_grad():
        z = model.prior(len(rng), cond).sample(rng, stream="simulated/z")
        x = decode(z, cond).sample(rng, stream="simulated/x")
    with torch.enable_grad():
        total, sizes = _forward(options, model, decode, x, cond, rng)
        path, betas = _Path(model, decode, x, cond, options.chains), temperatures(options.steps)
        start = path.at(z.repeat_interleave(options.chains, 0))
        back = _anneal(
            path, betas, options.leapfrog, rng.scope("back"), start, step_sizes=sizes, down=True
        )
    inverse = LogMeanExp()
    inverse.add(-back.log_w.view(len(x), -1).T)
    return Bracket(total.value()[0], -inverse.value()[0])


class _State(NamedTuple):
    """Latents (N, ...) with log p(z), log p(x|z), each (N,), and their gradients (N, ...)."""

    z: Tensor
    log_prior: Tensor
    log_lik: Tensor
    prior_grad: Tensor
    lik_grad: Tensor

    def log_f(self, beta: float) -> Tensor:
        return self.log_prior.double() + beta * self.log_lik.double()

    def grad(self, beta: float) -> Tensor:
        return self.prior_grad + beta * self.lik_grad


class _Path:
    """The distributions f_t of C chains per event; the chains of an event are adjacent rows."""

    def __init__(
        self, model: _HasPrior, decode: Decode, x: Tensor, cond: Any, chains: int
    ) -> None:
        self.batch, self.chains, self.decode = len(x), chains, decode
        self.start = model.prior(len(x), cond)
        self.x = x.repeat_interleave(chains, 0)
        self.cond = None if cond is None else cond.repeat_interleave(chains, 0)
        self.prior = model.prior(len(self.x), self.cond)

    def first(self, rng: Rng) -> _State:
        """The state at draws of the prior."""
        draws = [self.start.sample(rng, stream="z", step=c) for c in range(self.chains)]
        z = torch.stack(draws, 1).flatten(0, 1)
        if not z.is_floating_point():
            raise NoCapabilityError(f"ais moves real latents by gradients; these are {z.dtype}.")
        return self.at(z)

    def at(self, z: Tensor) -> _State:
        """The state at latents z (N, ...)."""
        z = z.detach().requires_grad_()
        log_prior = self.prior.log_prob(z)
        log_lik = self.decode(z, self.cond).log_prob(self.x)
        (prior_grad,) = torch.autograd.grad(log_prior.sum(), z)
        (lik_grad,) = torch.autograd.grad(log_lik.sum(), z)
        return _State(z.detach(), log_prior.detach(), log_lik.detach(), prior_grad, lik_grad)


class _Annealed(NamedTuple):
    log_w: Tensor
    """(N,), float64."""
    step_sizes: Tensor
    """(T - 1, B)."""


def _anneal(
    path: _Path,
    betas: Tensor,
    leapfrog: int,
    rng: Rng,
    state: _State,
    *,
    step_sizes: Tensor | None = None,
    down: bool = False,
) -> _Annealed:
    """One run along the path, from b_0 up or from b_T down.

    Without `step_sizes` it is a pilot run: step sizes adapt, and the weights are not valid.
    """
    log_w = torch.zeros_like(state.log_lik, dtype=torch.float64)
    log_size = torch.full((path.batch,), math.log(_FIRST_STEP_SIZE), device=log_w.device)
    b, used = betas.tolist(), []
    times = range(1, len(b))
    for t in reversed(times) if down else times:
        log_w += (b[t] - b[t - 1]) * state.log_lik.double()
        k = t - 1 if down else t  # the next transition leaves f_k invariant
        if not 0 < k < len(b) - 1:
            break  # nothing follows the last weight
        size = log_size.exp() if step_sizes is None else step_sizes[k - 1]
        state, accepted = _hmc(path, state, b[k], size, leapfrog, rng, k - 1)
        log_size = log_size + _ADAPTATION_RATE * (accepted - _TARGET_ACCEPTANCE)
        used.append(size)
    return _Annealed(log_w, torch.stack(used))


def _hmc(
    path: _Path, state: _State, beta: float, size: Tensor, leapfrog: int, rng: Rng, t: int
) -> tuple[_State, Tensor]:
    """One Metropolis-corrected trajectory, and the mean acceptance rate of each event (B,)."""
    shape = state.z.shape[1:]
    momentum = rng.normal((path.chains, *shape), stream="momentum", step=t).flatten(0, 1)
    eps = size.repeat_interleave(path.chains).view(-1, *[1] * len(shape)).to(state.z.dtype)
    start = _kinetic(momentum)
    new, p = state, momentum.to(state.z.dtype)
    for _ in range(leapfrog):
        p = p + 0.5 * eps * new.grad(beta)
        new = path.at(new.z + eps * p)
        p = p + 0.5 * eps * new.grad(beta)
    gain = new.log_f(beta) - _kinetic(p) - state.log_f(beta) + start
    accept = gain.clamp(max=0).exp().nan_to_num(0.0)
    u = rng.uniform((path.chains,), stream="accept", step=t).flatten()
    state = _State(*(_where(u < accept, a, b) for a, b in zip(new, state, strict=True)))
    return state, accept.view(path.batch, path.chains).mean(1).to(size.dtype)


def _kinetic(p: Tensor) -> Tensor:
    return 0.5 * p.double().square().flatten(1).sum(1)


def _where(mask: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(mask.view(-1, *[1] * (a.ndim - 1)), a, b)
