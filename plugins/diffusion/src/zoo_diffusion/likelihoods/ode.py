"""`log_likelihood(method="ode")`: log p of the probability flow (Song et al., 2021, sec. 4.3).

    log p(u_0) = log N(u_1; 0, 1) + int div dphi          (probability_flow.py; u = x_t / r)

The divergence is exact (`probes=0`, D backward passes) or Hutchinson's estimate v' J v with the
Jacobian J of the velocity and Rademacher probes v that stay the same along the flow (Grathwohl et
al., 2019). The result is an estimate and no bound: the solver is biased, and the flow's density is
not that of the chain.

Integers are dequantized first, by noise of about the width of a quantization level:

    gaussian    z ~ q(z|x) at the decoder's time:  log P(x) ~ log p(z) - log q(z|x) + log P(x|z)
                (variational dequantization by the model's own decoder; terms.py)
    uniform     x + u on [-1, 1], u uniform over the width w = 2 / (K - 1) of a level, taken as
                x_{t_min} as published numbers do: log P(x) ~ log p(x + u) + D log w. Models of
                integers have sharp peaks on the levels, which this measures badly.

Where gradients are recorded, the likelihood has them: those of the number that it returns, through
all steps of the solver, in the parameters and in events of reals.

    nll = -ODELikelihood(precision="model")(model, x, None, Rng(0, len(x))).nats.mean()
    nll.backward()

Shapes: B batch, S the event's shape, D values, P probes, A events that are not finished.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from zoo_core.plugin import (
    UNKNOWN,
    Denoiser,
    LikelihoodKind,
    LikelihoodResult,
    Range,
    Rng,
    UsageError,
)
from zoo_diffusion.likelihoods import terms
from zoo_diffusion.likelihoods.probability_flow import ProbabilityFlow, in_double, solve_ode
from zoo_diffusion.parameterization import earliest_time

__all__ = ["AugmentedFlow", "ODELikelihood", "rademacher_probes"]


@dataclass(frozen=True)
class ODELikelihood:
    """The density of the probability flow, by RK5(4).

    - `rtol`, `atol`: tolerances of a step, for each event separately.
    - `probes`: Hutchinson probes of the divergence; 0 computes it exactly.
    - `draws`: draws of the dequantization and the probes, over which the result is the mean.
    - `precision`: in double precision an event's steps, and so its number, do not depend on the
      rounding of the network in batches of another size; "model" is faster and not repeatable to
      that degree.

    The standard error is that of the mean over `draws`, without the solver's bias. It is unknown
    from one draw, and absent if nothing is drawn (reals with `probes=0`).

        log_p = model.log_likelihood(x, method=ODELikelihood(probes=4))
    """

    rtol: Annotated[float, Range(1e-12, 1.0)] = 1e-5
    atol: Annotated[float, Range(1e-12, 1.0)] = 1e-5
    probes: Annotated[int, Range(0, 1 << 16)] = 1
    dequantization: Literal["gaussian", "uniform"] = "gaussian"
    draws: Annotated[int, Range(1, 1 << 16)] = 1
    precision: Literal["double", "model"] = "double"

    @property
    def kind(self) -> LikelihoodKind:
        """An estimate of log p, with the options that tell it from others."""
        trace = f"{self.probes} probes" if self.probes else "exact trace"
        return LikelihoodKind(
            "ode_estimate",
            "estimate",
            f"rk45, rtol={self.rtol:g}, atol={self.atol:g}, {trace}, "
            f"{self.dequantization} dequantization, {self.draws} draws",
        )

    def __call__(
        self, model: Denoiser, x: Tensor, cond: Tensor | None, rng: Rng
    ) -> LikelihoodResult:
        if torch.is_grad_enabled():
            _check_differentiable(model, self.precision)
        if self.precision == "double":
            model = in_double(model)
        draws = [self._draw(model, x, cond, rng, draw) for draw in range(self.draws)]
        nats = torch.stack([nats for nats, _ in draws])
        evaluations = torch.stack([n for _, n in draws]).sum(0)
        return LikelihoodResult(nats.mean(0), self._error(model, nats), {}, evaluations)

    def _error(self, model: Denoiser, nats: Tensor) -> Tensor | None:
        """The standard error (B,) from draws (N, B)."""
        if not (self.probes or model.event.discrete):
            return None
        if self.draws == 1:
            return torch.full_like(nats[0], UNKNOWN)
        error: Tensor = nats.std(0) / self.draws**0.5
        return error

    def _draw(
        self, model: Denoiser, x: Tensor, cond: Tensor | None, rng: Rng, draw: int
    ) -> tuple[Tensor, Tensor]:
        """log p (B,) from one draw, and the calls of the network."""
        z, t0, offset = self._dequantized(model, x, rng, draw)
        flow = ProbabilityFlow(model, cond)
        first, last = flow.angles(t0)
        r = flow.radius(t0)
        probes = rademacher_probes(self.probes, z, rng, draw)
        augmented = AugmentedFlow(flow, probes, differentiable=torch.is_grad_enabled())
        y = torch.cat(((z / r).double().flatten(1), z.new_zeros(len(z), 1).double()), 1)
        solution = solve_ode(augmented, y, first, last, rtol=self.rtol, atol=self.atol)
        u, gain = solution.y[:, :-1], solution.y[:, -1]
        base = -0.5 * (u.square() + math.log(2 * math.pi)).sum(1)
        D = model.event.dims
        return base + gain - D * math.log(r) + offset, solution.evaluations

    def _dequantized(
        self, model: Denoiser, x: Tensor, rng: Rng, draw: int
    ) -> tuple[Tensor, float, Tensor]:
        """z (B, *S), its time, and what is added to log p(z), (B,)."""
        event = model.event
        t_min, clean = earliest_time(model), event.to_network(x, torch.float32)
        if not event.discrete:
            return clean, t_min, torch.zeros(len(x), device=x.device, dtype=torch.float64)
        if self.dequantization == "uniform":
            u = rng.uniform(event.shape, stream="ode/uniform", step=draw) - 0.5
            offset = clean.new_full((len(x),), event.dims * math.log(terms.bin_width(event)))
            return clean + terms.bin_width(event) * u, t_min, offset.double()
        t0 = terms.decoder_time(model.schedule, event, t_min)
        t = clean.new_full((len(x),), t0, dtype=torch.float64)
        eps = rng.normal(event.shape, stream="ode/gaussian", step=draw)
        z, alpha, sigma = terms.add_noise(model, clean, t, eps)
        log_q = terms.gaussian_log_likelihood(z, alpha * clean, sigma.double())
        return z, t0, terms.decoder_log_likelihood(event, x, z, alpha, sigma) - log_q


class AugmentedFlow:
    """(du/dphi, div) of the state [u, log-density gained] (A, D + 1), perhaps differentiable."""

    def __init__(
        self, flow: ProbabilityFlow, probes: Tensor | None, *, differentiable: bool = False
    ) -> None:
        self.flow, self.probes, self.differentiable = flow, probes, differentiable
        self.shape = flow.model.event.shape

    def __call__(self, y: Tensor, phi: Tensor, rows: Tensor) -> Tensor:
        y = y if self.differentiable else y.detach()
        with torch.enable_grad():
            u = y[:, :-1].reshape(len(y), *self.shape)
            u = u if u.requires_grad else u.requires_grad_()
            flat = self.flow.velocity(u, phi, rows).flatten(1)
            div = self._exact(u, flat) if self.probes is None else self._hutchinson(u, flat, rows)
        slope = torch.cat((flat, div.unsqueeze(1)), 1)
        return slope if self.differentiable else slope.detach()

    def _exact(self, u: Tensor, flat: Tensor) -> Tensor:
        """sum_i d velocity_i / d u_i, (A,)."""
        D = flat.shape[1]
        total = flat.new_zeros(len(flat))
        for i in range(D):
            (g,) = self._gradient(flat[:, i].sum(), u, None, more=i + 1 < D)
            total = total + g.flatten(1)[:, i]
        return total

    def _hutchinson(self, u: Tensor, flat: Tensor, rows: Tensor) -> Tensor:
        """The mean of v' J v over the probes v, (A,)."""
        assert self.probes is not None
        probes = self.probes[:, rows]
        total = flat.new_zeros(len(flat))
        for k, v in enumerate(probes):
            (g,) = self._gradient(flat, u, v, more=k + 1 < len(probes))
            total = total + (g.flatten(1) * v).sum(1)
        return total / len(probes)

    def _gradient(
        self, value: Tensor, u: Tensor, weights: Tensor | None, *, more: bool
    ) -> tuple[Tensor, ...]:
        """The gradient in u, of a graph that is kept if there are `more`, or to differentiate."""
        keep = more or self.differentiable
        return torch.autograd.grad(
            value, u, weights, retain_graph=keep, create_graph=self.differentiable
        )


def _check_differentiable(model: Denoiser, precision: str) -> None:
    """Raise UsageError if the gradients of the parameters would be lost or wrong."""
    assert isinstance(model, nn.Module)
    if not any(p.requires_grad for p in model.parameters()):
        return
    if precision == "double" and model.dtype != torch.float64:
        raise UsageError(
            f"precision = 'double' scores a copy of a model of {model.dtype}, so that its "
            "parameters would get no gradients.",
            hint="ODELikelihood(precision='model'), model.double(), or torch.no_grad()",
            command="--set precision=model",
        )
    schedule = model.schedule
    if isinstance(schedule, nn.Module) and any(p.requires_grad for p in schedule.parameters()):
        raise UsageError(
            "the schedule is learned, and the probability flow is solved at given noise levels: "
            "its parameters have no gradients.",
            hint="model.schedule.requires_grad_(False), or torch.no_grad()",
        )


def rademacher_probes(count: int, z: Tensor, rng: Rng, draw: int) -> Tensor | None:
    """Probes of values -1 and 1, (P, B, D) float64; None for the exact trace."""
    if count == 0:
        return None
    D = z[0].numel()
    u = [rng.uniform((D,), stream="ode/probe", step=draw * count + k) for k in range(count)]
    return torch.where(torch.stack(u) < 0.5, -1.0, 1.0).double()
